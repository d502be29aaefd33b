"""The simulated llama-swap against recorded answers of the real one: the same requests, the same answers."""

import ast
import http.client
import json
import re
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hyperguild.simulation.process import FleetProcess

TRANSCRIPTS = (Path(__file__).parent / "data" / "llama-swap-transcripts.md").read_text(encoding="utf-8")
SPEED = 10.0
HEADERS_THAT_MATTER = (
    "content-type",
    "retry-after",
    "allow",
    "www-authenticate",
    "cache-control",
    "x-content-type-options",
    "transfer-encoding",
)
VOLATILE = frozenset({"created", "timestamp", "duration_ms", "elapsed_ms", "id"})
"""Keys whose values differ from run to run; `id` only where it is a number."""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    clean_end: bool = True


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None


@dataclass
class Recorded:
    request: Request | None
    answer: Answer


def section(number: int) -> str:
    found = re.search(rf"^## {number}\. .*?(?=^## |\Z)", TRANSCRIPTS, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]


def recordings(number: int) -> list[Recorded]:
    """The HTTP answers of a section, with the curl command where there is one."""
    blocks = re.findall(r"^```\n(.*?)^```$", section(number), re.MULTILINE | re.DOTALL)
    return [parse_block(block) for block in blocks if re.match(r"(\$ curl.*\n)?HTTP/1\.1 ", block)]


def parse_block(block: str) -> Recorded:
    command, _, rest = block.partition("\n") if block.startswith("$") else ("", "", block)
    head, _, body = rest.partition("\n\n")
    status_line, *header_lines = head.split("\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in header_lines)}
    body = re.sub(r"\n(\[[\d.]+s\]\n)?\Z", "", body)
    answer = Answer(int(status_line.split()[1]), headers, body.encode())
    return Recorded(parse_curl(command) if command else None, answer)


def parse_curl(command: str) -> Request:
    """curl as the recorder printed it, without quotes: the body is all that follows ` -d `."""
    line, _, body = command.partition(" -d ")
    words = shlex.split(
        line.replace("-H Content-Type: application/json", "-H 'Content-Type: application/json'")
    )
    url = next(word for word in words if word.startswith("http://"))
    method = words[words.index("-X") + 1] if "-X" in words else "POST" if body else "GET"
    headers = {"Content-Type": "application/json"} if "-H" in words else {}
    if body and not headers:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}  # curl's own default
    return Request(method, "/" + url.split("/", 3)[3], headers, body or None)


def send(fleet: FleetProcess, request: Request, timeout_s: float = 30.0) -> Answer:
    connection = http.client.HTTPConnection(fleet.url.removeprefix("http://"), timeout=timeout_s)
    try:
        connection.request(request.method, request.path, body=request.body, headers=request.headers)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        try:
            return Answer(response.status, headers, response.read())
        except http.client.IncompleteRead as cut:
            return Answer(response.status, headers, cut.partial, clean_end=False)
    finally:
        connection.close()


def chat(model: str, text: str = "hi", *, stream: bool = False) -> Request:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}
    return Request("POST", "/v1/chat/completions", {"Content-Type": "application/json"}, json.dumps(body))


def get(fleet: FleetProcess, path: str) -> Any:
    return json.loads(send(fleet, Request("GET", path)).body)


def running(fleet: FleetProcess) -> list[tuple[str, str]]:
    return states(get(fleet, "/running"))


def states(body: Any) -> list[tuple[str, str]]:
    return [(row["model"], row["state"]) for row in body["running"]]


def running_once(fleet: FleetProcess, model: str, state: str) -> Any:
    """The first body of /running that shows a model in a state."""
    deadline = time.monotonic() + 20
    while (model, state) not in states(body := get(fleet, "/running")):
        assert time.monotonic() < deadline, f"{model} never was {state}"
        time.sleep(0.005)
    return body


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


# -- comparing


def assert_same_answer(actual: Answer, recorded: Answer) -> None:
    assert actual.status == recorded.status, actual.body
    for name in HEADERS_THAT_MATTER:
        assert actual.headers.get(name) == recorded.headers.get(name), name
    assert ("content-length" in actual.headers) == ("content-length" in recorded.headers)
    assert actual.clean_end
    if recorded.headers.get("content-type") == "text/event-stream":
        assert stream_events(actual.body) == stream_events(recorded.body)
    elif recorded.headers.get("content-type") == "application/json":
        assert_same_json(json.loads(actual.body), json.loads(recorded.body))
        assert actual.body.endswith(b"\n") == recorded.body.endswith(b"\n")
    else:
        assert actual.body == recorded.body
    if not re.search(rb'"(created|timestamp|name)"', recorded.body):
        length = recorded.headers.get("content-length")
        assert actual.headers.get("content-length") == length


