"""The demo from its first process to its last line."""

import asyncio
import sys
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live

from models.decisions import DecisionStatus
from models.messages import EVERY, AccountRecord, EquityMark, LimitProfile, StrategyRecord, StrategyState
from streams.access import find_gate
from streams.audit import Verdict, audit
from streams.client import RiskGateClient
from streams.config import Settings, variable
from streams.demo.board import Audience, Board
from streams.demo.cast import ACTOR, CURRENCY, reference
from streams.demo.household import Household
from streams.demo.market import Market, moment
from streams.demo.play import play
from streams.demo.screen import LiveScreen, PlainScreen
from streams.demo.stage import LiveStage
from streams.demo.tape import ACTS, Act, load
from streams.publisher import Publisher

FRAMES_A_SECOND: Final = 8
DECISION_SECONDS: Final = 30.0
SETTLE_SECONDS: Final = 0.5
VISITOR: Final = "visitor"
VISITOR_EQUITY: Final = Decimal(100_000)
MARK_SECONDS: Final = 5.0


class Demo:
    """One run of the demo.

    Args:
        console: Where to.
        plain: Lines instead of a screen.
        acts: What is played.
        speed: 2 plays twice as fast.
        external: Uses the broker of the environment.
        keep: Leaves broker and worker up until Ctrl-C.
    """

    def __init__(
        self,
        console: Console,
        *,
        plain: bool = False,
        acts: tuple[Act, ...] = ACTS,
        speed: float = 1.0,
        external: bool = False,
        keep: bool = False,
    ) -> None:
        self.console = console
        self.plain = plain
        self.acts = acts
        self.speed = speed
        self.external = external
        self.keep = keep

    async def run(self) -> Verdict:
        """Start everything, play, sum up, audit, and end everything.

        Raises:
            DemoError: If a process does not come up, or ends too early.
            GateError: If the gate does not answer.
        """
        async with Household(external=self.external) as household:
            kind = "from the environment" if household.external else "embedded, for trials only"
            self._print(f"broker on {household.settings.bootstrap_servers} ({kind})")
            pid = await household.start_worker()
            self._print(f"worker: process {pid}")
            verdict = await self._play(household)
            if self.keep:
                await self._stay(household.settings)
            return verdict

    def _print(self, *lines: str) -> None:
        for line in lines:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    async def _play(self, household: Household) -> Verdict:
        settings = household.settings
        audience = Audience(settings, await find_gate(settings))
        started = time.monotonic()
        async with RiskGateClient(settings, timeout=DECISION_SECONDS, decision_age_max=None) as gate:
            stage = LiveStage(gate, audience.board, speed=self.speed)
            screen = (
                PlainScreen(audience.board, self._print)
                if self.plain
                else LiveScreen(audience.board, audience.view, lambda: percentiles(stage.latencies))
            )
            stage.screen = screen
            verdict = await self._perform(household, audience, stage, screen)
        self._print(*summary(audience.board, stage.latencies, time.monotonic() - started), verdict.summary)
        self._print(*(f"  {finding}" for finding in verdict.findings[:5]))
        return verdict

    async def _perform(
        self, household: Household, audience: Audience, stage: LiveStage, screen: LiveScreen | PlainScreen
    ) -> Verdict:
        """Play before the audience, for as long as everything it takes is there."""
        playing = asyncio.create_task(self._play_acts(stage, screen, household.settings))
        watching = asyncio.create_task(_watch(audience, screen))
        drawing = asyncio.create_task(self._draw(screen))
        tasks: list[asyncio.Task[Any]] = [playing, watching, drawing]
        try:
            failing = asyncio.create_task(household.failed())
            tasks.append(failing)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in (failing, watching, drawing):
                if task.done():
                    task.result()  # raises: what nobody sees is not worth playing
            return await playing
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _draw(self, screen: LiveScreen | PlainScreen) -> None:
        if isinstance(screen, PlainScreen):
            await asyncio.Event().wait()
            return
        with Live(screen, console=self.console, screen=True, auto_refresh=False) as live:
            while True:
                live.refresh()
                await asyncio.sleep(1 / FRAMES_A_SECOND)

    async def _play_acts(self, stage: LiveStage, screen: LiveScreen | PlainScreen, settings: Settings) -> Verdict:
        await stage.tell(reference(self.acts, event_time=moment(self.acts[0].first, 0)))
        before: Market | None = None
        for act in self.acts:
            market = Market(load(act))
            if before is not None:
                market.carry(before)
                market.deposit()
            await play(market, stage)
            before = market
        await asyncio.sleep(SETTLE_SECONDS)
        screen.say("auditing")
        return await audit(settings)

    async def _stay(self, settings: Settings) -> None:
        """Keep an account alive that anybody may trade, until Ctrl-C."""
        self._print("", "Broker and worker stay up until Ctrl-C. In another terminal:", "")
        self._print(*(f"  export {name}={value}" for name, value in _exports(settings).items()))
        command = sys.argv[0] if Path(sys.argv[0]).name == "seawall" else f"{sys.executable} -m streams"
        order = f"--account {VISITOR} --strategy by-hand --symbol KO --side BUY --quantity 10"
        self._print(f"  {command} submit {order}", f"  {command} watch decisions", f"  {command} report {VISITOR}")
        async with Publisher(settings) as publisher:
            said = {"event_time": time.time_ns(), "actor": ACTOR, "reason": "seawall demo --keep"}
            await publisher.send_all(
                [
                    LimitProfile.model_validate({**said, "profile_id": VISITOR, "profile_version": 1}),
                    AccountRecord.model_validate(
                        {**said, "account": VISITOR, "profile_id": VISITOR, "currency": CURRENCY}
                    ),
                    StrategyRecord.model_validate(
                        {**said, "strategy": EVERY, "account": VISITOR, "state": StrategyState.ENABLED}
                    ),
                ]
            )
            market = Market(load(self.acts[-1]))
            marks = next(market.mark(market.sessions[-1])).marks
            while True:
                mark = EquityMark(
                    account=VISITOR,
                    event_time=time.time_ns(),
                    equity=VISITOR_EQUITY,
                    cash=VISITOR_EQUITY,
                    marks=marks,
                )
                await publisher.send(mark)
                await asyncio.sleep(MARK_SECONDS)


