"""Decisions and halts as docs/risk.md has them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from tests.oracle.book import ZERO, Book
from tests.oracle.checks import Check, Checks, Size
from tests.oracle.equity import status_of, walk
from tests.oracle.history import (
    FUTURE,
    SECOND,
    Account,
    Answer,
    History,
    Order,
    Wire,
    completed,
    digest_of,
    floor_to,
    optional,
)
from tests.oracle.question import Question
from tests.oracle.rulebook import Rulebook

HOUR = 3_600 * SECOND
CAUSES = ("DAILY_LOSS", "DRAWDOWN_HIGH_WATER", "DRAWDOWN_SESSION", "OPERATOR")
OPEN_ORDERS_SHOWN = 50


@dataclass
class Verdict:
    """What becomes of a request at its final size."""

    size: Size | None
    checks: list[Check]
    flags: set[str]
    reasons: list[int]


class Oracle:
    """Keeps the history and answers from it."""

    def __init__(self) -> None:
        self.history = History()

    # --- decisions

    def decide(self, body: Wire, time: int) -> Wire:
        """Answer one intent, and remember the answer."""
        intent = completed(body)
        account = self.history.account(intent["account"])
        previous = account.clock
        future = intent["event_time"] > time + FUTURE
        clock = previous if future else max(previous, intent["event_time"])
        digest = digest_of(body)
        first = self._first(account, intent["intent_id"])
        early = []
        if first is not None:
            early.append(3 if first.digest == digest else 2)
        if future:
            early.append(4)
        if intent["expires_at"] <= clock or clock - intent["event_time"] > HOUR:
            early.append(5)
        account.seq += 1
        answer: Wire = {
            "seq": account.seq,
            "intent_digest": digest,
            "clock": clock,
            "as_of": dict(self.history.as_of),
            "limits_version": self._version(intent["account"]),
            "original_seq": first.seq if first else None,
            "original_status": first.status if first else None,
            "original_quantity": first.quantity if first else None,
        }
        if early:
            answer |= self._refused(early)
        else:
            answer |= self._judge(intent, clock)
        if not future:
            account.intents.append(intent["event_time"])
        account.decision_clock = max(account.decision_clock, clock)
        if not early:
            self._remember(account, intent, answer)
        return answer

    def _version(self, name: str) -> str | None:
        limits = self.history.remembered(Rulebook, self.history.reference).limits(name)
        return None if limits is None else f"{limits['profile_id']}@{limits['profile_version']}"

    @staticmethod
    def _first(account: Account, intent_id: str) -> Answer | None:
        named = [a for a in account.answers if a.intent_id == intent_id and account.decision_clock < a.until]
        return named[0] if named else None

    @staticmethod
    def _refused(reasons: list[int]) -> Wire:
        return {
            "status": "REJECTED",
            "quantity": ZERO,
            "reducing_quantity": None,
            "opening_quantity": None,
            "max_quantity": ZERO,
            "binding": reasons[0],
            "reasons": reasons,
            "warnings": set(),
            "missing": set(),
            "aged": False,
            "enlarged": False,
            "checks": {number: Check(number, "FAIL") for number in reasons},
            "reservation": None,
            "throttle": None,
        }

    def _judge(self, intent: Wire, clock: int) -> Wire:
        q = Question(self.history, intent, clock)
        capacity = q.capacity
        requested, closes = self._requested(q, capacity)
        verdict = self._verdict(q, requested, closes=closes)
        bound, binding = self._bound(q, verdict)
        stopped = 6 in verdict.reasons
        largest = ZERO if stopped else capacity + bound
        if verdict.reasons and requested is not None and (intent["allow_resize"] or intent.get("quantity") is None):
            smaller = self._smaller(q, requested, largest, capacity)
            if smaller is not None:
                second = self._verdict(q, smaller, closes=False)
                if not second.reasons:
                    verdict = second
                    verdict.flags.add("RESIZED")
        approved = not verdict.reasons
        size = verdict.size
        self._warn(q, verdict)
        taken = self._throttle(q, verdict)
        quantity = size.quantity if approved and size is not None else ZERO
        return {
            "status": "APPROVED" if approved else "REJECTED",
            "quantity": quantity,
            "reducing_quantity": None if size is None else size.reducing,
            "opening_quantity": None if size is None else size.opening,
            "max_quantity": largest,
            "binding": binding,
            "reasons": verdict.reasons,
            "warnings": verdict.flags | {c.number for c in verdict.checks if c.outcome == "WARN"},
            "checks": {
                c.number: c for c in verdict.checks if c.outcome not in ("PASS", "SKIPPED") or c.number == binding
            },
            "reservation": self._reservation(q, quantity) if approved else None,
            "throttle": taken,
            "price": q.price.value,
            # What tells one kind of disagreement from another.
            "missing": {c.number for c in verdict.checks if c.outcome in ("FAIL", "EXEMPT")},
            "aged": q.book.aged(),
            "enlarged": q.book.enlarged(q.symbol),
        }

    @staticmethod
    def _split(quantity: Fraction, capacity: Fraction) -> Size:
        reducing = min(quantity, capacity)
        return Size(reducing, quantity - reducing)

    def _requested(self, q: Question, capacity: Fraction) -> tuple[Size | None, bool]:
        """Return the size asked for, and whether it is to close what nothing is left of."""
        given = optional(q.intent.get("quantity"))
        if given is not None:
            return self._split(given, capacity), False
        sign = 1 if q.side == "BUY" else -1
        if q.position * sign < 0:
            return Size(capacity, ZERO), capacity == 0
        sized = q.sized()
        return (None if sized is None or q.price.value is None else Size(ZERO, sized)), False

    @staticmethod
    def _verdict(q: Question, size: Size | None, *, closes: bool) -> Verdict:
        checks = Checks(q, size, absent_close=closes)
        results = checks.run()
        return Verdict(size, results, checks.flags, [c.number for c in results if c.outcome == "FAIL"])

    @staticmethod
    def _bound(q: Question, verdict: Verdict) -> tuple[Fraction, int | None]:
        """Return o_max and the check that sets it."""
        bounded = [c for c in verdict.checks if c.bound is not None]
        if not bounded:
            return ZERO, None
        least = min(bounded, key=lambda c: (c.bound, c.number))
        assert least.bound is not None
        return floor_to(least.bound, q.lot), least.number

    def _smaller(self, q: Question, asked: Size, largest: Fraction, capacity: Fraction) -> Size | None:
        quantity = min(asked.quantity, largest)
        size = self._split(quantity, capacity)
        size = Size(size.reducing, floor_to(size.opening, q.lot))
        return size if size.quantity > 0 else None

    @staticmethod
    def _warn(q: Question, verdict: Verdict) -> None:
        if q.probation:
            verdict.flags.add("STRATEGY_PROBATION")
        if q.book.overfilled(q.symbol):
            verdict.flags.add("OVERFILL")
        if any(e.symbol == q.symbol and q.book.young(e) for e in q.orphans()):
            verdict.flags.add("ORPHAN_FILL")

    @staticmethod
    def _throttle(q: Question, verdict: Verdict) -> Wire | None:
        strict = verdict.size is not None and verdict.size.strict
        throttled = {29, 30} & set(verdict.reasons)
        if q.limits is None or strict or throttled:
            return None
        after = {}
        for name, key in (("account", None), ("strategy", q.strategy)):
            tat = max(q.clock, q.account.buckets.get(key, 0)) + SECOND // q.limits[f"{name}_rate"]
            q.account.buckets[key] = after[name] = tat
        return after

    @staticmethod
    def _reservation(q: Question, quantity: Fraction) -> Wire:
        return {
            "quantity": quantity,
            "price": q.price.value,
            "expires_at": q.intent["expires_at"],
            "replaces": None if q.target is None else q.target.intent_id,
        }

    def _remember(self, account: Account, intent: Wire, answer: Wire) -> None:
        until = intent["event_time"] + HOUR
        reserved = answer["reservation"]
        if reserved is not None:
            until = max(until, intent["expires_at"] + 60 * SECOND)
            account.orders.append(
                Order(
                    intent["intent_id"],
                    answer["seq"],
                    intent["strategy"],
                    intent["symbol"],
                    intent["side"],
                    optional(intent["limit_price"]),
                    intent["order_type"] == "MARKET",
                    answer["quantity"],
                    answer["opening_quantity"],
                    reserved["price"],
                    intent["expires_at"],
                    answer["clock"],
                    answer["as_of"]["fills"],
                    reserved["replaces"],
                )
            )
        account.answers.append(
            Answer(
                intent["intent_id"],
                answer["intent_digest"],
                answer["seq"],
                answer["status"],
                answer["quantity"],
                until,
            )
        )

    # --- halts

    def evaluate(self, name: str) -> Wire | None:
        """Return the halt that is owed, and remember it."""
        account = self.history.account(name)
        limits = self.history.remembered(Rulebook, self.history.reference).limits(name)
        if limits is None:
            return None
        equity = self.history.remembered(walk, account.ticks)
        status = status_of(equity, limits)
        last = account.halts[-1] if account.halts else {"status": "NORMAL", "causes": ()}
        causes = tuple(c for c in CAUSES if c in status.causes)
        if (status.status, causes) == (last["status"], last["causes"]):
            return None
        clock = account.clock
        book = Book(account, clock)
        peak = equity.session_peak if equity.equity is not None else None
        halt: Wire = {
            "seq": len(account.halts) + 1,
            "status": status.status,
            "previous_status": last["status"],
            "causes": causes,
            "cause_offset": status.causes,
            "equity": equity.equity,
            "peak": peak,
            "clock": clock,
            "decision_seq": account.seq,
            "as_of": dict(self.history.as_of),
            "open_orders": tuple(o.intent_id for o in book.open if min(o.opening, book.left(o)) > 0)[
                :OPEN_ORDERS_SHOWN
            ],
        }
        actor = None
        if "OPERATOR" in causes:
            actor = max(equity.operator_halts, key=lambda e: e.event_time).body
        elif equity.resumed_by is not None:
            actor = equity.resumed_by.body
        halt["actor"] = None if actor is None else actor["actor"]
        halt["reason"] = None if actor is None else actor["reason"]
        account.halts.append(halt)
        return halt
