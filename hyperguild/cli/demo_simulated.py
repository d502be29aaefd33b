"""The demo without models: a simulated fleet reviews a Python function."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from hyperguild.cli.execution import Output, Series, execute_series
from hyperguild.cli.options import Settings
from hyperguild.config.loader import load_config_text
from hyperguild.domain.records import RunError
from hyperguild.domain.run import RunRequest
from hyperguild.domain.task import AttachedFile, Task
from hyperguild.requests import ChainOptions, chosen_chain
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


def run_simulated(settings: Settings, output: Output) -> RunError | None:
    """Run the review and print it; return why it failed, if it did. Raises as `execute_series` does."""
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
        return execute_series(settings, configuration, Series((request,)), output).failure
