"""What was decided: one account's folds of `risk-decisions` and of `trading-halts`, each in its own columns."""

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from heapq import heappop, heappush
from typing import Any, NamedTuple, Self

from pydantic import JsonValue

from models.canonical import GENESIS_DIGEST, SECOND_NS, plain
from models.decisions import AccountStatus, DecisionStatus, HaltCause, Replacement, RiskDecision, TradingHalt
from models.folds.book import KEPT
from models.folds.touched import Touched
from models.messages import OrderType, Side
from models.reasons import RejectReason

EXPIRY_GRACE = 60 * SECOND_NS
"""How long after expires_at an order's remaining stays reserved."""
ID_KEPT = 3600 * SECOND_NS
"""How long after event_time an id stays taken, at the least."""

REPEAT_WINDOW = 10 * SECOND_NS
"""How long an approval counts against its like."""

NOT_REMEMBERED = frozenset(
    {
        RejectReason.MALFORMED,
        RejectReason.INTENT_ID_CONFLICT,
        RejectReason.DUPLICATE_INTENT,
        RejectReason.EVENT_TIME_INVALID,
        RejectReason.INTENT_EXPIRED,
    }
)
"""What is rejected so takes no id."""


@dataclass(slots=True)
class Chain:
    """A sequence of messages, each of which carries the digest of the one before."""

    seq: int = 0
    digest: str = GENESIS_DIGEST


class Decided(NamedTuple):
    """One intent id and its first answer."""

    intent_id: str
    intent_digest: str
    seq: int
    status: DecisionStatus
    quantity: Decimal
    taken_until: int
    """The id is taken while the ledger's clock is below; ns."""


class Like(NamedTuple):
    """What two orders share of which one repeats the other."""

    strategy: str
    symbol: str
    side: Side
    opening_quantity: Decimal
    limit_price: Decimal | None


class Approval(NamedTuple):
    """What one approval reserves."""

    intent_id: str
    seq: int
    symbol: str
    side: Side
    quantity: Decimal
    opening_quantity: Decimal
    order_type: OrderType
    price: Decimal | None
    expires_at: int
    fills_offset: int
    """`fills` as folded at the decision: only executions above it fill this order."""
    strategy: str
    limit_price: Decimal | None
    """None for a MARKET order."""
    clock: int
    """Of the decision, ns."""
    replaces: str | None
    """The order in whose place this one comes."""

    @property
    def like(self) -> "Like":
        """What makes another order a repetition of this one."""
        return Like(self.strategy, self.symbol, self.side, self.opening_quantity, self.limit_price)


