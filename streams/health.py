"""`/livez` and `/readyz` over HTTP, for supervisors and for whoever wonders what a worker waits for.

It only looks. Its clock reaches no decision, and nothing waits for it.
"""

from collections.abc import Callable
from typing import Any, Final, Self

import orjson
from aiohttp import web

from streams.broadcast import Broadcast
from streams.config import ConfigurationError, Settings, variable
from streams.operations import say
from streams.ownership import Ownership
from streams.records import Topic
from streams.watchdog import Watchdog

SILENT_SECONDS: Final = 10.0
"""Without a look of the watchdog, which looks every second, for so long the worker is not called alive."""
_STYLE: Final = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS  # Topics are keys.
_OK: Final = 200
_UNAVAILABLE: Final = 503


class Health:
    """What a worker says of itself. An async context manager: it answers inside.

    Args:
        settings: Where to answer.
        ownership: The partitions.
        broadcast: The shared tables.
        watchdog: Knows how old the inputs are.
    """

    def __init__(self, settings: Settings, ownership: Ownership, broadcast: Broadcast, watchdog: Watchdog) -> None:
        self._settings = settings
        self._ownership = ownership
        self._broadcast = broadcast
        self._watchdog = watchdog
        app = web.Application()
        app.router.add_get("/livez", _answering(self.live))
        app.router.add_get("/readyz", _answering(self.ready))
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)

    # --- what is said

    def live(self) -> dict[str, Any]:
        """Tell whether the event loop runs, which it does where this is answered, and the watchdog looks."""
        silence = self._watchdog.silence()
        return {"ok": silence < SILENT_SECONDS, "watchdog_seconds": round(silence, 1)}

    def ready(self) -> dict[str, Any]:
        """Tell whether every partition of this worker is recovered and decides, and how far each of them is."""
        partitions = {str(number): self._partition(number) for number in sorted(self._ownership.progress)}
        waits = [number for number, each in partitions.items() if each["phase"] != "serving"]
        suspended = [number for number, each in partitions.items() if each.get("suspended")]
        why = []
        if not partitions and not self._ownership.is_open:
            why.append("the group has not given partitions to this worker yet")
        if waits:
            why.append(f"recovering partitions {', '.join(waits)}")
        if suspended:
            why.append(f"deciding is suspended, an input is stale: partitions {', '.join(suspended)}")
        replica = self._broadcast.replica
        return {
            "ok": not why and self._ownership.is_open,
            "why": why,
            "worker": self._settings.worker_id,
            "partitions": partitions,
            "shared": {
                topic: {"folded_to": replica.folded(topic)} for topic in (Topic.REFERENCE, Topic.DAILY_RETURNS)
            },
        }

    def _partition(self, number: int) -> dict[str, Any]:
        progress = self._ownership.progress[number]
        told: dict[str, Any] = {
            "phase": progress.phase,
            "restored_from": progress.source,
            "folded": progress.folded,
            "to_fold": progress.to_fold,
        }
        partition = self._ownership.partitions.get(number)
        if partition is not None:
            told |= {
                "suspended": not self._watchdog.may_decide(partition),
                "undecided": partition.waiting,
                "lag": self._watchdog.lag(partition),
                "input_age_seconds": {
                    name: round(age, 1) for name, age in self._watchdog.input_ages(partition).items()
                },
            }
        return told

    # --- saying it

    async def __aenter__(self) -> Self:
        """Begin to answer, and say where.

        Raises:
            ConfigurationError: If the address cannot be had.
        """
        settings = self._settings
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, settings.health_host, settings.health_port).start()
        except OSError as error:
            await self._runner.cleanup()
            where = (
                f"{variable('health_host')} {settings.health_host}, {variable('health_port')} {settings.health_port}"
            )
            raise ConfigurationError([f"{where} cannot be used: {error.strerror or error}"]) from error
        say("health", url=f"http://{_written(settings.health_host)}:{self.port}/readyz")
        return self

    @property
    def port(self) -> int:
        """The port that answers."""
        port: int = self._runner.addresses[0][1]
        return port

    async def __aexit__(self, *_: object) -> None:
        """Stop answering."""
        await self._runner.cleanup()


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _answering(tell: Callable[[], dict[str, Any]]) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.Response:
        told = tell()
        return web.Response(
            body=orjson.dumps(told, option=_STYLE),
            status=_OK if told["ok"] else _UNAVAILABLE,
            content_type="application/json",
        )

    return answer
