"""`hyperguild run` and `rerun`: their options. `execution` does what they ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from hyperguild.cli.numbers import FiniteRange
from hyperguild.cli.options import Settings
from hyperguild.domain.agent import PermissionMode
from hyperguild.domain.tools import ToolChoice
from hyperguild.errors import UsageError

RUN_EPILOG = """\b
Examples:
  hyperguild run explain "what does git rebase --onto do?"
  hyperguild run review -f src/app.py -f src/db.py
  git diff --staged | hyperguild run commit-message
  hyperguild run summarize - < notes.txt
  hyperguild run review -f app.py --json | jq .attempts
  hyperguild run review -f app.py --dry-run
  hyperguild run debug --workdir . "the tests of parse.py fail"
  hyperguild run debug --workdir . --permission-mode plan
  hyperguild run --continue                     the newest session's run
  hyperguild run --session 3f2a91c0 --continue --tool-results results.json

\b
Tools are used only where --workdir (or another option of tools, or
`agent.tools` in chains.yaml) says so; the skill's allowed-tools limits them.
Without --workdir they work in the current folder.
Permission modes:
  plan          reads only
  default       every call is asked about, on the terminal
  auto          reads are free, the rest is asked about
  accept_edits  reads and edits of files are free, the rest is asked about
  bypass        nothing is asked; deny rules and the safety list still hold
  deny          nothing runs
Where nobody can be asked, what would be asked about does not run.

\b
--continue goes on with the unfinished run of a session (the newest one, where
--session names none): one that was interrupted, whose process died, or that
waits for tool results. It goes on after its last finished step, with the
options it began with; of those only --max-cost and --deadline can be given
anew, and the seconds count from now.

\b
--external-tools FILE offers tools that you execute: a JSON array of
{"name", "description", "parameters"}. A call of one ends the command with
exit code 6; --json shows it under pending_tool_calls. Hand the results in with
--continue --tool-results FILE: a JSON array of {"id", "content", "is_error"}.
"""


RERUN_EPILOG = """\b
Examples:
  hyperguild rerun last
  hyperguild rerun last --from qwen-coder-32b    leave out the tiers before it
  hyperguild rerun 3f2a91c0 --model claude-sonnet-4-6
  hyperguild rerun last --chain careful --json | jq .attempts