def assert_same_json(actual: Any, recorded: Any, key: str = "") -> None:
    """The same keys, types and values, but for values that time decides."""
    assert type(actual) is type(recorded), key
    if isinstance(recorded, dict):
        assert list(actual) == list(recorded), key
        for name in recorded:
            assert_same_json(actual[name], recorded[name], name)
    elif isinstance(recorded, list):
        assert len(actual) == len(recorded), key
        for left, right in zip(actual, recorded, strict=True):
            assert_same_json(left, right, key)
    elif not (key in VOLATILE and (isinstance(recorded, int) or key == "timestamp")):
        assert actual == recorded, key


def stream_events(body: bytes) -> list[Any]:
    """The events of a stream to compare: without the finish chunk, loading chatter joined to one text."""
    events: list[Any] = []
    chatter = ""
    for part in body.decode().split("\n\n"):
        line = part.strip("\n")
        if not line.startswith("data: {"):
            events += [json.loads(line) if line.startswith("{") else line] if line else []
            continue
        event = json.loads(line.removeprefix("data: "))
        (choice,) = event["choices"]
        if choice.get("finish_reason") is not None:
            assert choice == {"index": 0, "delta": {}, "finish_reason": "stop"}
        elif "reasoning_content" in choice["delta"]:
            assert set(event) == {"choices"}
            assert set(choice) == {"delta"}
            chatter += choice["delta"]["reasoning_content"]
        else:
            events.append(event)
    return [re.sub(r"\([\d.]+s\)", "(seconds)", re.sub(r"\.\.+", "..", chatter)), *events]


# -- the recorded configuration


def stand_in(called: str, port: int, load_s: float, **more: Any) -> dict[str, Any]:
    """A model as it was configured; the stand-in server needed 0.3 s more than its load time to start."""
    shown = f"{load_s:g}"
    cmd = f"python3 upstream/fake.py {port} {called} {shown}"
    proxy = f"http://127.0.0.1:{port}"
    answers = [
        {"when": {"contains": "err500"}, "error": {"status": 500, "message": "upstream boom"}},
        {"when": {"regex": "^crash$"}, "fault": "crash_before"},
        {"when": {"contains": "midcrash"}, "fault": "crash_during", "text": f"hello from {called} again"},
        {"when": {"contains": "busy"}, "text": f"hello from {called}", "delay_s": 4},
        {"text": f"hello from {called}"},
    ]
    return {"cmd": cmd, "proxy": proxy, "load_s": load_s + 0.3, "answers": answers, "bare": True, **more}


MAIN_CONFIG = {
    "speed": SPEED,
    "exact_loads": True,
    "models": {
        "alpha-1b": stand_in(
            "alpha",
            15800,
            3,
            name="Alpha",
            aliases=["alpha", "gpt-4o-mini"],
            use_model_name="upstream/alpha-real",
            ttl_s=60,
            concurrency_limit=2,
        ),
        "bad-start": stand_in("bad", 15801, 0, start="fail"),
        "never-healthy": stand_in("never", 15802, 0, start="never", health_check_timeout_s=15),
        "beta-7b": stand_in("beta", 15803, 2),
        "chatty": stand_in("chatty", 15804, 3.2, send_loading_state=True),
        "hidden": stand_in("hidden", 15805, 0, unlisted=True),
        "bad-stream": stand_in("bad-stream", 15806, 0, start="fail", send_loading_state=True),
    },
    "selectors": {"coder-any": {"targets": ["beta-7b", "alpha-1b"]}},
    "peers": {"deadpeer": {"models": ["cloudy"]}},
}


@pytest.fixture(scope="module")
def process() -> Iterator[FleetProcess]:
    with FleetProcess(MAIN_CONFIG) as fleet:
        yield fleet


@pytest.fixture
def fleet(process: FleetProcess) -> FleetProcess:
    process.script(MAIN_CONFIG)
    process.reset()
    return process


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def warm(fleet: FleetProcess, model: str) -> None:
    assert send(fleet, Request("GET", f"/upstream/{model}/health")).status == 200


def replay(fleet: FleetProcess, number: int, only: slice = slice(None)) -> None:
    found = [recording for recording in recordings(number) if recording.request is not None][only]
    assert found
    for recording in found:
        assert recording.request is not None
        assert_same_answer(send(fleet, recording.request), recording.answer)


