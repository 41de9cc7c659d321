"""Factor risk: what an account holds of the market and of each sector, exact (docs/risk.md section 10).

Factors are means of named instruments, so there is no sign to choose and no eigensolver to trust. All series are
integers of 1e-7. A coefficient is a fraction of two integers and is never rounded; exposures are sums of such
fractions, compared with a limit as they are.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from operator import mul
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.correlation import Returns, Session
from models.panel import Flags, Integers
from models.reference import SECTOR_UNKNOWN
from models.risk.tail import SESSIONS_MIN, filled_sessions, scaled_amounts

Exact = NDArray[Any]
"""Integers: int64 where they all fit, else Python's."""

INT64_RESIDUAL_MAX = 2**31
"""Up to this size residuals are kept as int64, which holds their sum over 2**31 symbols."""


_ABSENT = Session(0, None)


class Coefficient(NamedTuple):
    """How far a symbol moves with a factor: a fraction that is not reduced, since many share a denominator."""

    numerator: int
    denominator: int
    """Positive."""

    @property
    def value(self) -> Fraction:
        """The coefficient."""
        return Fraction(self.numerator, self.denominator)


class FactorExposure(NamedTuple):
    """What a vector holds of each factor, account currency, signed, exact."""

    market: Fraction
    """sum v*beta."""
    sectors: Mapping[str, Fraction]
    """sum v*gamma over the sector's members; sectors of which nothing is held are left out."""

    def sector(self, name: str) -> Fraction:
        """Return the exposure to one sector."""
        return self.sectors.get(name, Fraction(0))


class _Panel(NamedTuple):
    """Series side by side, shape (n, dates): 0 where there is no return."""

    scaled: Integers
    present: Flags


class FactorModel:
    """The market, the sectors, and what each instrument has of them.

    It depends on no account, and is valid as long as no return, sector or proxy changes.
    """

    def __init__(self, returns: Returns, sectors: Mapping[str, str], proxies: Mapping[str, str]) -> None:
        """Compute market and betas; see `factor_model`."""
        sessions = returns.sessions
        known = {*sessions, *(symbol for symbol, proxy in proxies.items() if proxy in sessions)}
        self._sectors = sectors
        self._symbols = sorted(known)
        self._places = {symbol: place for place, symbol in enumerate(self._symbols)}
        days = sorted(set().union(*sessions.values()))
        self._own = _panel([sessions.get(symbol, {}) for symbol in self._symbols], days)
        self._filled = self._own
        if proxies:
            self._filled = _panel([filled_sessions(returns, symbol, proxies) for symbol in self._symbols], days)
        market = _means(self._own.scaled, self._own.present)
        self._betas = _betas(self._filled, market)
        self._residuals = _residuals(self._filled, self._betas, market)
        self._series: dict[str, tuple[Exact, Flags]] = {}
        self._gammas: dict[str, Coefficient | None] = {}
        self.market: dict[int, int] = dict(zip(days, market.tolist(), strict=True))
        """Mean return of the instruments that have one of their own, by session, in units of 1e-7."""

    def sector(self, symbol: str) -> str:
        """Return the sector of a symbol."""
        return self._sectors.get(symbol, SECTOR_UNKNOWN)

    def beta(self, symbol: str) -> Coefficient | None:
        """Return cov(i, m)/var(m) over the sessions of the symbol, gaps filled by its proxy.

        Returns:
            None where there are fewer than 100 of them or the market does not move in them: the model does not know.
        """
        place = self._places.get(symbol)
        return None if place is None else self._betas[place]

    def gamma(self, symbol: str) -> Coefficient | None:
        """Return cov(e_i, f_g)/var(f_g) with f_g the series of the symbol's own sector.

        Over the sessions that the symbol, gaps filled by its proxy, and the sector both have.

        Returns:
            Zero where the sector does not move beyond the market, None where `beta` is None.
        """
        if symbol not in self._gammas:
            self._gammas[symbol] = self._gamma(symbol)
        return self._gammas[symbol]

    def _gamma(self, symbol: str) -> Coefficient | None:
        if self.beta(symbol) is None:
            return None
        place, (series, present) = self._places[symbol], self._sector_series(self.sector(symbol))
        common = present & self._filled.present[place]
        x, y = self._residuals[place][common].tolist(), series[common].tolist()
        count, sum_y = len(x), sum(y)
        variance = count * sum(map(mul, y, y)) - sum_y * sum_y
        if variance == 0:
            return Coefficient(0, 1)
        return Coefficient(count * sum(map(mul, x, y)) - sum(x) * sum_y, variance)

    def _sector_series(self, sector: str) -> tuple[Exact, Flags]:
        """Return f_g and the sessions it has: the mean residual of members whose beta is known, on their own ones."""
        if sector not in self._series:
            places = [
                place
                for place, symbol in enumerate(self._symbols)
                if self._betas[place] is not None and self.sector(symbol) == sector
            ]
            present = self._own.present[places]
            self._series[sector] = _means(self._residuals[places], present), np.logical_or.reduce(present)
        return self._series[sector]

    def exposure(self, amounts: Mapping[str, Decimal]) -> FactorExposure:
        """Return what a vector holds of each factor.

        Args:
            amounts: Signed account currency by symbol; the beta of each is known.
        """
        digits, scaled = scaled_amounts(amounts.values())
        market: dict[int, int] = {}
        sectors: dict[str, dict[int, int]] = {}
        for symbol, amount in zip(amounts, scaled, strict=True):
            sums = sectors.setdefault(self.sector(symbol), {})
            # Parts of one denominator are added up before they are divided: most have the same.
            for parts, coefficient in zip((market, sums), self._known(symbol), strict=True):
                denominator = coefficient.denominator
                parts[denominator] = parts.get(denominator, 0) + coefficient.numerator * amount
        return FactorExposure(
            _total(market, 10**digits), {sector: _total(sectors[sector], 10**digits) for sector in sorted(sectors)}
        )

    def add(self, exposure: FactorExposure, symbol: str, amount: Decimal) -> FactorExposure:
        """Return `exposure` with an amount more of one symbol.

        Args:
            exposure: Of the rest of the account.
            symbol: One whose beta is known.
            amount: Signed account currency; the difference where `exposure` has some of it already.
        """
        beta, gamma = self._known(symbol)
        sector, more = self.sector(symbol), Fraction(amount)
        return FactorExposure(
            exposure.market + more * beta.value,
            {**exposure.sectors, sector: exposure.sector(sector) + more * gamma.value},
        )

    def _known(self, symbol: str) -> tuple[Coefficient, Coefficient]:
        beta, gamma = self.beta(symbol), self.gamma(symbol)
        assert beta is not None, f"no beta of {symbol}"
        assert gamma is not None, f"no gamma of {symbol}"
        return beta, gamma