A run is rerun over its own chain, as chains.yaml has it now, less the tiers that
are not local where it was --local; its tools work
where and as they did then: work directory, permission mode, limits. Its task must
be in the log: not that of a --private run, nor one with images.
"""


def chain_options(command: Any) -> Any:
    """Add the options that choose and bound the chain."""
    for option in reversed(
        [
            click.option("--chain", "chain_name", metavar="NAME", help="Chain to walk."),
            click.option("--model", "model_name", metavar="NAME", help="Ask this model only."),
            click.option("--local", is_flag=True, help="Leave out every tier that is not local."),
            click.option("--max-cost", type=FiniteRange(min=0), metavar="USD", help="Spend no more."),
            click.option("--deadline", type=FiniteRange(min=0), metavar="SECONDS", help="Take no longer."),
        ]
    ):
        command = option(command)
    return command


def tool_options(command: Any) -> Any:
    """Add the options that say what tools may do, and where."""
    modes = click.Choice(get_args(PermissionMode))
    for option in reversed(
        [
            click.option(
                "--workdir",
                type=click.Path(path_type=Path, file_okay=False, exists=True),
                metavar="DIR",
                help="Let the skill use its tools, in this folder.",
            ),
            click.option(
                "--allow-path",
                "allow_paths",
                type=click.Path(path_type=Path, file_okay=False, exists=True),
                multiple=True,
                metavar="DIR",
                help="Open this folder to tools as well.",
            ),
            click.option(
                "--tools", metavar="LIST", help="Offer these tools only: names or globs, by commas."
            ),
            click.option(
                "--permission-mode", type=modes, help="What happens to a call that no rule decides."
            ),
            click.option(
                "--tool-choice",
                type=click.Choice(get_args(ToolChoice)),
                help="Whether a model may, must or must not call a tool in its first step.",
            ),
        ]
    ):
        command = option(command)
    return command


def output_options(command: Any) -> Any:
    """Add the options that say how a run is shown and kept."""
    for option in reversed(
        [
            click.option("--json", "as_json", is_flag=True, help="Print the result object."),
            click.option("--events", "as_events", is_flag=True, help="Print events as JSON Lines."),
            click.option("--private", is_flag=True, help="Log nothing of the content."),
        ]
    ):
        command = option(command)
    return command


CONTINUED = frozenset({"session_ref", "tool_results", "max_cost", "deadline", "as_json", "as_events"})
"""What may be said of a run that is continued; all else was said when it began."""


@click.command(epilog=RUN_EPILOG)
@click.argument("skill", required=False, metavar="SKILL")
@click.argument("task", required=False)
@click.option("-f", "--file", "files", multiple=True, metavar="PATH", help="Attach a file; - is stdin.")
@chain_options
@tool_options
@click.option("--session", "session_ref", metavar="ID", help="Group with that session's runs.")
@click.option(
    "--history", is_flag=True, help="Put the session's accepted turns before the task; needs --session."
)
@click.option(
    "--continue",
    "continues",
    is_flag=True,
    help="Go on with the session's unfinished run; no SKILL, no TASK.",
)
@click.option("--external-tools", metavar="FILE", help="Offer tools that you execute; - is stdin.")
@click.option("--tool-results", metavar="FILE", help="Results that a continued run waits for; - is stdin.")
@output_options
@click.option("--dry-run", is_flag=True, help="Show what would be tried; call no model.")
@click.pass_obj
def run(
    settings: Settings, /, skill: str | None, task: str | None, files: tuple[str, ...], **options: Any
) -> None:
    """Answer TASK with SKILL, by the cheapest model that is good enough.

    TASK is read from standard input when it is - or missing. The answer goes to stdout, progress to stderr.
    """
    if options["as_json"] and options["as_events"]:
        raise UsageError("--json and --events exclude each other", hint="the last event carries the result")
    if options["history"] and options["session_ref"] is None:
        raise UsageError("--history needs --session", hint="--session last continues the newest session")
    if options.pop("continues"):
        _require_nothing_new({"skill": skill, "task": task, "files": files, **options})
        from hyperguild.cli.continued import continue_run  # noqa: PLC0415  # start-up

        continue_run(settings, {name: options[name] for name in CONTINUED})
        return
    if skill is None:
        ctx = click.get_current_context()
        raise click.MissingParameter(
            ctx=ctx, param=next(one for one in ctx.command.params if one.name == "skill")
        )
    if options.pop("tool_results") is not None:
        raise UsageError("--tool-results needs --continue", hint="a new run waits for no results")
    from hyperguild.cli.run_skill import run_skill  # noqa: PLC0415  # start-up

    run_skill(settings, skill, (task, files), options)


def _require_nothing_new(given: dict[str, Any]) -> None:
    """Refuse what would make it another run than the one that is continued."""
    for param in click.get_current_context().command.params:
        if param.name in given and param.name not in CONTINUED and given[param.name]:
            name = param.opts[-1] if isinstance(param, click.Option) else param.name.upper()
            raise UsageError(
                f"--continue takes no {name}",
                hint="the run goes on as it began; to change something, give its task to a new run",
            )


@click.command(epilog=RERUN_EPILOG)
@click.argument("run_ref", metavar="RUN")
@click.option("--from", "from_model", metavar="MODEL", help="Begin at this tier of the chain.")
@chain_options
@output_options
@click.pass_obj
def rerun(settings: Settings, /, run_ref: str, from_model: str | None, **options: Any) -> None:
    """Run the task of RUN again, in its session. RUN is an id, a unique suffix of one, or `last`."""
    from hyperguild.cli.run_again import run_again  # noqa: PLC0415  # start-up

    run_again(settings, run_ref, from_model, options)
