"""A state to ask questions of: messages in, decisions and halts out, without Kafka.

Unless told otherwise: one account `A` with 100,000 of equity, the default limits, symbols marked at 100 with an ATR
of 1, lot 1, sectors distinct, returns unlinked.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import orjson

from models.canonical import DAY_NS, SECOND_NS, canonical_bytes, plain, sha256
from models.decisions import DecisionStatus, RiskDecision, TradingHalt
from models.messages import EQUITY_TICK, REFERENCE, DailyReturn, Fill, OrderIntent
from models.refusal import Refusal, Refused
from models.state import Shared, State

NOON = 20_000 * DAY_NS + DAY_NS // 2
"""Noon UTC of 2024-10-04, where the tests' event time begins."""

NOON_DATE = date(2024, 10, 4)
SESSIONS = 30

Wire = dict[str, Any]
R = TypeVar("R")


def _json(fields: Wire) -> bytes:
    return orjson.dumps({name: str(value) if isinstance(value, Decimal) else value for name, value in fields.items()})


class World:
    """One partition, and the clock that its messages carry."""

    def __init__(self, *, equity: str | None = "100000", limits: Wire | None = None, **mark: Any) -> None:
        self.now = NOON
        self.state = State(Shared())
        self.offsets = {"fills": 0, "equity-ticks": 0, "daily-returns": 0, "reference": 0, "order-intents": 0}
        self.halts: list[TradingHalt] = []
        self.decisions: list[RiskDecision] = []
        self.refusals: list[tuple[str, Refusal]] = []
        self.log: dict[str, list[Callable[[State], object]]] = defaultdict(list)
        """By topic: what folds each record into a state."""
        self._ids = 0
        self.reference(kind="limit_profile", profile_id="default", profile_version=1, **(limits or {}))
        self.reference(kind="account", account="*", profile_id="default", currency="USD")
        self.reference(kind="strategy", strategy="*", account="*", state="ENABLED")
        if equity is not None:
            self.tick(equity=equity, **mark)

    def _next(self, topic: str) -> int:
        offset = self.offsets[topic]
        self.offsets[topic] += 1
        return offset

    def _fold(self, topic: str, fold: Callable[[State], R]) -> R:
        self.log[topic].append(fold)
        return fold(self.state)

    def unique(self, prefix: str) -> str:
        """Return an id that was not used before."""
        self._ids += 1
        return f"{prefix}{self._ids}"

    def wait(self, seconds: float = 1) -> None:
        """Let event time pass."""
        self.now += int(seconds * SECOND_NS)

    # --- what happens

    def reference(self, **fields: Any) -> None:
        """Write a record to `reference`."""
        self.now += 1
        fields = {"event_time": self.now, "actor": "operator", "reason": "test"} | fields
        message, offset, time = REFERENCE.validate_json(_json(fields)), self._next("reference"), self.now
        refusal = self._fold(
            "reference", lambda state: state.shared.fold_reference(message, offset=offset, time=time)
        )
        if refusal is not None:
            self.refusals.append(("reference", refusal))

    def instrument(
        self, symbol: str, sector: str | None = None, *, moves_like: str | None = None, **fields: Any
    ) -> None:
        """Make a symbol known, in a sector of its own and moving on its own unless told otherwise."""
        fields = {"currency": "USD", "sector": sector or f"sector of {symbol}"} | fields
        self.reference(kind="instrument", symbol=symbol, **fields)
        for age in range(SESSIONS):
            session = (NOON_DATE - timedelta(days=age)).isoformat()
            noise = hashlib.sha256(f"{moves_like or symbol} {session}".encode()).digest()[0] - 128
            self.daily_return(symbol, session, plain(Decimal(noise).scaleb(-4)))

    def limits(self, **fields: Any) -> None:
        """Write the next version of the default profile."""
        profile = self.state.shared.reference.profile("A")
        assert profile is not None
        self.reference(
            kind="limit_profile", profile_id="default", profile_version=profile.profile_version + 1, **fields
        )

    def tick(self, equity: str | None = None, *, account: str = "A", kind: str = "mark", **fields: Any) -> None:
        """Write an equity tick; its halt, if it causes one, is recorded."""
        self.wait()
        fields = {"kind": kind, "account": account, "event_time": self.now} | fields
        if equity is not None:
            fields["equity"] = equity
        tick = EQUITY_TICK.validate_json(_json(fields))
        offset, time = self._next("equity-ticks"), max(self.now, tick.event_time)
        refusals = self._fold("equity-ticks", lambda state: state.fold_tick(tick, offset=offset, time=time))
        self.refusals += [("equity-ticks", refusal) for refusal in refusals]
        self.evaluate(account)

    def mark(self, symbol: str, price: str = "100", atr: str | None = "1", **fields: Any) -> None:
        """Mark a symbol at a price, and make it known where it is not."""
        if self.state.shared.reference.instrument(symbol) is None:
            self.instrument(symbol)
        equity = self.state.accounts["A"].drawdown.equity
        marks = {symbol: {"price": price} | ({} if atr is None else {"atr": atr})}
        self.tick(str(equity), marks=marks, **fields)

    def fill(
        self,
        symbol: str,
        side: str = "BUY",
        quantity: str = "1",
        price: str = "100",
        *,
        account: str = "A",
        **fields: Any,
    ) -> tuple[Refusal, ...]:
        """Write an execution report."""
        self.wait()
        fields = {
            "execution_id": fields.pop("execution_id", None) or self.unique("x"),
            "account": account,
            "symbol": symbol,
            "side": side,
            "execution_type": "TRADE",
            "last_quantity": quantity,
            "last_price": price,
            "event_time": self.now,
        } | fields
        raw = _json(fields)
        message, at = Fill.model_validate_json(raw), {"offset": self._next("fills"), "time": self.now}
        refusals = self._fold("fills", lambda state: state.fold_fill(message, raw=raw, **at))
        self.refusals += [("fills", refusal) for refusal in refusals]
        self.evaluate(account)
        return refusals

    def hold(self, symbol: str, quantity: int, *, strategy: str = "momentum") -> None:
        """Hold a signed position, bought or sold at 100 without an order of seawall's and before the last mark."""
        if self.state.shared.reference.instrument(symbol) is None:
            self.instrument(symbol)
        side = "BUY" if quantity > 0 else "SELL"
        self.fill(symbol, side, str(abs(quantity)), strategy=strategy, event_time=self.now - 60 * SECOND_NS)

    def daily_return(self, symbol: str, session: str, simple_return: str, **fields: Any) -> None:
        """Write a daily return."""
        fields = {
            "symbol": symbol,
            "session": session,
            "simple_return": simple_return,
            "event_time": self.now,
        } | fields
        message = DailyReturn.model_validate_json(_json(fields))
        at = {"offset": self._next("daily-returns"), "time": self.now}
        refusal = self._fold("daily-returns", lambda state: state.shared.fold_return(message, **at))
        if refusal is not None:
            self.refusals.append(("daily-returns", refusal))

    def evaluate(self, account: str) -> None:
        """Publish what is owed of the account's status."""
        halt = self.state.evaluate(account)
        if halt is not None:
            self._fold("trading-halts", lambda state: state.fold_halt(halt))
            self.halts.append(halt)

    # --- what is asked

    def intent(self, symbol: str = "S", side: str = "BUY", quantity: str | None = None, **fields: Any) -> OrderIntent:
        """Return a LIMIT intent at 100 of account A's strategy."""
        fields = {
            "intent_id": fields.pop("intent_id", None) or self.unique("i"),
            "account": "A",
            "strategy": "momentum",
            "symbol": symbol,
            "side": side,
            "quantity": quantity,
            "order_type": "LIMIT",
            "limit_price": "100" if fields.get("order_type", "LIMIT") == "LIMIT" else None,
            "event_time": self.now,
        } | fields
        return OrderIntent.model_validate_json(_json(fields))

    def submit(
        self, symbol: str = "S", side: str = "BUY", quantity: str | None = None, **fields: Any
    ) -> RiskDecision:
        """Decide an intent and fold the decision, as the worker does."""
        time = fields.pop("record_time", None)
        self.wait()
        return self.decide(self.intent(symbol, side, quantity, **fields), time=time)

    def decide(self, intent: OrderIntent | Refused, *, time: int | None = None, raw: bytes = b"") -> RiskDecision:
        """Decide and fold."""
        decision = self.state.decide(
            intent,
            offset=self._next("order-intents"),
            time=self.now if time is None else time,
            raw_digest=lambda: sha256(raw),
        )
        # What is folded is what was written: through bytes and back.
        written = canonical_bytes(decision)
        read = RiskDecision.model_validate_json(written)
        assert canonical_bytes(read) == written
        self._fold("risk-decisions", lambda state: state.fold_decision(read))
        self.decisions.append(read)
        if read.account is not None:
            self.evaluate(read.account)
        return read


def numbers(decision: RiskDecision) -> list[int]:
    """Return the reasons by their numbers."""
    return [reason.number for reason in decision.reasons]


def approved(decision: RiskDecision) -> Decimal | None:
    """Return the approved quantity; None on rejection."""
    return decision.quantity if decision.status is DecisionStatus.APPROVED else None
