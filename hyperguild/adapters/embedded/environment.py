"""What model servers, and the keeper that holds them, see of our environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import hyperguild
from hyperguild.programs.environment import (
    DESKTOP_PREFIX,
    MEASURING,
    PYTHON,
    TOOLCHAINS,
    reduced_environment,
)

HARDWARE = ("CUDA_", "GGML_", "GPU_", "HIP_", "HSA_", "KMP_", "MTL_", "OMP_", "ROCR_", "ROCM_", "VK_")
"""Beginnings of the variables by which llama.cpp, its libraries and drivers are steered."""


def child_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a child needs: a list, and no key of anybody's.

    Our own package comes first on its path: a checkout that is not installed runs its own children.
    """
    kept = reduced_environment(env, TOOLCHAINS | PYTHON, (DESKTOP_PREFIX, *HARDWARE, *MEASURING))
    root = str(Path(hyperguild.__file__).resolve().parent.parent)
    # An empty entry would mean the working directory, from which nothing may be imported.
    others = [entry for entry in kept.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != root]
    kept["PYTHONPATH"] = os.pathsep.join([root, *others])
    return kept
