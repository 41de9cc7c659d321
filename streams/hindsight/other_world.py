"""The world that would have been: the same records under other limits, with what follows from other answers.

Its rules (docs/what-if.md says them to users; the numbers are the same):

1. **Limits.** The named limits replace those of every profile; the rest stays as each account had it.
2. **Intents** are decided anew. One that was approved in history as a strict reduction is an exit: it asks for what
   it asked for, at most what is held; one that closed all that could be closed closes all; where nothing is left to
   close it is moot. What was sent is otherwise the same, whatever the account came to hold.
3. **Fills** of an approval follow its new answer: none where it is rejected; where the quantity is another one they
   are scaled with it, cumulatively and in whole lots, or, by the rule `drop`, vanish, unless the intent is an exit.
   Approvals that history does not have get no fills. Fills of no approval stay. What only reduced a position in
   history reduces one here, at most to zero.
4. **Equity** is history's, less what the differing executions up to the tick's `fills_through` cost, plus what the
   differing units are worth at the last prices. Cash and buying power move by the cash alone. Deposits stay.
"""

from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

import orjson
from pydantic import ValidationError

from models.canonical import canonical_bytes, ratio
from models.decisions import DecisionStatus, RiskDecision
from models.folds.book import KEPT, ZERO
from models.folds.reference import Reference
from models.limits import Limits
from models.messages import (
    AccountTick,
    EquityMark,
    ExecutionType,
    Fill,
    Instrument,
    LimitProfile,
    OrderIntent,
    SessionOpen,
    Side,
)
from models.request import Request
from models.state import Shared, State
from streams.access import GateError
from streams.codec import violations
from streams.hindsight.tally import Change, Difference

FEE_PLACES: Final = 12


class WhatIfError(GateError):
    """The question cannot be answered."""


class OtherLimits(NamedTuple):
    """What is different."""

    limits: dict[str, object]
    """The limits that are named, by name."""
    instruments: dict[str, Instrument]
    """Records of symbols that replace history's."""

    @classmethod
    def of(cls, limits: Limits, instruments: tuple[Instrument, ...] = (), *, whole: bool = False) -> "OtherLimits":
        """Return the limits that were said, or all of them where the rest is to be at its default."""
        names = Limits.model_fields if whole else limits.model_fields_set
        named = {name: getattr(limits, name) for name in Limits.model_fields if name in names}
        return cls(named, {each.symbol: each for each in instruments})


class OtherReference(Reference):
    """The fold of `reference`, with other limits for accounts that are in the other world by now."""

    def __init__(self, other: OtherLimits) -> None:
        super().__init__()
        self.apart: set[str] = set()
        """Accounts under the other limits."""
        self._other = other
        self._made: dict[str, tuple[LimitProfile, LimitProfile]] = {}

    def profile(self, account: str) -> LimitProfile | None:
        """Return the limits of an account."""
        held = super().profile(account)
        if held is None or account not in self.apart:
            return held
        known = self._made.get(held.profile_id)
        if known is None or known[0] is not held:
            known = self._made[held.profile_id] = (held, self._changed(held))
        return known[1]

    def _changed(self, held: LimitProfile) -> LimitProfile:
        fields = {**orjson.loads(canonical_bytes(held)), **orjson.loads(canonical_bytes(self._other.limits))}
        try:
            return LimitProfile.model_validate_json(orjson.dumps(fields))
        except ValidationError as error:
            said = "; ".join(text for _, text in violations(error))
            raise WhatIfError(f"with the other limits profile {held.limits_version} is none: {said}") from None

    def instrument(self, symbol: str) -> Instrument | None:
        """Return the record of a symbol."""
        return self._other.instruments.get(symbol) or super().instrument(symbol)


