"""The one composition root: configuration in, a ready guild out."""

from __future__ import annotations

import os
import random
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hyperguild.adapters.clock import SystemClock, system_ids
from hyperguild.adapters.embedded.client import EmbeddedClient
from hyperguild.adapters.embedded.engine import Engine
from hyperguild.adapters.embedded.host import ModelHost
from hyperguild.adapters.embedded.probe import EmbeddedProbe
from hyperguild.adapters.models import open_client
from hyperguild.adapters.probes.by_kind import ProbeByKind
from hyperguild.adapters.probes.llama_swap import LlamaSwapProbe
from hyperguild.adapters.probes.windows import ServerOf, ServerWindows, local_server
from hyperguild.adapters.wire.keys import KEY_MAX_BYTES, KeyRing
from hyperguild.adapters.wire.transport import TransportFactory, plain_transport
from hyperguild.agent.guesses import Predictor, no_predictor
from hyperguild.agent.hooks import NO_HOOKS, Hooks, HooksIn, no_hooks
from hyperguild.agent.rule_predictor import RulePredictor
from hyperguild.agent.source import AttemptTools, NoTools, SkillBook, ToolSource
from hyperguild.config.configuration import Configuration
from hyperguild.config.locate import user_folder
from hyperguild.config.programs import program_files
from hyperguild.domain.chain import Endpoint, EndpointKind, Model, Tier
from hyperguild.domain.events import AnswerDelta, Event, RunFinished, event_adapter
from hyperguild.domain.limits import Limits
from hyperguild.domain.mcp import McpServer
from hyperguild.domain.records import RunError, RunResult
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.inference.call import ModelCaller
from hyperguild.inference.redacting import RedactingClient
from hyperguild.inference.redaction import Redactor
from hyperguild.orchestration.context import NO_LIMITS, Tools
from hyperguild.orchestration.resume import Continuation
from hyperguild.orchestration.walk import walk
from hyperguild.ports import Approver, Clock, EventSink, IdSource, ModelClient, SessionStore, Tool

if TYPE_CHECKING:
    # Start-up counts: it is imported when a run first wants tools.
    from hyperguild.adapters.tools.workbench import Workbench

SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie", re.IGNORECASE)
"""Names of headers whose values are secrets."""


SECRET_NAME = re.compile(rf"{SECRET_HEADER.pattern}|pass|credential|(?:^|_)pat$", re.IGNORECASE)
"""Names of variables for MCP servers, and of headers, whose values are secrets."""


@dataclass(frozen=True, slots=True)
class Additions:
    """What the calling program adds to all runs of a guild: tools of its own, and hooks."""

    functions: tuple[Tool, ...] = ()
    hooks: Hooks = NO_HOOKS


NOTHING_ADDED = Additions()


@dataclass(frozen=True, slots=True)
class OpenGuild:
    """Everything that runs share. Made by `open_guild`; safe for concurrent runs."""

    caller: ModelCaller
    scrubber: Scrubber
    clock: Clock
    ids: IdSource
    source: ToolSource = field(default_factory=NoTools)
    hooks: HooksIn = no_hooks
    models: Callable[[str], Model] | None = None
    skills: SkillBook | None = None
    approver: Approver | None = None
    limits: Limits = NO_LIMITS
    predictors: Callable[[str], Predictor | None] = no_predictor

    def delegating_to(self, skills: SkillBook) -> OpenGuild:
        """Return the same guild, whose runs may delegate to these skills, as far as their chains let them."""
        return replace(self, skills=skills)

    async def run(
        self,
        request: RunRequest,
        store: SessionStore,
        sink: EventSink,
        continuation: Continuation | None = None,
    ) -> RunResult:
        """Walk the request through its chain; see `orchestration.walk.walk` for what is raised.

        Messages of errors are scrubbed, for they quote what servers say; the result is the caller's as it is.
        """
        tools = Tools(
            caller=self.caller,
            store=store,
            clock=self.clock,
            ids=self.ids,
            source=self.source,
            hooks=self.hooks,
            models=self.models,
            skills=self.skills,
            approver=self.approver,
            limits=self.limits,
            predictors=self.predictors,
        )
        try:
            return await walk(request, tools, ScrubbingSink(self.scrubber, sink), continuation)
        except RunError as error:
            error.message = self.scrubber.scrub(error.message)
            error.hint = self.scrubber.scrub(error.hint) if error.hint else None
            error.args = (error.message,)
            raise