class Ledger:
    """One account's decisions and halts.

    Rows: "" decisions, "h" halts, "i" + id an answer, "a" + id an approval, "s" + strategy a token bucket. No row
    grows with what others send, since each must fit into a record.

    An approval outlives its id by seven days, as long as executions are kept singly: a fill of an order long done
    must not look like the fill of an order that never was.
    """

    def __init__(self) -> None:
        self.dirty: set[str] = set()
        self.touched = Touched()
        self.decisions = Chain()
        self.clock = 0
        """The largest `clock` in the account's decisions, ns."""
        self.decided: dict[str, Decided] = {}
        self.approvals: dict[str, Approval] = {}
        self.open: defaultdict[str, dict[str, Approval]] = defaultdict(dict)
        """By symbol: approvals that the ledger's clock has not expired."""
        self.recent: defaultdict[Like, deque[int]] = defaultdict(deque)
        """Clocks of like approvals of openings within the last ten seconds of the ledger's clock, oldest first."""
        self.account_bucket = 0
        """When the account's token bucket will be full again, ns; 0 where it is."""
        self.strategy_buckets: dict[str, int] = {}
        """The same by strategy; full ones are absent."""
        self._filling: list[tuple[int, str]] = []
        self.halts = Chain()
        self.status = AccountStatus.NORMAL
        self.causes: tuple[HaltCause, ...] = ()
        self.halt_as_of = -1
        """`equity-ticks` as folded at the last halt."""
        self._recent: deque[tuple[int, Like]] = deque()
        self._due: list[tuple[int, str, str]] = []

    def first_answer(self, intent_id: str) -> Decided | None:
        """Return the first decision on `intent_id` while the id is taken."""
        return self.decided.get(intent_id)

    def fold_decision(self, decision: RiskDecision) -> None:
        """Take one of the account's decisions in."""
        self.dirty.add("")
        self.decisions = Chain(decision.seq, decision.digest)
        self.clock = max(self.clock, decision.clock)
        self._charge(decision)
        if NOT_REMEMBERED.isdisjoint(decision.reasons):
            self._remember(decision)
        self._drop_due()

    def _charge(self, decision: RiskDecision) -> None:
        """Take the token buckets over, and forget those that are full by now."""
        if decision.throttle is not None:
            assert decision.strategy is not None
            self.account_bucket = decision.throttle.account
            self._fill_by(decision.throttle.strategy, decision.strategy)
            self.dirty.add("s" + decision.strategy)
        if self.account_bucket <= self.clock:
            self.account_bucket = 0
        while self._filling and self._filling[0][0] <= self.clock:
            full_at, strategy = heappop(self._filling)
            if self.strategy_buckets.get(strategy) == full_at:
                del self.strategy_buckets[strategy]
                self.dirty.add("s" + strategy)

    def _fill_by(self, full_at: int, strategy: str) -> None:
        self.strategy_buckets[strategy] = full_at
        heappush(self._filling, (full_at, strategy))

    def _remember(self, decision: RiskDecision) -> None:
        intent_id, event_time, reservation = decision.intent_id, decision.event_time, decision.reservation
        assert intent_id is not None  # only MALFORMED has none
        assert event_time is not None
        taken_until = event_time + ID_KEPT
        if reservation is not None:
            taken_until = max(taken_until, reservation.expires_at + EXPIRY_GRACE)
        self._take(
            Decided(
                intent_id=intent_id,
                intent_digest=decision.intent_digest,
                seq=decision.seq,
                status=decision.status,
                quantity=decision.quantity,
                taken_until=taken_until,
            )
        )
        self.dirty.add("i" + intent_id)
        if reservation is None:
            return
        assert decision.symbol is not None
        assert decision.side is not None
        assert decision.order_type is not None
        assert decision.opening_quantity is not None
        assert decision.strategy is not None
        self._reserve(
            Approval(
                intent_id=intent_id,
                seq=decision.seq,
                symbol=decision.symbol,
                side=decision.side,
                quantity=reservation.quantity,
                opening_quantity=decision.opening_quantity,
                order_type=decision.order_type,
                price=reservation.price,
                expires_at=reservation.expires_at,
                fills_offset=decision.as_of.fills,
                strategy=decision.strategy,
                limit_price=decision.limit_price,
                clock=decision.clock,
                replaces=reservation.replaces if isinstance(reservation, Replacement) else None,
            )
        )
        self.dirty.add("a" + intent_id)

    def _take(self, decided: Decided) -> None:
        self.decided[decided.intent_id] = decided
        heappush(self._due, (decided.taken_until, "i", decided.intent_id))

    def _reserve(self, approval: Approval) -> None:
        earlier = self.approvals.get(approval.intent_id)  # under the same id
        if earlier is not None:
            self.touched.order(earlier.symbol, approval.intent_id)
        self.approvals[approval.intent_id] = approval
        self.touched.order(approval.symbol, approval.intent_id)
        self.open[approval.symbol][approval.intent_id] = approval
        expired = approval.expires_at + EXPIRY_GRACE
        heappush(self._due, (expired, "o", approval.intent_id))
        heappush(self._due, (expired + KEPT, "a", approval.intent_id))
        if approval.opening_quantity:
            self.recent[approval.like].append(approval.clock)
            self._recent.append((approval.clock, approval.like))

    def _drop_due(self) -> None:
        while self._recent and self._recent[0][0] + REPEAT_WINDOW <= self.clock:
            _, like = self._recent.popleft()
            self.recent[like].popleft()
            if not self.recent[like]:
                del self.recent[like]
        while self._due and self._due[0][0] <= self.clock:
            due, kind, intent_id = heappop(self._due)
            if kind == "i":
                decided = self.decided.get(intent_id)
                if decided is not None and decided.taken_until == due:
                    del self.decided[intent_id]
                    self.dirty.add("i" + intent_id)
                continue
            approval = self.approvals.get(intent_id)
            kept = 0 if kind == "o" else KEPT
            if approval is None or due != approval.expires_at + EXPIRY_GRACE + kept:
                continue  # of an earlier approval under the same id
            if kind == "o":
                self.open[approval.symbol].pop(intent_id, None)
                if not self.open[approval.symbol]:
                    del self.open[approval.symbol]
            else:
                del self.approvals[intent_id]
                self.touched.order(approval.symbol, intent_id)
                self.dirty.add("a" + intent_id)

    def fold_halt(self, halt: TradingHalt) -> None:
        """Take one of the account's halts in."""
        self.dirty.add("h")
        self.halts = Chain(halt.seq, halt.digest)
        self.status, self.causes = halt.status, halt.causes
        self.halt_as_of = halt.as_of.equity_ticks

    # --- rows

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return 2 + len(self.decided) + len(self.approvals) + len(self.strategy_buckets)

    def row(self, key: str) -> JsonValue:
        """Return a row as models.folds.rows.Rows describes it."""
        if key == "":
            return {
                "seq": self.decisions.seq,
                "digest": self.decisions.digest,
                "clock": self.clock,
                "account_bucket": self.account_bucket,
            }
        if key == "h":
            return {
                "seq": self.halts.seq,
                "digest": self.halts.digest,
                "status": self.status,
                "causes": list(self.causes),
                "as_of": self.halt_as_of,
            }
        if key[0] == "s":
            return self.strategy_buckets.get(key[1:])
        if key[0] == "i":
            decided = self.decided.get(key[1:])
            return _fields(decided) if decided else None
        approval = self.approvals.get(key[1:])
        return _fields(approval) if approval else None

    @classmethod
    def from_rows(cls, rows: Mapping[str, Any]) -> Self:
        """Return the ledger that had these rows."""
        ledger = cls()
        approvals: list[Approval] = []
        for key, row in rows.items():
            if key == "":
                ledger.decisions = Chain(row["seq"], row["digest"])
                ledger.clock = row["clock"]
                ledger.account_bucket = row["account_bucket"]
            elif key == "h":
                ledger.halts = Chain(row["seq"], row["digest"])
                ledger.status = AccountStatus(row["status"])
                ledger.causes = tuple(HaltCause(cause) for cause in row["causes"])
                ledger.halt_as_of = row["as_of"]
            elif key[0] == "s":
                ledger._fill_by(row, key[1:])
            elif key[0] == "i":
                ledger._take(
                    Decided(**row | {"status": DecisionStatus(row["status"]), "quantity": Decimal(row["quantity"])})
                )
            else:
                changes = {
                    "side": Side(row["side"]),
                    "order_type": OrderType(row["order_type"]),
                    "quantity": Decimal(row["quantity"]),
                    "opening_quantity": Decimal(row["opening_quantity"]),
                    "price": None if row["price"] is None else Decimal(row["price"]),
                    "limit_price": None if row["limit_price"] is None else Decimal(row["limit_price"]),
                }
                approvals.append(Approval(**row | changes))
        # In the order of their decisions, as they were folded.
        for approval in sorted(approvals, key=lambda approval: approval.seq):
            ledger._reserve(approval)
        ledger._drop_due()
        return ledger


def _fields(item: Decided | Approval) -> dict[str, JsonValue]:
    values: dict[str, Any] = dict(zip(item._fields, item, strict=True))
    for name in ("quantity", "opening_quantity", "price", "limit_price"):
        if values.get(name) is not None:
            values[name] = plain(values[name])
    return values