def factor_model(returns: Returns, sectors: Mapping[str, str], proxies: Mapping[str, str]) -> FactorModel:
    """Return the model of the market and the sectors.

    Args:
        returns: The returns folded so far.
        sectors: By symbol; those left out are in sector UNKNOWN. Not to change as long as the model is used.
        proxies: Per symbol the one whose returns fill its gaps. They count in the symbol's own coefficients, not in
            the factors, where the proxy stands for itself.
    """
    return FactorModel(returns, sectors, proxies)


def _panel(series: Sequence[Mapping[int, Session]], days: Sequence[int]) -> _Panel:
    """Return the returns of each of `series` on each of `days`."""
    shape = (len(series), len(days))
    table = [[sessions.get(day, _ABSENT).scaled for day in days] for sessions in series]
    present = [[day in sessions for day in days] for sessions in series]
    return _Panel(np.array(table, dtype=np.int64).reshape(shape), np.array(present, dtype=np.bool_).reshape(shape))


def _rounded(numerator: Exact, denominator: Exact) -> Exact:
    """Return numerator / denominator, the latter positive, rounded half-even."""
    quotient = numerator // denominator
    rest = 2 * (numerator - quotient * denominator)
    up = (rest > denominator) | ((rest == denominator) & (quotient % 2 == 1))
    result: Exact = quotient + up
    return result


def _means(table: Exact, present: Flags) -> Exact:
    """Return the mean of what is present in each column, rounded half-even; 0 where nothing is."""
    counts = present.sum(axis=0)
    return _rounded(np.where(present, table, 0).sum(axis=0), np.maximum(counts, 1))


def _betas(panel: _Panel, market: Integers) -> list[Coefficient | None]:
    """Return cov(i, m)/var(m) of each row over what is present in it."""
    present = panel.present.astype(np.int64)
    # No sum exceeds 250 * 10**16 < 2**63; products of sums are for Python's integers.
    parts = (present.sum(axis=1), panel.scaled.sum(axis=1), present @ market)
    squares, products = present @ (market * market), panel.scaled @ market
    betas: list[Coefficient | None] = []
    for count, sum_x, sum_m, sum_mm, sum_xm in zip(
        *(part.tolist() for part in (*parts, squares, products)), strict=True
    ):
        variance = count * sum_mm - sum_m * sum_m
        known = count >= SESSIONS_MIN and variance > 0
        betas.append(Coefficient(count * sum_xm - sum_x * sum_m, variance) if known else None)
    return betas


def _residuals(panel: _Panel, betas: list[Coefficient | None], market: Integers) -> Exact:
    """Return r - beta*m, rounded half-even, where r is present and beta known, else 0.

    Float64 finds those that are not within its error of a tie; the integers settle the rest.
    """
    known = np.array([beta is not None for beta in betas], dtype=np.bool_)
    slopes = np.array([0.0 if beta is None else beta.numerator / beta.denominator for beta in betas])
    moved = slopes[:, np.newaxis] * market
    estimate = panel.scaled - moved
    nearest = np.rint(estimate)
    error = 1e-15 * (np.abs(panel.scaled) + np.abs(moved))  # three roundings of 1.2e-16 at most
    clear = 0.5 - np.abs(estimate - nearest) > error
    wanted = panel.present & known[:, np.newaxis]
    small = np.abs(nearest) <= INT64_RESIDUAL_MAX
    kind = np.int64 if small[wanted].all() else object
    result: Exact = np.where(wanted & small, nearest, 0.0).astype(np.int64).astype(kind)
    for row, column in zip(*np.nonzero(wanted & ~(clear & small)), strict=True):
        beta = betas[row]
        assert beta is not None, "wanted where beta is known"
        numerator = int(panel.scaled[row, column]) * beta.denominator - beta.numerator * int(market[column])
        result[row, column] = round(Fraction(numerator, beta.denominator))
    return result


def _total(sums: Mapping[int, int], unit: int) -> Fraction:
    """Return the sum of numerators over their denominators, times 1/unit."""
    total = sum((Fraction(numerator, denominator) for denominator, numerator in sums.items()), Fraction(0))
    return total / unit
