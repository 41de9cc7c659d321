"""Covariance of daily returns by Ledoit and Wolf's constant-correlation shrinkage (docs/risk.md section 10).

Source: O. Ledoit and M. Wolf, "Honey, I Shrunk the Sample Covariance Matrix", Journal of Portfolio Management 30(4),
2004, appendices A and B. With y the returns less their mean, s the covariance (1/T), and r the mean of the n(n-1)/2
correlations, the target is f_ii = s_ii, f_ij = r*sqrt(s_ii*s_jj), and

    pi    = sum_ij mean_t (y_i*y_j - s_ij)^2
    rho   = sum_i mean_t (y_i^2 - s_ii)^2 + r * sum_(i!=j) sqrt(s_jj/s_ii) * mean_t (y_i^2 - s_ii)(y_i*y_j - s_ij)
    gamma = sum_ij (f_ij - s_ij)^2

The paper's two halves of rho's second term are equal, each the other with i and j exchanged, hence one. Multiplied
out, with mean_t (a - mean a)(b - mean b) = mean_t a*b - mean a * mean b, the sums over pairs become squares and
products of sums over symbols, one per date, so pi and rho cost n*T and not n*n*T:

    sum_ij mean_t y_i^2*y_j^2                = mean_t (sum_i y_i^2)^2
    sum_ij sqrt(s_jj/s_ii) mean_t y_i^3*y_j  = mean_t (sum_i y_i^3/sqrt(s_ii)) * (sum_j y_j*sqrt(s_jj))

Covariances are exact integers, rounded to float64 once. Every other sum is rounded once, too, so it has no order. All
else is elementwise: the same bits on every machine.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.folds.correlation import RETURN_DIGITS
from models.folds.panel import Integers

FLOAT_EXACT_SUM = 2**53
"""Up to here float64 adds up integers exactly, in whatever order, and multiplies matrices faster than int64."""

INT64_RETURN_MAX = 10**7
"""Up to this size, a return of 1, and 250 sessions T * sum x*y is at most 6.25e18: int64 holds it. Larger ones need
Python's integers."""

GAMMA_ZERO = 1e-24
"""Of (sum s_ii)^2. Where the target is the covariance itself, gamma is the square of rounding errors, about 1e-32 of
that; and a target that differs by one part in 10^12 makes no difference either."""

Floats = NDArray[np.float64]


class Shrinkage(NamedTuple):
    """What the covariance matrix is made of; entry (i, j) of it is `intensity * f_ij + (1 - intensity) * s_ij`."""

    deviations: tuple[float, ...]
    """sqrt(s_ii) of each symbol: standard deviation with 1/T, a fraction per session."""
    mean_correlation: float
    """0 with fewer than two symbols that move."""
    intensity: float
    """From 0 to 1."""
    pi: float
    rho: float
    gamma: float


def covariances(scaled: Integers) -> Floats:
    """Return the covariance matrix with 1/T, shape (n, n): exact sums, rounded once, and one division each.

    Args:
        scaled: Returns in units of 1e-7, shape (n, T), T at most 250 and no return above 10.
    """
    sessions = scaled.shape[1]
    sums, largest = scaled.sum(axis=1), int(np.abs(scaled).max(initial=0))
    if sessions * largest**2 <= FLOAT_EXACT_SUM:
        floats = scaled.astype(np.float64)
        products = (floats @ floats.T).astype(np.int64)
    else:
        products = np.einsum("it,jt->ij", scaled, scaled)
    if largest <= INT64_RETURN_MAX:
        exact = sessions * products - np.outer(sums, sums)
    else:
        exact = sessions * products.astype(object) - np.outer(sums.astype(object), sums.astype(object))
    result: Floats = exact.astype(np.float64) / float(sessions**2 * 10 ** (2 * RETURN_DIGITS))
    return result


