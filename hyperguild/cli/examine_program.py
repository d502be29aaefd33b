"""Looks whether a program that chains.yaml names is there."""

from __future__ import annotations

import shutil
from pathlib import Path

from hyperguild.cli.diagnosis import Finding


def program_finding(area: str, program: str, path: str, folder: Path | None = None) -> Finding:
    """Tell whether a program is there; `folder` is what a relative path begins from, else the working one."""
    wanted = str(folder / program) if folder is not None and "/" in program else program
    found = shutil.which(wanted, path=path)
    if found is not None:
        return Finding(area, "ok", f"runs {found}")
    if "/" in program and Path(wanted).is_file():
        return Finding(area, "error", f"{wanted} is not executable", f"chmod +x {wanted}")
    where = "there is no" if "/" in program else "not on PATH:"
    return Finding(area, "error", f"{where} {wanted}", f"install it, or correct argv in chains.yaml ({area})")
