"""How an attempt may work: its bounds, and what its tools may do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hyperguild.domain.tools import ToolChoice

TwoStageMode = Literal["auto", "always", "never"]

Workspace = Literal["shared", "worktree"]
"""Where the tools of an attempt work: in the work directory itself, or in a git worktree of its own."""

PermissionMode = Literal["deny", "plan", "default", "accept_edits", "auto", "bypass"]
"""What happens to a call that no rule decides.

`deny`: nothing runs. `plan`: what reads runs, nothing else. `default`: each call is asked about, reads too.
`accept_edits`: reads and the writes of the file tools run, the rest is asked about. `auto`: reads run, the
rest is asked about. `bypass`: everything runs. "Reads" are calls of tools whose effect is `read`, within the
work directory and the folders opened beside it; other reads are asked about. The skill's own files and saved
results are read without asking, except under `deny`. `deny` and `plan` are ceilings: no allow rule lifts
them, so that `--permission-mode plan` holds whatever chains.yaml allows.
"""

DEFAULT_MAX_STEPS = 20
"""Model calls of one attempt, whatever they are for."""


@dataclass(frozen=True, slots=True)
class PermissionRules:
    """Rules as they are written, such as `shell(git:*)`: what is allowed, asked about and forbidden."""

    allow: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentPolicy:
    """The bounds of the agent loop, for every attempt of a tier.

    `tools` are globs of names; None: what the skill asks for. `compact_at` is a share of the window; 1
    switches summaries off. `delegate` names the skills that may be handed tasks. With `speculate_results` the
    next step is asked for once all tools have offered likely results.
    """

    max_steps: int = DEFAULT_MAX_STEPS
    tools: tuple[str, ...] | None = None
    permission_mode: PermissionMode = "default"
    rules: PermissionRules = field(default_factory=PermissionRules)
    two_stage: TwoStageMode = "auto"
    compact_at: float = 0.7
    tool_timeout_s: float = 120.0
    workspace: Workspace = "shared"
    delegate: tuple[str, ...] = ()
    speculate_results: bool = False


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """Where and how the tools of a run work, as its caller says.

    `skill_tools` are the skill's `allowed-tools`, None where it has none; `skill_patterns` limits some of
    them to some arguments (tool, pattern). `skill_folder` is what `skill:/` stands for. `only_tools` limits
    the run further; `allow_paths` are opened beside `folder`, the work directory; `readable` is shown to
    commands besides, whatever lies around it. `permission_mode` None: that of the tier. `built_in` False:
    nothing is offered but what the calling program brings itself. `tool_choice` binds the first step of an
    attempt. `run_id` is the run; `goes_on`: an attempt of it that was interrupted is taken up. `kept` are
    files that no tool may write. `private`: results that are saved for the model end with their attempt, for
    the log keeps no content either. All paths are absolute.
    """

    folder: Path
    skill_tools: tuple[str, ...] | None = None
    skill_patterns: tuple[tuple[str, str], ...] = ()
    skill_folder: Path | None = None
    only_tools: tuple[str, ...] | None = None
    allow_paths: tuple[Path, ...] = ()
    permission_mode: PermissionMode | None = None
    built_in: bool = True
    readable: tuple[Path, ...] = ()
    tool_choice: ToolChoice = "auto"
    run_id: str = ""
    goes_on: bool = False
    kept: tuple[Path, ...] = ()
    private: bool = False
