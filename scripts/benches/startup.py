"""How long commands take from exec to exit, in multiples of `python -c "import click"`.

Bytecode is cached in a folder of the bench's own, as it is for an installed program.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from measure import machine, ratios, spread, table
from workload import CHAINS, script

from hyperguild.simulation.process import FleetProcess

REPOSITORY = Path(__file__).parents[2]
FLOOR = "import click"
PYTHON_FLOOR = "python -c pass"
HYPERGUILD = [sys.executable, "-m", "hyperguild"]
COMMANDS: Mapping[str, Sequence[str]] = {
    PYTHON_FLOOR: [sys.executable, "-c", "pass"],
    FLOOR: [sys.executable, "-c", "import click"],
    "import httpx, pydantic": [sys.executable, "-c", "import httpx, pydantic"],
    "hyperguild --version": [*HYPERGUILD, "--version"],
    "hyperguild --help": [*HYPERGUILD, "--help"],
    "hyperguild run --help": [*HYPERGUILD, "run", "--help"],
    "hyperguild skills list": [*HYPERGUILD, "skills", "list"],
    "hyperguild sessions list": [*HYPERGUILD, "sessions", "list"],
    "hyperguild run, 1 call": [*HYPERGUILD, "run", "review", "--model", "strong", "--chain", "plain", "look"],
    "hyperguild run, 4 calls": [*HYPERGUILD, "run", "review", "look at this"],
}
PLAIN_CHAIN = "  plain: [{model: strong, verify: false}]\n"
"""A chain without a judge, beside the one of the walk bench."""


def environment(folder: Path) -> dict[str, str]:
    """Return the children's environment: a home of their own, and bytecode cached."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HYPERGUILD"))
    }
    return kept | {
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "HYPERGUILD_CONFIG": str(folder / "chains.yaml"),
        "HYPERGUILD_SKILLS": str(REPOSITORY / "skills"),
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
    }


def took_ms(argv: Sequence[str], env: Mapping[str, str]) -> float:
    """Run a command to its end; return its wall time. Raises `CalledProcessError` where it fails."""
    began = time.perf_counter()
    subprocess.run(argv, env=env, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return (time.perf_counter() - began) * 1000


def measured(env: Mapping[str, str], count: int) -> dict[str, list[float]]:
    """Run every command once a round; a round ahead of them fills the caches."""
    samples: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(count + 1):
        for name, argv in COMMANDS.items():
            taken = took_ms(argv, env)
            if number:
                samples[name].append(taken)
    return samples


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds (9)")
    options = parser.parse_args()
    print(f"{machine()}; medians of {options.rounds} rounds, bytecode cached\n")
    with tempfile.TemporaryDirectory() as name, FleetProcess(script(100)) as fleet:
        folder = Path(name)
        text = CHAINS.format(url=fleet.url, limit=8) + PLAIN_CHAIN
        (folder / "chains.yaml").write_text(text, encoding="utf-8")
        samples = measured(environment(folder), options.rounds)
    floor = samples[FLOOR]
    rows = [
        [name, f"{median(taken):.0f}", f"{min(taken):.0f}", spread(ratios(taken, floor))]
        for name, taken in samples.items()
    ]
    print(table(["command", "ms", "fastest", f"× `{FLOOR}` (spread)"], rows))


if __name__ == "__main__":
    main()
