"""Historical and parametric tail risk (docs/risk.md section 10); the golden cases are 40 and 41."""

import math
import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

import empyrical
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.stats import norm

from models.canonical import exact, rounded
from models.folds.correlation import Returns
from models.folds.panel import Session
from models.messages import DailyReturn
from models.risk.tail import (
    QUANTILE,
    SESSIONS_MIN,
    Tail,
    TailModel,
    common_history,
    largest_passing,
    signed_amount,
)
from models.standing.holdings import Holding

FIRST = 14_000
PERCENT = 10**5


def returns(series: Mapping[str, Sequence[int | None]]) -> Returns:
    """Return the fold of scaled returns, one per session from FIRST on, None for a missing one."""
    return Returns(
        {
            symbol: {FIRST + number: Session(value, None) for number, value in enumerate(values) if value is not None}
            for symbol, values in series.items()
        }
    )


def model(series: Mapping[str, Sequence[int | None]]) -> TailModel:
    return TailModel(common_history(returns(series), series, {}))


def with_losses(losses: Sequence[int]) -> Tail:
    """Return the tail of one symbol that has these losses, in account currency."""
    return model({"S": [-loss * 10**4 for loss in losses]}).value({"S": Decimal(1000)})


def random_model(seed: int, symbols: int = 9, sessions: int = 170, size: float = 1e5) -> TailModel:
    chance = np.random.default_rng(seed)
    loads = chance.uniform(-0.5, 1.5, (symbols, 1))
    table = np.rint(size * (loads * chance.normal(size=sessions) + chance.standard_t(4, (symbols, sessions))))
    return model({f"S{number}": row for number, row in enumerate(table.astype(int).tolist())})


def random_amounts(seed: int, names: Sequence[str], places: Sequence[int] = (0, 2, 4, 9)) -> dict[str, Decimal]:
    chance = random.Random(seed)
    return {name: Decimal(chance.randint(-(10**8), 10**8)).scaleb(-chance.choice(places)) for name in names}


def covariance(risk: TailModel) -> NDArray[np.float64]:
    """Return C, written out: numpy's covariance, and the target made of its correlations."""
    sample = np.atleast_2d(np.cov(risk.history.scaled / 1e7, ddof=0))
    deviations = np.sqrt(np.diag(sample))
    target = risk.shrinkage.mean_correlation * np.outer(deviations, deviations)
    np.fill_diagonal(target, deviations**2)
    intensity = risk.shrinkage.intensity
    result: NDArray[np.float64] = intensity * target + (1 - intensity) * sample
    return result


def measures(tail: Tail) -> tuple[Decimal, Fraction, Decimal, Decimal]:
    return tail.historical_var, tail.cvar, tail.parametric_var, tail.var


# Golden cases


@pytest.mark.parametrize("seed", range(3))
def test_40_losses_in_any_order(seed: int) -> None:
    hundred, longest = list(range(1, 101)), list(range(1, 251))
    for losses in (hundred, longest):
        random.Random(seed).shuffle(losses)
    tail = with_losses(hundred)
    assert (tail.historical_var, tail.cvar) == (100, Fraction("99.2"))
    assert with_losses(longest).historical_var == 248


def test_41_two_legs() -> None:
    # Means 0; the signs agree in 90 of 120 sessions, so rho is 0.75 - 0.25.
    signs = [(1, 1)] * 45 + [(-1, -1)] * 45 + [(1, -1)] * 15 + [(-1, 1)] * 15
    risk = model({"A": [x * PERCENT for x, _ in signs], "B": [2 * y * PERCENT for _, y in signs]})
    first = risk.value({"A": Decimal(60_000)})
    both = first.replace("B", Decimal(40_000))
    assert round(both.parametric_var, 3) == Decimal("2830.124")
    assert {name: round(part, 3) for name, part in both.component_var().items()} == {
        "A": Decimal("1147.348"),
        "B": Decimal("1682.777"),
    }
    assert abs(sum(both.component_var().values()) - both.parametric_var) <= Decimal("0.000002")
    assert round(both.parametric_var - first.parametric_var, 2) == Decimal("1434.32")


# Historical


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-99, 900), min_size=SESSIONS_MIN, max_size=250))
def test_historical_measures_are_their_definitions(losses: list[int]) -> None:
    """VaR is numpy's order statistic, CVaR the mean over the worst aT sessions, the last one in part."""
    losses = [-loss for loss in losses]  # a return is at least -1, at most 10
    tail = with_losses(losses)
    assert tail.historical_var == max(0, -int(np.quantile(-np.array(losses), 0.01, method="inverted_cdf")))

    left, total = Fraction(len(losses), 40), Fraction(0)
    weight = left
    for loss in sorted(losses, reverse=True):
        part = min(left, Fraction(1))
        total, left = total + part * loss, left - part
    assert tail.cvar == total / weight


