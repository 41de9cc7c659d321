"""What an account holds and has open, from the lists of its reports and approvals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from tests.oracle.history import KEPT, SECOND, Account, Order, exact, root_of

GRACE = 60 * SECOND
ZERO = Fraction(0)
SIGN = {"BUY": 1, "SELL": -1}


@dataclass(frozen=True)
class Execution:
    """An execution as it stands after whatever amended it."""

    offset: int
    event_time: int
    intent_id: str | None
    strategy: str | None
    symbol: str
    side: str
    quantity: Fraction
    price: Fraction


def executions(account: Account) -> list[Execution]:
    """Return every execution that was not busted, as last corrected."""
    amended = defaultdict(list)
    for entry in account.fills:
        if entry.body["execution_type"] in ("BUSTED", "CORRECTED"):
            root = root_of(entry, account.fills)
            if root is not None:
                amended[root.offset].append(entry)
    found = []
    for entry in account.fills:
        if entry.body["execution_type"] != "TRADE":
            continue
        body = entry.body
        if amended[entry.offset]:
            last = max(amended[entry.offset], key=lambda e: (e.event_time, e.body["execution_id"]))
            if last.body["execution_type"] == "BUSTED":
                continue
            body = last.body
        found.append(
            Execution(
                entry.offset,
                entry.event_time,
                body.get("intent_id") or entry.body.get("intent_id"),
                body.get("strategy") or entry.body.get("strategy"),
                body["symbol"],
                body["side"],
                exact(body["last_quantity"]),
                exact(body["last_price"]),
            )
        )
    return found


def adjustments(account: Account) -> dict[str, Fraction]:
    """Return the sum of what statements adjusted, by symbol."""
    total: defaultdict[str, Fraction] = defaultdict(Fraction)
    last = None
    for tick in account.ticks:
        given = tick.body.get("adjustments")
        if tick.body["kind"] == "statement" and given is not None and (last is None or tick.event_time > last):
            last = tick.event_time
            for symbol, units in given.items():
                total[symbol] += exact(units)
    return total


class Book:
    """Positions and open orders of an account at a clock."""

    def __init__(self, account: Account, clock: int) -> None:
        self.account = account
        self.clock = clock
        self.executions = executions(account)
        self.positions: defaultdict[str, Fraction] = defaultdict(Fraction)
        self.parts: defaultdict[tuple[str, str | None], Fraction] = defaultdict(Fraction)
        """By symbol and strategy, None for what no strategy claims."""
        for e in self.executions:
            self.positions[e.symbol] += SIGN[e.side] * e.quantity
            self.parts[e.symbol, e.strategy] += SIGN[e.side] * e.quantity
        for symbol, units in adjustments(account).items():
            self.positions[symbol] += units
        self.remaining = {order.seq: self._remaining(order) for order in account.orders}
        self.open = [order for order in account.orders if self.remaining[order.seq] > 0]

    def own(self, order: Order) -> list[Execution]:
        """Return the executions that belong to an order, and not to a later one that has its id again."""
        later = [o.as_of_fills for o in self.account.orders if o.intent_id == order.intent_id and o.seq > order.seq]
        return [
            e
            for e in self.executions
            if (e.intent_id, e.symbol, e.side) == (order.intent_id, order.symbol, order.side)
            and e.offset > order.as_of_fills
            and all(e.offset <= known for known in later)
        ]

    def _reported(self, order: Order, *kinds: str) -> list[tuple[int, str, Fraction | None]]:
        return [
            (
                e.event_time,
                e.body["execution_id"],
                exact(e.body["order_quantity"]) if kinds == ("REPLACED",) else None,
            )
            for e in self.account.fills
            if e.body["execution_type"] in kinds
            and (e.body.get("intent_id"), e.body["symbol"], e.body["side"])
            == (order.intent_id, order.symbol, order.side)
            and e.offset > order.as_of_fills
        ]

    def ordered(self, order: Order) -> Fraction:
        """Return what was approved, or the latest total that replaced it."""
        totals = self._reported(order, "REPLACED")
        return max(totals, key=lambda t: t[:2])[2] or ZERO if totals else order.quantity

    def filled(self, order: Order) -> Fraction:
        """Return what was executed of an order."""
        return sum((e.quantity for e in self.own(order)), ZERO)

    def _remaining(self, order: Order) -> Fraction:
        if self._reported(order, "CANCELED", "EXPIRED", "REJECTED") or self.clock >= order.expires_at + GRACE:
            return ZERO
        replaced = [each.intent_id for each in self._ancestors(order)]
        by_targets = sum(
            (
                e.quantity
                for e in self.executions
                if e.intent_id in replaced
                and (e.symbol, e.side) == (order.symbol, order.side)
                and e.offset > order.as_of_fills
            ),
            ZERO,
        )
        return max(ZERO, self.ordered(order) - self.filled(order) - by_targets)

    def _ancestors(self, order: Order) -> list[Order]:
        """Return the order that this one replaces, the one that that one replaces, and so on."""
        earlier = [o for o in self.account.orders if o.intent_id == order.replaces and o.seq < order.seq]
        if not earlier:
            return []
        target = max(earlier, key=lambda o: o.seq)
        return [target, *self._ancestors(target)]

    # --- orders in each other's place

    def _parent(self, order: Order, among: list[Order]) -> Order | None:
        if self.remaining[order.seq] == 0:
            return None
        named = [
            o for o in among if o.intent_id == order.replaces and o.seq < order.seq and self.remaining[o.seq] > 0
        ]
        return max(named, key=lambda o: o.seq) if named else None

    def worst(self, among: list[Order], size: Callable[[Order], Fraction]) -> Fraction:
        """Return the most that may be live at once, by size: never an order with one directly in its place."""
        roots = [o for o in among if self._parent(o, among) is None]
        return sum((self._worst_of(o, among, size) for o in roots), ZERO)

    def _in_place_of(self, order: Order, among: list[Order], size: Callable[[Order], Fraction]) -> Fraction:
        return sum((self._worst_of(o, among, size) for o in among if self._parent(o, among) is order), ZERO)

    def _worst_of(self, order: Order, among: list[Order], size: Callable[[Order], Fraction]) -> Fraction:
        children = [o for o in among if self._parent(o, among) is order]
        with_it = size(order) + sum((self._in_place_of(o, among, size) for o in children), ZERO)
        return max(with_it, self._in_place_of(order, among, size))

    def slack(self, target: Order | None, among: list[Order], size: Callable[[Order], Fraction]) -> Fraction:
        """Return what an order in the place of the target may come to before the most that may be live grows."""
        if target is None:
            return ZERO
        most = self.worst(among, size)
        further = replace(target, intent_id="further", seq=1 << 60, replaces=target.intent_id)
        self.remaining[further.seq] = Fraction(1)  # it is live
        grown = self.worst([*among, further], lambda o: most if o is further else size(o))
        del self.remaining[further.seq]
        return 2 * most - grown

    def left(self, order: Order) -> Fraction:
        """Return what remains of an order."""
        return self.remaining[order.seq]

    def side(self, symbol: str, side: str, strategy: str | None = None) -> list[Order]:
        """Return the approvals of a symbol and side, of one strategy where it is named."""
        return [
            o
            for o in self.account.orders
            if o.symbol == symbol and o.side == side and (strategy is None or o.strategy == strategy)
        ]

    def reserved(self, symbol: str, side: str, strategy: str | None = None) -> Fraction:
        """Return the units open on one side of a symbol."""
        return self.worst(self.side(symbol, side, strategy), self.left)

    def target(self, replaces: str | None, symbol: str, side: str) -> Order | None:
        """Return the live order that an intent would take the place of."""
        named = [o for o in self.open if (o.intent_id, o.symbol, o.side) == (replaces, symbol, side)]
        return named[-1] if named else None

    # --- executions to warn of

    def young(self, e: Execution) -> bool:
        """Whether an execution is looked at for OVERFILL and ORPHAN_FILL."""
        return e.event_time >= self.clock - KEPT

    def remembered(self) -> list[Order]:
        """Return the approvals that are remembered."""
        return [o for o in self.account.orders if self.account.decision_clock <= o.expires_at + GRACE + KEPT]

    def orphans(self) -> list[Execution]:
        """Return the executions that belong to no approval that is remembered."""
        owned = {e.offset for o in self.remembered() for e in self.own(o)}
        return [e for e in self.executions if e.offset not in owned]

    def aged(self) -> bool:
        """Whether an execution is old enough to be kept no longer by itself."""
        newest = max((e.event_time for e in self.account.fills), default=0)
        return any(e.event_time < newest - KEPT for e in self.executions)

    def overfilled(self, symbol: str) -> bool:
        """Whether an order of the symbol got more than was approved, not long ago."""
        return any(
            self.filled(o) > o.quantity and any(self.young(e) for e in self.own(o))
            for o in self.remembered()
            if o.symbol == symbol
        )

    def enlarged(self, symbol: str) -> bool:
        """Whether an order of the symbol was replaced by a larger one."""
        return any(self.ordered(o) > o.quantity for o in self.account.orders if o.symbol == symbol)
