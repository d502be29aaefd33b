"""llama.cpp's own HTTP server for one GGUF, in a process of its own.

python tests/real/llama_server.py MODEL.gguf [--ctx TOKENS] [--alias NAME] [--api-key KEY] [--port PORT]

Prints `listening on http://HOST:PORT` once it serves, and ends on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

SLOTS = 2


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(description="Serve one GGUF with llama.cpp's HTTP server.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--ctx", type=int, default=512, help="tokens per slot")
    parser.add_argument("--alias", help="model name; default: the file's")
    parser.add_argument("--api-key")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    options = parser.parse_args()

    import xllamacpp  # noqa: PLC0415  # --help must work without it

    params = xllamacpp.CommonParams()
    params.model.path = str(options.model)
    params.model_alias = {options.alias or options.model.stem}
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    # The window is shared out among the slots, and must neither be pooled nor shrunk to fit free memory.
    params.n_ctx, params.n_parallel = options.ctx * SLOTS, SLOTS
    params.kv_unified = params.fit_params = False
    # With more threads than free cores, a model this small spends its time waiting for them.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.use_jinja = params.endpoint_slots = True
    if options.api_key:
        params.api_keys = [options.api_key]

    ending = {signal.SIGTERM, signal.SIGINT}
    # Before the server starts its threads: they inherit the mask, so that only `sigwait` gets these.
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    server = xllamacpp.Server(params)
    sys.stdout.write(f"listening on {server.listening_address}\n")
    sys.stdout.flush()
    signal.sigwait(ending)


if __name__ == "__main__":
    main()