def test_every_section_of_the_transcripts_has_its_test_here() -> None:
    recorded = {int(number) for number in re.findall(r"^## (\d+)\.", TRANSCRIPTS, re.MULTILINE)}
    tested = {int(number) for name in globals() for number in re.findall(r"^test_(\d+)", name)}
    assert tested == recorded


def test_01_cold_lists(fleet: FleetProcess) -> None:
    replay(fleet, 1)


def test_02_a_cold_request_blocks_and_running_says_starting(
    fleet: FleetProcess, background: ThreadPoolExecutor
) -> None:
    (recording,) = recordings(2)
    assert recording.request is not None
    answer = background.submit(send, fleet, recording.request)
    seen = running_once(fleet, "alpha-1b", "starting")
    during = re.search(r"GET /running ->\n(.*)\nGET /v1/models status fields ->\n(.*)\n", section(2))
    assert during is not None
    assert_same_json(seen, json.loads(during[1]))
    statuses = {row["id"]: row["status"] for row in get(fleet, "/v1/models")["data"]}
    assert statuses == ast.literal_eval(during[2])
    assert not answer.done()
    assert_same_answer(answer.result(), recording.answer)


def test_03_after_load(fleet: FleetProcess) -> None:
    warm(fleet, "alpha")
    replay(fleet, 3)


def test_04_streaming(fleet: FleetProcess) -> None:
    warm(fleet, "alpha")
    replay(fleet, 4)
    body = send(fleet, chat("alpha", stream=True)).body
    assert body.count(b'"finish_reason": "stop"') == 1


def test_05_requests_that_cannot_be_routed(fleet: FleetProcess) -> None:
    replay(fleet, 5)


def test_06_an_error_of_the_model_server(fleet: FleetProcess) -> None:
    warm(fleet, "alpha")
    replay(fleet, 6)


def test_07_swap(fleet: FleetProcess, background: ThreadPoolExecutor) -> None:
    warm(fleet, "alpha")
    recording, after = recordings(7)
    assert recording.request is not None
    answer = background.submit(send, fleet, recording.request)
    during = re.findall(r"/running:\n(.*)\n", section(7))
    assert_same_json(running_once(fleet, "beta-7b", "starting"), json.loads(during[0]))
    assert_same_answer(answer.result(), recording.answer)
    assert after.request is not None
    assert_same_answer(send(fleet, after.request), after.answer)


def test_08_a_swap_waits_for_requests_in_flight_and_is_not_seen(
    fleet: FleetProcess, background: ThreadPoolExecutor
) -> None:
    warm(fleet, "beta-7b")
    busy = background.submit(send, fleet, chat("beta-7b", "busy"))
    wait_for(lambda: fleet.state()["models"]["beta-7b"]["in_flight"] == 1)
    (recording,) = recordings(8)
    assert recording.request is not None
    swapped = background.submit(send, fleet, recording.request)
    wait_for(lambda: fleet.state()["queue"] == ["alpha-1b"])
    seen = re.search(r"NOT visible\):\n(.*)\n", section(8))
    assert seen is not None
    assert_same_json(get(fleet, "/running"), json.loads(seen[1]))
    assert not busy.done()
    assert busy.result().status == 200
    assert_same_answer(swapped.result(), recording.answer)
    finished = {row["model"]: row["finished_ms"] for row in fleet.requests() if row["body"]}
    assert finished["beta-7b"] < finished["alpha-1b"]


def test_09_the_concurrency_limit_counts_waiting_requests(
    fleet: FleetProcess, background: ThreadPoolExecutor
) -> None:
    first, second = (background.submit(send, fleet, chat("alpha")) for _ in range(2))
    wait_for(lambda: fleet.state()["models"]["alpha-1b"]["waiting"] == 2)
    accepted, other, refused = recordings(9)
    assert_same_answer(send(fleet, chat("alpha")), refused.answer)
    assert_same_answer(first.result(), accepted.answer)
    assert_same_answer(second.result(), other.answer)


def test_10_crashes(fleet: FleetProcess) -> None:
    warm(fleet, "alpha")
    replay(fleet, 10)


def test_11_failed_starts(fleet: FleetProcess) -> None:
    replay(fleet, 11)


def test_12_loading_state(fleet: FleetProcess) -> None:
    replay(fleet, 12)


def test_13_a_client_that_leaves_does_not_stop_the_load(fleet: FleetProcess) -> None:
    request = chat("alpha")
    connection = http.client.HTTPConnection(fleet.url.removeprefix("http://"), timeout=20)
    connection.request(request.method, request.path, body=request.body, headers=request.headers)
    running_once(fleet, "alpha-1b", "starting")
    connection.close()
    starting, ready = recordings(13)
    assert starting.request is not None
    assert_same_answer(send(fleet, starting.request), starting.answer)
    wait_for(lambda: running(fleet) == [("alpha-1b", "ready")])
    assert_same_answer(send(fleet, starting.request), ready.answer)
    (left,) = [row for row in fleet.requests() if row["body"]]
    assert (left["outcome"], left["phase"]) == ("client_disconnected", "loading")