def shrink(scaled: Integers) -> Shrinkage:
    """Return deviations, target and intensity.

    A symbol whose returns do not vary has no correlation with anything and takes no part in the estimate: its row and
    column are zero in covariance and target. Of two symbols that move the target is the covariance: intensity 0.

    Args:
        scaled: Returns in units of 1e-7, shape (n, T), T at least 1.
    """
    covariance = covariances(scaled)
    deviations = np.sqrt(np.diagonal(covariance))
    moving = deviations > 0
    count = int(moving.sum())
    if count < 2:  # noqa: PLR2004  # a correlation needs two
        return Shrinkage(tuple(deviations.tolist()), 0.0, 0.0, 0.0, 0.0, 0.0)
    covariance, roots = covariance[np.ix_(moving, moving)], np.outer(deviations[moving], deviations[moving])
    pairs = np.triu_indices(count, 1)
    off_diagonal, off_roots = covariance[pairs], roots[pairs]
    mean_correlation = _sum(off_diagonal / off_roots) / len(off_diagonal)
    gamma = 2 * _sum((mean_correlation * off_roots - off_diagonal) ** 2)
    pi, rho = _pi_and_rho(_centered(scaled[moving]), covariance, mean_correlation)
    intensity = 0.0
    if gamma > GAMMA_ZERO * _sum(np.diagonal(covariance)) ** 2:
        intensity = min(1.0, max(0.0, (pi - rho) / (gamma * scaled.shape[1])))
    return Shrinkage(tuple(deviations.tolist()), mean_correlation, intensity, pi, rho, gamma)


def _pi_and_rho(y: Floats, covariance: Floats, mean_correlation: float) -> tuple[float, float]:
    """Return pi and rho as the module's docstring expands them.

    Args:
        y: Returns less their mean, shape (n, T).
        covariance: With 1/T, shape (n, n), every variance positive.
        mean_correlation: Of all pairs.
    """
    sessions = y.shape[1]
    variances = np.diagonal(covariance)
    deviations = np.sqrt(variances)[:, np.newaxis]
    squares = y * y
    pi = _sum(column_sums(squares) ** 2) / sessions - _sum(covariance**2)
    fourth, variances_squared = _sum(squares * squares) / sessions, _sum(variances**2)
    with_itself = fourth - variances_squared
    crossed = _sum(column_sums(squares * y / deviations) * column_sums(y * deviations)) / sessions - fourth
    expected = _sum(deviations * deviations.T * covariance) - variances_squared
    return pi, with_itself + mean_correlation * (crossed - expected)


def _centered(scaled: Integers) -> Floats:
    """Return the returns less their mean: an exact integer, T times it, and one division."""
    sessions = scaled.shape[1]
    exact = sessions * scaled - scaled.sum(axis=1, keepdims=True)
    result: Floats = exact.astype(np.float64) / float(sessions * 10**RETURN_DIGITS)
    return result


def _sum(numbers: Floats) -> float:
    return float(column_sums(numbers.reshape(-1, 1))[0])


def column_sums(table: Floats) -> Floats:
    """Return the sum of each column as math.fsum has it: rounded once, whatever the order.

    Source: S. M. Rump, T. Ogita and S. Oishi, "Accurate Floating-Point Summation Part I: Faithful Rounding", SIAM
    Journal on Scientific Computing 31(1), 2008. Added to a power of two at least 2n times the largest of n numbers
    and taken off again, each number keeps its leading bits, and those add up without an error. The rest is dealt with
    likewise until nothing is left, and the few sums of leading bits are for fsum.

    Args:
        table: Finite numbers, shape (n, m).
    """
    parts: list[list[float]] = []
    rest, bits = table, 1 + len(table).bit_length()
    while rest.any():
        power = np.ldexp(1.0, np.frexp(np.abs(rest).max(axis=0))[1] + bits)
        leading = (power + rest) - power
        parts.append(leading.sum(axis=0).tolist())
        rest = rest - leading
    if not parts:
        return np.zeros(table.shape[1])
    return np.array([math.fsum(column) for column in zip(*parts, strict=True)])
