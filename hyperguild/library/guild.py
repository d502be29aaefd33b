"""`Guild`: skills, chains, models and the session log of one chains.yaml, for a program."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import reduce
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack

from hyperguild.adapters.store.location import db_path
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.agent.hooks import NO_HOOKS, Hooks
from hyperguild.bootstrap import Additions, OpenGuild, open_guild
from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config
from hyperguild.config.locate import find_config
from hyperguild.config.trust import TrustStore, require_trust
from hyperguild.continuing import Means, going_on, unfinished
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.events import Event
from hyperguild.domain.records import RunResult, SessionSummary, StoredRun
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.errors import UsageError
from hyperguild.library.choices import (
    AnyPath,
    ResumeOptions,
    RunOptions,
    refuse_unknown,
    resume_terms,
    run_request,
)
from hyperguild.library.stream import EventStream, Running
from hyperguild.ports import Clock, EventSink, Question, SessionStore, Tool
from hyperguild.requests import ConfiguredSkills, turns_of, warning_of_guess
from hyperguild.skills.catalog import SkillCatalog
from hyperguild.skills.search_path import skill_search_path

Answer = Literal["yes", "no", "always"]

ApproverFunction = Callable[[Question], Awaitable[bool | Answer]]
"""Is asked before a tool runs that somebody must allow; `always` allows the like for the rest of the run."""


class GuildOptions(TypedDict, total=False):
    """What may be said about a guild.

    `skills` is a folder of skills that is searched first, `db` the session log, `env` the environment in
    place of the process's own. `tools` are async functions, as `tool` takes them, that every run is offered:
    they run without being asked about, unless a rule or the permission mode says otherwise. `hooks` are made
    by `hooks`. `approver` is asked before other tools run that must be allowed; without one they do not.
    `trusted`: a chains.yaml that was merely found may run programs and send keys.
    """

    skills: AnyPath | None
    db: AnyPath | None
    env: Mapping[str, str] | None
    tools: Sequence[Callable[..., Awaitable[Any]]]
    hooks: Hooks | Sequence[Hooks]
    approver: ApproverFunction | None
    trusted: bool


class Guild:
    """Runs skills. Made by `Guild.from_config`; belongs to one event loop, and serves any number of runs."""

    def __init__(self, guild: OpenGuild, material: _Material, logs: _Logs, running: Running) -> None:
        self._guild = guild
        self._material = material
        self._logs = logs
        self._running = running

    @classmethod
    @asynccontextmanager
    async def from_config(
        cls, path: AnyPath | None = None, **options: Unpack[GuildOptions]
    ) -> AsyncGenerator[Self, None]:
        """Open what chains.yaml describes; without a `path` it is looked for as the command line does.

        Leaving the block cancels runs that are under way, waits until they are recorded, and closes all.
        Raises `ConfigError`, `TrustError`, `UsageError` and `StoreError`. No model is asked before a run.
        """
        refuse_unknown("from_config", options, GuildOptions)
        env = dict(os.environ if (given := options.get("env")) is None else given)
        functions = _function_tools(options.get("tools", ()))
        configuration = await asyncio.to_thread(
            _configuration, path, env, trusted=options.get("trusted", False)
        )
        material = _Material(configuration, _catalog(options.get("skills"), env, configuration), functions)
        hooks, ask = options.get("hooks", ()), options.get("approver")
        additions = Additions(
            functions, hooks if isinstance(hooks, Hooks) else reduce(Hooks.then, hooks, NO_HOOKS)
        )
        async with AsyncExitStack() as stack:
            scrubber = Scrubber()
            opened = await stack.enter_async_context(
                open_guild(
                    configuration,
                    env,
                    scrubber,
                    approver=None if ask is None else _Approver(ask),
                    additions=additions,
                )
            )
            guild = opened.delegating_to(ConfiguredSkills(configuration, material.catalog))
            db = options.get("db")
            file = db_path(None if db is None else Path(db), env)
            logs = _Logs(file, scrubber, configuration.log, guild.clock)
            stack.push_async_callback(logs.aclose)
            await logs.open(private=False)
            running = Running()
            stack.push_async_callback(running.aclose)
            yield cls(guild, material, logs, running)

    async def run(
        self,
        skill: str,
        task: str = "",
        *,
        on_event: Callable[[Event], object] | None = None,
        **options: Unpack[RunOptions],
    ) -> RunResult:
        """Answer the task with the skill; return the accepted (or, where chains.yaml says so, best) answer.

        `on_event` is called with every event; what it raises cancels the run. For the options see
        `RunOptions`. Raises `ChainExhaustedError` or `BudgetExceededError`, both with the `result`, and what
        `stream` does; where the log fails on the way, `UnrecordedRunError`, whose `result` has the answer if
        there was one. Cancelling stops the model call at once and records the run as cancelled.
        """
        return await _read(self.stream(skill, task, **options), on_event)

    def stream(self, skill: str, task: str = "", **options: Unpack[RunOptions]) -> EventStream:
        """Return the run as an iterator over its events, to be entered with `async with`.

        Entering raises `SkillError`, `ConfigError` for an unknown chain or model, and `UsageError`; for the
        rest see `EventStream`.
        """
        refuse_unknown("run", options, RunOptions)

        async def begin(sink: EventSink) -> asyncio.Task[RunResult]:
            store = await self._logs.open(private=options.get("private", False))
            request = await asyncio.to_thread(self._material.request, skill, task, options)
            if request.work is not None and options.get("private", False):
                request = dataclasses.replace(request, work=dataclasses.replace(request.work, private=True))
            for warning in self._material.warnings(options.get("model")):
                warnings.warn(warning, stacklevel=2)
            placed = await _in_session(store, request, options)
            return self._running.start(self._guild.run(placed, store, sink))

        return EventStream(begin)

    async def resume(
        self,
        session: str = "last",
        *,
        on_event: Callable[[Event], object] | None = None,
        **options: Unpack[ResumeOptions],
    ) -> RunResult:
        """Go on with the unfinished run of a session, after its last persisted step, as `run` does.

        For the options see `ResumeOptions`. Raises what `run` does, and `UsageError` where there is no such
        run, results are missing, or not all of it was stored.
        """
        return await _read(self.resume_stream(session, **options), on_event)

    def resume_stream(self, session: str = "last", **options: Unpack[ResumeOptions]) -> EventStream:
        """Return the rest of a run as an iterator over its events; see `resume` and `stream`."""
        refuse_unknown("resume", options, ResumeOptions)

        async def begin(sink: EventSink) -> asyncio.Task[RunResult]:
            store = await self._logs.open(private=False)
            stored = unfinished(await store.session_runs(await store.resolve_session(session)))
            means = self._material.means(self._guild)
            going = await asyncio.to_thread(going_on, stored, means, resume_terms(options))
            for warning in going.warnings:
                warnings.warn(warning, stacklevel=2)
            return self._running.start(self._guild.run(going.request, store, sink, going.continuation))

        return EventStream(begin)

    async def sessions(self, *, limit: int = 20) -> list[SessionSummary]:
        """Return the newest sessions of the log, newest first. Raises `StoreError`."""
        return await (await self._logs.open(private=False)).sessions(limit=limit)

    async def session_runs(self, session: str) -> list[StoredRun]:
        """Return a session's runs with attempts and steps, oldest first.

        `session` is an id, the end of one, or `last`. Raises `UsageError` where none or several fit.
        """
        store = await self._logs.open(private=False)
        return await store.session_runs(await store.resolve_session(session))


@dataclasses.dataclass(frozen=True, slots=True)
class _Material:
    """What requests are made of."""

    configuration: Configuration
    catalog: SkillCatalog
    functions: tuple[Tool, ...]

    def request(self, skill: str, task: str, options: RunOptions) -> RunRequest:
        return run_request(
            self.configuration, self.catalog, (skill, task), options, functions=bool(self.functions)
        )

    def means(self, guild: OpenGuild) -> Means:
        return Means(
            self.configuration, self.catalog.get, guild.scrubber, guild.ids.new_id, bool(self.functions)
        )

    def warnings(self, model: str | None) -> tuple[str, ...]:
        guess = warning_of_guess(self.configuration, model)
        return () if guess is None else (guess,)


class _Logs:
    """The session log, opened once as chains.yaml has it, and once more for runs that leave no content."""

    def __init__(self, path: Path, scrubber: Scrubber, policy: LogPolicy, clock: Clock) -> None:
        self._path = path
        self._scrubber = scrubber
        self._policy = policy
        self._clock = clock
        self._stores: dict[bool, SessionStore] = {}
        self._one_at_a_time = asyncio.Lock()
        self._closed = False

    async def open(self, *, private: bool) -> SessionStore:
        async with self._one_at_a_time:
            if self._closed:
                raise UsageError("the guild is closed", hint="use it within the block of Guild.from_config")
            if private not in self._stores:
                policy = dataclasses.replace(self._policy, content="none") if private else self._policy
                self._stores[private] = await SqliteSessionStore.open(
                    self._path, scrubber=self._scrubber, log=policy, clock=self._clock
                )
            return self._stores[private]

    async def aclose(self) -> None:
        async with self._one_at_a_time:
            self._closed = True
            for store in self._stores.values():
                await store.aclose()


class _Approver:
    """An `Approver` that is a function of the program; what it raises ends the run."""

    def __init__(self, function: ApproverFunction) -> None:
        self._function = function

    async def ask(self, question: Question) -> Answer:
        said = await self._function(question)
        if isinstance(said, bool):
            return "yes" if said else "no"
        if said not in {"yes", "no", "always"}:
            raise TypeError(f"the approver returned {said!r}: yes, no, always or a bool is expected")
        return said


async def _read(stream: EventStream, on_event: Callable[[Event], object] | None) -> RunResult:
    async with stream as events:
        async for event in events:
            if on_event is not None:
                on_event(event)
    return events.result


def _function_tools(functions: Sequence[Callable[..., Awaitable[Any]]]) -> tuple[Tool, ...]:
    if not functions:
        return ()
    from hyperguild.adapters.tools.functions import function_tools  # noqa: PLC0415  # start-up

    return function_tools(functions)


def _configuration(path: AnyPath | None, env: Mapping[str, str], *, trusted: bool) -> Configuration:
    found = find_config(None if path is None else Path(path), env, Path.cwd())
    configuration = load_config(found.path, env, None if path is not None else found.named_by)
    if not trusted:
        require_trust(found, configuration, TrustStore.of_user(env))
    return configuration


def _catalog(skills: AnyPath | None, env: Mapping[str, str], configuration: Configuration) -> SkillCatalog:
    folder = None if skills is None else Path(skills)
    if folder is not None and not folder.is_dir():
        raise UsageError(f"skills: {folder} is no folder", hint="name a folder that holds skill folders")
    return SkillCatalog(skill_search_path(folder, env.get("HYPERGUILD_SKILLS"), configuration.path))


async def _in_session(store: SessionStore, request: RunRequest, options: RunOptions) -> RunRequest:
    session = options.get("session")
    if session is None:
        return request
    session_id = await store.resolve_session(session)
    turns = turns_of(await store.session_runs(session_id)) if options.get("history") else ()
    return dataclasses.replace(request, session_id=session_id, history=turns)