def test_14_unload(fleet: FleetProcess) -> None:
    warm(fleet, "alpha")
    replay(fleet, 14)


def test_15_upstream_loads(fleet: FleetProcess) -> None:
    health, slots, after = recordings(15)
    for recording in (health, after):
        assert recording.request is not None
        assert_same_answer(send(fleet, recording.request), recording.answer)
    assert slots.request is not None
    answer = send(fleet, slots.request)
    assert (answer.status, json.loads(answer.body)) == (200, {"path": "/slots", "name": "beta-7b"})


def test_16_a_warm_selector(fleet: FleetProcess) -> None:
    warm(fleet, "beta-7b")
    replay(fleet, 16)
    warm(fleet, "alpha")
    assert json.loads(send(fleet, chat("coder-any")).body)["model"] == "upstream/alpha-real"


def test_17_an_unlisted_model(fleet: FleetProcess) -> None:
    replay(fleet, 17)
    listed = re.search(r"^(\['alpha-1b'.*\])$", section(17), re.MULTILINE)
    assert listed is not None
    assert [row["id"] for row in get(fleet, "/v1/models")["data"]] == ast.literal_eval(listed[1])


def test_18_a_dead_peer(fleet: FleetProcess) -> None:
    replay(fleet, 18)


def test_19_unload_under_a_request(fleet: FleetProcess, background: ThreadPoolExecutor) -> None:
    warm(fleet, "hidden")
    answer = background.submit(send, fleet, chat("hidden", "busy"))
    wait_for(lambda: fleet.state()["models"]["hidden"]["in_flight"] == 1)
    unloading, killed = recordings(19)
    assert unloading.request is not None
    assert_same_answer(send(fleet, unloading.request), unloading.answer)
    assert_same_answer(answer.result(), killed.answer)


def test_20_unload_while_loading(fleet: FleetProcess, background: ThreadPoolExecutor) -> None:
    answer = background.submit(send, fleet, chat("alpha"))
    wait_for(lambda: running(fleet) == [("alpha-1b", "starting")])
    unloading, failed = recordings(20)
    assert unloading.request is not None
    assert_same_answer(send(fleet, unloading.request), unloading.answer)
    assert_same_answer(answer.result(), failed.answer)


def test_21_the_rest(fleet: FleetProcess, background: ThreadPoolExecutor) -> None:
    version, activity, *metrics = recordings(21)
    for recording in (version, *metrics):
        assert recording.request is not None
        assert_same_answer(send(fleet, recording.request), recording.answer)
    test_19_unload_under_a_request(fleet, background)
    test_20_unload_while_loading(fleet, background)
    assert activity.request is not None
    actual = json.loads(send(fleet, activity.request).body)
    recorded = json.loads(activity.answer.body)
    assert_same_json(actual["data"], recorded["data"])
    assert (actual["page"], actual["limit"], actual["total_pages"]) == (1, 2, 2)


def test_22_events(fleet: FleetProcess) -> None:
    recorded = [(kind, json.loads(data)) for kind, data in told(section(22)) if kind != "logData"]
    connection = http.client.HTTPConnection(fleet.url.removeprefix("http://"), timeout=20)
    connection.request("GET", "/api/events")
    response = connection.getresponse()
    assert response.getheader("content-type") == "text/event-stream"
    asking: threading.Thread | None = None
    seen: list[tuple[str, Any]] = []
    while not seen or seen[-1][1].get("operation") != "remove":
        pairs = [pair for pair in told(response.readline().decode()) if pair[0] != "logData"]
        seen += [
            (kind, value) for kind, data in pairs for value in [json.loads(data)] if kind != "modelStatus"
        ]
        seen += [(kind, {"rows": json.loads(data)}) for kind, data in pairs if kind == "modelStatus"]
        if asking is None and seen and seen[-1][1] == {"operation": "snapshot"}:
            asking = threading.Thread(target=send, args=(fleet, chat("hidden")))
            asking.start()
    connection.close()
    assert asking is not None
    asking.join()
    assert [kind for kind, _ in seen] == [kind for kind, _ in recorded]
    for (kind, value), (_, expected) in zip(seen, recorded, strict=True):
        if kind == "modelStatus":
            assert_same_json(value["rows"], expected)
        elif kind == "inflight" and "request" in expected:
            assert list(value["request"]) == list(expected["request"])
            assert value["request"]["model"] == expected["request"]["model"]
        else:
            assert list(value) == list(expected)


