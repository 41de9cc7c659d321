"""The demo's two acts, played once through the gate in this process; tests of what follows from them share it."""

import asyncio
from functools import cache
from typing import NamedTuple

from streams.demo.cast import reference
from streams.demo.market import Market, moment
from streams.demo.play import play
from streams.demo.tape import ACTS, load
from tests.streams.in_process_gate import InProcessGate


class Played(NamedTuple):
    """The gate with its log, and both markets as they ended."""

    gate: InProcessGate
    markets: tuple[Market, ...]


def play_acts() -> Played:
    """Play both acts anew."""
    gate = InProcessGate()
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

    asyncio.run(perform())
    return Played(gate, tuple(markets))


@cache
def played() -> Played:
    """Return the acts, played once for all tests; none of them may change the log."""
    return play_acts()
