"""The group of all commands: global options, lazy commands, and where errors become exit codes."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from hyperguild import __version__
from hyperguild.cli.options import Settings
from hyperguild.cli.streams import OutputLostError, say, silence_broken
from hyperguild.domain.text import cleaned, nearest
from hyperguild.errors import ConfigError, HyperguildError

COMMANDS = {
    "run": (
        "hyperguild.cli.run",
        "run",
        "Answer a skill request with the cheapest model that is good enough.",
    ),
    "rerun": ("hyperguild.cli.run", "rerun", "Run a logged run's task again."),
    "demo": ("hyperguild.cli.demo", "demo", "Walk a chain of tiny models that come with the package."),
    "init": ("hyperguild.cli.init", "init", "Write chains.yaml and skills for your servers."),
    "doctor": (
        "hyperguild.cli.doctor",
        "doctor",
        "Find what is wrong with the set-up, and say how to mend it.",
    ),
    "models": ("hyperguild.cli.models", "models", "List endpoints and models, and which are loaded."),
    "skills": ("hyperguild.cli.skills", "skills", "List, show and check skills."),
    "chains": ("hyperguild.cli.chains", "chains", "List, show and check chains; print the schema."),
    "sessions": ("hyperguild.cli.sessions", "sessions", "Look at the session log."),
    "label": ("hyperguild.cli.label", "label", "Say whether an attempt's answer is good."),
    "review": ("hyperguild.cli.review", "review", "Label attempts one by one, the most instructive first."),
    "stats": ("hyperguild.cli.stats", "stats", "Count runs: rates, latencies, cost, what was saved."),
    "calibrate": ("hyperguild.cli.calibrate", "calibrate", "Measure judges; propose their thresholds."),
    "replay": ("hyperguild.cli.replay", "replay", "See what recorded runs would be under another chain."),
    "trust": ("hyperguild.cli.trust", "trust", "Allow a chains.yaml to run programs and send keys."),
}
"""Name → (module, attribute, help). Modules are imported when their command is used: start-up counts."""


@contextmanager
def _usual_ends() -> Iterator[None]:
    """Take over from click two ends that it has other exit codes and words for.

    When the reader of our stdout goes away (`| head`), that is no error.
    """
    try:
        yield
    except BrokenPipeError:
        silence_broken()
        raise click.exceptions.Exit(0) from None
    except KeyboardInterrupt:
        raise click.Abort from None


class LazyGroup(click.Group):
    """A group whose commands are imported when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return the command, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command when there is none of that name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = nearest(args[0], COMMANDS)
            hint = f'; did you mean "{near}"?' if near else "; `hyperguild --help` lists them"
            raise click.UsageError(f'no command "{args[0]}"{hint}', ctx)
        return super().resolve_command(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the options; `--help` and `--version` are carried out here."""
        with _usual_ends():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _usual_ends():
            result = super().invoke(ctx)
            sys.stdout.flush()
        return result

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


EPILOG = """\b
Examples:
  hyperguild demo                                a chain at work, on its own tiny models
  hyperguild run review -f src/app.py            review a file
  git diff --staged | hyperguild run commit-message
  hyperguild sessions show last                  why the last run went as it did

\b
Exit codes: 0 accepted, 1 chain exhausted, 2 usage, 3 configuration, trust or skill refused,
4 budget or deadline spent, 5 internal error, 6 waiting for tool results, 130 interrupted.
"""


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="hyperguild %(version)s")
@click.option("--config", type=click.Path(path_type=Path), help="chains.yaml to use.")
@click.option(
    "--skills", "skills_dir", type=click.Path(path_type=Path), help="Folder of skills, searched first."
)
@click.option("--db", type=click.Path(path_type=Path), help="Session database.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    show_default=True,
    help="Level of the log on stderr.",
)
@click.option("--log-format", type=click.Choice(["human", "json"]), default="human", show_default=True)
@click.option("--debug", is_flag=True, help="Show tracebacks as well.")
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Answer skill requests with the cheapest model that is good enough."""
    ctx.obj = Settings(env=dict(os.environ), **options)


def perform(arguments: list[str]) -> int:
    """Run the command line; return the exit code. Errors become one line on stderr."""
    debug = "--debug" in arguments
    try:
        code = cli.main(hoist_global_options(arguments), prog_name="hyperguild", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        with suppress(BrokenPipeError):
            click.echo(error.ctx.get_help() if error.ctx else error.format_message())
        silence_broken()
        return 2
    except click.ClickException as error:
        say_error(error.format_message(), _usage_hint(error))
        return 2
    except (click.Abort, KeyboardInterrupt):
        if sys.stderr.isatty():
            say("")  # ends the line on which the terminal shows ^C
        say_error("interrupted")
        return 130
    except HyperguildError as error:
        if debug:
            _say_traceback()
        say_hyperguild_error(error)
        return error.exit_code
    except OutputLostError as error:
        say_error(f"cannot write standard output: {error.strerror or error}")
        return 5
    except Exception as error:  # noqa: BLE001  # the top boundary: no traceback reaches a user unasked
        if debug:
            _say_traceback()
        say_error(f"internal error: {type(error).__name__}: {error}", "--debug shows the traceback")
        return 5
    return code if isinstance(code, int) else 0


GLOBAL_OPTIONS = {
    "--config": True,
    "--skills": True,
    "--db": True,
    "--log-level": True,
    "--log-format": True,
    "--debug": False,
}
"""Options of the whole program, and whether they take a value."""


def hoist_global_options(arguments: Sequence[str]) -> list[str]:
    """Move global options to the front, so that they may stand after the command as well, as in kubectl."""
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
            break
        name, _, inline = word.partition("=")
        if name not in GLOBAL_OPTIONS:
            rest.append(word)
        elif GLOBAL_OPTIONS[name] and not inline:
            front += [word, *[value for value in [next(words, None)] if value is not None]]
        else:
            front.append(word)
    return front + rest


def say_hyperguild_error(error: HyperguildError) -> None:
    """Print the error; a configuration's problems come first, one a line."""
    if isinstance(error, ConfigError):
        for problem in error.problems:
            say(" ".join(cleaned(str(problem)).split("\n")))
    say_error(error.message, error.hint)


def say_error(message: str, hint: str | None = None) -> None:
    """Print one line on stderr: `error: MESSAGE (HINT)`."""
    line = " ".join(cleaned(f"{message} ({hint})" if hint else message).split())
    say(f"error: {line}")


def _say_traceback() -> None:
    """Print the traceback of the error that is handled now; the error's own lines follow it."""
    say(cleaned(traceback.format_exc()).rstrip())


def _usage_hint(error: click.ClickException) -> str | None:
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path} --help`" if context is not None else None
