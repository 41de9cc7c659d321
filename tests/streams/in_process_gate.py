"""The gate without a broker: the worker's replica and what it owes, one partition in this process, as a `Stage`."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence

from models.canonical import canonical_bytes
from models.decisions import RiskDecision, TradingHalt
from models.messages import OrderIntent
from models.state import State
from streams.codec import Codec, encode_decision, encode_halt
from streams.demo.market import Market
from streams.demo.screen import PlainScreen
from streams.demo.script import Raw
from streams.publisher import Message, destination
from streams.records import SHARED_INPUTS, Outgoing, Record, Topic
from streams.replica import Folded, Replica, SharedReplica

NOW = 1_790_000_000_000_000_000
"""Every record's time: long after the sessions that are played."""


class InProcessGate:
    """Decides like a worker that owns the one partition there is, and keeps every topic as a list.

    Args:
        screen: Shown what the audience of a real gate would see.
    """

    def __init__(self, screen: PlainScreen | None = None) -> None:
        self.screen = screen
        self.codec = Codec(1)
        self.shared = SharedReplica(self.codec)
        self.replica = Replica(0, self.codec, State(self.shared.shared))
        self.log: defaultdict[Topic, list[Record]] = defaultdict(list)
        self.halts: dict[str, TradingHalt] = {}
        self.all_halts: list[TradingHalt] = []
        self.decisions: list[RiskDecision] = []

    def append(self, topic: Topic, key: bytes | None, value: bytes | None) -> Record:
        """Write one record, as a broker would."""
        offset = self.log[topic][-1].offset + 1 if self.log[topic] else 0
        record = Record(topic, 0, offset, NOW, key, value)
        self.log[topic].append(record)
        return record

    def _sent(self, what: Message | Raw) -> Record:
        if isinstance(what, Raw):
            return self.append(*what)
        topic, key = destination(what)
        return self.append(topic, key, canonical_bytes(what))

    async def ask(self, orders: Sequence[OrderIntent | Raw]) -> list[RiskDecision]:
        return [self.decide(self._sent(order)) for order in orders]

    def decide(self, record: Record) -> RiskDecision:
        """Decide one record of order-intents."""
        decision = self.replica.decide(record)
        self.replica.state.fold_decision(decision)
        self._publish(encode_decision(decision))
        self.decisions.append(decision)
        self._show(decision)
        if decision.account is not None:
            self._evaluate(decision.account)
        return decision

    async def tell(self, records: Sequence[Message | Raw]) -> None:
        for what in records:
            self.fold(self._sent(what))

    def fold(self, record: Record) -> None:
        """Fold one record of an input topic."""
        folded: Folded = (self.shared if record.topic in SHARED_INPUTS else self.replica).fold(record)
        for letter in folded.dead_letters:
            self._publish(letter)
        if folded.account is not None:
            self._evaluate(folded.account)

    def _evaluate(self, account: str) -> None:
        halt = self.replica.evaluate(account)
        if halt is not None:
            self.replica.state.fold_halt(halt)
            self._publish(encode_halt(halt))
            self.halts[account] = halt
            self.all_halts.append(halt)
            self._show(halt)

    def _show(self, message: RiskDecision | TradingHalt) -> None:
        if self.screen is not None:
            self.screen.show(message)

    def _publish(self, outgoing: Outgoing) -> None:
        self.append(outgoing.topic, outgoing.key, outgoing.value)

    def records(self, topic: Topic, start: int = 0) -> AsyncGenerator[list[Record]]:
        """Be the source of an audit."""

        async def batches() -> AsyncGenerator[list[Record]]:
            if self.log[topic][start:]:
                yield self.log[topic][start:]

        return batches()

    def raise_curtain(self, market: Market) -> None:
        if self.screen is not None:
            self.screen.raise_curtain(market)

    async def turn_to(self, session: int) -> None:
        if self.screen is not None:
            self.screen.turn_to(session)

    def announce(self, text: str) -> None:
        if self.screen is not None:
            self.screen.announce(text)
