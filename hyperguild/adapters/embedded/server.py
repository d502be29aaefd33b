"""The program of a model server: llama.cpp's own HTTP server for one GGUF, on a loopback port.

`python -P -m hyperguild.adapters.embedded.server`, with one line of JSON on standard input: `gguf`, `key`,
`context_tokens`, `slots`, `threads`, `port` (0: any free one) and `parent` (a process id). Standard input
stays open: where it ends, the parent has ended, and so does the server. It prints one line of JSON, `{"url":
…}` once it serves; what goes wrong before stands on stderr, and the exit code is 1.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

PROMPT_CACHE_MIB = 256
"""llama.cpp keeps old prompts in memory, up to 8 GiB by default: more than a small machine has."""

PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h>."""

ENDING = {signal.SIGTERM, signal.SIGINT}


def main() -> None:
    """Serve until a signal comes, or the parent ends."""
    order = json.loads(sys.stdin.buffer.readline())
    _die_with(order["parent"])
    # Before the server starts its threads: they inherit the mask, so that only `sigwait` gets these.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    server = _serve(order)
    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")
    sys.stdout.flush()
    signal.sigwait(ENDING)


def _serve(order: dict[str, Any]) -> Any:
    # Else a failed assertion in llama.cpp calls a debugger, where there is one, and may hang stopped in it.
    os.environ["GGML_NO_BACKTRACE"] = "1"
    import xllamacpp  # noqa: PLC0415  # the optional extra `embedded`

    params = xllamacpp.CommonParams()
    params.model.path = order["gguf"]
    params.hostnames, params.port = ["127.0.0.1"], order["port"]
    params.api_keys = [order["key"]]
    # Each slot has the whole window, which must neither be shared nor shrunk to fit free memory.
    params.n_ctx, params.n_parallel = order["context_tokens"] * order["slots"], order["slots"]
    params.kv_unified = params.fit_params = False
    if order["threads"] is not None:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = order["threads"]
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.use_jinja = True
    params.ui = False
    try:
        return xllamacpp.Server(params)
    except RuntimeError:
        sys.exit(1)  # stderr has said why


def _die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, where it can.

    Loading holds Python's lock, for minutes if the file is large: a thread would notice only afterwards.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