@pytest.mark.parametrize("sessions", [100, 119, 120, 121, 249, 250])
def test_cvar_solves_the_program_of_rockafellar_and_uryasev(sessions: int) -> None:
    """Minimize c + sum_t max(0, l_t - c) / (aT), as a linear program, which knows of no order statistic."""
    tail = random_model(sessions, sessions=sessions).value(random_amounts(1, ["S0", "S3", "S4"]))
    losses = np.array(tail.model.losses([int(tail.model.history.symbols[i] == "S3") for i in range(9)])) / 1e7
    single = tail.model.value({"S3": Decimal(1)})
    solved = linprog(
        [1, *[40 / sessions] * sessions],
        A_ub=np.hstack([-np.ones((sessions, 1)), -np.eye(sessions)]),
        b_ub=-losses,
        bounds=[(None, None), *[(0, None)] * sessions],
    )
    assert float(single.cvar) == pytest.approx(solved.fun, rel=1e-9)


def test_historical_measures_agree_with_empyrical_where_the_definitions_do() -> None:
    """Its VaR interpolates and its CVaR takes whole sessions: they agree where there is nothing to do so."""
    for sessions in (101, 201):
        tail = random_model(2, sessions=sessions).value({"S1": Decimal(1)})
        result = tail.model.history.scaled[1] / 1e7
        assert float(tail.historical_var) == pytest.approx(-empyrical.value_at_risk(result, cutoff=0.01), rel=1e-12)
    for sessions in (120, 160, 200, 240):
        tail = random_model(3, sessions=sessions).value({"S1": Decimal(1)})
        result = tail.model.history.scaled[1] / 1e7
        shortfall = -empyrical.conditional_value_at_risk(result, cutoff=0.025)
        assert float(tail.cvar) == pytest.approx(shortfall, rel=1e-12)


def test_gains_in_every_session_are_no_risk_of_loss() -> None:
    tail = with_losses([-5] * 100)
    assert measures(tail) == (0, -5, 0, 0)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([10**5, 10**7]), st.sampled_from([8, 25, 60]))
def test_losses_are_exact_whatever_the_amounts(seed: int, size: int, digits: int) -> None:
    """As Python's integers have them, also beyond what int64 can hold."""
    chance = random.Random(seed)
    table = [[chance.choice([0, size * 10, chance.randint(-size, size)]) for _ in range(101)] for _ in range(4)]
    risk = model(dict(zip("ABCD", table, strict=True)))
    amounts = [chance.choice([0, 1, -1]) * chance.randint(0, 10**digits) for _ in range(4)]
    assert risk.losses(amounts) == [
        -sum(amount * row[session] for amount, row in zip(amounts, table, strict=True)) for session in range(101)
    ]


# Parametric


def test_the_quantile() -> None:
    assert pytest.approx(norm.ppf(0.99), rel=1e-15) == QUANTILE


@pytest.mark.parametrize("seed", range(6))
def test_parametric_var_and_its_components_agree_with_numpy(seed: int) -> None:
    """With the covariance matrix, written out; and the parts sum to the whole but for their rounding."""
    risk = random_model(seed, symbols=seed + 1)
    amounts = random_amounts(seed, risk.history.symbols, places=[0, 2, 4])
    tail, c = risk.value(amounts), covariance(risk)
    v = np.array([float(amounts[name]) for name in risk.history.symbols])
    deviation = math.sqrt(v @ c @ v)
    assert float(tail.parametric_var) == pytest.approx(QUANTILE * deviation, rel=1e-9, abs=5e-7)

    parts = tail.component_var()
    expected = QUANTILE * v * (c @ v) / deviation
    assert [float(parts[name]) for name in risk.history.symbols] == pytest.approx(expected, rel=1e-7, abs=1e-3)
    assert abs(sum(parts.values()) - tail.parametric_var) <= len(parts) * Decimal("0.000001")


def test_the_shrinkage_counts() -> None:
    """The random books above would not see it if the intensity were always 0 or 1."""
    assert all(0.01 < random_model(seed, symbols=seed + 1).shrinkage.intensity < 1 for seed in range(3, 6))


