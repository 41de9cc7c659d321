"""Ledoit and Wolf's constant-correlation shrinkage against the paper, written out, and against scikit-learn."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.covariance import empirical_covariance, ledoit_wolf_shrinkage

from models.risk.shrinkage import column_sums, covariances, shrink

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def table(seed: int, symbols: int, sessions: int, *, size: float = 1e5) -> Integers:
    """Return scaled returns that share a factor to different degrees."""
    chance = np.random.default_rng(seed)
    loads = chance.uniform(-0.5, 1.5, (symbols, 1))
    noise = chance.standard_t(5, (symbols, sessions)) * chance.uniform(0.3, 3, (symbols, 1))
    return np.rint(size * (loads * chance.normal(size=sessions) + noise)).astype(np.int64)


def paper(scaled: Integers) -> tuple[float, float, float, float]:
    """Return mean correlation, pi, rho and gamma pair by pair, as appendices A and B of the paper have them."""
    y = scaled / 1e7
    y = y - y.mean(axis=1, keepdims=True)
    n, sessions = y.shape
    s = y @ y.T / sessions
    d = np.diag(s)
    r = sum(s[i, j] / math.sqrt(d[i] * d[j]) for i in range(n - 1) for j in range(i + 1, n)) * 2 / (n * (n - 1))
    f = np.array([[d[i] if i == j else r * math.sqrt(d[i] * d[j]) for j in range(n)] for i in range(n)])
    pi = sum(np.mean((y[i] * y[j] - s[i, j]) ** 2) for i in range(n) for j in range(n))
    rho = sum(np.mean((y[i] ** 2 - d[i]) ** 2) for i in range(n))
    for i in range(n):
        for j in range(n):
            if i != j:
                cross = y[i] * y[j] - s[i, j]
                theta_ii = np.mean((y[i] ** 2 - d[i]) * cross)
                theta_jj = np.mean((y[j] ** 2 - d[j]) * cross)
                rho += r / 2 * (math.sqrt(d[j] / d[i]) * theta_ii + math.sqrt(d[i] / d[j]) * theta_jj)
    return float(r), float(pi), float(rho), float(((f - s) ** 2).sum())


@pytest.mark.parametrize(("symbols", "sessions"), [(3, 100), (5, 250), (12, 130), (30, 20)])
@pytest.mark.parametrize("seed", range(3))
def test_the_estimate_is_the_papers(symbols: int, sessions: int, seed: int) -> None:
    scaled = table(seed, symbols, sessions)
    found, (r, pi, rho, gamma) = shrink(scaled), paper(scaled)
    assert (found.mean_correlation, found.pi, found.gamma) == pytest.approx((r, pi, gamma), rel=1e-10)
    assert found.rho == pytest.approx(rho, rel=1e-9, abs=1e-9 * pi)
    assert found.intensity == pytest.approx(min(1.0, max(0.0, (pi - rho) / gamma / sessions)), rel=1e-8)
    assert found.deviations == pytest.approx((scaled / 1e7).std(axis=1), rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_covariance_and_pi_agree_with_scikit_learn(seed: int) -> None:
    """Its target is another, the scaled identity; the sample covariance and the sum of its variances are the same."""
    scaled = table(seed, 8, 200)
    returns = scaled.T / 1e7
    sample = empirical_covariance(returns)
    assert covariances(scaled) == pytest.approx(sample, rel=1e-9, abs=1e-12)
    distance = ((sample - np.eye(8) * np.trace(sample) / 8) ** 2).sum()
    intensity = ledoit_wolf_shrinkage(returns)
    assert 0 < intensity < 1
    assert shrink(scaled).pi == pytest.approx(intensity * distance * 200, rel=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.sampled_from([3, 10**7, 10**7 + 1, 10**8]), st.integers(1, 250), st.randoms(use_true_random=False))
def test_covariances_are_exact_sums(largest: int, sessions: int, chance: random.Random) -> None:
    """Also where all returns are the largest there are; what is left are the roundings of one quotient."""
    values = [[chance.choice([largest, -min(largest, 10**7), 0, 1]) for _ in range(sessions)] for _ in range(3)]
    found = covariances(np.array(values, dtype=np.int64))
    for i, x in enumerate(values):
        for j, y in enumerate(values):
            product = sum(a * b for a, b in zip(x, y, strict=True))
            exact = Fraction(sessions * product - sum(x) * sum(y), sessions**2 * 10**14)
            assert abs(Fraction(found[i, j].item()) - exact) <= abs(exact) * Fraction(1, 2**52)


def test_intensity_falls_with_the_number_of_sessions() -> None:
    """The same sessions twice have the same moments, so the intensity is half."""
    scaled = table(1, 6, 110)
    once, twice = shrink(scaled), shrink(np.tile(scaled, 2))
    assert 0 < once.intensity < 1
    assert twice.intensity == pytest.approx(once.intensity / 2, rel=1e-9)


def test_intensity_is_one_where_the_target_is_true() -> None:
    """Equal correlations and few sessions: what the sample says beyond the target is noise, and the clip holds."""
    chance = np.random.default_rng(3)
    scaled = np.rint(1e5 * (chance.normal(size=25) + chance.normal(size=(40, 25)))).astype(np.int64)
    found = shrink(scaled)
    assert (found.pi - found.rho) / found.gamma / 25 > 1
    assert found.intensity == 1.0


def test_intensity_is_zero_where_the_target_is_the_covariance() -> None:
    """Of two symbols; and of several whose correlations are all the same, though rounding leaves some gamma."""
    scaled = table(5, 2, 150)
    assert shrink(scaled).intensity == 0.0
    assert shrink(scaled).mean_correlation == pytest.approx(np.asarray(np.corrcoef(scaled))[0, 1], rel=1e-12)
    for copies in (3, 7):
        same = np.arange(1, copies + 1).reshape(-1, 1) * scaled[:1]
        assert shrink(same).intensity == 0.0
        assert shrink(same).mean_correlation == pytest.approx(1, rel=1e-12)


def test_intensity_is_zero_where_the_sample_is_certain() -> None:
    """Every product is its own mean, so pi and rho are 0; the correlations 1, -1 and -1 are far from the target."""
    x = np.array([1, 1, -1, -1] * 25, dtype=np.int64) * 10**5
    found = shrink(np.array([x, x, -x]))
    assert found.mean_correlation == pytest.approx(-1 / 3, rel=1e-12)
    assert found.gamma == pytest.approx(1e-8 * (2 * (4 / 3) ** 2 + 4 * (2 / 3) ** 2), rel=1e-12)
    assert found.intensity == pytest.approx(0, abs=1e-12)


def test_what_does_not_move_takes_no_part() -> None:
    scaled = table(2, 6, 120)
    still = np.insert(scaled, 2, 12345, axis=0)
    found, without = shrink(still), shrink(scaled)
    assert found.deviations == (*without.deviations[:2], 0.0, *without.deviations[2:])
    assert found[1:] == without[1:]
    for rows in (still[2:4], still[2:3], still[:0]):
        assert shrink(rows)[1:] == (0.0, 0.0, 0.0, 0.0, 0.0)


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(7)), st.integers(0, 3))
def test_the_order_of_symbols_changes_no_bit(order: list[int], seed: int) -> None:
    scaled = table(seed, 7, 101)
    found, other = shrink(scaled), shrink(scaled[order])
    assert other.deviations == tuple(found.deviations[place] for place in order)
    assert other[1:] == found[1:]


@given(
    st.integers(0, 40),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 20, 60, 400]),
    st.booleans(),
)
def test_sums_are_those_of_fsum(rows: int, columns: int, seed: int, spread: int, cancels: bool) -> None:
    """To the last bit, whatever the sizes are, and where nearly all cancels out."""
    chance = np.random.default_rng(seed)
    exponents = chance.integers(-spread, spread, (rows, columns), endpoint=True)
    table = np.ldexp(chance.standard_normal((rows, columns)), exponents)
    table[chance.random((rows, columns)) < 0.2] = 0
    if cancels:
        table = np.concatenate((table, -table[:-1]))
    assert column_sums(table).tolist() == [math.fsum(table[:, column].tolist()) for column in range(columns)]
