"""Halts that recovery published: later limits, applied to ticks that decisions have passed by."""

from contextlib import AsyncExitStack, suppress
from typing import Final

import orjson

from models.decisions import TradingHalt
from models.messages import OperatorKeys
from models.state import Shared, State
from streams.codec import Codec, LedgerError, decode_decision, decode_halt
from streams.records import SHARED_INPUTS, Record, Topic
from streams.replay import INPUTS, Cursor, Source, replicas

OPERATOR_KEYS: Final[str] = OperatorKeys.model_fields["kind"].default


async def evaluate_apart(
    partition: int, codec: Codec, source: Source, record: Record, halt: TradingHalt
) -> TradingHalt | None:
    """Return the halt that comes out of a state built for it alone, None where the status had not changed.

    Of the partition's topics only the account's own records are folded, and operator keys, because no other account's
    can matter to it. The others are read past, which is quick: there are such halts only where a worker took over.
    """
    own = _Own(partition, codec, halt.account)
    async with AsyncExitStack() as stack:

        def cursor(topic: Topic) -> Cursor:
            opened = Cursor(source.records(topic))
            stack.push_async_callback(opened.close)
            return opened

        decisions = cursor(Topic.RISK_DECISIONS)
        while own.decided < halt.decision_seq and (found := await decisions.take()) is not None:
            own.take_in(found)
        halts = cursor(Topic.TRADING_HALTS)
        while records := await halts.through(record.offset - 1):
            for each in records:
                own.take_in(each)
        for topic, field in INPUTS.items():
            inputs = cursor(topic)
            while records := await inputs.through(getattr(halt.as_of, field)):
                for each in records:
                    own.fold(each)
        return own.replica.evaluate(halt.account, rules=halt.rules)


class _Own:
    """The state of a partition in which only one account has any."""

    def __init__(self, partition: int, codec: Codec, account: str) -> None:
        self.state = State(Shared())
        self.shared, self.replica = replicas(partition, codec, self.state)
        self._account = account
        self._key = account.encode()

    @property
    def decided(self) -> int:
        """The sequence number of the account's last decision."""
        return self.state.accounts[self._account].ledger.decisions.seq

    def take_in(self, record: Record) -> None:
        """Take in a decision or a halt. What is none is named where the partition's are gone through."""
        if record.key != self._key:
            return
        with suppress(LedgerError):
            if record.topic is Topic.RISK_DECISIONS:
                self.state.fold_decision(decode_decision(record))
            else:
                self.state.fold_halt(decode_halt(record))

    def fold(self, record: Record) -> None:
        """Take in a record of an input topic."""
        if record.topic in SHARED_INPUTS:
            self.shared.fold(record)
        elif record.key == self._key or _is_everybodys(record):
            self.replica.fold(record)
        elif record.topic is Topic.FILLS:
            self.state.fills_offset = record.offset
        else:
            self.state.equity_ticks_offset = record.offset


def _is_everybodys(record: Record) -> bool:
    """Tell whether a record belongs to the partition instead of an account: operator keys, under any key."""
    if record.topic is not Topic.EQUITY_TICKS:
        return False
    try:
        fields = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return False
    return isinstance(fields, dict) and fields.get("kind") == OPERATOR_KEYS