@asynccontextmanager
async def open_guild(
    configuration: Configuration,
    env: Mapping[str, str],
    scrubber: Scrubber,
    *,
    transport: TransportFactory = plain_transport,
    clock: Clock | None = None,
    approver: Approver | None = None,
    additions: Additions = NOTHING_ADDED,
) -> AsyncGenerator[OpenGuild, None]:
    """Open clients for every endpoint; close them when the block ends. No connection is made until needed.

    `scrubber` learns keys at once where no program must run for them, else when they are first read.
    `transport` is where another HTTP transport goes; `approver` is asked before a tool runs that must be
    allowed, and without one such tools do not run. `hooks` are called before those of the configuration,
    which so see calls and results as they are left.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        keys = KeyRing(env, scrubber.learn)
        stack.push_async_callback(keys.aclose)
        redactor = Redactor(configuration.redaction, scrubber, os.urandom(32), clock.monotonic)
        for endpoint in configuration.endpoints.values():
            _learn_secrets(endpoint, env, scrubber)
        clients = _Clients(stack, keys, transport, env)
        caller = clients.caller(configuration.endpoints.values(), redactor, clock)
        for server in configuration.mcp_servers.values():
            _learn_servers_secrets(server, scrubber)
        source = _ToolsOnDemand(env, approver, configuration, additions.functions, clock)
        stack.push_async_callback(source.aclose)
        yield OpenGuild(
            caller=caller,
            scrubber=scrubber,
            clock=clock,
            ids=system_ids(clock),
            source=source,
            hooks=_hooks_in(configuration, env, additions.hooks),
            models=configuration.model,
            approver=approver,
            limits=configuration.limits,
            predictors=_predictors(configuration),
        )


class _Clients:
    """Opens clients, which the stack closes, and what else is asked of the servers behind them."""

    def __init__(
        self, stack: AsyncExitStack, keys: KeyRing, transport: TransportFactory, env: Mapping[str, str]
    ) -> None:
        self._stack = stack
        self._keys = keys
        self._transport = transport
        self._env = env
        self._hosts: dict[str, ModelHost] = {}
        self._embedded: dict[str, EmbeddedClient] = {}

    def caller(self, endpoints: Iterable[Endpoint], redactor: Redactor, clock: Clock) -> ModelCaller:
        """Return who calls the models of these endpoints."""
        clients = {one.name: RedactingClient(self._open(one), redactor) for one in endpoints}
        swap_probe = LlamaSwapProbe(self._keys, clock, self._transport)
        self._stack.push_async_callback(swap_probe.aclose)
        probe = ProbeByKind({"llama-swap": swap_probe, "embedded": EmbeddedProbe(self._hosts, clock)})
        servers: dict[EndpointKind, ServerOf] = {
            "llama-swap": swap_probe.server_of,
            "openai": local_server,
            "embedded": lambda model: self._embedded[model.endpoint.name].server_of(model),
        }
        windows = ServerWindows(self._keys, clock, servers, self._transport)
        return ModelCaller(clients, probe, clock, random.random, windows)

    def _open(self, endpoint: Endpoint) -> ModelClient:
        client: ModelClient
        if endpoint.kind == "embedded":
            host = self._hosts[endpoint.name] = open_host(endpoint, self._env)
            self._stack.push_async_callback(host.aclose)
            client = EmbeddedClient(endpoint, host, self._keys, self._transport)
            self._embedded[endpoint.name] = client
        else:
            client = open_client(endpoint, keys=self._keys, transport_factory=self._transport)
        self._stack.push_async_callback(client.aclose)
        return client


def _hooks_in(configuration: Configuration, env: Mapping[str, str], callers: Hooks) -> HooksIn:
    """Return what makes the hooks of an attempt: the caller's, then those of chains.yaml."""
    if not configuration.hooks:
        return lambda _folder: callers
    from hyperguild.adapters.tools.command_hooks import command_hooks  # noqa: PLC0415  # start-up

    place = configuration.path.absolute().parent
    # Last: they see calls and results as the caller's own hooks leave them.
    return lambda folder: callers.then(command_hooks(configuration.hooks, env, place, folder))


def _predictors(configuration: Configuration) -> Callable[[str], Predictor | None]:
    """Return what makes who guesses the calls of a skill's attempt."""
    rules = configuration.likely_calls
    return lambda skill: RulePredictor(rules[skill]) if skill in rules else None


