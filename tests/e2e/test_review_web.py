from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx

WAIT_S = 60


def served(folder: Path, *options: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "hyperguild", "--db", "log.db", "review", "--web", *options]
    return subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder)


def test_ctrl_c_ends_it_at_once_though_a_page_listens(tmp_path: Path) -> None:
    process = served(tmp_path, "--as", "ann")
    assert process.stderr is not None
    try:
        url = process.stderr.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        assert process.stderr.readline() == "Ctrl-C ends it.\n"
        assert (tmp_path / "log.db").exists()  # so that the first run appears
        with httpx.Client(follow_redirects=True, timeout=WAIT_S, trust_env=False) as client:
            page = client.get(url)
            assert "No run yet." in page.text
            with client.stream("GET", page.url.join("/events")) as events:
                assert next(events.iter_text()).startswith("retry:")
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert out == ""
    assert err == ""
