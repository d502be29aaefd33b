from __future__ import annotations

import socket
from pathlib import Path

import pytest

from hyperguild.cli.main import run_command_line
from hyperguild.cli.review_web import WebOptions, _announce
from hyperguild.errors import UsageError
from hyperguild.service.serving import address_of, listen


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--port", "8000"], "go with --web"),
        (["--open"], "go with --web"),
        (["--web", "--skill", "review"], "filters are on its pages"),
        (["--web", "--port", "70000"], "not in the range"),
        (["--web", "--host", "256.1.1.1"], "cannot listen at 256.1.1.1"),
        (["--web", "--as", " "], "no name for a reviewer"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    assert run_command_line(["--db", str(tmp_path / "log.db"), "review", *options]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1
    assert not (tmp_path / "log.db").exists()


def test_a_port_that_is_taken_is_told_with_its_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(UsageError) as caught:
        listen("127.0.0.1", other.getsockname()[1])
    assert caught.value.hint == "--port takes another"


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("localhost", "localhost")]
)
def test_the_address_is_one_that_a_browser_can_open(host: str, shown: str) -> None:
    with listen(host, 0) as listener:
        assert address_of(listener, host) == f"http://{shown}:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("host", "warned"),
    [("127.0.0.1", False), ("localhost", False), ("::1", False), ("0.0.0.0", True), ("box", True)],
)
def test_an_address_that_others_reach_is_warned_of(
    capsys: pytest.CaptureFixture[str], host: str, warned: bool
) -> None:
    _announce("http://here/?token=t", WebOptions(host=host))
    err = capsys.readouterr().err
    assert ("can be reached from other machines" in err) == warned
    assert "http://here/?token=t\nCtrl-C ends it.\n" in err
