"""The replica: records of the topics in, state out. Worker, audit, what-if and reports fold with this class alone.

It reads nothing, writes nothing and waits for nothing; records come from whoever reads them. Folding a record twice
is harmless: one at or below what is folded changes nothing.
"""

from collections.abc import Iterable
from typing import NamedTuple

from models.canonical import sha256
from models.decisions import RULES, AsOf, RiskDecision, TradingHalt
from models.folds.ledger import Chain
from models.messages import Fill
from models.refusal import Refusal, Refused
from models.state import Shared, State
from streams.codec import Codec, LedgerError, decode_decision, decode_halt, encode_dead_letter
from streams.records import Outgoing, Record, Topic
from streams.signatures import verify


class Folded(NamedTuple):
    """What came of folding a record."""

    account: str | None = None
    """Whose record it was: the account's status may have changed. None where it changed nothing."""
    dead_letters: tuple[Outgoing, ...] = ()
    """What the fold owes."""
    unauthorized: str | None = None
    """Why a command was not obeyed, where it lacks the signature that it needs."""


NOTHING = Folded()


class SharedReplica:
    """The tables every partition sees: the folds of `daily-returns` and `reference`.

    Args:
        codec: Reads the records.
        shared: The tables, folded to where their offsets say.
    """

    def __init__(self, codec: Codec, shared: Shared | None = None) -> None:
        self._codec = codec
        self.shared = Shared() if shared is None else shared

    def folded(self, topic: Topic) -> int:
        """Return the last offset folded of `daily-returns` or `reference`, -1 for none."""
        if topic is Topic.DAILY_RETURNS:
            return self.shared.daily_returns_offset
        assert topic is Topic.REFERENCE
        return self.shared.reference_offset

    def covers(self, as_of: AsOf) -> bool:
        """Tell whether the tables are folded at least as far as a decision or halt knew them."""
        return (
            self.shared.daily_returns_offset >= as_of.daily_returns
            and self.shared.reference_offset >= as_of.reference
        )

    def fold(self, record: Record) -> Folded:
        """Take in one record of `daily-returns` or `reference`."""
        if record.offset <= self.folded(record.topic):
            return NOTHING
        offset, time = record.offset, record.time
        if record.topic is Topic.DAILY_RETURNS:
            refusal = self.shared.fold_return(self._codec.daily_return(record), offset=offset, time=time)
        else:
            refusal = self.shared.fold_reference(
                self._codec.reference(record), offset=offset, time=time, verify=verify
            )
        if refusal is None:
            return NOTHING
        return Folded(None, (encode_dead_letter(record, refusal.why),), _unauthorized([refusal]))


