"""What a worker says of itself over HTTP."""

from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from streams.config import ConfigurationError, Settings
from streams.health import SILENT_SECONDS, Health
from streams.records import Topic
from streams.recovery import Progress, Source


class Fakes:
    """Everything that health looks at."""

    def __init__(self, port: int = 0) -> None:
        self.is_open = False
        self.progress: dict[int, Progress] = {}
        self.partitions: dict[int, Any] = {}
        self.silent = 0.0
        self.fresh = True
        self.replica = SimpleNamespace(folded=lambda _: 4)
        me: Any = self
        self.health = Health(Settings(worker_id="w", health_port=port), me, me, me)

    def silence(self) -> float:
        """Return for how long the watchdog has not looked."""
        return self.silent

    def may_decide(self, _: object) -> bool:
        """Tell whether inputs are fresh."""
        return self.fresh

    def lag(self, _: object) -> dict[Topic, int]:
        """Return what is to be fetched."""
        return {Topic.FILLS: 2}

    def input_ages(self, _: object) -> dict[str, float]:
        """Return ages."""
        return {"fills/3": 0.123}

    def serve(self, number: int) -> None:
        """Let a partition be recovered."""
        self.progress[number].phase = "serving"
        self.partitions[number] = SimpleNamespace(waiting=1)


async def _get(health: Health, path: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{health.port}{path}") as answer:
        return answer.status, await answer.json()


async def test_ready_when_every_partition_is_recovered() -> None:
    fakes = Fakes()
    async with fakes.health:
        status, told = await _get(fakes.health, "/readyz")
        assert (status, told["partitions"]) == (503, {})
        assert told["why"] == ["the group has not given partitions to this worker yet"]

        fakes.progress = {3: Progress(), 4: Progress("folding fills", Source.DISK, 10, 50)}
        fakes.serve(3)
        status, told = await _get(fakes.health, "/readyz")
        assert (status, told["why"]) == (503, ["recovering partitions 4"])
        assert told["partitions"]["4"] == {
            "phase": "folding fills",
            "restored_from": "disk",
            "folded": 10,
            "to_fold": 50,
        }

        fakes.serve(4)
        fakes.is_open = True
        status, told = await _get(fakes.health, "/readyz")
        assert (status, told["ok"], told["why"], told["worker"]) == (200, True, [], "w")
        assert told["partitions"]["3"] == {
            "phase": "serving",
            "restored_from": None,
            "folded": 0,
            "to_fold": 0,
            "suspended": False,
            "undecided": 1,
            "lag": {"fills": 2},
            "input_age_seconds": {"fills/3": 0.1},
        }


async def test_not_ready_while_deciding_is_suspended() -> None:
    fakes = Fakes()
    fakes.progress = {3: Progress()}
    fakes.serve(3)
    fakes.is_open = True
    fakes.fresh = False
    async with fakes.health:
        status, told = await _get(fakes.health, "/readyz")
    assert (status, told["why"]) == (503, ["deciding is suspended, an input is stale: partitions 3"])


async def test_a_worker_without_partitions_is_ready() -> None:
    fakes = Fakes()
    fakes.is_open = True
    assert fakes.health.ready()["ok"]


async def test_alive_while_the_watchdog_looks() -> None:
    fakes = Fakes()
    async with fakes.health:
        assert (await _get(fakes.health, "/livez"))[0] == 200
        fakes.silent = SILENT_SECONDS
        assert await _get(fakes.health, "/livez") == (503, {"ok": False, "watchdog_seconds": 10.0})


async def test_a_port_that_is_taken_is_named() -> None:
    async with Fakes().health as first:
        second = Fakes(first.port).health
        with pytest.raises(ConfigurationError, match=f"SEAWALL_HEALTH_PORT {first.port} cannot be used: "):
            async with second:
                pass
