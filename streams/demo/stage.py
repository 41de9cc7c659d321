"""The stage on which the demo is played: a real gate behind a real broker."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from models.canonical import canonical_bytes
from models.decisions import RiskDecision, TradingHalt
from models.messages import OrderIntent
from streams.client import RiskGateClient
from streams.demo.board import Board
from streams.demo.market import Market
from streams.demo.script import Raw
from streams.publisher import Message, delivery, destination

SESSION_SECONDS: Final = 1.05
"""How long a session lasts on the wall, if the machine keeps up."""
FOLDING_SECONDS: Final = 0.06
"""How long the worker is given to fold what was published. It is no guarantee and need not be one: a decision taken
too early is a decision on older inputs, and says so."""
ORDERS_SHARE: Final = 0.6
"""Part of a session's time over which its orders are spread."""


class Screen(Protocol):
    """What tells the audience."""

    def raise_curtain(self, market: Market) -> None:
        """Announce an act."""
        ...

    def turn_to(self, session: int) -> None:
        """Announce a session."""
        ...

    def announce(self, text: str) -> None:
        """Announce a cue."""
        ...


class LiveStage:
    """Sends through the client, and takes the halts from what the audience saw.

    Args:
        gate: Connected.
        board: What was read from the topics.
        speed: 2 plays twice as fast; the machine sets the bound.
    """

    def __init__(self, gate: RiskGateClient, board: Board, *, speed: float = 1.0) -> None:
        self.latencies: list[float] = []
        """Seconds from handing an order over to having its decision, of each order."""
        self.screen: Screen | None = None
        """Where things are announced."""
        self._gate = gate
        self._board = board
        self._speed = speed
        self._next_session = 0.0

    @property
    def halts(self) -> Mapping[str, TradingHalt]:
        """The newest halt event of each account that has one."""
        return self._board.halts

    async def ask(self, orders: Sequence[OrderIntent | Raw]) -> list[RiskDecision]:
        """Send orders one after the other, many in flight, and return the decision on each, in the same order."""
        pause = ORDERS_SHARE * SESSION_SECONDS / self._speed / max(1, len(orders))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = []
                for order in orders:
                    tasks.append(group.create_task(self._ask(order)))
                    await asyncio.sleep(pause)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _ask(self, order: OrderIntent | Raw) -> RiskDecision:
        started = time.perf_counter()
        if isinstance(order, Raw):
            decision = await self._gate.submit_raw(order.key, order.value)
        else:
            decision = await self._gate.submit(order)
        self.latencies.append(time.perf_counter() - started)
        return decision

    async def tell(self, records: Sequence[Message | Raw]) -> None:
        """Publish records, and leave the worker time to fold them."""
        publisher = self._gate.publisher
        waiting = []
        for record in records:
            topic, key, value = record if isinstance(record, Raw) else (*destination(record), canonical_bytes(record))
            waiting.append((topic, await publisher.begin(topic, key, value)))
        for topic, sent in waiting:
            await delivery(topic, sent)
        await asyncio.sleep(FOLDING_SECONDS)

    def raise_curtain(self, market: Market) -> None:
        """Announce an act."""
        if self.screen is not None:
            self.screen.raise_curtain(market)

    async def turn_to(self, session: int) -> None:
        """Announce a session, when the one before has had its time."""
        wait = self._next_session - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        self._next_session = time.monotonic() + SESSION_SECONDS / self._speed
        if self.screen is not None:
            self.screen.turn_to(session)

    def announce(self, text: str) -> None:
        """Announce a cue."""
        if self.screen is not None:
            self.screen.announce(text)
