"""Which run of a session goes on, over which chain, and on whose terms."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config_text
from hyperguild.continuing import GoingOn, Means, Terms, going_on, unfinished
from hyperguild.domain.agent import WorkOrder
from hyperguild.domain.chain import Budget
from hyperguild.domain.records import RunResult, StoredRun
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.errors import ConfigError, UsageError
from hyperguild.orchestration.resume import prompt_record
from hyperguild.requests import ChainOptions, recorded
from hyperguild.skills.manifest import Skill, read_skill

CHAINS = """\
version: 1
endpoints:
  swap: {kind: llama-swap, base_url: "http://127.0.0.1:9"}
  cloud: {kind: anthropic, base_url: "http://127.0.0.1:9", api_key_env: CLOUD_KEY}
models:
  phi4: {endpoint: swap}
  qwen: {endpoint: swap}
  claude: {endpoint: cloud, price: {input: 3.0, output: 15.0}}
verifiers:
  default: {judge: qwen}
chains:
  default: [phi4, qwen, claude]
  other: [qwen]
"""
NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "made-up-cloud-key-0123456789"


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    return load_config_text(CHAINS, tmp_path / "chains.yaml", {})


@pytest.fixture
def skill(tmp_path: Path) -> Skill:
    folder = tmp_path / "skills" / "mend"
    folder.mkdir(parents=True)
    text = "---\nname: mend\ndescription: Mends.\nallowed-tools: Read\n---\nMend $ARGUMENTS.\n"
    (folder / "SKILL.md").write_text(text, encoding="utf-8")
    return read_skill(folder, tmp_path)


def run_of(
    configuration: Configuration,
    options: ChainOptions | None = None,
    work: WorkOrder | None = None,
    **fields: Any,
) -> StoredRun:
    result = RunResult(run_id="r", session_id="s", skill="mend", chain="default", status="interrupted")
    request = RunRequest("mend", "Mend it.", Task("it"), configuration.chains["default"])
    known: dict[str, Any] = {
        "result": result,
        "task": "it",
        "options": recorded(options or ChainOptions(), work) | {"prompt": prompt_record(request)},
        "created_at": NOW,
    }
    return StoredRun.model_validate({**known, **fields})


def goes_on(
    stored: StoredRun, configuration: Configuration, skill: Skill, terms: Terms | None = None
) -> GoingOn:
    scrubber = Scrubber()
    scrubber.learn("CLOUD_KEY", KEY)
    means = Means(configuration, {"mend": skill}.__getitem__, scrubber, lambda: "new")
    return going_on(stored, means, terms or Terms())


class TestUnfinished:
    def session(self, configuration: Configuration, *statuses: Any) -> Sequence[StoredRun]:
        one = run_of(configuration)
        return [
            one.model_copy(
                update={"result": one.result.model_copy(update={"run_id": str(number), "status": status})}
            )
            for number, status in enumerate(statuses)
        ]

    @pytest.mark.parametrize(
        ("statuses", "chosen"),
        [
            (("cancelled", "interrupted"), "1"),
            (("interrupted", "accepted"), "0"),
            (("awaiting_tools", "running"), "0"),
        ],
    )
    def test_h2_it_is_the_newest_that_has_not_come_to_its_end(
        self, configuration: Configuration, statuses: Any, chosen: str
    ) -> None:
        assert unfinished(self.session(configuration, *statuses)).result.run_id == chosen

    @pytest.mark.parametrize(
        ("statuses", "message"),
        [
            ((), "no unfinished run"),
            (("accepted", "exhausted", "best_effort", "budget_exceeded"), "no unfinished run"),
            (("accepted", "running"), "the run 1 is under way in another process"),
        ],
    )
    def test_h2_where_there_is_none(self, configuration: Configuration, statuses: Any, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            unfinished(self.session(configuration, *statuses))

    def test_c12_what_another_run_delegated_goes_on_with_that_one(self, configuration: Configuration) -> None:
        own = run_of(configuration)
        delegated = own.model_copy(update={"parent_run_id": "r"})
        assert unfinished([own, delegated]) is own
        with pytest.raises(UsageError, match="no unfinished run"):
            unfinished([delegated])


@pytest.mark.parametrize(
    ("options", "models"),
    [
        (ChainOptions(), ["phi4", "qwen", "claude"]),
        (ChainOptions(local=True), ["phi4", "qwen"]),
        (ChainOptions(model_name="qwen"), ["qwen"]),
        (ChainOptions(from_model="qwen"), ["qwen", "claude"]),
        (ChainOptions(chain_name="other"), ["phi4", "qwen", "claude"]),  # the result says which it was
    ],
)
def test_h2_it_goes_on_over_the_tiers_that_it_began_with(
    configuration: Configuration, skill: Skill, options: ChainOptions, models: list[str]
) -> None:
    chain = goes_on(run_of(configuration, options), configuration, skill).request.chain
    assert [tier.model.name for tier in chain.tiers] == models


@pytest.mark.parametrize(("name", "insists"), [("qwen", True), (None, False)])
def test_h2_who_named_a_model_has_it_asked_whatever_its_breaker_says(
    configuration: Configuration, skill: Skill, name: str | None, insists: bool
) -> None:
    going = goes_on(run_of(configuration, ChainOptions(model_name=name)), configuration, skill)
    assert going.request.insist is insists


@pytest.mark.parametrize(
    ("terms", "budget"),
    [
        (Terms(), Budget(cost_usd=0.5, seconds=60.0)),
        (Terms(max_cost=2.0), Budget(cost_usd=2.0, seconds=60.0)),
        (Terms(deadline=5.0), Budget(cost_usd=0.5, seconds=5.0)),
    ],
)
def test_h2_bounds_are_those_of_then_or_those_given_now(
    configuration: Configuration, skill: Skill, terms: Terms, budget: Budget
) -> None:
    options = ChainOptions(max_cost=0.5, deadline=60.0)
    assert goes_on(run_of(configuration, options), configuration, skill, terms).request.chain.budget == budget


def test_h2_a_chain_that_is_gone_is_refused(configuration: Configuration, skill: Skill) -> None:
    stored = run_of(configuration)
    gone = stored.model_copy(update={"result": stored.result.model_copy(update={"chain": "gone"})})
    with pytest.raises(ConfigError, match='there is no chain "gone"'):
        goes_on(gone, configuration, skill)


def test_h2_its_tools_work_where_they_did(configuration: Configuration, skill: Skill, tmp_path: Path) -> None:
    stored = run_of(configuration, work=WorkOrder(tmp_path, permission_mode="plan"))
    work = goes_on(stored, configuration, skill).request.work
    assert work is not None
    assert (work.folder, work.permission_mode, work.skill_tools) == (tmp_path, "plan", ("fs_read",))
    stored = run_of(configuration, work=WorkOrder(tmp_path / "gone"))
    with pytest.raises(UsageError, match="the work directory of that run is gone"):
        goes_on(stored, configuration, skill)


def test_h2_a_run_without_tools_gets_none(configuration: Configuration, skill: Skill) -> None:
    assert goes_on(run_of(configuration), configuration, skill).request.work is None


def test_h2_the_prompt_is_that_of_then(configuration: Configuration, skill: Skill) -> None:
    stored = run_of(configuration)
    same = goes_on(stored, configuration, skill)
    assert (same.request.system_prompt, same.warnings) == ("Mend it.", ())
    options = stored.options | {"prompt": {"system": "Mend it well.", "history": []}}
    other = goes_on(stored.model_copy(update={"options": options}), configuration, skill)
    assert other.request.system_prompt == "Mend it well."
    assert other.warnings == ('the skill "mend" has changed; going on with its prompt of then',)


def test_h2_secrets_are_put_back_or_named(configuration: Configuration, skill: Skill) -> None:
    known = run_of(configuration, task="use [secret:CLOUD_KEY]")
    assert goes_on(known, configuration, skill).request.task == Task(f"use {KEY}")
    for task in ("use [secret:github] and [secret:CLOUD_KEY]", "use [secret:github]"):
        with pytest.raises(UsageError, match=r"cannot be put back: github$"):
            goes_on(run_of(configuration, task=task), configuration, skill)
