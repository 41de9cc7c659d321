"""The demo's data: closes, ranges and returns against oracles that share no code with them."""

from decimal import Decimal
from importlib.resources import files

import pandas as pd
import pytest

from streams.demo.tape import ACTS, Range, Tape, load, wilder_atr

DATA = files("streams.demo") / "data"


def frame(name: str) -> pd.DataFrame:
    with (DATA / name).open(encoding="utf-8") as lines:
        return pd.read_csv(lines, index_col=0)


@pytest.fixture(scope="module", params=ACTS, ids=lambda act: act.name)
def tape(request: pytest.FixtureRequest) -> Tape:
    return load(request.param)


def test_sources_and_licenses_travel_with_the_data() -> None:
    said = (DATA / "SOURCES.md").read_text(encoding="utf-8")
    assert "BSD-3-Clause" in said
    assert {file.name for file in (DATA / "licenses").iterdir()} == {"bokeh_sampledata.txt", "skfolio.txt"}


def test_an_act_begins_and_ends_where_it_says(tape: Tape) -> None:
    assert tape.sessions[tape.first] == tape.act.first
    assert tape.sessions[-1] == tape.act.last
    assert list(tape.sessions) == sorted(set(tape.sessions))
    assert tape.first > tape.act.lead


def test_closes_and_returns_are_those_of_the_files(tape: Tape) -> None:
    closes = frame("prices_daily.csv")
    ranges = frame("ohlcv_daily.csv")
    for symbol in tape.act.symbols:
        oracle = closes[symbol] if symbol in closes else ranges[ranges["symbol"] == symbol]["close"]
        oracle = oracle.loc[list(tape.sessions)]
        changes = oracle.pct_change()
        for number, date in enumerate(tape.sessions):
            bar = tape.bar(symbol, number)
            assert float(bar.close) == oracle[date]
            if number:
                assert bar.change is not None
                assert float(bar.change) == pytest.approx(changes[date], abs=6e-8)


def test_the_average_true_range_is_wilders(tape: Tape) -> None:
    ranges = frame("ohlcv_daily.csv")
    for symbol in tape.act.symbols:
        bars = ranges[ranges["symbol"] == symbol] if symbol in ("GOOG", "IBM") else None
        sessions = list(tape.sessions)
        close = pd.Series([float(tape.bar(symbol, number).close) for number in range(len(sessions))], sessions)
        high = close if bars is None else bars.loc[sessions, "high"]
        low = close if bars is None else bars.loc[sessions, "low"]
        before = close.shift()
        true_range = pd.concat([high, before], axis=1).max(axis=1) - pd.concat([low, before], axis=1).min(axis=1)
        average = true_range[1:15].mean()
        assert tape.bar(symbol, 13).atr is None
        for number in range(14, len(sessions)):
            if number > 14:
                average = (13 * average + true_range.iloc[number]) / 14
            atr = tape.bar(symbol, number).atr
            assert atr is not None
            assert float(atr) == pytest.approx(average, abs=6e-7)


def test_a_series_that_never_moves_has_no_range() -> None:
    flat = Range(Decimal(5), Decimal(5), Decimal(5))
    assert list(wilder_atr([flat] * 20)) == [None] * 20
    assert list(wilder_atr([])) == []


def test_every_symbol_has_a_sector_of_the_heat_map(tape: Tape) -> None:
    assert set(tape.sectors) == set(tape.act.symbols)
    assert all(tape.sectors.values())