def test_a_perfect_hedge_has_no_risk() -> None:
    chance = random.Random(1)
    row = [chance.randint(-(10**6), 10**6) for _ in range(130)]
    risk = model({"A": row, "B": [2 * value for value in row], "C": [0] * 130})
    tail = risk.value({"A": Decimal("2000.02"), "B": Decimal("-1000.01"), "C": Decimal(7)})
    assert measures(tail) == (0, 0, 0, 0)
    assert set(tail.component_var().values()) == {0}


def test_rounding_leaves_no_root_of_less_than_nothing() -> None:
    """Two hedged pairs of one deviation: covariance and target, which counts, both make the variance zero."""
    chance = random.Random(1)
    x = [chance.randint(-(10**6), 10**6) for _ in range(130)]
    y = chance.sample(x, len(x))
    risk = model({"A": x, "B": [-value for value in x], "C": y, "D": [-value for value in y]})
    assert 0 < risk.shrinkage.intensity < 1
    for cents in range(1000, 1200):
        amount = Decimal(cents).scaleb(-2)
        assert risk.value(dict.fromkeys("ABCD", amount)).parametric_var == 0


def test_var_is_the_larger_one() -> None:
    calm, wild = [PERCENT, -PERCENT] * 60, [0] * 118 + [-(10**7)] * 2
    assert model({"S": calm}).value({"S": Decimal(100)}).var == Decimal("2.326348")
    tail = model({"S": wild}).value({"S": Decimal(100)})
    assert tail.var == tail.historical_var == 100
    assert tail.parametric_var < 31


@pytest.mark.parametrize(
    ("number", "places", "text"),
    [
        (0.5, 0, "0"),
        (1.5, 0, "2"),
        (-0.0, 6, "0.000000"),
        (1e-7, 6, "0.000000"),
        (0.1, 20, "0.10000000000000000555"),
        (Fraction(-2, 3), 6, "-0.666667"),
        (Fraction(5, 2), 0, "2"),
        (1e100, 0, f"{int(1e100)}"),
    ],
)
def test_rounding_once(number: float | Fraction, places: int, text: str) -> None:
    assert str(exact(rounded)(number, places)) == text


# One amount exchanged for another


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 3),
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.one_of(
                st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=12),
                st.sampled_from([Decimal(0), Decimal("1E+6"), Decimal("-0.00"), Decimal("7.50")]),
            ),
        ),
        max_size=6,
    ),
)
def test_exchanging_an_amount_is_the_same_as_valuing_anew(seed: int, steps: list[tuple[int, Decimal]]) -> None:
    """To the last bit, whatever came before; and the vector exchanged from stays as it was."""
    risk = random_model(seed, symbols=6, sessions=105)
    amounts = random_amounts(seed, ["S0", "S1", "S2"])
    tail = risk.value(amounts)
    for number, amount in steps:
        before, old = measures(tail), tail
        amounts[f"S{number}"] = amount
        tail = tail.replace(f"S{number}", amount)
        anew = risk.value(amounts)
        assert measures(tail) == measures(anew)
        assert tail._deviation == anew._deviation
        assert tail.component_var() == anew.component_var()
        assert measures(old) == before


def test_measures_obey_exact_arithmetic() -> None:
    """Nothing here rounds a decimal or mixes it with a float: the gate's context would trap it."""
    risk, amounts = random_model(1), random_amounts(1, ["S1", "S2"], places=[38])
    tail = risk.value(amounts)
    expected = measures(tail.replace("S1", Decimal("3.3"))), tail.component_var()
    again = exact(lambda: (risk.value(amounts).replace("S1", Decimal("3.3")), risk.value(amounts)))()
    assert (exact(lambda: measures(again[0]))(), exact(again[1].component_var)()) == expected
    assert exact(lambda: tail.cvar > Fraction(Decimal("-0.05") * Decimal(100)))()


def test_twice_the_amounts_are_twice_the_risk() -> None:
    risk, amounts = random_model(4), random_amounts(4, ["S0", "S1", "S5"])
    once = risk.value(amounts)
    twice = risk.value({name: 2 * amount for name, amount in amounts.items()})
    assert (twice.historical_var, twice.cvar) == (2 * once.historical_var, 2 * once.cvar)
    assert abs(twice.parametric_var - 2 * once.parametric_var) <= Decimal("0.000001")


# The window


def test_sessions_that_all_symbols_have() -> None:
    state = returns({"A": [1, 2, None, 4], "B": [5, None, 7, 8], "C": [None, None, 11, 12]})
    history = common_history(state, ["B", "A", "B"], {})
    assert history.symbols == ("A", "B")
    assert history.dates == (FIRST, FIRST + 3)
    assert history.scaled.tolist() == [[1, 4], [5, 8]]
    assert history.short == ("A", "B")
    assert common_history(state, ["NONE", "A"], {}).scaled.shape == (2, 0)
    assert common_history(state, [], {})[:2] == ((), ())


