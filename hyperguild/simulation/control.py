"""The control face at /_sim: what the fleet saw, and how to change it while it runs. Its own requests are
not recorded.
"""

from hyperguild.simulation.exchange import Exchange, Handler
from hyperguild.simulation.fleet import Fleet
from hyperguild.simulation.script import ScriptError, parse_script


class ControlFace:
    """Handlers of /_sim; errors are `{"error": "one line"}`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def routes(self) -> list[tuple[str, list[str], Handler]]:
        """Path, methods and handler of everything it serves."""
        return [
            ("/_sim/requests", ["GET"], self.requests),
            ("/_sim/state", ["GET"], self.state),
            ("/_sim/script", ["POST"], self.script),
            ("/_sim/reset", ["POST"], self.reset),
            ("/_sim/crash/{model:path}", ["POST"], self.crash),
        ]

    async def requests(self, exchange: Exchange) -> None:
        """Every request since the last reset, oldest first, as an array of `journal.Record`."""
        await exchange.respond_json(200, self._fleet.journal.as_json())

    async def state(self, exchange: Exchange) -> None:
        """Every llama-swap model's state and counts, who waits for an eviction, and how many requests are
        open.
        """
        machine = self._fleet.pool.machine
        models = {}
        for name, state in machine.states().items():
            serving, waiting = machine.counts(name)
            asked = self._fleet.asked("llama_swap", name)
            counts = {"in_flight": serving, "waiting": waiting, "loads": machine.loads(name), "asked": asked}
            models[name] = {"state": state, **counts}
        unfinished = sum(record.outcome is None for record in self._fleet.journal.records())
        await exchange.respond_json(200, {"models": models, "queue": machine.waiting(), "open": unfinished})

    async def script(self, exchange: Exchange) -> None:
        """Replace the script; a wrong one is a 400 and changes nothing."""
        try:
            script = parse_script(exchange.body.decode(errors="replace"), "script")
        except ScriptError as exc:
            await exchange.respond_json(400, {"error": str(exc)})
            return
        self._fleet.load(script)
        await exchange.respond_json(200, {"ok": True})

    async def reset(self, exchange: Exchange) -> None:
        """Unload everything, forget the requests, begin the rules again."""
        self._fleet.reset()
        await exchange.respond_json(200, {"ok": True})

    async def crash(self, exchange: Exchange) -> None:
        """Let the process of a llama-swap model die."""
        name = exchange.params["model"]
        if name not in self._fleet.script.models:
            await exchange.respond_json(404, {"error": f"no model {name!r}"})
            return
        self._fleet.pool.crash(name)
        await exchange.respond_json(200, {"ok": True})
