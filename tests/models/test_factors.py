"""The market and sector model against its definition in fractions, and against scipy's regression."""

import random
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import linregress

from models.canonical import exact
from models.folds.correlation import Returns
from models.folds.panel import Series as Rows
from models.folds.panel import Session
from models.folds.reference import SECTOR_UNKNOWN
from models.risk.factors import Coefficient, FactorModel, _means, _residuals, factor_model
from models.risk.tail import SESSIONS_MIN

FIRST = 14_000

Series = Mapping[str, Sequence[int | None]]


def model(series: Series, sectors: Mapping[str, str], proxies: Mapping[str, str] | None = None) -> FactorModel:
    """Return the model of scaled returns, one per session from FIRST on, None for a missing one."""
    sessions = {
        symbol: {FIRST + number: Session(value, None) for number, value in enumerate(values) if value is not None}
        for symbol, values in series.items()
    }
    return factor_model(Returns({symbol: days for symbol, days in sessions.items() if days}), sectors, proxies or {})


class Definition:
    """The factors as docs/risk.md section 10 has them: one fraction after the other."""

    def __init__(self, series: Series, sectors: Mapping[str, str], proxies: Mapping[str, str]) -> None:
        self.sectors = sectors
        self.own = {
            name: {day: value for day, value in enumerate(values) if value is not None}
            for name, values in series.items()
        }
        names = {*self.own, *proxies}
        self.filled = {name: self.own.get(proxies.get(name, ""), {}) | self.own.get(name, {}) for name in names}
        self.market = self.mean(self.own.values())
        self.beta = {
            name: self.slope(values, self.market) if len(values) >= SESSIONS_MIN else None
            for name, values in self.filled.items()
        }
        self.residual = {
            name: {day: round(value - beta * self.market[day]) for day, value in self.filled[name].items()}
            for name, beta in self.beta.items()
            if beta is not None
        }

    @staticmethod
    def mean(members: Iterable[Mapping[int, int]]) -> dict[int, int]:
        by_day: dict[int, list[int]] = {}
        for values in members:
            for day, value in values.items():
                by_day.setdefault(day, []).append(value)
        return {day: round(Fraction(sum(values), len(values))) for day, values in by_day.items()}

    @staticmethod
    def slope(series: Mapping[int, int], factor: Mapping[int, int]) -> Fraction | None:
        days = sorted(series.keys() & factor.keys())
        if not days:
            return None
        x, y = [Fraction(series[day]) for day in days], [Fraction(factor[day]) for day in days]
        mean_x, mean_y = sum(x, Fraction(0)) / len(x), sum(y, Fraction(0)) / len(y)
        variance = sum(((b - mean_y) ** 2 for b in y), Fraction(0))
        if variance == 0:
            return None
        return sum(((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)), Fraction(0)) / variance

    def gamma(self, name: str) -> Fraction | None:
        if self.beta[name] is None:
            return None
        sector = self.sectors.get(name, SECTOR_UNKNOWN)
        members = [
            {day: value for day, value in self.residual[member].items() if day in self.own[member]}
            for member in sorted(self.own)
            if self.sectors.get(member, SECTOR_UNKNOWN) == sector and member in self.residual
        ]
        return self.slope(self.residual[name], self.mean(members)) or Fraction(0)


def table(seed: int, size: int, sessions: int = 115) -> dict[str, list[int | None]]:
    """Return series with a market, of which some start late, end early or have gaps."""
    chance = random.Random(seed)
    market = [chance.gauss(0, 1) for _ in range(sessions)]
    series: dict[str, list[int | None]] = {}
    for number in range(8):
        load, gaps = chance.uniform(-0.5, 2), chance.choice([0, 0, 0.05, 0.3])
        series[f"S{number}"] = [
            None
            if chance.random() < gaps
            else max(-(10**7), min(10**8, round(size * (load * m + chance.gauss(0, 1)))))
            for m in market
        ]
    return series


