"""Texts with secrets, each with what must be taken out of it, and texts that must stay as they are.

Made up; where a code host would refuse a push for the shape of a key, it is put together from two pieces.
"""

from __future__ import annotations

HEX32 = "9f86d081884c7d659a2feaa0c55ad015"
HEX64 = HEX32 + "a3bf4f1b2b0b822cd15d6c15b0f00a08"
PEM = (
    "-----BEGIN {0}PRIVATE KEY-----\n"
    + f"{'MIIEpAIBAAKCAQEA1c7+9z5Pad7O' * 2}\n" * 3
    + "-----END {0}PRIVATE KEY-----"
)
RSA, PLAIN, EC = PEM.format("RSA "), PEM.format(""), PEM.format("EC ")
OPENSSH = PEM.format("OPENSSH ")
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
ANTHROPIC = "sk-ant-" + "api03-" + "aB1_-" * 19
OPENAI = "sk-" + "proj-" + "aB1c-" * 20
GITHUB = "ghp_" + "a1B2" * 9
GITHUB_FINE = "github_pat_" + "11ABCDEFG0" + "a1_" * 20
SLACK = "xoxb-" + "123456789012-abcdefABCDEF"
HOOK = "T01ABCDEF" + "/B01ABCDEF" + "/a1B2c3D4e5F6g7H8i9J0k1L2"
STRIPE = "sk_live_" + "a1B2" * 6
STRIPE_TEST = "sk_test_" + "a1B2" * 6
GOOGLE = "AIza" + "Sy1-_" * 7
GITLAB = "glpat-" + "a1B2" * 5
HUGGING = "hf_" + "aB" * 17
GROQ = "gsk_" + "a1B2" * 13
NPM = "npm_" + "a1B2" * 9
PYPI = "pypi-" + "AgEIcHlwaS5vcmc" + "CJDk5" * 12
SENDGRID = "SG." + "a1B2c3D4e5F6g7H8i9J0kk" + "." + "a1B2c3D4" * 5
OCEAN = "dop_v1_" + HEX64
TWILIO = "SK" + HEX32
TELEGRAM = "AA" + "Hdq-_Tc1" * 4 + "x"
VAULT = "hvs." + "CAESIJ1a2b3c4d5e6f7g8h9i"
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCY3f8aQ2LmZo"
AZURE = "Zm9vYmFy" * 10 + "Zm9vYg=="
AGE = "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" + "QPZRY9X8GF2TVDW0S3JN54KHCE"
LINES = RSA.splitlines()
NUMBERED = "\n".join(f"{number:>6}\t{line}" for number, line in enumerate(LINES, 1))
FOUND = "\n".join(f"keys/id_rsa:{number}:{line}" for number, line in enumerate(LINES, 1))
REMOVED = "\n".join(f"-{line}" for line in LINES)
QUOTED = "\n".join(f"> {line}" for line in LINES)
JOINED = "' +\n  '".join(f"{line}\\n" for line in LINES)
SIGNATURE = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V" + "%3D"
BASIC = "dXNlcjpodW50ZXIyeA=="
RANDOM = "q8Vz3kLw9PxT2mRb7NcY"

