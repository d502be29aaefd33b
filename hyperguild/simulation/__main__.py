"""`python -m hyperguild.simulation`: the simulated fleet as a process."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hyperguild.simulation.script import Script, ScriptError, parse_script
from hyperguild.simulation.server import listen, serve

EXIT_CANNOT_LISTEN = 1
EXIT_SCRIPT_REFUSED = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the fleet; returns the exit code.

    0 ended by a signal, 1 the address is taken, 3 the script is refused; errors are one line on
    stderr.
    """
    parser = argparse.ArgumentParser(prog="python -m hyperguild.simulation", description=__doc__)
    parser.add_argument("--script", metavar="FILE", help="the script, YAML or JSON; - is standard input")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="end when the parent process has ended"
    )
    options = parser.parse_args(argv)
    try:
        script = _script(options.script)
    except ScriptError as exc:
        return _fail(str(exc), EXIT_SCRIPT_REFUSED)
    try:
        listener = listen(options.host, options.port)
    except OSError as exc:
        return _fail(f"cannot listen on {options.host}:{options.port}: {exc.strerror}", EXIT_CANNOT_LISTEN)
    serve(script, listener, options.host, exit_with_parent=options.exit_with_parent)
    return 0


def _script(name: str | None) -> Script:
    if name is None:
        return Script()
    if name == "-":
        return parse_script(sys.stdin.read(), "standard input")
    try:
        return parse_script(Path(name).read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as exc:
        raise ScriptError(f"{name}: cannot be read: {exc}") from exc


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