SECTORS = {"S0": "tech", "S1": "tech", "S2": "tech", "S3": "oil", "S4": "oil", "S5": "alone", "NEW": "oil"}
PROXIES = {"S4": "S0", "NEW": "S3", "S6": "NONE", "LOST": "NONE"}


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 10, 10**5, 10**8]), st.booleans())
def test_the_model_is_its_definition(seed: int, size: int, proxied: bool) -> None:
    """To the last digit; tiny returns make ties of rounding frequent, huge ones leave int64 behind."""
    series, proxies = table(seed, size), PROXIES if proxied else {}
    found, expected = model(series, SECTORS, proxies), Definition(series, SECTORS, proxies)
    assert {day - FIRST: value for day, value in found.market.items()} == expected.market
    for name in expected.filled:
        beta, gamma = found.beta(name), found.gamma(name)
        assert (None if beta is None else beta.value) == expected.beta[name]
        assert (None if gamma is None else gamma.value) == expected.gamma(name)
    assert found.beta("UNSEEN") is found.gamma("UNSEEN") is None


def test_residuals_beyond_int64_are_exact() -> None:
    """A market that stands high and hardly moves makes betas of millions, and they leave more than any return."""
    chance = random.Random(1)
    x = [chance.randint(0, 10**8) for _ in range(120)]
    series = {"A": x, "B": [10**8 - value for value in x], "C": [chance.choice([0, 3]) for _ in x]}
    names = {"A": "g", "B": "g", "C": "g"}
    found, expected = model(series, names), Definition(series, names, {})
    for name in names:
        beta, gamma = found.beta(name), found.gamma(name)
        assert beta is not None
        assert gamma is not None
        assert (beta.value, gamma.value) == (expected.beta[name], expected.gamma(name))
    assert any(abs(value) > 2**31 for values in expected.residual.values() for value in values.values())
    # A hundred thousand such symbols in one sector would be too much for int64, so it is left.
    assert found._group("g").residuals.dtype == object
    huge = np.array([[2**62], [2**62], [2**62 + 3]], dtype=object)
    assert _means(huge, np.ones((3, 1), dtype=np.bool_)).tolist() == [2**62 + 1]


