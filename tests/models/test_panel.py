"""Returns side by side against a dictionary of them, and what asking about a few symbols costs."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.canonical import exact
from models.folds.correlation import SESSIONS_KEPT, Returns, clusters
from models.folds.panel import Panel, Series, Session
from models.folds.reference import Reference
from models.messages import REFERENCE, DailyReturn
from models.risk.models import RiskModels
from models.risk.tail import TailModel
from tests.models.operations import operations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

FIRST = 14_000

Table = dict[str, dict[int, int]]


def verify(panel: Panel, table: Table) -> None:
    """Compare everything that can be asked of a panel with a table by symbol and date."""
    days = panel.dates
    symbols = [*sorted(table), "NONE"]
    scaled = [[table.get(symbol, {}).get(day, 0) for day in days] for symbol in symbols]
    present = [[day in table.get(symbol, {}) for day in days] for symbol in symbols]
    found = panel.series(symbols)
    assert (found.scaled.tolist(), found.present.tolist()) == (scaled, present)
    for row, symbol in enumerate(symbols):
        one = panel.one(symbol, len(days) // 2)
        assert one.scaled.tolist() == scaled[row][len(days) // 2 :]
        assert one.present.tolist() == present[row][len(days) // 2 :]
    assert panel.sums.tolist() == [sum(values) for values in zip(*scaled, strict=True)]
    assert panel.counts.tolist() == [sum(values) for values in zip(*present, strict=True)]
    proxies = {symbol: proxy for symbol, proxy in zip(symbols, reversed(symbols), strict=True) if symbol != proxy}
    filled = panel.filled(symbols, proxies)
    for row, symbol in enumerate(symbols):
        series = table.get(proxies.get(symbol, ""), {}) | table.get(symbol, {})
        assert filled.scaled[row].tolist() == [series.get(day, 0) for day in days]
        assert filled.present[row].tolist() == [day in series for day in days]


STEPS = st.lists(st.tuples(st.integers(0, 70), st.integers(0, 12), st.integers(-9, 9)), max_size=120)


@settings(deadline=None, max_examples=60)
@given(STEPS)
def test_a_panel_is_a_table(steps: list[tuple[int, int, int]]) -> None:
    """Whatever the order of dates, with symbols that come and go, and more of them than there were rows for."""
    panel, table = Panel(5), Table()
    for number, day, value in steps:
        if day not in panel.dates:
            if len(panel.dates) == 5:
                oldest = panel.dates[0]
                if day < oldest:
                    continue
                panel.drop_oldest()
                for symbol in [symbol for symbol, history in table.items() if history.pop(oldest, None) is not None]:
                    if not table[symbol]:
                        del table[symbol]
                        panel.remove(symbol)
            panel.add_date(day)
        panel.put(f"S{number}", day, value)
        table.setdefault(f"S{number}", {})[day] = value
    verify(panel, table)
    loaded = Panel(5)
    loaded.load({symbol: {day: Session(value, None) for day, value in row.items()} for symbol, row in table.items()})
    verify(loaded, table)


@pytest.mark.parametrize("seed", range(3))
def test_the_panel_follows_the_sessions(seed: int) -> None:
    """Past 250 dates, in any order, the panel of a fold is that of a state restored from its rows."""
    chance, state = random.Random(seed), Returns()
    for _ in range(900):
        state.fold(message(chance.choice("ABC"), FIRST + chance.randrange(270), chance.randrange(-9, 9)))
    table = {
        symbol: {day: session.scaled for day, session in history.items()}
        for symbol, history in state.sessions.items()
    }
    assert len(state.panel.dates) == SESSIONS_KEPT
    verify(state.panel, table)
    verify(restored(state).panel, table)


def message(symbol: str, day: int, thousandths: int) -> DailyReturn:
    session = str(np.datetime64(day, "D"))
    return DailyReturn(symbol=symbol, session=session, simple_return=Decimal(thousandths).scaleb(-3), event_time=0)


def restored(state: Returns) -> Returns:
    return Returns.from_rows({symbol: orjson.loads(orjson.dumps(state.row(symbol))) for symbol in state.sessions})


# --- risk models


def universe(count: int, sessions: int = 110, seed: int = 1) -> Returns:
    """Return random returns of S0, S1, ... that move with a market."""
    chance = random.Random(seed)
    market = [chance.gauss(0, 1) for _ in range(sessions)]
    return Returns(
        {
            f"S{number}": {
                FIRST + day: Session(round(10**5 * (chance.uniform(0.5, 1.5) * moved + chance.gauss(0, 1))), None)
                for day, moved in enumerate(market)
            }
            for number in range(count)
        }
    )


def instrument(reference: Reference, symbol: str, offset: int, **fields: Any) -> None:
    record = {"kind": "instrument", "symbol": symbol, "currency": "USD", "actor": "a", "reason": "r"} | fields
    parsed = REFERENCE.validate_json(orjson.dumps(record | {"event_time": offset}))
    assert reference.fold(parsed, offset=offset, time=offset) is None


def answers(models: RiskModels, symbols: Sequence[str]) -> object:
    """Return what the models say of some symbols, in numbers."""
    tail, factors = models.tail(symbols), models.factors()
    amounts = {symbol: Decimal(100 + len(symbol)) for symbol in symbols if factors.beta(symbol) is not None}
    market, whole = exact(factors.exposure)(amounts, sectors=False), exact(factors.exposure)(amounts)
    assert (market.market, market.sectors, market.whole) == (whole.market, {}, False)
    if amounts:
        more = (symbols[0] if symbols[0] in amounts else next(iter(amounts)), Decimal(7))
        assert factors.add(market, *more).market == factors.add(whole, *more).market
        assert factors.add(market, *more).sectors == {}
    said: object = tail
    if isinstance(tail, TailModel):
        history = tail.history
        said = (history.symbols, history.dates, history.scaled.tolist(), tail.shrinkage)
    return said, factors.unknown(symbols), whole


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["S0", "S1", "S2", "S3", "NEW"]),
        st.integers(-2, 4),
        st.integers(-40, 40),
        st.sampled_from([None, None, {"sector": "one"}, {"sector": "two", "proxy": "S1"}, {"proxy": "NEW"}]),
    ),
    max_size=14,
)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 3), CHANGES)
def test_no_model_is_kept_too_long(seed: int, changes: list[tuple[str, int, int, Mapping[str, str] | None]]) -> None:
    """After every record each answer equals that of models which were never asked before."""
    returns, reference = universe(4, seed=seed), Reference()
    models, day = RiskModels(returns, reference), FIRST + 110
    for offset, (symbol, ahead, value, fields) in enumerate(changes, 1):
        returns.fold(message(symbol, day + ahead, value))
        if fields is not None:
            instrument(reference, symbol, offset, **fields)
        for symbols in (["S0", "S1"], ["S0", "S1", "S2", "S3"], ["NEW", "S2"]):
            fresh = RiskModels(restored(returns), reference)
            assert answers(models, symbols) == answers(fresh, symbols)


# --- what it costs


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the symbols whose returns were read, as they are."""
    read: list[str] = []
    series, one = Panel.series, Panel.one

    def counted_series(self: Panel, symbols: Sequence[str], first: int = 0) -> Series:
        read.extend(symbols)
        return series(self, symbols, first)

    def counted_one(self: Panel, symbol: str, first: int = 0) -> Series:
        read.append(symbol)
        return one(self, symbol, first)

    monkeypatch.setattr(Panel, "series", counted_series)
    monkeypatch.setattr(Panel, "one", counted_one)
    return read