class Replica:
    """One partition: the folds of its inputs and of what was decided on them.

    Args:
        partition: Its number.
        codec: Reads the records.
        state: The state, folded to where its offsets say.
    """

    def __init__(self, partition: int, codec: Codec, state: State) -> None:
        self.partition = partition
        self.state = state
        self._codec = codec
        self.known = AsOf(fills=-1, equity_ticks=-1, daily_returns=-1, reference=-1)
        """The furthest that any decision or halt folded here knew each topic."""

    @property
    def knows(self) -> AsOf:
        """The furthest that any decision or halt knew each topic: those folded, and those taken here until now."""
        return _furthest(self.known, self.state.as_of)

    def folded(self, topic: Topic) -> int:
        """Return the last offset folded of an input topic (decided, of `order-intents`), -1 for none."""
        match topic:
            case Topic.FILLS:
                return self.state.fills_offset
            case Topic.EQUITY_TICKS:
                return self.state.equity_ticks_offset
            case Topic.ORDER_INTENTS:
                return self.state.intents_offset
            case _:
                raise ValueError(topic)

    def fold(self, record: Record) -> Folded:
        """Take in one record of the partition: a fill, an equity tick, a decision or a halt.

        Raises:
            LedgerError: If a decision or a halt does not continue its chain.
        """
        match record.topic:
            case Topic.FILLS:
                return self._fold_fill(record)
            case Topic.EQUITY_TICKS:
                return self._fold_tick(record)
            case Topic.RISK_DECISIONS:
                return self._fold_decision(record)
            case Topic.TRADING_HALTS:
                return self._fold_halt(record)
            case _:
                raise ValueError(record.topic)

    def _fold_fill(self, record: Record) -> Folded:
        if record.offset <= self.state.fills_offset:
            return NOTHING
        message = self._codec.fill(record)
        refusals = self.state.fold_fill(message, offset=record.offset, time=record.time, raw=record.value)
        if not refusals and isinstance(message, Fill):
            return Folded(message.account)  # as nearly always
        letters = tuple(
            encode_dead_letter(record, each.why)
            if each.raw is None
            else encode_dead_letter(record, each.why, offset=each.offset, raw=each.raw)
            for each in refusals
        )
        return Folded(getattr(message, "account", None), letters)

    def _fold_tick(self, record: Record) -> Folded:
        if record.offset <= self.state.equity_ticks_offset:
            return NOTHING
        message = self._codec.equity_tick(record)
        refusals = self.state.fold_tick(message, offset=record.offset, time=record.time, verify=verify)
        letters = tuple(encode_dead_letter(record, each.why) for each in refusals)
        return Folded(getattr(message, "account", None), letters, _unauthorized(refusals))

    def _fold_decision(self, record: Record) -> Folded:
        decision = decode_decision(record)
        self.note(decision.as_of)
        if decision.intent_offset <= self.state.intents_offset:
            return NOTHING
        account = decision.account
        chain = self.state.chain if account is None else self.state.accounts[account].ledger.decisions
        _verify_link(record, decision, chain)
        self.state.fold_decision(decision)
        return Folded(account)

    def _fold_halt(self, record: Record) -> Folded:
        halt = decode_halt(record)
        self.note(halt.as_of)
        chain = self.state.accounts[halt.account].ledger.halts
        if halt.seq <= chain.seq:
            return NOTHING
        _verify_link(record, halt, chain)
        self.state.fold_halt(halt)
        return Folded(halt.account)

    def note(self, as_of: AsOf) -> None:
        """Remember how far a decision, a halt, or those of a checkpoint knew each topic."""
        self.known = _furthest(self.known, as_of)

    def decide(self, record: Record, *, rules: int = RULES) -> RiskDecision:
        """Answer one record of `order-intents` in the present state. Pure; `fold_decision` takes the answer in."""
        return self.state.decide(
            self._codec.order_intent(record),
            offset=record.offset,
            time=record.time,
            raw_digest=lambda: sha256(record.value or b""),
            rules=rules,
        )

    def why_malformed(self, record: Record, decision: RiskDecision) -> str | None:
        """Return in words what was wrong with an intent that was decided MALFORMED; None where nothing was."""
        if decision.account is not None:
            return None
        message = self._codec.order_intent(record)  # read again: this is rare, and decisions carry no words
        return message.why if isinstance(message, Refused) else None

    def evaluate(self, account: str, *, tick: int | None = None, rules: int = RULES) -> TradingHalt | None:
        """Return the halt that the account's status calls for now, if any. Pure; `fold_halt` takes it in.

        Args:
            account: Its name.
            tick: In recovery the offset of the equity tick just folded. What came before the account's last halt was
                seen by whoever published that halt, and is no news.
            rules: The version of the rules to evaluate by.
        """
        if tick is not None and tick <= self.state.accounts[account].ledger.halt_as_of:
            return None
        return self.state.evaluate(account, rules=rules)


def _unauthorized(refusals: Iterable[Refusal]) -> str | None:
    return next((each.why for each in refusals if each.unauthorized), None)


def _furthest(one: AsOf, other: AsOf) -> AsOf:
    return AsOf.model_construct(
        fills=max(one.fills, other.fills),
        equity_ticks=max(one.equity_ticks, other.equity_ticks),
        daily_returns=max(one.daily_returns, other.daily_returns),
        reference=max(one.reference, other.reference),
    )


def _verify_link(record: Record, message: RiskDecision | TradingHalt, chain: Chain) -> None:
    if message.seq != chain.seq + 1 or message.previous_digest != chain.digest:
        raise LedgerError(f"{record.place} does not continue its chain: seq {message.seq} came after {chain.seq}")