def told(text: str) -> list[tuple[str, str]]:
    """Type and data of the events in some lines."""
    lines = [line for line in text.split("\n") if line.startswith("data:")]
    events = [json.loads(line.removeprefix("data:")) for line in lines]
    return [(event["type"], event["data"]) for event in events]


def test_23_a_crash_in_mid_stream_is_a_clean_end(fleet: FleetProcess) -> None:
    warm(fleet, "hidden")
    answer = send(fleet, chat("hidden", "midcrash", stream=True))
    assert (answer.status, answer.clean_end) == (200, True)
    recorded = re.findall(r"^(data: .*)$", section(23), re.MULTILINE)
    assert stream_events(answer.body) == stream_events("\n\n".join(recorded).encode())
    assert running(fleet) == []


def test_24_keys(fleet: FleetProcess) -> None:
    fleet.script({"api_keys": {"llama_swap": ["sk-test"]}})
    text = re.sub(r"^(--- )", r"\n\1", section(24), flags=re.MULTILINE)
    pattern = r"^--- (GET) (\S+) \[(.*?): (.*?)\]\n(HTTP/1\.1.*?)(?=\n--- |\Z)"
    found = re.findall(pattern, text, re.MULTILINE | re.DOTALL)
    assert len(found) == 4
    for method, path, header, value, block in found:
        recorded = parse_block(block.rstrip("\n") + "\n").answer
        if recorded.status == 200:
            recorded.body += b"\n"
        assert_same_answer(send(fleet, Request(method, path, {header: value})), recorded)
    assert send(fleet, Request("GET", "/v1/models")).status == 401
    health = send(fleet, Request("GET", "/health"))
    assert (health.status, health.body) == (200, b"OK")
    plain = send(fleet, Request("GET", "/running", {"Accept": "text/plain"}))
    assert plain.body.decode() in section(24).split("\n")
    basic = send(fleet, Request("GET", "/running", {"Authorization": "Basic dXNlcjpzay10ZXN0"}))
    assert basic.status == 200


def test_25_stopping_persistent_and_aliases(fleet: FleetProcess, background: ThreadPoolExecutor) -> None:
    fleet.script(
        {
            "speed": SPEED,
            "list_aliases": True,
            "groups": {"keep": {"members": ["pinned"], "persistent": True, "exclusive": False}},
            "models": {"pinned": {}, "slowstop": {"aliases": ["ss"], "stop_s": 2}, "other": {}},
        }
    )
    for model in ("pinned", "ss"):
        warm(fleet, model)
    loaded, stopping, after = (
        ast.literal_eval(row) for row in re.findall(r"^(\[\(.*)$", section(25), re.MULTILINE)
    )
    assert running(fleet) == loaded
    answer: Future[Answer] = background.submit(send, fleet, chat("other"))
    assert states(running_once(fleet, "slowstop", "stopping")) == stopping
    listed = {
        row["id"]: (row["status"]["value"], row["meta"]["llamaswap"])
        for row in get(fleet, "/v1/models")["data"]
    }
    recorded = re.search(r"^v1/models: (.*)$", section(25), re.MULTILINE)
    assert recorded is not None
    assert listed == ast.literal_eval(recorded[1])
    assert answer.result().status == 200
    assert running(fleet) == after


def test_26_only_if_warm(fleet: FleetProcess, background: ThreadPoolExecutor) -> None:
    model = stand_in("a1", 15800, 2, aliases=["aa"], use_model_name="real-a1", ttl_s=2)
    fleet.script(
        {"speed": SPEED, "upstream_ignore_paths": ["^/v1/chat/completions$"], "models": {"a1": model}}
    )
    text = section(26)
    block = re.search(r"^(HTTP/1\.1 409.*?)\n--- ", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    conflict = parse_block(block[1] + "\n").answer
    if_warm = chat("aa")
    if_warm.path = "/upstream/aa/v1/chat/completions"
    assert_same_answer(send(fleet, if_warm), conflict)
    assert running(fleet) == []
    normal = background.submit(send, fleet, chat("aa"))
    wait_for(lambda: running(fleet) == [("a1", "starting")])
    assert_same_answer(send(fleet, if_warm), conflict)
    bodies = [json.loads(line) for line in re.findall(r'^\{"object".*$', text, re.MULTILINE)]
    assert_same_json(json.loads(normal.result().body), bodies[0])
    assert_same_json(json.loads(send(fleet, if_warm).body), bodies[1])
    wait_for(lambda: running(fleet) == [])