class _ToolsOnDemand:
    """The `ToolSource` of real runs; what makes tools is imported when a run first wants some."""

    def __init__(
        self,
        env: Mapping[str, str],
        approver: Approver | None,
        configuration: Configuration,
        functions: Sequence[Tool],
        clock: Clock,
    ) -> None:
        self._env = env
        self._clock = clock
        self._approver = approver
        self._configuration = configuration
        self._functions = functions
        self._workbench: Workbench | None = None

    def open(
        self, request: RunRequest, tier: Tier, session_id: str
    ) -> AbstractAsyncContextManager[AttemptTools]:
        work = request.work
        if work is None:
            return NoTools().open(request, tier, session_id)
        if self._configuration.log.content != "full":
            request = replace(request, work=replace(work, private=True))
        if self._workbench is None:
            from hyperguild.adapters.tools.workbench import OffLimits, Workbench  # noqa: PLC0415  # start-up
            from hyperguild.adapters.tools.worktree import Worktrees  # noqa: PLC0415  # start-up

            state = user_folder(self._env, "XDG_STATE_HOME", ".local/state")
            keys = [one.key.file for one in self._configuration.endpoints.values() if one.key is not None]
            self._workbench = Workbench(
                self._env,
                state / "results",
                Worktrees(self._env, state / "worktrees", self._clock, system_ids(self._clock)),
                approver=self._approver,
                off_limits=OffLimits(
                    # The session log has what other runs were told, in every folder.
                    hidden=(state, *(file for file in keys if file is not None)),
                    programs=program_files(self._configuration),
                ),
                servers=tuple(self._configuration.mcp_servers.values()),
                functions=self._functions,
            )
        return self._workbench.open(request, tier, session_id)

    async def aclose(self) -> None:
        """End the MCP servers that were started. Safe to call twice."""
        if self._workbench is not None:
            await self._workbench.aclose()


def open_host(endpoint: Endpoint, env: Mapping[str, str]) -> ModelHost:
    """Return who loads the models of an `embedded` endpoint: this process, or the user's keeper."""
    if endpoint.engine.keep:
        # Start-up: few endpoints have a keeper, and its messages take 20 ms.
        from hyperguild.adapters.embedded.keeper_client import KeeperHost  # noqa: PLC0415
        from hyperguild.adapters.embedded.keeper_wire import terms_of  # noqa: PLC0415
        from hyperguild.adapters.embedded.location import keeper_folder  # noqa: PLC0415

        probe_timeout_s = endpoint.probe_timeout_ms / 1000
        return KeeperHost(keeper_folder(env), terms_of(endpoint), probe_timeout_s=probe_timeout_s)
    return Engine(endpoint.engine, max_users=endpoint.max_concurrency)


def known_secrets(configuration: Configuration, env: Mapping[str, str]) -> Scrubber:
    """Return a scrubber that knows what can be known before a call, as that of an open guild does."""
    scrubber = Scrubber()
    for endpoint in configuration.endpoints.values():
        _learn_secrets(endpoint, env, scrubber)
    for server in configuration.mcp_servers.values():
        _learn_servers_secrets(server, scrubber)
    return scrubber


def _learn_secrets(endpoint: Endpoint, env: Mapping[str, str], scrubber: Scrubber) -> None:
    """Teach the scrubber what can be known before a call: a task may hold a key that no call has needed yet.

    Keys of `api_key_cmd` are learned when the command first runs.
    """
    source = endpoint.key
    if source is not None and source.env is not None:
        scrubber.learn(source.env, env.get(source.env, ""))
    if source is not None and source.file is not None and source.file.is_file():
        with suppress(OSError):  # a key that cannot be had is an error of its tier alone
            with source.file.open("rb") as file:
                content = file.read(KEY_MAX_BYTES)
            scrubber.learn(source.file.name, content.decode("utf-8", errors="replace"))
    for name, value in endpoint.headers.items():
        if SECRET_HEADER.search(name):
            scrubber.learn(name, value.rpartition(" ")[2])


def _learn_servers_secrets(server: McpServer, scrubber: Scrubber) -> None:
    headers = [(name, value.rpartition(" ")[2]) for name, value in server.headers.items()]
    for name, value in (*server.env.items(), *headers):
        if SECRET_NAME.search(name):
            scrubber.learn(name, value)


class ScrubbingSink:
    """Keeps secrets out of events. The answer itself stays as it is: it is the caller's."""

    def __init__(self, scrubber: Scrubber, inner: EventSink) -> None:
        self._scrubber = scrubber
        self._inner = inner
        self._events = event_adapter()

    def emit(self, event: Event) -> None:
        """Pass the event on, its texts scrubbed."""
        if isinstance(event, AnswerDelta):
            self._inner.emit(event)
            return
        cleaned = self._events.validate_python(self._scrubber.scrub_json(event.model_dump()))
        if isinstance(event, RunFinished) and isinstance(cleaned, RunFinished):
            result = cleaned.result.model_copy(update={"output": event.result.output})
            cleaned = cleaned.model_copy(update={"result": result})
        self._inner.emit(cleaned)
