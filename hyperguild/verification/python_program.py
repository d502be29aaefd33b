"""A program that parses Python sources; it needs nothing of hyperguild.

It runs in a process of its own, since that can be killed and has warning filters of its own: parsing holds
the interpreter's lock, and may end in the C stack's. It reads `{"sources": [...], "cpu_s"}` as JSON on stdin
and prints one line of JSON: `{"faults": [...]}`, empty where all is well.
Importing it runs nothing; `python_faults` is pure.
"""

from __future__ import annotations

import ast
import json
import resource
import sys
import warnings
from collections.abc import Sequence

FAULTS_MAX = 5
FAULT_CHARS_MAX = 180
"""So that five faults and a heading fit into the 1,000 characters of a check's message."""


def python_faults(sources: Sequence[str]) -> list[str]:
    """Return what is wrong with the sources, at most `FAULTS_MAX` faults, one a source, in order.

    The grammar is that of the Python that runs. A statement in a place where it means nothing, like a
    `return` outside of a function, is no fault: answers quote parts of programs.
    """
    faults = []
    for number, source in enumerate(sources, start=1):
        fault = _syntax_fault(source)
        if fault:
            where = f"block {number}, " if len(sources) > 1 else ""
            faults.append((where + fault)[:FAULT_CHARS_MAX])
    return faults[:FAULTS_MAX]


def main() -> None:
    """Do the job on stdin."""
    job = json.load(sys.stdin)
    # The parent kills this process when time is up; this holds where the parent has been killed itself.
    resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_s"], job["cpu_s"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        faults = python_faults(job["sources"])
    sys.stdout.write(json.dumps({"faults": faults}) + "\n")


def _syntax_fault(source: str) -> str:
    try:
        compile(source, "answer", "exec", flags=ast.PyCF_ONLY_AST, dont_inherit=True)
    except SyntaxError as error:
        line = (error.text or "").strip()
        quoted = f": {line}" if line else ""
        return f"line {error.lineno or 1}: {error.msg}{quoted}"
    except ValueError as error:  # null bytes, lone surrogates
        return f"no Python source: {error}"
    except (MemoryError, RecursionError):  # the parser's own limits on depth
        return "nested too deeply"
    return ""


if __name__ == "__main__":
    main()
