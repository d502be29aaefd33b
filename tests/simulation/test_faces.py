"""The fleet's faces over real sockets: shapes, errors, faults, and clients that leave."""

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from hyperguild.simulation.process import FleetProcess

ANTHROPIC_HEADERS = {"anthropic-version": "2023-06-01", "x-api-key": "sk-ant-sim"}
FAULTS = ["crash_before", "reset", "hang", "stall_after_first", "crash_during", "endless"]


@pytest.fixture(scope="module")
def process() -> Iterator[FleetProcess]:
    with FleetProcess() as fleet:
        yield fleet


@pytest.fixture
def fleet(process: FleetProcess) -> FleetProcess:
    process.script({})
    process.reset()
    return process


@pytest.fixture
def client(fleet: FleetProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fleet.url, timeout=20, trust_env=False) as http_client:
        yield http_client


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def chat(model: str, text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def answers(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One script in which the model `m` of every face has these rules."""
    model = {"answers": list(rules), **more}
    return {"models": {"m": model}, "openai": {"models": {"m": model}}, "anthropic": {"models": {"m": model}}}


def ask_anthropic(client: httpx.Client, text: str = "hi", **more: Any) -> httpx.Response:
    body = chat("m", text, max_tokens=1000) | more
    return client.post("/anthropic/v1/messages", json=body, headers=ANTHROPIC_HEADERS)


def data_lines(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def named_events(text: str) -> list[tuple[str, Any]]:
    parts = [part.split("\n") for part in text.split("\n\n") if part]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in parts]


# -- chat completions


def test_a_stream_is_like_llama_cpps(fleet: FleetProcess, client: httpx.Client) -> None:
    fleet.script(answers({"text": "one two", "reasoning": "hm", "usage": {"cached_input_tokens": 3}}))
    options = {"include_usage": True}
    answer = client.post("/v1/chat/completions", json=chat("m", stream=True, stream_options=options))
    *chunks, done = data_lines(answer.text)
    assert done == "[DONE]"
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    expected = [{"role": "assistant", "content": None}, {"reasoning_content": "hm"}, {"content": "one "}]
    assert deltas == [*expected, {"content": "two"}, {}]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * 4 + ["stop"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 3
    assert chunks[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}


def test_no_usage_chunk_unless_asked_for(fleet: FleetProcess, client: httpx.Client) -> None:
    fleet.script(answers({"text": "one"}))
    chunks = data_lines(client.post("/v1/chat/completions", json=chat("m", stream=True)).text)
    assert all(chunk["choices"] for chunk in chunks[:-1])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/openai/v1/chat/completions"])
def test_tool_calls(fleet: FleetProcess, client: httpx.Client, path: str) -> None:
    fleet.script(
        answers(
            {"when": {"tool_result": True}, "text": "done"},
            {"tool_calls": [{"name": "read_file", "arguments": {"path": "a-rather-long-name.py"}}]},
        )
    )
    whole = client.post(path, json=chat("m")).json()["choices"][0]
    assert whole["finish_reason"] == "tool_calls"
    function = whole["message"]["tool_calls"][0]["function"]
    chunks = data_lines(client.post(path, json=chat("m", stream=True)).text)[:-1]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    parts = [part for delta in deltas for part in delta.get("tool_calls", [])]
    assert parts[0]["function"]["name"] == "read_file"
    assert "".join(part["function"]["arguments"] for part in parts) == function["arguments"]
    turns = [{"role": "user", "content": "hi"}, {"role": "tool", "tool_call_id": "call_1", "content": "text"}]
    after = client.post(path, json={"model": "m", "messages": turns}).json()
    assert after["choices"][0]["message"]["content"] == "done"


def test_a_prompt_longer_than_the_window(fleet: FleetProcess, client: httpx.Client) -> None:
    fleet.script(answers({"text": "ok"}, context=100))
    body = chat("m", "x" * 1000)
    local = client.post("/v1/chat/completions", json=body)
    assert local.status_code == 400
    assert local.json()["error"] == {
        "code": 400,
        "message": "request (250 tokens) exceeds the available context size (100 tokens), try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 250,
        "n_ctx": 100,
    }
    openai = client.post("/openai/v1/chat/completions", json=body)
    assert (openai.status_code, openai.json()["error"]["code"]) == (400, "context_length_exceeded")
    anthropic = ask_anthropic(client, "x" * 1000)
    assert anthropic.status_code == 400
    assert anthropic.json()["error"] == {
        "type": "invalid_request_error",
        "message": "prompt is too long: 250 tokens > 100 maximum",
    }


def test_an_answer_that_is_cut_off_says_so(fleet: FleetProcess, client: httpx.Client) -> None:
    fleet.script(answers({"text": "one two three"}))
    choice = client.post("/v1/chat/completions", json=chat("m", max_tokens=2)).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one two ", "length")
    assert ask_anthropic(client, max_tokens=2).json()["stop_reason"] == "max_tokens"


def test_openai_errors(fleet: FleetProcess, client: httpx.Client) -> None:
    script = answers({"when": {"contains": "limit"}, "error": {"status": 429}}, {"error": {"status": 500}})
    fleet.script({**script, "api_keys": {"openai": ["sk-sim"]}})
    path = "/openai/v1/chat/completions"
    refused = client.post(path, json=chat("m"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    client.headers["authorization"] = "Bearer sk-sim"
    limited = client.post(path, json=chat("m", "limit"))
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "1")
    assert limited.json()["error"]["code"] == "rate_limit_exceeded"
    failed = client.post(path, json=chat("m"))
    assert (failed.status_code, failed.json()["error"]["type"]) == (500, "server_error")
    unknown = client.post(path, json=chat("nope"))
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert client.post(path, content=b"{").status_code == 400
    assert client.post(path, json={"messages": []}).status_code == 400
    assert client.post(path, json={"model": "m", "messages": []}).json()["error"]["code"] == "empty_array"
    assert [row["id"] for row in client.get("/openai/v1/models").json()["data"]] == ["m"]


# -- Anthropic messages


def test_a_message(fleet: FleetProcess, client: httpx.Client) -> None:
    usage = {"input_tokens": 100, "cached_input_tokens": 60, "cache_write_tokens": 30}
    call = {"name": "look", "arguments": {"at": 1}, "id": "toolu_x"}
    fleet.script(answers({"text": "one two", "reasoning": "hm", "tool_calls": [call], "usage": usage}))
    answer = ask_anthropic(client)
    message = answer.json()
    assert answer.headers["request-id"].startswith("req_")
    assert [block["type"] for block in message["content"]] == ["thinking", "text", "tool_use"]
    assert message["content"][1:] == [
        {"type": "text", "text": "one two"},
        {"type": "tool_use", "id": "toolu_x", "name": "look", "input": {"at": 1}},
    ]
    assert (message["type"], message["role"], message["stop_reason"]) == ("message", "assistant", "tool_use")
    assert message["usage"] == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 60,
        "output_tokens": 6,
    }


def test_a_message_stream(fleet: FleetProcess, client: httpx.Client) -> None:
    call = {"name": "look", "arguments": {"at": "a-rather-long-place"}}
    fleet.script(answers({"text": "one two", "reasoning": "hm", "tool_calls": [call]}))
    events = named_events(ask_anthropic(client, stream=True).text)
    assert all(name == data["type"] for name, data in events)
    assert [name for name, _ in events[:2]] == ["message_start", "ping"]
    assert events[0][1]["message"]["usage"]["cache_read_input_tokens"] == 0
    starts = [data["content_block"]["type"] for name, data in events if name == "content_block_start"]
    assert starts == ["thinking", "text", "tool_use"]
    assert [data["index"] for name, data in events if name == "content_block_stop"] == [0, 1, 2]
    deltas = [data["delta"] for name, data in events if name == "content_block_delta"]
    assert "".join(delta["text"] for delta in deltas if delta["type"] == "text_delta") == "one two"
    partial = "".join(delta["partial_json"] for delta in deltas if delta["type"] == "input_json_delta")
    assert json.loads(partial) == call["arguments"]
    assert [name for name, _ in events[-2:]] == ["message_delta", "message_stop"]
    assert events[-2][1]["delta"]["stop_reason"] == "tool_use"
    assert events[-2][1]["usage"]["output_tokens"] > 0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_anthropic_error_shapes(fleet: FleetProcess, client: httpx.Client, status: int, kind: str) -> None:
    fleet.script(answers({"error": {"status": status, "message": "no"}}))
    answer = ask_anthropic(client)
    assert answer.status_code == status
    body = answer.json()
    assert body == {
        "type": "error",
        "error": {"type": kind, "message": "no"},
        "request_id": body["request_id"],
    }
    assert answer.headers.get("retry-after") == ("1" if status == 429 else None)


def test_an_error_in_mid_stream(fleet: FleetProcess, client: httpx.Client) -> None:
    fleet.script(
        answers({"text": "one two", "error": {"status": 529, "message": "Overloaded", "in_stream": True}})
    )
    answer = ask_anthropic(client, stream=True)
    assert answer.status_code == 200
    name, data = named_events(answer.text)[-1]
    assert (name, data["error"]) == ("error", {"type": "overloaded_error", "message": "Overloaded"})
    assert "one " in answer.text
    openai = client.post("/openai/v1/chat/completions", json=chat("m", stream=True))
    assert data_lines(openai.text)[-1]["error"]["message"] == "Overloaded"


def test_what_anthropic_itself_refuses(fleet: FleetProcess, client: httpx.Client) -> None:
    face = {"models": {"m": {}}, "max_body_bytes": 2000}
    fleet.script({"anthropic": face, "api_keys": {"anthropic": ["sk-ant-sim"]}})

    def error_of(body: object, **headers: str | None) -> tuple[int, str]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        merged = {name: value for name, value in {**ANTHROPIC_HEADERS, **sent}.items() if value is not None}
        answer = client.post("/anthropic/v1/messages", json=body, headers=merged)
        return answer.status_code, answer.json()["error"]["message"]

    good = chat("m", max_tokens=10)
    assert error_of(good, x_api_key="wrong") == (401, "invalid x-api-key")
    assert error_of(good, x_api_key=None) == (401, "x-api-key header is required")
    assert error_of(good, anthropic_version=None) == (400, "anthropic-version: header is required")
    assert error_of(chat("m")) == (400, "max_tokens: Field required")
    assert error_of({**good, "messages": []}) == (400, "messages: at least one message is required")
    assert error_of({**good, "messages": [{"role": "system", "content": "x"}]})[0] == 400
    assert error_of({**good, "model": "nope"}) == (404, "model: nope")
    assert error_of({**good, "padding": "x" * 2000})[0] == 413
    listed = client.get("/anthropic/v1/models", headers=ANTHROPIC_HEADERS).json()
    assert [row["id"] for row in listed["data"]] == ["m"]


# -- faults


def test_what_the_model_server_sends_wrong(fleet: FleetProcess, client: httpx.Client) -> None:
    def ask(fault: str, *, stream: bool) -> httpx.Response:
        fleet.script(answers({"text": "one two three four", "fault": fault}))
        return client.post("/v1/chat/completions", json=chat("m", stream=stream))

    assert '"finish_reason": "stop"' not in ask("no_finish", stream=True).text
    assert ask("no_finish", stream=False).json()["choices"][0]["finish_reason"] is None
    assert "[DONE]" not in ask("no_done", stream=True).text
    for stream in (False, True):
        with pytest.raises(json.JSONDecodeError):
            [
                json.loads(line)
                for line in ask("truncated_json", stream=stream).text.split("data: ")
                if line.strip()
            ]
        assert b"\xff\xfe" in ask("invalid_utf8", stream=stream).content
        assert ask("html", stream=stream).headers["content-type"].startswith("text/html")
        assert ask("wrong_content_type", stream=stream).headers["content-type"].startswith("text/plain")
        empty = ask("empty_200", stream=stream)
        assert (empty.status_code, empty.content) == (200, b"")
        assert ask("empty_502", stream=stream).status_code == 502
        assert len(ask("huge_line", stream=stream).content) > 4_000_000


def read_for(client: httpx.Client, limit_s: float, body: dict[str, Any]) -> None:
    """Read an answer of the OpenAI face; one that still comes at the limit is a timeout too."""
    with client.stream("POST", "/openai/v1/chat/completions", json=body, timeout=limit_s) as answer:
        began = time.monotonic()
        for _ in answer.iter_bytes():
            if time.monotonic() - began > limit_s:
                raise httpx.ReadTimeout("endless")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stream", [False, True])
def test_broken_connections_and_silence(
    fleet: FleetProcess, client: httpx.Client, fault: str, *, stream: bool
) -> None:
    fleet.script(answers({"text": "one two three four", "fault": fault}))
    silent = fault in ("hang", "stall_after_first", "endless")
    with pytest.raises(httpx.TransportError) as raised:
        read_for(client, 0.2 if silent else 20, chat("m", stream=stream))
    assert isinstance(raised.value, httpx.ReadTimeout) == silent
    wait_for(lambda: fleet.requests()[-1]["outcome"] is not None)
    assert fleet.requests()[-1]["outcome"] == ("client_disconnected" if silent else "crashed")


def test_a_head_that_trickles(fleet: FleetProcess, client: httpx.Client) -> None:
    fleet.script(answers({"text": "one", "fault": "slow_headers", "delay_s": 1.0}))
    with client.stream("POST", "/openai/v1/chat/completions", json=chat("m"), timeout=0.5) as answer:
        answer.read()
    assert answer.json()["choices"][0]["message"]["content"] == "one"
    assert client.post("/openai/v1/chat/completions", json=chat("m", stream=True)).text.endswith("[DONE]\n\n")


def test_a_crash_after_the_answer(fleet: FleetProcess, client: httpx.Client) -> None:
    fleet.script(answers({"text": "one", "fault": "crash_after"}))
    assert client.post("/v1/chat/completions", json=chat("m")).json()["choices"][0]["finish_reason"] == "stop"
    wait_for(lambda: fleet.state()["models"]["m"]["state"] == "stopped")
    assert client.post("/openai/v1/chat/completions", json=chat("m")).status_code == 200
    assert [row["outcome"] for row in fleet.requests()] == ["completed", "completed"]


def test_a_crash_from_outside_kills_the_request(fleet: FleetProcess, client: httpx.Client) -> None:
    fleet.script(answers({"text": "one", "tokens_per_s": 1, "repeat": 50}))
    with client.stream("POST", "/v1/chat/completions", json=chat("m", stream=True)) as answer:
        lines = answer.iter_lines()
        next(lines)
        fleet.crash("m")
        assert "data: [DONE]" not in list(lines)
    assert fleet.state()["models"]["m"]["state"] == "stopped"


def test_unloading_waits_until_the_model_has_stopped(fleet: FleetProcess, client: httpx.Client) -> None:
    fleet.script({"speed": 10, "models": {"m": {"stop_s": 2}}})
    client.get("/upstream/m/health")
    assert client.post("/api/models/unload").json() == {"msg": "ok"}
    assert client.get("/running").json() == {"running": []}


# -- clients that leave


def test_a_client_that_leaves_the_queue_is_removed(fleet: FleetProcess) -> None:
    fleet.script({"models": {"busy": {"answers": [{"fault": "hang"}]}, "wanted": {}}})
    holding = leave_open(fleet, chat("busy"))
    wait_for(lambda: fleet.state()["models"]["busy"]["in_flight"] == 1)
    waiting = leave_open(fleet, chat("wanted"))
    wait_for(lambda: fleet.state()["models"]["wanted"]["waiting"] == 1)
    waiting.close()
    wait_for(lambda: fleet.state()["models"]["wanted"]["waiting"] == 0)
    holding.close()
    wait_for(lambda: fleet.state()["models"]["busy"]["in_flight"] == 0)
    assert fleet.state()["models"]["wanted"]["loads"] == 0
    left = fleet.requests()[-1]
    assert (left["outcome"], left["phase"], left["model"]) == ("client_disconnected", "queued", "wanted")


def leave_open(fleet: FleetProcess, body: dict[str, Any]) -> http.client.HTTPConnection:
    """Send a chat request whose answer nobody reads yet."""
    connection = http.client.HTTPConnection(fleet.url.removeprefix("http://"), timeout=20)
    headers = {"content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return connection


def test_a_client_that_leaves_stops_the_generation(fleet: FleetProcess, client: httpx.Client) -> None:
    fleet.script(answers({"text": "word ", "repeat": 1000, "tokens_per_s": 20}))
    with client.stream("POST", "/v1/chat/completions", json=chat("m", stream=True)) as answer:
        next(answer.iter_lines())
    wait_for(lambda: fleet.state()["models"]["m"]["in_flight"] == 0)
    left = fleet.requests()[-1]
    assert (left["outcome"], left["phase"], left["status"]) == ("client_disconnected", "generating", 200)
    assert fleet.state()["models"]["m"]["state"] == "ready"


# -- rules and control


def test_rules_choose_by_what_they_see(fleet: FleetProcess, client: httpx.Client) -> None:
    fleet.script(
        answers(
            {"when": {"header": {"X-Tenant": "a"}}, "text": "by header"},
            {"when": {"system_contains": "be brief"}, "text": "by system"},
            {"when": {"contains": ["red", "blue"], "not_contains": "green"}, "text": "by words"},
            {"when": {"regex": "^n[0-9]+$"}, "text": "by regex"},
            {"text": "once", "times": 1},
            {"when": {"request": [6]}, "judge": {"accept": False, "score": 0.2, "feedback": "no"}},
        )
    )

    def said(text: str, system: str = "", **headers: str) -> str:
        body = chat("m", text)
        body["messages"].insert(0, {"role": "system", "content": system})
        answer = client.post("/v1/chat/completions", json=body, headers=headers)
        return str(answer.json()["choices"][0]["message"]["content"])

    assert said("x", **{"x-tenant": "a"}) == "by header"
    assert said("x", "please be brief") == "by system"
    assert said("red and blue") == "by words"
    assert said("n12") == "by regex"
    assert said("red, blue and green") == "once"
    assert json.loads(said("x")) == {"accept": False, "score": 0.2, "feedback": "no"}
    assert said("what now") == "You said: what now"


def test_the_journal_holds_no_key(fleet: FleetProcess, client: httpx.Client) -> None:
    fleet.script({**answers({"text": "hi"}), "api_keys": {"llama_swap": ["sk-secret"]}})
    client.post("/v1/chat/completions", json=chat("m"), headers={"authorization": "Bearer sk-secret"})
    client.get("/running")
    first, second = fleet.requests()
    assert (first["authorized_by"], second["authorized_by"]) == ("authorization", None)
    assert first["body"]["messages"] == [{"role": "user", "content": "hi"}]
    assert first["started_ms"] <= first["first_byte_ms"] <= first["finished_ms"]
    assert (first["outcome"], second["outcome"], second["status"]) == ("completed", "error", 401)
    assert first["bytes_sent"] > 0
    assert "sk-secret" not in json.dumps(fleet.requests())


def test_a_new_script_ends_what_waits(fleet: FleetProcess) -> None:
    fleet.script({"models": {"a": {"answers": [{"fault": "hang"}]}, "b": {}}})
    held = leave_open(fleet, chat("a"))
    wait_for(lambda: fleet.state()["models"]["a"]["in_flight"] == 1)
    queued = leave_open(fleet, chat("b"))
    wait_for(lambda: fleet.state()["queue"] == ["b"])
    fleet.script({"models": {"a": {}}})
    assert held.getresponse().status == 502
    assert queued.getresponse().status == 500
    held.close()
    queued.close()
    assert fleet.state()["models"] == {
        "a": {"state": "stopped", "in_flight": 0, "waiting": 0, "loads": 0, "asked": 0}
    }


def test_an_endless_answer_stops_when_the_client_goes(fleet: FleetProcess) -> None:
    fleet.script(answers({"fault": "endless"}))
    connection = socket.create_connection(("127.0.0.1", int(fleet.url.rsplit(":", 1)[1])))
    body = json.dumps(chat("m", stream=True)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    connection.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + body)
    assert connection.recv(100_000)
    connection.close()
    wait_for(lambda: fleet.requests()[-1]["outcome"] == "client_disconnected")


def test_the_demo_goes_as_it_is_told(client: httpx.Client, fleet: FleetProcess) -> None:
    package = Path(__file__).parents[2] / "hyperguild" / "simulation"
    fleet.script({**yaml.safe_load((package / "demo.yaml").read_text(encoding="utf-8")), "speed": 30})
    task = (package / "demo_task.py.txt").read_text(encoding="utf-8")

    def said(model: str, text: str) -> str:
        return str(
            client.post("/v1/chat/completions", json=chat(model, text)).json()["choices"][0]["message"][
                "content"
            ]
        )

    def judged(answer: str) -> dict[str, Any]:
        verdict: dict[str, Any] = json.loads(
            said("qwen3-8b", f"<task 7>\n{task}\n</task 7>\n<answer 7>\n{answer}\n</answer 7>")
        )
        return verdict

    first = judged(said("phi4", task))
    assert (first["accept"], "line numbers" in first["feedback"]) == (False, True)
    assert not judged(said("qwen-coder-32b", task))["accept"]
    second = judged(said("qwen-coder-32b", f"{task}\nPrior attempt feedback\n{first['feedback']}"))
    assert (second["accept"], second["score"]) == (True, 0.9)
    assert fleet.state()["models"]["qwen3-8b"]["loads"] == 1
