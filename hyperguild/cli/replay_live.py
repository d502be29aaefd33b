"""Fills what a replay misses with real calls: each a run of its own in the session log, within a budget."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.bootstrap import OpenGuild, open_guild
from hyperguild.cli.options import Settings
from hyperguild.cli.output import flat
from hyperguild.cli.sinks import Fan
from hyperguild.cli.streams import say
from hyperguild.config.configuration import Configuration
from hyperguild.domain.chain import Chain
from hyperguild.domain.records import RunError, RunResult
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.domain.telling import dollars
from hyperguild.domain.text import one_line
from hyperguild.domain.usage import estimate_tokens
from hyperguild.errors import UsageError
from hyperguild.ports import SessionStore
from hyperguild.review.checking import Rechecker
from hyperguild.review.gaps import STANDING_IN, RecordedClient, Want, at_most_usd, wants
from hyperguild.review.recollection import KnownTask
from hyperguild.skills.catalog import SkillCatalog


class LiveFill:
    """Asks for what chains miss, all within `max_usd` together; `session_ids` hold the runs it makes.

    Cancelled, it leaves on record what was answered.
    """

    def __init__(self, settings: Settings, max_usd: float) -> None:
        self._settings = settings
        self._left_usd = max_usd
        self._asked: set[object] = set()
        self.session_ids: set[str] = set()

    async def fill(
        self, configuration: Configuration, chain: Chain, tasks: Sequence[KnownTask], rechecker: Rechecker
    ) -> bool:
        """Ask for what the chain misses next; return whether anything was asked.

        One round: what follows an answer is known only once that is on record. Raises `UsageError` where a
        price is missing, or the log keeps no content, and `SkillError`.
        """
        if configuration.log.content != "full":
            raise UsageError(
                "--live: log.content is not full, so that answers would not be kept",
                hint="set log.content to full in chains.yaml",
            )
        from hyperguild.review.replay import ByRecord  # noqa: PLC0415  # start-up

        paths = await rechecker.replay(tasks, chain, ByRecord())
        found, unasked = wants(tasks, chain, paths)
        todo = [want for want in found if want.key not in self._asked]
        catalog = self._settings.catalog(configuration.path)
        if not todo:
            return False
        self._announce(chain, todo, unasked, catalog)
        scrubber = Scrubber()
        async with open_guild(configuration, self._settings.env, scrubber) as guild:
            store = await SqliteSessionStore.open(
                self._settings.db_file(), scrubber=scrubber, log=configuration.log, clock=guild.clock
            )
            try:
                for number, want in enumerate(todo, start=1):
                    self._asked.add(want.key)
                    result = await self._ask(guild, store, chain, want, catalog)
                    self._tell(want, result, f"{number} of {len(todo)}")
            finally:
                await store.aclose()
        return True

    def _announce(self, chain: Chain, todo: Sequence[Want], unasked: int, catalog: SkillCatalog) -> None:
        """Say what is asked, and what it may cost at most."""
        answers = Counter(want.tier.model.name for want in todo if want.answer is None)
        verdicts = Counter(want.tier.model.name for want in todo if want.answer is not None)
        at_most = at_most_usd(chain, todo, lambda want: estimate_tokens(_prompt(want, catalog) + _task(want)))
        if at_most is None:
            raise UsageError(
                f"--live: a model or judge of the chain {chain.name} has no price, so no budget can be held",
                hint="give it a price under models: in chains.yaml",
            )
        parts = [f"{model} for {count} answers" for model, count in sorted(answers.items())]
        parts += [f"judges for {count} verdicts on {model}" for model, count in sorted(verdicts.items())]
        say(
            flat(
                f"asking {', '.join(parts)}; with the tiers after them at most {dollars(at_most)},"
                f" and no more than {dollars(self._left_usd)}"
            )
        )
        if unasked:
            say(f"{unasked} tasks are not asked: the log did not keep them whole")

    async def _ask(
        self, guild: OpenGuild, store: SessionStore, chain: Chain, want: Want, catalog: SkillCatalog
    ) -> RunResult:
        if want.answer is not None:
            client = RecordedClient(want.answer.text or "", "stop")
            guild = dataclasses.replace(guild, caller=guild.caller.beside({STANDING_IN.name: client}))
        request = RunRequest(
            skill=want.task.skill,
            system_prompt=_prompt(want, catalog),
            task=Task(_task(want)),
            chain=want.chain(chain, max(self._left_usd, 0.0)),
            session_id=next(iter(self.session_ids), None),
        )
        try:
            result = await guild.run(request, store, Fan([]))
        except RunError as error:
            result = error.result
        self.session_ids.add(result.session_id)
        self._left_usd -= result.cost_usd or 0.0
        return result

    def _tell(self, want: Want, result: RunResult, count: str) -> None:
        what = "answer of" if want.answer is None else "verdict on"
        status = result.status.replace("_", " ")
        task = one_line(_task(want), 40)
        model = want.tier.model.name
        say(flat(f"{count}: {what} {model}: {status}, {dollars(result.cost_usd)}: {task}"))


def _prompt(want: Want, catalog: SkillCatalog) -> str:
    return catalog.get(want.task.skill).system_prompt(_task(want))


def _task(want: Want) -> str:
    return want.task.text or ""