async def _watch(audience: Audience, screen: LiveScreen | PlainScreen) -> None:
    async for message in audience.watch():
        screen.show(message)


def _exports(settings: Settings) -> dict[str, str]:
    """Return the environment in which another terminal finds this gate."""
    exports = {variable("bootstrap_servers"): settings.bootstrap_servers}
    if settings.topic_prefix:
        exports[variable("topic_prefix")] = settings.topic_prefix
    return exports


def percentiles(latencies: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile, seconds to milliseconds; zeros where there are none."""
    if not latencies:
        return 0.0, 0.0
    ordered = sorted(latencies)
    return ordered[len(ordered) // 2] * 1000, ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1000


def summary(board: Board, latencies: list[float], seconds: float) -> list[str]:
    """Return what happened, from what the audience saw."""
    p50, p99 = percentiles(latencies)
    halted = ", ".join(f"{account} {number}" for account, number in board.halted.most_common())
    return [
        "",
        f"intents    {board.total:6}",
        f"approved   {board.counts[DecisionStatus.APPROVED]:6}",
        f"rejected   {board.counts[DecisionStatus.REJECTED]:6}   by reason, an intent may have several:",
        *_columns(board.reasons),
        f"halts      {board.halted.total():6}   {halted}",
        f"dead letters {board.dead_letters:4}",
        f"latency    p50 {p50:.1f} ms, p99 {p99:.1f} ms from sending an intent to holding its decision",
        f"time       {seconds:.0f} s",
    ]


def _columns(reasons: Counter[str], columns: int = 3) -> list[str]:
    cells = [f"{number:5} {name:23}" for name, number in reasons.most_common()]
    rows = -(-len(cells) // columns)
    return ["".join(cells[row::rows]).rstrip() for row in range(rows)]