def test_a_proxy_fills_gaps_and_nothing_else() -> None:
    state = returns({"A": [1, 2, 3, 4], "B": [None, None, 7, 8], "C": [None, 9, 9, None]})
    proxies = {"B": "A", "NEW": "B", "C": "NONE", "OTHER": "A"}
    assert common_history(state, ["A", "B"], proxies).scaled.tolist() == [[1, 2, 3, 4], [1, 2, 7, 8]]
    assert common_history(state, ["NEW"], proxies).scaled.tolist() == [[7, 8]]  # no proxy of a proxy
    assert common_history(state, ["C"], proxies).scaled.tolist() == [[9, 9]]
    assert common_history(state, ["OTHER"], proxies).scaled.tolist() == [[1, 2, 3, 4]]


def test_a_model_needs_a_hundred_common_sessions() -> None:
    full = [1] * 150
    late: list[int | None] = [None] * 50 + [1] * 100
    early = [1] * 100
    short = [1] * 99
    state = returns({"FULL": full, "LATE": late, "EARLY": early, "SHORT": short})
    found = {
        names: common_history(state, names, {})
        for names in [("FULL", "LATE"), ("EARLY", "LATE"), ("FULL", "SHORT"), ("FULL", "NONE")]
    }
    assert [history.sufficient for history in found.values()] == [True, False, False, False]
    assert [history.short for history in found.values()] == [(), (), ("SHORT",), ("NONE",)]
    assert common_history(state, ["SHORT"], {"SHORT": "FULL"}).sufficient


def test_the_version_rises_with_every_change_and_no_other_time() -> None:
    state = Returns()
    versions = [state.version]
    for session, value in [
        ("2008-05-01", "0.1"),
        ("2008-05-01", "0.1"),
        ("2008-05-01", "0.2"),
        ("2008-05-02", "0.2"),
    ]:
        state.fold(DailyReturn(symbol="S", session=session, simple_return=Decimal(value), event_time=0))
        versions.append(state.version)
    assert versions == [0, 1, 1, 2, 3]
    assert [session.scaled for session in state.sessions["S"].values()] == [2_000_000, 2_000_000]


# What the gate asks


@pytest.mark.parametrize(
    ("position", "buying", "selling", "amount"),
    [
        ("10", "0", "0", "25"),
        ("-10", "0", "0", "-25"),
        ("10", "5", "3", "37.5"),
        ("10", "0", "25", "-37.5"),
        ("0", "4", "4", "10"),  # a tie: P + B
        ("100", "0", "200", "250"),
        ("100", "0", "201", "-252.5"),
        ("0", "0", "0", "0"),
    ],
)
def test_the_side_that_attains_the_larger_exposure(position: str, buying: str, selling: str, amount: str) -> None:
    holding = Holding.of("S", Decimal(position), Decimal(buying), Decimal(selling))
    found = signed_amount(holding.if_bought, holding.if_sold, Decimal("2.5"))
    assert found == Decimal(amount)
    assert abs(found) == holding.worst * Decimal("2.5")


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_bisection_finds_the_edge(most: int, edge: int) -> None:
    asked: list[int] = []

    def passes(lots: int) -> bool:
        asked.append(lots)
        return lots <= edge

    assert largest_passing(most, passes) == min(most, edge)
    assert len(asked) <= most.bit_length() + 1
    assert 0 not in asked


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_bisection_keeps_a_passing_size_before_a_failing_one(passing: list[bool]) -> None:
    """Risk that falls and rises again: what is found still passes."""
    passes = [True, *passing]
    most = len(passing)
    found = largest_passing(most, passes.__getitem__)
    assert passes[found]
    assert found == most or not passes[found + 1]


def test_the_largest_order_under_a_limit() -> None:
    """Bisecting the lots of a candidate, the rest of the account fixed, ends one lot below the limit."""
    risk = random_model(7)
    others = risk.value(random_amounts(7, ["S0", "S1"], places=[2]))
    price, limit = Decimal("12.34"), others.var + 5000

    def passes(lots: int) -> bool:
        return others.replace("S8", lots * price).var <= limit

    lots = largest_passing(10**6, passes)
    assert 0 < lots < 10**6
    assert others.replace("S8", lots * price).var <= limit < others.replace("S8", (lots + 1) * price).var
