"""The demo's two acts, played once through the gate in this process; tests of what follows from them share it."""

import asyncio
from functools import cache
from typing import NamedTuple

from streams.demo.board import Board
from streams.demo.cast import reference
from streams.demo.market import Market, moment
from streams.demo.play import play
from streams.demo.screen import PlainScreen
from streams.demo.tape import ACTS, load
from streams.records import Topic
from tests.streams.in_process_gate import InProcessGate


class Played(NamedTuple):
    """The gate with its log, both markets as they ended, and what was said of it in plain lines."""

    gate: InProcessGate
    markets: tuple[Market, ...]
    lines: tuple[str, ...]

    @property
    def board(self) -> Board:
        """Return a board that has seen what the topics hold."""
        board = Board()
        for topic in (Topic.RISK_DECISIONS, Topic.TRADING_HALTS, Topic.DEAD_LETTERS):
            for record in self.gate.log[topic]:
                board.take(record)
        return board


def play_acts() -> Played:
    """Play both acts anew."""
    lines: list[str] = []
    screen = PlainScreen(Board(), lines.append)
    gate = InProcessGate(screen)
    markets: list[Market] = []

    async def perform() -> None:
        await gate.tell(reference(ACTS, event_time=moment(ACTS[0].first, 0)))
        for act in ACTS:
            market = Market(load(act))
            if markets:
                market.carry(markets[-1])
                market.deposit()
            await play(market, gate)
            markets.append(market)
        screen.say("the end")

    asyncio.run(perform())
    return Played(gate, tuple(markets), tuple(lines))


@cache
def played() -> Played:
    """Return the acts, played once for all tests; none of them may change the log."""
    return play_acts()
