"""`hyperguild doctor`."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hyperguild.cli.options import Settings
from hyperguild.cli.output import print_json

if TYPE_CHECKING:
    # Start-up counts: these are imported only when the command runs.
    from hyperguild.cli.diagnosis import Finding
    from hyperguild.cli.page import Page

MARKS = {"ok": ("✓", "green"), "note": ("·", "cyan"), "warning": ("!", "yellow"), "error": ("✗", "red")}
"""Level → mark and style."""

DOCTOR_EPILOG = """\b
Examples:
  hyperguild doctor
  hyperguild doctor --json | jq '.[] | select(.level == "error")'

No model is called or loaded. Marks: ✓ well, · worth knowing, ! warning, ✗ error.

Exit codes: 0 no errors (warnings may be), 1 errors, 3 chains.yaml is refused.

--json prints an array of objects with area, level (ok, note, warning,
error), message and remedy (or null).
"""


@click.command(epilog=DOCTOR_EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print an array of findings.")
@click.pass_obj
def doctor(settings: Settings, /, *, as_json: bool) -> int:
    """Find what is wrong with the set-up, and say how to mend it.

    Looks at chains.yaml, the skills, the session log and every endpoint: whether it can be reached, takes the
    key, has the models that chains name, and which of these are loaded. Of embedded endpoints: whether the
    extra is installed, the model files can be used, and memory is enough for them.
    """
    from hyperguild.cli.examine import examine  # noqa: PLC0415  # start-up
    from hyperguild.cli.page import Page  # noqa: PLC0415
    from hyperguild.config.loader import load_config  # noqa: PLC0415
    from hyperguild.config.locate import find_config  # noqa: PLC0415

    found = find_config(settings.config, settings.env, Path.cwd())
    configuration = load_config(found.path, settings.env, found.named_by)
    findings = asyncio.run(examine(settings, found, configuration))
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        page = Page.for_stdout(settings.env)
        fill_page(page, findings)
        page.print()
    return 1 if any(finding.level == "error" for finding in findings) else 0


def fill_page(page: Page, findings: Sequence[Finding]) -> None:
    """Put the findings on the page, under a heading for each area, and a line that counts the problems."""
    area = None
    for finding in findings:
        if finding.area != area:
            page.gap()
            page.add((finding.area, "bold"))
            area = finding.area
        mark, style = MARKS[finding.level]
        page.add((f"{mark} ", style), (finding.message, ""), indent=2, hang=2)
        first, *rest = finding.remedy.split("\n") if finding.remedy else [""]
        if first:
            page.add(("→ ", style), (first, ""), indent=4, hang=2)
        for line in rest:
            # To be copied: no wrapping, and nothing in front but spaces.
            page.row((f"      {line}", ""))
    page.gap()
    page.add(_summary(findings))


def _summary(findings: Sequence[Finding]) -> tuple[str, str]:
    errors = sum(finding.level == "error" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    counts = [
        f"{number} {noun}{'' if number == 1 else 's'}"
        for number, noun in ((errors, "error"), (warnings, "warning"))
        if number
    ]
    return (", ".join(counts), "red" if errors else "yellow") if counts else ("no problems", "green")
