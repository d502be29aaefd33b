"""`hyperguild skills`: list, show, check."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hyperguild.cli.options import Settings
from hyperguild.cli.output import print_json
from hyperguild.domain.text import cleaned, one_line
from hyperguild.errors import ConfigError, SkillError

if TYPE_CHECKING:
    # Start-up counts: these are imported only by the command that needs them.
    from hyperguild.skills import Skill, SkillCatalog, SkillEntry

GROUP_EPILOG = """\b
Examples:
  hyperguild skills list
  hyperguild skills show review
  hyperguild skills check

Skills are found in --skills DIR, then $HYPERGUILD_SKILLS (a list of
folders), then skills/ beside chains.yaml. The first of a name wins.
"""

LIST_EPILOG = """\b
Examples:
  hyperguild skills list
  hyperguild skills list --json | jq -r '.[].name'

--json prints an array of objects with name, description, path,
estimated_tokens, shadowed (folders of the same name that are not used) and
error (why it cannot be used, else null).
"""

SHOW_EPILOG = """\b
Examples:
  hyperguild skills show review
  hyperguild --skills ~/skills skills show review
"""

CHECK_EPILOG = """\b
Examples:
  hyperguild skills check
  hyperguild skills check review debug
  hyperguild skills check --json | jq '.[] | .message'

Exit codes: 0 no errors (warnings may be), 3 a skill breaks the format,
cannot be used or is missing.

--json prints an array of objects with path, line, severity (error,
warning) and message.
"""


@click.group(epilog=GROUP_EPILOG)
def skills() -> None:
    """List, show and check skills."""


@skills.command("list", epilog=LIST_EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print an array.")
@click.pass_obj
def list_skills(settings: Settings, /, *, as_json: bool) -> None:
    """List the skills on the search path, also those that cannot be used.

    Of each description only the first sentence is shown; `skills show` has it all.
    """
    from hyperguild.cli.page import Page  # noqa: PLC0415  # start-up

    catalog = _catalog(settings)
    listed = [_listed(catalog, entry) for entry in catalog.entries()]
    if as_json:
        print_json(listed)
        return
    if not listed:
        _say_none(catalog)
        return
    page = Page.for_stdout(settings.env)
    page.label_width = max(len(skill["name"]) for skill in listed) + 2
    for skill in listed:
        broken = skill["error"] is not None
        text = f"cannot be used: {skill['error']}" if broken else _first_sentence(skill["description"])
        style = "red" if broken else ""
        if page.narrow:
            page.add((skill["name"], "bold"))
            page.add((text, style), indent=page.indent)
        else:
            page.fact(skill["name"], (text, style), style="bold")
    page.print()


@skills.command(epilog=SHOW_EPILOG, short_help="Show what a skill says.")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_obj
def show(settings: Settings, /, name: str, *, as_json: bool) -> None:
    """Show what a skill says: its head, then the text that models get as their system prompt."""
    from hyperguild.cli.page import Page  # noqa: PLC0415  # start-up

    skill = _catalog(settings).get(name)
    if as_json:
        print_json(_object(skill))
        return
    page = Page.for_stdout(settings.env)
    page.add((skill.name, "bold"))
    page.label_width = 16 if not page.narrow else page.label_width
    for label, text in _head(skill):
        page.fact(label, (text, ""))
    page.gap()
    page.text(skill.body)
    page.print()


@skills.command(epilog=CHECK_EPILOG, short_help="Report what is wrong with skills.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print an array of findings.")
@click.pass_obj
def check(settings: Settings, /, names: tuple[str, ...], *, as_json: bool) -> None:
    """Report what breaks the format of skills, or would surprise somebody: one finding a line."""
    from hyperguild.skills import check_entry  # noqa: PLC0415  # start-up

    catalog = _catalog(settings)
    entries = _named(catalog, names) if names else catalog.entries()
    findings = [finding for entry in entries for finding in check_entry(entry)]
    errors = sum(finding.severity == "error" for finding in findings)
    checked = _count(len(entries), "skill") + " checked"
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    elif not entries:
        _say_none(catalog)
    else:
        for finding in findings:
            click.echo(one_line(str(finding), 2000))
    if errors:
        raise SkillError(f"{checked}, {_count(errors, 'error')}", hint="mend what the lines above name")
    if not as_json and entries:
        warnings = _count(len(findings), "warning") if findings else "no findings"
        click.echo(f"{checked}, {warnings}")


def _catalog(settings: Settings) -> SkillCatalog:
    """Return the skills on the search path; a chains.yaml is not needed, nor does it have to be valid."""
    from hyperguild.config.locate import find_config  # noqa: PLC0415  # start-up

    try:
        chains_file = find_config(settings.config, settings.env, Path.cwd()).path
    except ConfigError:
        chains_file = None
    return settings.catalog(chains_file)


def _named(catalog: SkillCatalog, names: tuple[str, ...]) -> list[SkillEntry]:
    """Return the entries of these names. Raises `SkillError`, with the nearest ones, where one is none."""
    known = {entry.name: entry for entry in catalog.entries()}
    for name in names:
        if name not in known:
            catalog.get(name)
    return [known[name] for name in dict.fromkeys(names)]


def _listed(catalog: SkillCatalog, entry: SkillEntry) -> dict[str, Any]:
    skill: Skill | None = None
    error: str | None = None
    try:
        skill = catalog.get(entry.name)
    except SkillError as exc:
        error = exc.message
    return {
        "name": entry.name,
        "description": skill.description if skill else "",
        "path": str(entry.folder / "SKILL.md"),
        "estimated_tokens": skill.estimated_tokens if skill else None,
        "shadowed": [str(folder) for folder in entry.shadowed],
        "error": error,
    }


def _object(skill: Skill) -> dict[str, Any]:
    return {
        "name": skill.name,
        "description": skill.description,
        "path": str(skill.path),
        "license": skill.license,
        "compatibility": skill.compatibility,
        "metadata": dict(skill.metadata),
        "allowed_tools": None if skill.allowed_tools is None else list(skill.allowed_tools),
        "allowed_tool_patterns": [dataclasses.asdict(pattern) for pattern in skill.allowed_tool_patterns],
        "estimated_tokens": skill.estimated_tokens,
        "body": skill.body,
    }


def _head(skill: Skill) -> list[tuple[str, str]]:
    """Return what stands above the body: label and text; what a skill does not say is left out."""
    tools = skill.allowed_tools
    limits = [f"{pattern.tool}({pattern.pattern})" for pattern in skill.allowed_tool_patterns]
    facts = [
        ("description", skill.description),
        ("path", str(skill.path)),
        ("tokens", f"about {skill.estimated_tokens:,}"),
        ("license", skill.license),
        ("compatibility", skill.compatibility),
        ("allowed tools", None if tools is None else ", ".join(tools) or "none"),
        ("only for", ", ".join(limits)),
        ("metadata", ", ".join(f"{key}: {value}" for key, value in skill.metadata.items())),
    ]
    return [(label, text) for label, text in facts if text]


def _first_sentence(description: str) -> str:
    """Return what the skill does; when to use it, which mostly follows, is for `skills show`."""
    first, dot, _ = " ".join(description.split()).partition(". ")
    return f"{first}{dot}".rstrip() or "(no description)"


def _say_none(catalog: SkillCatalog) -> None:
    searched = ", ".join(str(folder) for folder in catalog.search_path) or "no folder"
    click.echo(
        cleaned(f"no skills (searched {searched}); `hyperguild init` makes some, --skills names a folder"),
        err=True,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
