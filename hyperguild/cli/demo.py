"""`hyperguild demo`: a chain at work against a simulated fleet, on a machine that has no model."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path

import click

from hyperguild.cli.execution import Output, execute
from hyperguild.cli.options import Settings
from hyperguild.cli.request import ChainOptions, chosen_chain
from hyperguild.config.loader import load_config_text
from hyperguild.domain.run import RunRequest
from hyperguild.domain.task import AttachedFile, Task
from hyperguild.simulation.process import FleetProcess
from hyperguild.skills.catalog import SkillCatalog
from hyperguild.skills.search_path import bundled_skills_dir

DEMO_CHAINS = """\
version: 1
endpoints:
  swap:      {{kind: llama-swap, base_url: "{url}"}}
  anthropic: {{kind: anthropic, base_url: "{url}/anthropic"}}
models:
  phi4:              {{endpoint: swap}}
  qwen-coder-32b:    {{endpoint: swap}}
  qwen3-8b:          {{endpoint: swap}}
  claude-sonnet-4-6: {{endpoint: anthropic, price: {{input: 3.0, output: 15.0}}}}
verifiers:
  default: {{judge: qwen3-8b}}
chains:
  demo: [phi4, qwen-coder-32b, claude-sonnet-4-6]
"""
"""The chain of the demo: two local models, a judge on the same server, a cloud model that is not needed."""

INTRODUCTION = """\
This is a simulation: no model runs, and nothing leaves this machine. A process
beside this one plays a llama-swap server, with its load times, and a cloud API;
their answers are prepared. The rest is real: the HTTP requests, the chain, the
probes, the feedback from one tier to the next, the log.

The task: review a Python function that drops its last element.
"""


DEMO_EPILOG = """\b
Examples:
  hyperguild demo
  hyperguild demo --json | jq .attempts
  hyperguild sessions show last
"""


@click.command(epilog=DEMO_EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
@click.option("--events", "as_events", is_flag=True, help="Print events as JSON Lines.")
@click.pass_obj
def demo(settings: Settings, /, as_json: bool, as_events: bool) -> None:
    """Walk a chain against simulated models: a load, a refusal with its reason, a better answer."""
    package = files("hyperguild.simulation")
    code = package.joinpath("demo_task.py.txt").read_text(encoding="utf-8")
    click.echo(INTRODUCTION, err=True)
    with FleetProcess(Path(str(package.joinpath("demo.yaml")))) as fleet:
        configuration = load_config_text(DEMO_CHAINS.format(url=fleet.url), Path("demo-chains.yaml"), {})
        skill = SkillCatalog((bundled_skills_dir(),)).get("review")
        task = Task("Review this function.", (AttachedFile("pairs.py", code),))
        request = RunRequest(
            skill=skill.name,
            system_prompt=skill.system_prompt(task.text),
            task=task,
            chain=chosen_chain(configuration, skill.name, ChainOptions()),
        )
        execute(settings, configuration, request, Output(as_json=as_json, as_events=as_events))
    click.echo(f"\nWhy it went so: {_sessions_command(settings)}", err=True)


def _sessions_command(settings: Settings) -> str:
    """Return the command that shows this run, as it must be typed here."""
    import shutil  # noqa: PLC0415  # start-up
    import sys  # noqa: PLC0415

    program = Path(sys.argv[0])
    on_path = shutil.which("hyperguild")
    if on_path and program.exists() and Path(on_path).resolve() == program.resolve():
        words = ["hyperguild"]
    elif program.name == "hyperguild":
        words = [_short(program)]
    else:
        words = [sys.executable, "-m", "hyperguild"]
    if settings.db is not None:
        words += ["--db", str(settings.db)]
    return shlex.join([*words, "sessions", "show", "last"])


def _short(program: Path) -> str:
    """Return the path as seen from the working directory, where it lies below that."""
    try:
        return str(program.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(program)
