"""Where keys come from, and that they go nowhere else."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hyperguild.adapters.wire import keys as keys_module
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.domain.chain import Endpoint, KeySource
from hyperguild.errors import AuthError


def endpoint(source: KeySource | None, **headers: str) -> Endpoint:
    return Endpoint("cloud", "openai", "https://api.example/v1", key=source, headers=headers)


async def refusal(ring: KeyRing, source: KeySource) -> AuthError:
    with pytest.raises(AuthError) as caught:
        await ring.key(endpoint(source))
    assert caught.value.endpoint == "cloud"
    assert caught.value.hint
    return caught.value


async def test_no_source_is_no_key() -> None:
    assert await KeyRing({}).key(endpoint(None)) is None


async def test_a_key_of_the_environment_is_told_and_remembered() -> None:
    told: list[tuple[str, str]] = []
    env = {"KEY": " sk-12345678\n"}
    ring = KeyRing(env, lambda name, value: told.append((name, value)))

    assert await ring.key(endpoint(KeySource(env="KEY"))) == "sk-12345678"
    env.clear()
    assert await ring.key(endpoint(KeySource(env="KEY"))) == "sk-12345678"
    assert told == [("$KEY", "sk-12345678")]


async def test_a_failure_is_not_remembered() -> None:
    env: dict[str, str] = {}
    ring = KeyRing(env)
    assert "$KEY is not set" in (await refusal(ring, KeySource(env="KEY"))).message

    env["KEY"] = "sk-12345678"
    assert await ring.key(endpoint(KeySource(env="KEY"))) == "sk-12345678"


@pytest.mark.parametrize("value", ["", "  \n"])
async def test_an_empty_key(value: str) -> None:
    assert "$KEY is empty" in (await refusal(KeyRing({"KEY": value}), KeySource(env="KEY"))).message


@pytest.mark.parametrize("value", ["sk-one\nsk-two", "sk-schlüssel", "sk with space", "sk-\x00zero"])
async def test_what_no_header_can_carry_is_refused_and_not_shown(value: str) -> None:
    error = await refusal(KeyRing({"KEY": value}), KeySource(env="KEY"))

    assert "$KEY holds" in error.message
    assert value not in error.message
    assert value not in (error.hint or "")


async def test_a_key_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xef\xbb\xbfsk-12345678\r\n")

    assert await KeyRing({}).key(endpoint(KeySource(file=path))) == "sk-12345678"


async def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    error = await refusal(KeyRing({}), KeySource(file=tmp_path / "missing"))
    assert "missing: No such file" in error.message
    assert "Is a directory" in (await refusal(KeyRing({}), KeySource(file=tmp_path))).message


async def test_a_file_without_end_is_no_key() -> None:
    error = await refusal(KeyRing({}), KeySource(file=Path("/dev/zero")))
    assert "holds 65536 bytes or more" in error.message


async def test_a_key_too_long_to_be_one_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("k" * 100_000)
    assert "holds 65536 bytes or more" in (await refusal(KeyRing({}), KeySource(file=path))).message

    printing = (sys.executable, "-c", "print('k' * 100_000)")
    assert "holds 65536 bytes or more" in (await refusal(KeyRing({}), KeySource(command=printing))).message


def script(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    def write(text: str) -> tuple[str, ...]:
        path = tmp_path / "key.py"
        path.write_text(text)
        return (sys.executable, str(path))

    return write


async def test_a_key_of_a_command_is_asked_for_once(tmp_path: Path) -> None:
    argv = script(tmp_path)(
        "import os, pathlib, time\n"
        f"file = pathlib.Path({str(tmp_path / 'runs')!r})\n"
        "file.write_text((file.read_text() if file.exists() else '') + 'x')\n"
        "time.sleep(0.2)\n"
        "print(os.environ['OP_TOKEN'])\n"
    )
    ring = KeyRing({"OP_TOKEN": "sk-12345678"})
    source = endpoint(KeySource(command=argv))

    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(ring.key(source)) for _ in range(3)]
        await asyncio.sleep(0.05)
        asking[0].cancel()

    assert asking[0].cancelled()
    assert [task.result() for task in asking[1:]] == ["sk-12345678"] * 2
    assert (tmp_path / "runs").read_text() == "x"
    await ring.aclose()


async def test_a_command_that_fails_is_quoted_but_not_its_output(tmp_path: Path) -> None:
    argv = script(tmp_path)("import sys\nprint('sk-secret')\nsys.exit('vault is\\nlocked')\n")

    error = await refusal(KeyRing(dict(os.environ)), KeySource(command=argv))

    assert "failed with exit code 1: vault is locked" in error.message
    assert "sk-secret" not in error.message


@pytest.mark.parametrize(
    "said",
    [
        "print('made-up-key-0123'); print('+ echo made-up-key-0123', file=sys.stderr)",
        "print('{\"key\": \"made-up-key-0123\"}'); print('got made-up-key-0123', file=sys.stderr)",
        "print('+ TOKEN=made-up-key-0123', file=sys.stderr)",
        f"print('x ghp_{'made1' * 8}', file=sys.stderr)",
    ],
)
async def test_a_command_that_fails_is_quoted_without_the_key(tmp_path: Path, said: str) -> None:
    argv = script(tmp_path)(f"import sys\n{said}\nsys.exit('the vault has closed again')\n")
    error = await refusal(KeyRing(dict(os.environ)), KeySource(command=argv))
    assert "made" not in error.message
    assert "[secret:" in error.message
    assert error.message.endswith("the vault has closed again")


async def test_a_command_that_is_not_there() -> None:
    error = await refusal(KeyRing({}), KeySource(command=("/no/such/program", "get")))

    assert "the program '/no/such/program' is not there" in error.message


async def test_a_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "KEY_COMMAND_LIMIT_S", 0.3)
    argv = script(tmp_path)("import time\ntime.sleep(600)\n")

    async with asyncio.timeout(30):
        error = await refusal(KeyRing(dict(os.environ)), KeySource(command=argv))

    assert "did not end within 0.3 s" in error.message


async def test_closing_ends_a_command_under_way(tmp_path: Path) -> None:
    argv = script(tmp_path)("import time\ntime.sleep(600)\n")
    ring = KeyRing(dict(os.environ))
    asking = asyncio.create_task(ring.key(endpoint(KeySource(command=argv))))
    await asyncio.sleep(0.2)

    async with asyncio.timeout(30):
        await ring.aclose()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_header_values_are_secrets_too() -> None:
    ring = KeyRing({"KEY": "sk-12345678"})
    source = endpoint(KeySource(env="KEY"), Authorization="Bearer abcdefghij", X="short")
    await ring.key(source)

    assert set(ring.secrets(source)) == {"sk-12345678", "Bearer abcdefghij", "abcdefghij"}
