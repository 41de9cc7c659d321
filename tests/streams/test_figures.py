"""Numbers as people write them."""

import datetime as dt
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.canonical import plain
from models.messages import DailyReturn
from streams.manager.figures import dated_returns, decimal_of, fraction_of, today

FRIDAY = dt.date(2026, 5, 29)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2.0, "2"),
        (0.1, "0.1"),
        (0.1 + 0.2, "0.3"),
        (1e-5, "0.00001"),
        (1e11, "100000000000"),
        (-0.0, "0"),
        (7, "7"),
        ("12.50", "12.5"),
        (" 3 ", "3"),
        (Decimal("1.1234567890123"), "1.1234567890123"),
        (np.float64(2.5), "2.5"),
        (np.float32(0.1), "0.1"),
        (np.int64(54), "54"),
    ],
)
def test_a_number_is_what_it_is_written_as(value: object, written: str) -> None:
    assert plain(decimal_of(value, "it")) == written


@given(st.floats(min_value=-1e11, max_value=1e11))
def test_a_float_is_rounded_to_twelve_places_and_no_further(value: float) -> None:
    number = decimal_of(value, "it")
    assert number * 10**12 == int(number * 10**12)
    assert abs(Fraction(number) - Fraction(repr(value))) <= Fraction(1, 2 * 10**12)


@pytest.mark.parametrize("value", [True, None, [1], 1j, b"1", dt.date(2026, 1, 1)])
def test_what_is_no_number_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match="price must be a number, was"):
        decimal_of(value, "price")


@pytest.mark.parametrize("value", ["", "1,000", "one", float("nan"), float("inf"), "NaN", np.float64("-inf")])
def test_a_number_must_be_one_and_finite(value: object) -> None:
    with pytest.raises(ValueError, match=r"price must be (a number|finite), was"):
        decimal_of(value, "price")


@pytest.mark.parametrize(("percent", "fraction"), [(1.0, "0.01"), ("12.5", "0.125"), (10, "0.1"), (0.35, "0.0035")])
def test_a_percentage_is_a_hundredth(percent: float | str, fraction: str) -> None:
    assert fraction_of(percent, "it") == Decimal(fraction)


def test_a_date_is_that_of_utc() -> None:
    assert today(0) == dt.date(1970, 1, 1)
    assert today(1_780_000_000 * 10**9) == dt.date(2026, 5, 28)


def test_one_number_is_the_last_sessions() -> None:
    assert dated_returns(0.01, FRIDAY) == [("2026-05-29", Decimal("0.01"))]
    assert dated_returns(np.float64(-0.02), FRIDAY) == [("2026-05-29", Decimal("-0.02"))]


@pytest.mark.parametrize("last", [FRIDAY, FRIDAY + dt.timedelta(1), FRIDAY + dt.timedelta(2)])
def test_a_list_is_taken_as_weekdays(last: dt.date) -> None:
    expected = pd.bdate_range(end=FRIDAY, periods=7).strftime("%Y-%m-%d")
    assert [date for date, _ in dated_returns(np.zeros(7), last)] == list(expected)
    assert dated_returns([], last) == []


def test_a_series_says_its_dates_and_its_first_nan_is_left_out() -> None:
    days = pd.to_datetime(["2026-05-01", "2026-05-04", "2026-05-05"])
    prices = pd.Series([100.0, 101.0, 99.99], index=days)
    assert dated_returns(prices.pct_change(), FRIDAY) == [
        ("2026-05-04", Decimal("0.01")),
        ("2026-05-05", Decimal("-0.01")),
    ]


@pytest.mark.parametrize(
    "key", ["2026-05-29", FRIDAY, dt.datetime(2026, 5, 29, 16, tzinfo=dt.UTC), np.datetime64("2026-05-29T16")]
)
def test_dates_come_in_many_shapes(key: object) -> None:
    assert dated_returns({key: "0.5"}, dt.date(2000, 1, 1)) == [("2026-05-29", Decimal("0.5"))]


def test_a_series_without_dates_is_no_guess() -> None:
    with pytest.raises(TypeError, match="returns must be keyed by dates, was 0: or give them as a list"):
        dated_returns(pd.Series([0.1, 0.2]), FRIDAY)


@given(st.lists(st.floats(min_value=-1, max_value=10), max_size=300))
def test_whatever_floats_come_the_wire_takes_them(values: list[float]) -> None:
    for date, value in dated_returns(values, FRIDAY):
        DailyReturn(symbol="X", session=date, simple_return=value, event_time=0)