@dataclass
class Placed:
    """An order that history approved, and what became of it in the other world."""

    symbol: str
    side: Side
    was: Decimal
    """Approved units in history, positive."""
    would: Decimal
    """Approved units in the other world."""
    closes: bool
    """An exit: its fills follow it under either rule."""
    forgotten_at: int
    filled_was: Decimal = ZERO
    filled_would: Decimal = ZERO

    def scaled(self, quantity: Decimal, lot: Decimal) -> Decimal:
        """Return what an execution of `quantity` comes to.

        Cumulative: the first executions are floored to whole lots, the one that fills the order completes it.
        """
        self.filled_was += quantity
        over = max(ZERO, self.filled_was - self.was)
        total = self._share(min(self.filled_was, self.was), lot) + self._share(over, lot)
        made = max(ZERO, total - self.filled_would)
        self.filled_would += made
        return made

    def _share(self, quantity: Decimal, lot: Decimal) -> Decimal:
        if self.was == self.would:
            return quantity
        return self.would if quantity == self.was else proportion(quantity, self.would, self.was, lot)


def proportion(quantity: Decimal, would: Decimal, was: Decimal, lot: Decimal) -> Decimal:
    """Return quantity * would / was, floored to whole lots; exact, since it is never divided otherwise."""
    return quantity * would // (was * lot) * lot


class Booked(NamedTuple):
    """One execution as it is in both worlds. Units are signed."""

    event_time: int
    symbol: str
    was: Decimal
    would: Decimal
    price: Decimal
    fee_was: Decimal
    fee_would: Decimal