REDACTED: tuple[tuple[str, tuple[str, ...]], ...] = (
    # vendors' keys, wherever they stand
    (f"my key is {ANTHROPIC}, use it", (ANTHROPIC,)),
    (f"client = OpenAI(api_key='{OPENAI}')", (OPENAI,)),
    (f"git clone https://{GITHUB}@github.com/o/r", (GITHUB,)),
    (f"token {GITHUB_FINE} expires", (GITHUB_FINE,)),
    (f"SLACK {SLACK}", (SLACK,)),
    (f"curl -d x https://hooks.slack.com/services/{HOOK}", (HOOK,)),
    (f"stripe.api_key = '{STRIPE}'", (STRIPE,)),
    (f"STRIPE: {STRIPE_TEST}", (STRIPE_TEST,)),
    (f"https://maps.example/js?key={GOOGLE}&v=3", (GOOGLE,)),
    (f"glab auth login -t {GITLAB}", (GITLAB,)),
    (f"huggingface-cli login {HUGGING}", (HUGGING,)),
    (f"groq: {GROQ}", (GROQ,)),
    (f"//registry.npmjs.org/:_authToken={NPM}", (NPM,)),
    (f"twine upload -u __token__ -p {PYPI}", (PYPI,)),
    (f"sg = {SENDGRID}", (SENDGRID,)),
    (f"doctl auth init -t {OCEAN}", (OCEAN,)),
    (f"Twilio {TWILIO} works", (TWILIO,)),
    (f"https://api.telegram.org/bot123456789:{TELEGRAM}/getMe", (TELEGRAM,)),
    (f"vault login {VAULT}", (VAULT,)),
    (f"aws configure set id {AWS}", (AWS,)),
    (f"# public key: age1x\n{AGE}", (AGE,)),
    (f"cookie jwt {JWT};", (JWT,)),
    # private keys
    (f"here:\n{RSA}\nthanks", (RSA,)),
    (PLAIN, (PLAIN,)),
    (f"ssh -i\n{OPENSSH}", (OPENSSH,)),
    ('{"k": "' + EC.replace("\n", "\\n") + '"}', (EC.replace("\n", "\\n"),)),
    # in what tools show of a file: numbered, found, changed, quoted, cut off above
    (NUMBERED, (NUMBERED.lstrip(" 1\t"),)),
    (FOUND, (FOUND.removeprefix("keys/id_rsa:1:"),)),
    (REMOVED, (REMOVED[1:],)),
    (QUOTED, (QUOTED[2:],)),
    (f"const k = '{JOINED}';", (JOINED.removesuffix("\\n"),)),
    ("cut\n" + "\n".join(LINES[2:]), ("\n".join(LINES[2:]),)),
    ('{"text": "PORT=1\\nDB_PASSWORD=hunter2\\nX=1"}', ("hunter2",)),
    ('["DB_PASSWORD=correcthorse", "PORT=1"]', ("correcthorse",)),
    ("config/.env:3:DB_PASSWORD=hunter2\nconfig/.env:4:PORT=1", ("hunter2",)),
    ("     3\tDB_PASSWORD=hunter2\n     4\tPORT=1", ("hunter2",)),
    ("+DB_PASSWORD=hunter2\n PORT=1", ("hunter2",)),
    ("# DB_PASSWORD=hunter2", ("hunter2",)),
    # headers
    ("Authorization: Bearer abcdef0123456789", ("abcdef0123456789",)),
    ("-H 'authorization: bearer a.b-c~1/2+3_aaaaaaa=='", ("a.b-c~1/2+3_aaaaaaa==",)),
    (f"Authorization: Basic {BASIC}", (BASIC,)),
    (f'"Authorization": "Basic {BASIC}"', (BASIC,)),
    (f"Authorization: token {RANDOM}", (RANDOM,)),
    (f"X-Api-Key: {RANDOM}", (RANDOM,)),
    (f"curl -H 'X-Auth-Token: {RANDOM}' https://x.example", (RANDOM,)),
    ("curl -u admin:S3cr3tPw https://x.example", ("S3cr3tPw",)),
    # connection strings
    ("postgres://app:hunter2@db:5432/x", ("hunter2",)),
    ("DATABASE_URL=postgresql+asyncpg://app:p%40ss@db/x", ("p%40ss",)),
    ("mongodb+srv://root:Tr0ub4dor@cluster0.abc.mongodb.net/?w=1", ("Tr0ub4dor",)),
    ("amqp://guest:gu3st@rabbit:5672//", ("gu3st",)),
    ("redis://:p@ss:w0rd!@[::1]:6379", ("p@ss:w0rd!",)),
    ("mysql://u:letmein@127.0.0.1/db", ("letmein",)),
    ("ftp://deploy:d3pl0y@files.example/in", ("d3pl0y",)),
    ("Server=db;Database=x;User Id=sa;Password=Sup3rS3cret;Encrypt=yes", ("Sup3rS3cret",)),
    ("jdbc:sqlserver://h;user=sa;password=Sup3rS3cret;encrypt=true", ("Sup3rS3cret",)),
    ("Driver={ODBC};Uid=sa;Pwd=Sup3rS3cret;", ("Sup3rS3cret",)),
    ("jdbc:postgresql://h/db?user=me&password=Sup3rS3cret&ssl=true", ("Sup3rS3cret",)),
    (f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={AZURE};", (AZURE,)),
    (f"Endpoint=sb://x/;SharedAccessKeyName=r;SharedAccessKey={AZURE}", (AZURE,)),
    # lines of .env
    ("DB_PASSWORD=correcthorse", ("correcthorse",)),
    ("export PGPASSWORD='hunter2'", ("hunter2",)),
    (f'API_KEY="{RANDOM}"', (RANDOM,)),
    (f"PORT=80\nSECRET_KEY_BASE={HEX64}\nDEBUG=1", (HEX64,)),
    (f"AWS_SECRET_ACCESS_KEY={AWS_SECRET}", (AWS_SECRET,)),
    ("SMTP_PASS=p@ss;w0rd#1", ("p@ss;w0rd#1",)),
    (f"ENV GITHUB_TOKEN={RANDOM}", (RANDOM,)),
    (f"  - MY_CLIENT_SECRET={RANDOM}", (RANDOM,)),
    (f"MAILER_KEY={RANDOM}", (RANDOM,)),
    ("docker run -e POSTGRES_PASSWORD=hunter2 postgres", ("hunter2",)),
    ("$ PGPASSWORD=hunter2 psql -h db", ("hunter2",)),
    # files and commands of programs
    ("[client]\nuser = root\npassword = hunter2\n", ("hunter2",)),
    ("spring.datasource.password=hunter2", ("hunter2",)),
    ("machine api.example login me password hunter2", ("hunter2",)),
    (f'{{"auths": {{"https://registry.example/": {{"auth": "{BASIC}"}}}}}}', (BASIC,)),
    ("sshpass -p hunter2 ssh host", ("hunter2",)),
    (f"https://x.blob.example/c?sv=2022-11-02&sr=c&sig={SIGNATURE}", (SIGNATURE,)),
    (f'<add key="ApiKey" value="{RANDOM}" />', (RANDOM,)),
    # prose
    (f"The API key is {RANDOM}.", (RANDOM,)),
    (f"api key: {RANDOM}", (RANDOM,)),
    ("my password is Hunter2xyz! thanks", ("Hunter2xyz!",)),
    # YAML, JSON, code
    ("password: hunter2", ("hunter2",)),
    (f"  api_key: {RANDOM}  # rotate", (RANDOM,)),
    (f'{{"api_key": "{HEX32}"}}', (HEX32,)),
    (f'{{"clientSecret":"{RANDOM}","x":1}}', (RANDOM,)),
    ('{\\"password\\": \\"hunter2\\"}', ("hunter2",)),
    (f"const apiKey = '{RANDOM}';", (RANDOM,)),
    ('password: str = "S3cret99!"', ("S3cret99!",)),
    ("$config = ['password' => 'S3cret99!'];", ("S3cret99!",)),
    ('if password == "S3cret99!":', ("S3cret99!",)),
    (f'os.environ["API_TOKEN"] = "{RANDOM}"', (RANDOM,)),
    (f'setAccessToken("{RANDOM}")', (RANDOM,)),
    (f'request.headers.set("X-Api-Key", "{RANDOM}")', (RANDOM,)),
    ("<password>S3cret99!</password>", ("S3cret99!",)),
    ("- name: DB_PASSWORD\n  value: S3cret99!", ("S3cret99!",)),
    ("spring.datasource.password=S3cret99!", ("S3cret99!",)),
    (f"app --token {RANDOM} --verbose", (RANDOM,)),
    ("mysqldump --password=S3cret99! db", ("S3cret99!",)),
    (f"https://x.example/cb?access_token={RANDOM}&state=1", (RANDOM,)),
    (f"a {GITHUB} b {OPENAI} c {GITHUB}", (GITHUB, OPENAI)),
    # prose and labels
    ("the password is hunter2Xy!", ("hunter2Xy!",)),
    ("The password is hunter2. Do not tell.", ("hunter2",)),
    ("its passphrase is 'correct horse battery staple', ok?", ("correct horse battery staple",)),
    ("Root password: hunter2\nnext line", ("hunter2",)),
    ("- The WiFi password: hunter2", ("hunter2",)),
    # passphrases
    ("DB_PASSWORD=correct horse battery staple\nPORT=1", ("correct horse battery staple",)),
    ("password: correct horse battery staple", ("correct horse battery staple",)),
    ("db:\n  passphrase: lamp orbit velvet canyon drum\n  port: 1", ("lamp orbit velvet canyon drum",)),
    ("     3\tpassword: correct horse battery staple\n     4\tx: 1", ("correct horse battery staple",)),
    ('password = "correct horse battery staple"', ("correct horse battery staple",)),
    ('{"passphrase": "Tr0ub4dor & 3 horses"}', ("Tr0ub4dor & 3 horses",)),
    ("export PGPASSWORD='correct horse battery staple'", ("correct horse battery staple",)),
    ("DB_PASSWORD=correct horse battery staple # of the lab\n", ("correct horse battery staple",)),
    ("password: correct horse battery staple  \nport: 1", ("correct horse battery staple",)),
    # lists
    (f'API_KEYS=["{RANDOM}", "{RANDOM}2"]', (RANDOM, f"{RANDOM}2")),
    (f'"api_keys": [\n  "{RANDOM}",\n  "{HEX32}"\n]', (RANDOM, HEX32)),
    (f'{{\\"api_keys\\": [\\"{RANDOM}\\"]}}', (RANDOM,)),
    (f"api_keys: [{RANDOM}, '{HEX32}']", (RANDOM, HEX32)),
    (f"api_keys:\n  - {RANDOM}  # alice\n  - '{HEX32}'\nport: 1", (RANDOM, HEX32)),
    (f"api_keys:\n\n  - {RANDOM}\n\n  # bob\n\n  - {HEX32}\n", (RANDOM, HEX32)),
    (f"api_keys:\r\n  - {RANDOM}\r\n\r\n  - {HEX32}\r\n", (RANDOM, HEX32)),
    (f"auth:\n  secrets:\n  # by hand\n  - {RANDOM}\n", (RANDOM,)),
    (f"     3\tapi_key:\n     4\t  - {RANDOM}\n     5\tx: 1", (RANDOM,)),
    ("passwords:\n- hunter2\n- 'S3cret99!'\n", ("hunter2", "S3cret99!")),
    ('passwords = ("hunter2", "S3cret99!")', ("hunter2", "S3cret99!")),
    (f"ACCESS_TOKENS={RANDOM},{HEX32}", (RANDOM, HEX32)),
    (f'export API_KEYS="{RANDOM}, {HEX32}"', (RANDOM, HEX32)),
    (f'apiKeys := []string{{"{RANDOM}", "{HEX32}"}}', (RANDOM, HEX32)),
    (f"VALID_TOKENS = 3\nauth_tokens = frozenset({{'{RANDOM}'}})", (RANDOM,)),
)
"""A text, and the secrets in it: exactly these are replaced, wherever they stand in it."""

STAYS: tuple[str, ...] = (
    # hashes, ids and data
    "commit d670460b4b4aece5915caf5c68d12f560a9fe3e4",
    "fix: revert 9f86d08 (see 1a2b3c4d)",
    f"sha256:{HEX64}",
    f"key 018f4e1c-7b7a-7cc1-98c4-dc0c0c07398f, md5 {HEX32}",
    f'"integrity": "sha512-{"JRtGsdyPZkgdvNr3hkbv" * 4}JqCT0w=="',
    f'{{file = "x.whl", hash = "sha256:{HEX64}"}}',
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    'assert b64decode("SGVsbG8sIHdvcmxkISBUaGlzIGlzIGEgdGVzdC4=") == b"Hello"',
    "-----BEGIN CERTIFICATE-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@host",
    "2001:db8:85a3::8a2e:370:7334 and fe80::1%eth0",
    "call +49 30 901820 or 555-0123-4567",
    "ISBN 978-3-16-148410-0, DOI 10.1000/182",
    "x² + y² = z², 10³, ½",
    "1609459200 1700000000123 3.14159265358979",
    "arn:aws:iam::123456789012:role/deploy",
    "0x52908400098527886E0F7030069857D2E4169EE7",
    # references
    "const key = process.env.API_KEY;",
    'api_key = os.environ["ANTHROPIC_API_KEY"]',
    'token = os.getenv("GITHUB_TOKEN")',
    "password = getpass()",
    "password = getpass.getpass('Password: ')",
    "API_KEY=${API_KEY}",
    "export TOKEN=$(cat /run/secrets/token)",
    "DB_PASSWORD=$DB_PASSWORD",
    "SECRET_KEY={{ vault_secret_key }}",
    "password: ${{ secrets.NPM_TOKEN }}",
    "  password: !vault |",
    "Authorization: Bearer ${TOKEN}",
    'headers = {"Authorization": f"Bearer {token}"}',
    "postgres://${USER}:${PASSWORD}@db/x",
    "postgres://{user}:{password}@{host}/x",
    "mysql://user:password@localhost/db",
    "password_file: /run/secrets/db_password",
    "SSL_KEY=/etc/ssl/private/server.key",
    "TOKEN_URL=https://auth.example/oauth2/token",
    "secretKeyRef: {name: db-credentials, key: password}",
    "self.password = password",
    "token: next.token",
    "password=settings.db_password2",
    "args.token or config.get('token')",
    '"AWS::ApiGateway::ApiKey": "48205d4ffd7feba3"',
    "exports.JwtTokenSignatureMismatched = JwtTokenSignatureMismatched;",
    "connect(\n    user=user1,\n    password=login2\n)",
    "PASSWORD=settings.PASSWORD, TOKEN=my_token_2,",
    "-----BEGIN PRIVATE KEY-----\nthe key in lines of base64\n-----END PRIVATE KEY-----",
    'pem.replace("-----BEGIN PRIVATE KEY-----", "")\npem.replace("-----END PRIVATE KEY-----", "")',
    "the password is at least 12 characters; the token is base64url2",
    "assertEqual(passValue('a+b1'), 'a+b1')",
    "machine learning login page password field2",
    # examples
    "API_KEY=your-api-key-here",
    "PASSWORD=changeme",
    "password: <password>",
    'api_key: "sk-xxxxxxxxxxxxxxxxxxxxxxxx"',
    "TOKEN=<token>",
    'OPENAI_API_KEY="sk-..."',
    "secret: ********",
    'token = "test-token"',
    "ANTHROPIC_API_KEY=sk-ant-your-key-1",
    '"password": "example-password-123"',
    "Authorization: Basic <credentials>",
    "Basic authentication is needed; basic usage2024 is shown below",
    "Bearer authentication-is-required-here",
    # code about tokens, keys and passwords
    "max_tokens: 4096, num_tokens = 128000",
    "tokenizer = AutoTokenizer.from_pretrained('bert-base-uncased')",
    "def check_password(password: str, hashed: bytes) -> bool:",
    "if (password.length < 8) throw new Error('Password too short');",
    '<input type="password" name="password" placeholder="Enter your password">',
    "'password' => 'required|string|min:8|confirmed',",
    'passwordLabel: "Passwort2"',
    "pad_token='<pad>', eos_token='</s>', unk_token='[UNK]'",
    "primary_key=True, foreign_key='user.id2'",
    "PRIMARY_KEY=user_id_2024_abcdef123456",
    "for key, value in sorted(items.items(), key=lambda item: item[1]):",
    "keyboard.press('a1b2c3d4e5f6')",
    "secretary: 'Jane Doe 1984', compass: 'N45E'",
    "bypass_cache = True; passthrough: v1alpha1",
    "git diff token1 token2",
    "token_count=12345678, tokenType: 'bearer2'",
    '{"nextPageToken": "EAAaHlBUOkNBVVFBQw1234"}',
    "csrf_token_name = 'csrf_token_2'",
    "public_key: MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE1234",
    '"password_hash": "5f4dcc3b5aa765d61d8327deb882cf99"',
    ".sk-toggleable__content-fitted-1 {color: #ff00aa}",
    "hf_hub_download(repo_id='x', filename='y')",
    "function a1b2(c3,d4){return e5f6[g7]||h8i9(j0)}var k1=l2,m3=n4;",
    ".css-1q2w3e4r5t{margin:0}._3kX9aB2{color:red}",
    "git@github.com:owner/repo.git",
    "http://localhost:3000/@scope/pkg@1.2.3",
    "https://h:80?m=a@b.c",
    "docker run -u 1000:1000 -e LANG=C.UTF-8 image:1.2.3",
    "task-1234567890abcdef1234567890 disk-usage-0123456789abcdef0123",
    "import secrets; token = secrets.token_urlsafe(32)",
    'parser.add_argument("--api-key", help="the key for v2")',
    "[secret:github] and [secret:ANTHROPIC_API_KEY]",
    "API_KEY=REDACTED_GITHUB_0a1b2c3d4e5f",
    "Bearer REDACTED_SECRET_0a1b2c3d4e5f",
    "the password is required; the token expired in 2024",
    "PWD=/home/me/project-2024 OLDPWD=/home/me",
    "password: [hidden]\npassphrase: none",
    "foo_token: Optional[str] = None",
    "let token: string = '';",
    "match token { Token::Ident2 => 1, Token::Number64 => 2 }",
    "expected token ';' but found identifier 'x1y2z3'",
    # prose and labels
    "the password is hashed; the password is stored with bcrypt and a salt",
    "the password is sha256. the password is base64 encoded, the passphrase is utf8",
    "the password is version2 of the one before",
    "Your password: must be at least 8 characters\n",
    "private password: Secret2\nlet password: Login2\n",
    "The password: see vault entry seven",
    "the user's password: the one that was chosen at the beginning",
    # words about passwords
    "password: enter your new password here",
    "password: authentication failed for user postgres",
    "password: minimum eight characters required",
    'password = "Please enter a password with 8 characters"',
    '"password": "The password you entered is wrong"',
    '"password": "Das Passwort ist leider falsch"',
    '"password": "bitte neues passwort eingeben"',
    'labels = {"password": "Forgot your password?"}',
    'fields: {password: "string between eight and sixty"}',
    'description = "password policy: use sha256 or v2beta1 hashes"',
    '"password": "8-to-20 chars long"',
    'password: "See ticket ABC-1234-x for details"',
    '"password": "Expires 15-Jan-2024"',
    '"password": "Use PKCS8-v1.5 padding here"',
    'password = f"{user1name2} is wrong"',
    "password: see the wiki # or ask somebody else there",
    # times
    '{"UserName": "bob", "PasswordLastUsed": "2018-06-21T19:12:57Z"}',
    '"password_changed_at": "2023-04-05T10:00:00.123+02:00"',
    "token_created: 2023-04-05T10:00:00Z\n",
    "PASSWORD_SET_ON=2023-04-05T10:00Z\n",
    # lists of what is no secret
    'keys = ["a1b2c3d4e5f6g7h8", "b1b2c3d4e5f6g7h8"]',
    'tokens = ["hello1world2foo3", "<s>", "</s>", "##ing2tok3en4"]',
    "max_tokens: [4096, 8192, 16384]",
    "secrets:\n  - db_password\n  - npm_token_2\n",
    "secrets: inherit",
    "secrets:\n  db:\n    external: true",
    "secrets = [load_secret_v2beta1, read_token_v1alpha1]",
    'public_keys = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE1234"]',
    "ssh_authorized_keys:\n  - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9",
    'api_keys = [os.environ["API_KEY_1"], process.env.API_KEY_2]',
    "API_KEYS=${KEY_1},${KEY_2}",
    'api_keys: ["your-key-1", "your-key-2", "<key3>"]',
    f"primary_keys = ['{HEX32}']",
    f"cache_keys:\n  - {HEX32}\n",
    f"api_keys: []\ncommits: ['{HEX32}']",
    f"api_keys:\ncommits:\n  - {HEX32}\n",
    'print(f"password={password!r}, token={token1!r}")',
    "passwords = [user1, login2, 123456]",
    "password_fields: ['password1', 'password2']",
)
"""Texts in which nothing is a secret."""
