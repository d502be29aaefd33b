from __future__ import annotations

import pytest

from hyperguild.cli.main import run_command_line


@pytest.mark.parametrize("number", ["nan", "inf"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["replay", "--live", "--max-cost"],
        ["replay", "--accept-at"],
        ["sessions", "list", "--min-cost"],
        ["calibrate", "--target-false-accept"],
        ["calibrate", "--confidence"],
    ],
)
def test_what_no_limit_holds_against_is_no_number(
    capsys: pytest.CaptureFixture[str], arguments: list[str], number: str
) -> None:
    assert run_command_line([*arguments, number]) == 2
    assert f"Invalid value for '{arguments[-1]}'" in capsys.readouterr().err