class OtherWorld:
    """One partition of the other world, beside the history that it follows.

    Args:
        history: What happened; it is always folded first.
        other: What is different.
        drop: Whether fills of an approval of another quantity vanish; else they are scaled.
    """

    def __init__(self, history: State, other: OtherLimits, *, drop: bool) -> None:
        self.history = history
        self.reference = OtherReference(other)
        self.state = State(Shared(history.shared.returns, self.reference))
        self.differences: defaultdict[str, Difference] = defaultdict(Difference)
        self._drop = drop
        self._orders: defaultdict[str, OrderedDict[str, Placed]] = defaultdict(OrderedDict)
        self._booked: defaultdict[str, OrderedDict[tuple[str, str], Booked]] = defaultdict(OrderedDict)
        self._roots: defaultdict[str, dict[tuple[str, str], tuple[str, str]]] = defaultdict(dict)
        """Of a correction the execution that it corrects in the end."""
        self._held: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        """History's positions before the fill that is folded."""

    def multiplier(self, symbol: str) -> Decimal:
        """Return a symbol's multiplier, which is history's in both worlds."""
        instrument = self.history.shared.reference.instrument(symbol)
        return Decimal(1) if instrument is None else instrument.multiplier

    # --- intents

    def answer(self, intent: OrderIntent, recorded: RiskDecision, time: int) -> tuple[RiskDecision, bool]:
        """Decide an intent and fold the answer.

        Args:
            intent: What was sent.
            recorded: What was answered; history has not folded it yet.
            time: The intent's record's own.

        Returns:
            The answer, and whether the intent is moot: an exit with nothing left to close.
        """
        exits = recorded.status is DecisionStatus.APPROVED and not recorded.opening_quantity and recorded.quantity > 0
        asked, moot = self._exit(intent, recorded) if exits else (intent, False)
        answer = self.state.decide(
            asked, offset=recorded.intent_offset, time=time, raw_digest=lambda: "", rules=recorded.rules
        )
        # A repeat is one of what was sent, whatever was asked of it here.
        answer = answer.model_copy(update={"intent_digest": recorded.intent_digest})
        self.state.fold_decision(answer)
        self._place(recorded, answer.quantity, closes=exits)
        return answer, moot

    def _exit(self, intent: OrderIntent, recorded: RiskDecision) -> tuple[OrderIntent, bool]:
        """Return what an exit asks for (rule 2), and whether it is moot."""
        left = self._reducible(self.state, intent, recorded)
        if not left:
            # It must not open a position on the other side; its id is taken all the same.
            return intent.model_copy(update={"reduce_only": True, "quantity": recorded.quantity}), True
        if intent.quantity is None:
            return intent, False
        closes_all = intent.quantity == self._reducible(self.history, intent, recorded)
        return intent.model_copy(update={"quantity": left if closes_all else min(intent.quantity, left)}), False

    def _reducible(self, state: State, intent: OrderIntent, recorded: RiskDecision) -> Decimal:
        return Request(intent, state.portfolio(intent.account, recorded.clock), rules=recorded.rules).reducible

    def _place(self, recorded: RiskDecision, would: Decimal, *, closes: bool) -> None:
        account, kept = recorded.account, recorded.reservation
        if kept is None or account is None:
            return
        assert recorded.intent_id is not None  # only MALFORMED has no order
        assert recorded.symbol is not None
        assert recorded.side is not None
        orders = self._orders[account]
        while orders and next(iter(orders.values())).forgotten_at < recorded.clock:
            orders.popitem(last=False)
        orders[recorded.intent_id] = Placed(
            recorded.symbol, recorded.side, recorded.quantity, would, closes, kept.expires_at + KEPT
        )

    def follow(self, recorded: RiskDecision) -> None:
        """Fold an answer as it was given: of an account that is not apart."""
        self.state.fold_decision(recorded)

    # --- fills

    def fill(self, fill: Fill, *, offset: int, time: int, raw: bytes | None) -> None:
        """Fold what an execution report comes to here; history has folded it already."""
        key = (fill.account, fill.symbol)
        before, after = self._held[key], self.history.accounts[fill.account].book.position(fill.symbol)
        self._held[key] = after
        changed = self._changed(fill, before, after)
        if changed is not None:
            self.state.fold_fill(changed, offset=offset, time=time, raw=raw)

    def _changed(self, fill: Fill, before: Decimal, after: Decimal) -> Fill | None:
        """Return the report as it would have been; None where there would have been none."""
        match fill.execution_type:
            case ExecutionType.TRADE:
                return self._traded(fill, before, after)
            case ExecutionType.REPLACED:
                return self._replaced(fill)
            case ExecutionType.CORRECTED:
                return self._corrected(fill)
            case ExecutionType.BUSTED:
                self._unbook(fill)
                return fill
            case _:
                return fill

    def _traded(self, fill: Fill, before: Decimal, after: Decimal) -> Fill | None:
        if before == after:
            return None  # a repeat, or busted before it came
        assert fill.last_quantity is not None
        assert fill.last_price is not None
        held = self.state.accounts[fill.account].book.position(fill.symbol)
        order = self._order(fill)
        if order is None:
            would = fill.last_quantity
        elif self._drop and order.was != order.would and not order.closes:
            would = ZERO
        else:
            would = order.scaled(fill.last_quantity, self._lot(fill.symbol))
        sign = 1 if fill.side is Side.BUY else -1
        if before * sign < 0 and fill.last_quantity <= abs(before):  # it only reduced
            here = abs(held) if held * sign < 0 else ZERO
            would = here if order is None and not after else min(would, here)
        fee = fill.fee or ZERO
        scaled_fee = (
            fee if would == fill.last_quantity else ratio(fee * would, fill.last_quantity, FEE_PLACES) or ZERO
        )
        booked = Booked(
            fill.event_time,
            fill.symbol,
            sign * fill.last_quantity,
            sign * would,
            fill.last_price,
            fee,
            scaled_fee,
        )
        self._book(fill.account, (fill.venue or "", fill.execution_id), booked)
        if not would:
            return None
        fee_said = None if fill.fee is None else scaled_fee
        return fill.model_copy(update={"last_quantity": would, "fee": fee_said})

    def _order(self, fill: Fill) -> Placed | None:
        order = self._orders[fill.account].get(fill.intent_id or "")
        return order if order is not None and (order.symbol, order.side) == (fill.symbol, fill.side) else None

    def _lot(self, symbol: str) -> Decimal:
        instrument = self.reference.instrument(symbol)
        return Decimal(1) if instrument is None else instrument.lot

    def _replaced(self, fill: Fill) -> Fill | None:
        order = self._order(fill)
        if order is None or order.was == order.would:
            return fill
        assert fill.order_quantity is not None
        total = proportion(fill.order_quantity, order.would, order.was, self._lot(fill.symbol))
        return fill.model_copy(update={"order_quantity": total}) if total else None

    def _corrected(self, fill: Fill) -> Fill | None:
        """A corrected execution keeps the proportion that it had."""
        known = self._unbook(fill)
        if known is None:
            return fill
        assert fill.last_quantity is not None
        assert fill.last_price is not None
        self._roots[fill.account][fill.venue or "", fill.execution_id] = self._root(fill)
        sign = 1 if fill.side is Side.BUY else -1
        would = fill.last_quantity
        if known.was != known.would:
            would = proportion(would, abs(known.would), abs(known.was), self._lot(fill.symbol))
        fee = fill.fee or ZERO
        fee_would = ratio(fee * would, fill.last_quantity, FEE_PLACES) or ZERO
        self._book(
            fill.account,
            self._root(fill),
            known._replace(
                symbol=fill.symbol,
                was=sign * fill.last_quantity,
                would=sign * would,
                price=fill.last_price,
                fee_was=fee,
                fee_would=fee_would,
            ),
        )
        return fill.model_copy(update={"last_quantity": would}) if would else None

    # --- what the executions that differ come to

    def _book(self, account: str, key: tuple[str, str], booked: Booked) -> None:
        executions = self._booked[account]
        clock = self.history.accounts[account].book.clock
        while executions and next(iter(executions.values())).event_time < clock - KEPT:
            executions.popitem(last=False)
        executions[key] = booked
        self.differences[account].prices[booked.symbol] = booked.price
        self._execute(account, booked, 1)

    def _root(self, fill: Fill) -> tuple[str, str]:
        """Return the execution that a report supersedes, corrections followed to the first."""
        key = (fill.venue or "", fill.execution_reference_id or "")
        return self._roots[fill.account].get(key, key)

    def _unbook(self, fill: Fill) -> Booked | None:
        """Take back what a report supersedes; None where that is not known."""
        known = self._booked[fill.account].pop(self._root(fill), None)
        if known is not None:
            self._execute(fill.account, known, -1)
        return known

    def _execute(self, account: str, booked: Booked, sign: int) -> None:
        units = booked.would - booked.was
        cash = -units * booked.price * self.multiplier(booked.symbol) - (booked.fee_would - booked.fee_was)
        self.differences[account].execute(Change(booked.event_time, booked.symbol, sign * units, sign * cash))

    # --- equity

    def tick(self, tick: AccountTick, *, offset: int, time: int) -> None:
        """Fold an equity tick, its values as they would have been (rule 4)."""
        if isinstance(tick, EquityMark | SessionOpen):
            tick = self._valued(tick)
        self.state.fold_tick(tick, offset=offset, time=time)

    def _valued(self, tick: EquityMark | SessionOpen) -> EquityMark | SessionOpen:
        difference = self.differences[tick.account]
        difference.prices.update((symbol, mark.price) for symbol, mark in tick.marks.items())
        cash = difference.cash_through(tick.fills_through)
        value = difference.value((symbol, self.multiplier(symbol)) for symbol in difference.symbols)
        if not cash and not value:
            return tick
        changes: dict[str, Decimal] = {"equity": tick.equity + cash + value}
        if tick.cash is not None:
            changes["cash"] = tick.cash + cash
        if tick.buying_power is not None:
            changes["buying_power"] = max(ZERO, tick.buying_power + cash)
        return tick.model_copy(update=changes)