HELD = [f"S{number}" for number in range(10)]


def a_session(returns: Returns, day: int) -> None:
    """Take in one session's returns of every symbol."""
    for number, symbol in enumerate(sorted(returns.sessions)):
        returns.fold(message(symbol, day, number % 40 - 20))


def ask_cluster(returns: Returns, _models: RiskModels, day: int) -> None:
    returns.cluster("S0", HELD, day)


def ask_beta(_returns: Returns, models: RiskModels, _day: int) -> None:
    models.factors().exposure(dict.fromkeys(HELD, Decimal(1)), sectors=False)


def ask_tail(_returns: Returns, models: RiskModels, _day: int) -> None:
    models.tail(HELD)


@pytest.mark.parametrize("ask", [ask_cluster, ask_beta, ask_tail])
def test_a_decision_after_a_session_pays_for_its_own_symbols(
    ask: Callable[[Returns, RiskModels, int], None], rows_read: list[str]
) -> None:
    """About as many steps, over the returns of the same few symbols, among 20 symbols as among 320."""
    costs, read = [], []
    for count in (20, 320):
        returns = universe(count)
        models = RiskModels(returns, Reference())
        ask(returns, models, FIRST + 109)
        a_session(returns, FIRST + 110)
        rows_read.clear()
        costs.append(operations(lambda r=returns, m=models: ask(r, m, FIRST + 110)))  # type: ignore[misc]  # bound now
        read.append(len(rows_read))
        assert set(rows_read) <= set(HELD)
    assert read[0] == read[1] <= 4 * len(HELD)
    assert costs[1] <= 1.1 * costs[0]


def test_a_sector_is_read_once_and_others_are_not(rows_read: list[str]) -> None:
    """A sector's factor rests on all its members: on no other symbol, and once until a return changes."""
    returns, reference = universe(60), Reference()
    for number in range(60):
        instrument(reference, f"S{number}", number + 1, sector="even" if number % 2 == 0 else "odd")
    models = RiskModels(returns, reference)
    for symbols in (["S0", "S2"], ["S4", "S6"]):
        models.factors().exposure(dict.fromkeys(symbols, Decimal(1)))
    assert {int(symbol[1:]) % 2 for symbol in rows_read} == {0}
    assert len(rows_read) <= 70


def test_a_return_voids_the_pairs_of_its_own_symbol_alone(rows_read: list[str]) -> None:
    returns = universe(40)
    everyone = sorted(returns.sessions)
    clusters(returns, everyone, FIRST + 109)
    rows_read.clear()
    returns.fold(message("S7", FIRST + 109, 3))
    returns.cluster("S3", HELD, FIRST + 109)
    compared: Iterable[str] = (symbol for symbol in rows_read if symbol == "S7")
    assert sum(1 for _ in compared) <= 2 * len(HELD)
    rows_read.clear()
    returns.cluster("S3", HELD, FIRST + 109)
    assert rows_read == []


def test_a_tail_model_is_estimated_once_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with each return: until the last symbol has one, what all of them have is the same."""
    returns = universe(12)
    models, estimated = RiskModels(returns, Reference()), []

    def counted(history: Any) -> TailModel:
        estimated.append(history)
        return TailModel(history)

    monkeypatch.setattr("models.risk.models.TailModel", counted)
    for number, symbol in enumerate(sorted(returns.sessions)):
        models.tail(HELD)
        returns.fold(message(symbol, FIRST + 110, number))
    models.tail(HELD)
    assert [len(history.dates) for history in estimated] == [110, 111]
