"""How the cost of a decision grows: with accounts, positions, symbols, open orders, and with what is behind."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import orjson

from models.canonical import DAY_NS, canonical_bytes
from models.decisions import DecisionStatus
from models.state import State
from streams.records import Topic
from streams.store import Row, Store
from streams.tables import ACCOUNT_TABLES, AccountTables
from tests.benchmarks import inputs
from tests.benchmarks.figures import TRIAL, Table, say
from tests.benchmarks.inside import Inside, per_item
from tests.benchmarks.market import LONG, OPEN_ORDERS, STEP, SYMBOLS, Market, Sent

NAME: Final = "growth"
COUNT: Final = 1_000
"""Decisions of each point."""
FEWEST: Final = 100
FEW: Final = 200
"""Decisions where one takes milliseconds."""
ACCOUNTS: Final = (1, 1_000, 200_000)
HOT: Final = 500
POSITIONS: Final = (1, 20, 500)
UNIVERSE: Final = (10, 500, 2_000)
ORDERS: Final = (0, 10, 1_000)
FILLS: Final = (10, 1_000, 30_000)
DECISIONS: Final = (10, 1_000, 30_000)
HISTORY: Final = 4 * DAY_NS
"""The time of the fills: a market order may live for five days."""
FILLED: Final = 300
CHUNK: Final = 500
CHANGES: Final = 20
NOON: Final = inputs.NOON


def measure(scale: float) -> Table:
    """Measure each sweep in turn, three points each."""
    table = Table(
        NAME,
        "What a decision costs as things grow, CPU us in process",
        f"One partition without Kafka. One thing grows, the others stay: one account with 20 positions, {SYMBOLS}"
        f" symbols, about {OPEN_ORDERS} open orders. decide: from the intent to the sealed decision. all: the intent"
        " from its bytes, decide, both folds and the decision's bytes with their digest. fill: to fold one from its"
        f" bytes. accounts: kept in RocksDB behind the cache, {HOT} of them asked about; unread: with the account"
        " read from there first. symbols: after a return: the first decision after a return has changed. fills: of"
        " one order in the same symbol, in four days. decisions: of the same account.",
    )
    count = max(FEWEST, round(COUNT * scale))
    for name, points, work in SWEEPS:
        curve = []
        for point in points if scale >= TRIAL or name in SCALED else points[:2]:
            # Building 200,000 accounts for a hundred decisions would be no trial.
            size = max(min(point, FEWEST), round(point * scale)) if name in SCALED else point
            table.rows.append({"grows": name, "to": size} | work(size, count))
            say(str(table.rows[-1]))
            curve.append((size, table.rows[-1]["all us"]))
        table.data.setdefault("curves", {})[name] = curve
    return table


def _costs(inside: Inside, sent: Iterator[Sent], *, warm: int = 0) -> dict[str, float]:
    """Return the costs of fresh intents, all but the first `warm`, which all must be approved."""
    records = inside.records(Topic.ORDER_INTENTS, sent)
    for record in records[:warm]:
        decision = inside.decide(record)
        assert decision.status is DecisionStatus.APPROVED, decision
    spent = inside.costs_of(records[warm:])
    return {"decide us": spent["decide"], "all us": sum(spent.values())}


def _fill_us(inside: Inside, sent: Sequence[Sent]) -> float:
    return per_item(inside.fold, inside.records(Topic.FILLS, sent))


# --- accounts


class _Stored(Inside):
    """A partition whose accounts are in RocksDB, most of them as copies of the first ones."""

    def __init__(self, market: Market, folder: Path) -> None:
        self._store = Store(folder / "partition-0", ACCOUNT_TABLES)
        self._tables = AccountTables(self._store)
        first = range(min(len(market.symbols), len(market.accounts)))  # beyond, their positions repeat
        super().__init__(market, accounts=first, state=lambda shared: State(shared.shared, self._tables))
        self.save()
        originals = [
            [(table, key, orjson.dumps(row)) for table in ACCOUNT_TABLES for key, row in self._rows(table, number)]
            for number in first
        ]
        rows: list[Row] = []
        for number in range(len(first), len(market.accounts)):
            prefix = f"{market.accounts[number]}\0"
            for table, key, value in originals[number % len(first)]:
                rows.append(Row(table, f"{prefix}{key}".encode(), value))
            if number % CHUNK == 0:
                self._write(rows)
        self._write(rows)

    def _rows(self, table: str, account: int) -> Iterator[tuple[str, Any]]:
        yield from self._store.rows(table, f"{self.market.accounts[account]}\0".encode()).items()

    def _write(self, rows: list[Row]) -> None:
        self._store.write(rows, {"state": self.state.vector()})
        rows.clear()

    def save(self) -> None:
        """Write a checkpoint, and forget what the cache has no room for."""
        rows = self._tables.cut(self.state.changed)
        self.state.changed.clear()
        self._write(rows)
        self._tables.trim(self.state.changed)

    def close(self) -> None:
        """Give the database free."""
        self._store.close()


def _accounts(number: int, count: int) -> dict[str, float]:
    market = Market(NOON, accounts=number, limits=dict(LONG))
    with tempfile.TemporaryDirectory(prefix="seawall-bench-") as folder:
        inside = _Stored(market, Path(folder))
        hot = range(min(HOT, number))
        warm = len(hot) * OPEN_ORDERS // 2
        found = _costs(inside, market.backlog(warm + count, accounts=hot), warm=warm)
        inside.save()
        cold = range(HOT, min(number, HOT + count))
        if cold and number > len(market.symbols):
            cold = range(number - count, number)
            found["unread us"] = _costs(inside, market.backlog(len(cold), accounts=cold))["all us"]
        inside.close()
    return found


# --- what one account has


def _positions(number: int, count: int) -> dict[str, float]:
    market = Market(NOON, accounts=1, positions=number, limits=dict(LONG), sells=False)
    inside = Inside(market)
    found = _costs(inside, market.backlog(OPEN_ORDERS + count), warm=OPEN_ORDERS)
    return found | {"fill us": _fill_us(inside, [market.fill(0, turn, NOON + turn) for turn in range(count)])}


def _symbols(number: int, count: int) -> dict[str, float]:
    market = Market(NOON, accounts=1, symbols=number, limits=dict(LONG), sells=False)
    inside = Inside(market)
    found = _costs(inside, market.backlog(OPEN_ORDERS + count), warm=OPEN_ORDERS)
    intents = market.backlog(CHANGES, begin=NOON + (OPEN_ORDERS + count) * STEP)
    renamed = [Sent(each.account, each.value.replace(b'"i-', b'"j-')) for each in intents]
    spent = 0.0
    session = (market.today - timedelta(days=1)).isoformat()
    for turn, record in enumerate(inside.records(Topic.ORDER_INTENTS, renamed)):
        value = canonical_bytes(market.one_return(market.symbols[0], turn + 1, session, turn))
        [changed] = inside.records(Topic.DAILY_RETURNS, [Sent(market.symbols[0], value)])
        assert not inside.shared.fold(changed).dead_letters
        spent += inside.costs_of([record])["decide"]
    return found | {"after a return us": spent / CHANGES}


def _orders(number: int, count: int) -> dict[str, float]:
    limits = LONG | {"open_orders_max": 2 * max(ORDERS)}
    market = Market(NOON, accounts=1, limits=limits, sells=False)
    inside = Inside(market)
    found = _costs(inside, market.backlog(number + count, open_orders=number), warm=number)
    return found | {"fill us": _fill_us(inside, [market.fill(0, turn, NOON + turn) for turn in range(count)])}


# --- what is behind


def _fills(number: int, count: int) -> dict[str, float]:
    count = min(count, FEW)
    market = Market(NOON, accounts=1, limits=dict(LONG), sells=False)
    inside = Inside(market)
    order = market.intent(0, 0, NOON + 1, lifetime=HISTORY + DAY_NS // 2, intent_id="order", quantity=str(FILLED))
    [record] = inside.records(Topic.ORDER_INTENTS, [order])
    assert inside.decide(record).status is DecisionStatus.APPROVED
    piece = f"{FILLED / (2 * number):.6f}"  # half of the order

    def executions(first: int, many: int) -> list[Sent]:
        return [
            market.fill(
                0,
                0,
                NOON + 2 + min(HISTORY, each * HISTORY // number),
                execution_id=f"h-{each}",
                intent_id="order",
                strategy="s0",
                last_quantity=piece,
            )
            for each in range(first, first + many)
        ]

    for each in inside.records(Topic.FILLS, executions(0, number)):
        inside.fold(each)
    fill_us = _fill_us(inside, executions(number, FEWEST))
    [mark] = inside.records(Topic.EQUITY_TICKS, [market.mark(0, NOON + HISTORY)])
    inside.fold(mark)
    # All in the symbol of the order: what is behind is of the same symbol.
    same = (market.intent(0, turn, NOON + HISTORY + turn * STEP, lifetime=1, symbol=market.symbols[0],
                          intent_id=f"s-{turn}", side="BUY") for turn in range(count))  # fmt: skip
    return _costs(inside, same) | {"fill us": fill_us}


def _decisions(number: int, count: int) -> dict[str, float]:
    market = Market(NOON, accounts=1, limits=dict(LONG), sells=False)
    return _costs(Inside(market), market.backlog(number + count), warm=number)


Work = Callable[[int, int], dict[str, float]]
SWEEPS: Final[Sequence[tuple[str, Sequence[int], Work]]] = (
    ("accounts", ACCOUNTS, _accounts),
    ("positions", POSITIONS, _positions),
    ("symbols", UNIVERSE, _symbols),
    ("open orders", ORDERS, _orders),
    ("fills", FILLS, _fills),
    ("decisions", DECISIONS, _decisions),
)
SCALED: Final = ("accounts", "fills", "decisions")