def test_ties_that_float64_misses_round_to_even() -> None:
    """Of beta*m = k + 1/2 float64 often finds a little more or less."""
    betas = [Coefficient(numerator, denominator) for denominator in range(2, 200, 2) for numerator in range(-99, 100)]
    for odd in (1, 3, 7):
        missed = 0
        for denominator in range(2, 200, 2):
            rows = [beta for beta in betas if beta.denominator == denominator]
            market = np.array([denominator // 2 * odd])
            panel = Rows(np.full((len(rows), 1), 5), np.ones((len(rows), 1), dtype=np.bool_))
            expected = [round(5 - beta.value * int(market[0])) for beta in rows]
            assert _residuals(panel, [*rows], market).ravel().tolist() == expected
            missed += sum(
                round(5 - beta.numerator / denominator * int(market[0])) != value
                for beta, value in zip(rows, expected, strict=True)
            )
        assert missed > 0 or odd == 1


@pytest.mark.parametrize("seed", range(3))
def test_coefficients_agree_with_regression(seed: int) -> None:
    series = {name: [0 if v is None else v for v in values] for name, values in table(seed, 10**5).items()}
    found = model(series, SECTORS)
    market = np.mean(list(series.values()), axis=0)
    slopes = {name: linregress(market, values).slope for name, values in series.items()}
    residuals = {name: np.array(series[name]) - slopes[name] * market for name in series}
    for sector in ("tech", "oil", "alone"):
        members = [name for name in series if SECTORS.get(name) == sector]
        factor = np.mean([residuals[name] for name in members], axis=0)
        for name in members:
            beta, gamma = found.beta(name), found.gamma(name)
            assert beta is not None
            assert gamma is not None
            assert float(beta.value) == pytest.approx(slopes[name], abs=1e-4)
            assert float(gamma.value) == pytest.approx(linregress(factor, residuals[name]).slope, abs=1e-4)


def test_by_hand() -> None:
    """Two symbols that share the market and differ by +-1 %: betas 1, and each is the other's sector reversed."""
    market, own = [2, 2, -2, -2] * 25, [1, -1, 1, -1] * 25
    a, b = ([10**5 * (m + sign * e) for m, e in zip(market, own, strict=True)] for sign in (1, -1))
    found = model({"A": a, "B": b}, {"A": "one", "B": "two"})
    assert list(found.market.values()) == [10**5 * m for m in market]
    exposure = found.exposure({"A": Decimal(600), "B": Decimal("-200.5")})
    assert exposure.market == Fraction("399.5")
    assert exposure.sectors == {"one": 600, "two": Fraction("-200.5")}
    assert exposure.sector("three") == 0
    together = model({"A": a, "B": b}, {})  # their mean is the market: nothing is left for the sector
    assert together.exposure({"A": Decimal(600)}).sectors == {SECTOR_UNKNOWN: 0}


def test_what_the_model_does_not_know() -> None:
    """Fewer than 100 sessions, or a market that stands still in them."""
    chance = random.Random(2)
    moving = [chance.randint(-100, 100) for _ in range(150)]
    found = model({"A": moving, "B": [1] * 99, "C": [None] * 50 + [1] * 100}, {}, {"NEW": "A", "LATE": "B"})
    known = {name: found.beta(name) is not None for name in ("A", "B", "C", "NEW", "LATE", "GONE")}
    assert known == {"A": True, "B": False, "C": True, "NEW": True, "LATE": False, "GONE": False}
    assert found.beta("NEW") == found.beta("A")
    assert found.gamma("B") is None
    assert model({"A": [5] * 150}, {}).beta("A") is None
    assert model({}, {}).beta("A") is None
    with pytest.raises(AssertionError, match="no beta of B"):
        found.exposure({"B": Decimal(1)})


def test_a_proxy_stands_for_itself_in_the_factors() -> None:
    """A symbol that has only its proxy's returns counts neither in the market nor in its sector."""
    series, sectors = table(3, 10**5), {"S0": "g", "S1": "g", "NEW": "g"}
    found, without = model(series, sectors, {"NEW": "S1"}), model(series, sectors)
    assert found.market == without.market
    assert found.gamma("S0") == without.gamma("S0")
    assert (found.beta("NEW"), found.gamma("NEW")) == (found.beta("S1"), found.gamma("S1"))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 3), st.lists(st.decimals(-(10**9), 10**9, places=8), min_size=5, max_size=5))
def test_exposures_are_exact_sums(seed: int, numbers: list[Decimal]) -> None:
    """However they are added up: at once, or one symbol after the other, in any order."""
    found = model(table(seed, 10**5), SECTORS)
    names = [name for name in ("S0", "S1", "S2", "S3", "S5", "S7") if found.beta(name) is not None]
    amounts = dict(zip(names, numbers, strict=False))
    expected: dict[str, Fraction] = {"market": Fraction(0)}
    for name, amount in amounts.items():
        beta, gamma, sector = found.beta(name), found.gamma(name), SECTORS.get(name, SECTOR_UNKNOWN)
        assert beta is not None
        assert gamma is not None
        expected["market"] += Fraction(amount) * beta.value
        expected[sector] = expected.get(sector, Fraction(0)) + Fraction(amount) * gamma.value
    exposure = exact(found.exposure)(amounts)
    assert {"market": exposure.market, **exposure.sectors} == expected
    one_by_one = found.exposure({})
    for name in reversed(amounts):
        one_by_one = exact(found.add)(one_by_one, name, amounts[name])
    assert one_by_one == exposure
    for name, amount in amounts.items():
        one_by_one = found.add(one_by_one, name, -amount)
    assert one_by_one.market == 0
    assert not any(one_by_one.sectors.values())
