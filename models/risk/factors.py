"""Factor risk: what an account holds of the market and of each sector, exact (docs/risk.md section 10).

Factors are means of named instruments, so there is no sign to choose and no eigensolver to trust. All series are
integers of 1e-7. A coefficient is a fraction of two integers and is never rounded; exposures are sums of such
fractions, compared with a limit as they are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from operator import mul
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.folds.correlation import Returns
from models.folds.panel import Flags, Integers, Series
from models.folds.reference import SECTOR_UNKNOWN
from models.risk.tail import SESSIONS_MIN, scaled_amounts

Exact = NDArray[Any]
"""Integers: int64 where they all fit, else Python's."""

INT64_END = 2**63
INT64_RESIDUAL_MAX = 2**31
"""Up to this size residuals are kept as int64, which holds their sum over 2**31 symbols."""


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
    whole: bool = True
    """False where the sectors were not asked for."""

    def sector(self, name: str) -> Fraction:
        """Return the exposure to one sector."""
        return self.sectors.get(name, Fraction(0))


class _Group(NamedTuple):
    """What a sector's members leave of the market."""

    places: Mapping[str, int]
    """Row of each member whose beta is known."""
    residuals: Exact
    """r - beta*m, shape (members, dates): 0 where there is no return."""
    present: Flags
    """Where there is one, gaps filled by the member's proxy."""
    mean: Exact
    """f_g: the mean of the members' residuals, on their own sessions, by date."""
    dates: Flags
    """The dates that f_g has."""


class FactorModel:
    """The market, the sectors, and what each instrument has of them.

    It depends on no account, and is valid as long as no return, sector or proxy changes. Only what is asked for is
    computed: a beta from the symbol's own returns and the market, a gamma from those of the whole sector.
    """

    def __init__(
        self,
        returns: Returns,
        sector: Callable[[str], str],
        proxy: Callable[[str], str | None],
        members: Mapping[str, Sequence[str]],
    ) -> None:
        """Take over what is known of the symbols; see `factor_model`.

        Args:
            returns: The returns folded so far.
            sector: Returns the sector of a symbol.
            proxy: Returns the symbol whose returns fill its gaps.
            members: By sector: its symbols that have returns.
        """
        self._panel = returns.panel
        self._proxy = proxy
        self._members = members
        self._market = _rounded(self._panel.sums, np.maximum(self._panel.counts, 1))
        self._betas: dict[str, Coefficient | None] = {}
        self._gammas: dict[str, Coefficient | None] = {}
        self._groups: dict[str, _Group] = {}
        self.sector = sector

    @cached_property
    def market(self) -> dict[int, int]:
        """Mean return of the instruments that have one of their own, by session, in units of 1e-7."""
        return dict(zip(self._panel.dates, self._market.tolist(), strict=True))

    def beta(self, symbol: str) -> Coefficient | None:
        """Return cov(i, m)/var(m) over the sessions of the symbol, gaps filled by its proxy.

        Returns:
            None where there are fewer than 100 of them or the market does not move in them: the model does not know.
        """
        if symbol not in self._betas:
            self._learn((symbol,))
        return self._betas[symbol]

    def unknown(self, symbols: Iterable[str]) -> list[str]:
        """Return those of `symbols` whose beta is not known."""
        asked = [*symbols]
        self._learn([symbol for symbol in asked if symbol not in self._betas])
        return [symbol for symbol in asked if self._betas[symbol] is None]

    def _learn(self, symbols: Sequence[str]) -> Series:
        """Find betas, many in little more time than one. Return the returns they rest on."""
        series = self._filled(symbols)
        self._betas.update(zip(symbols, _betas(series, self._market), strict=True))
        return series

    def _filled(self, symbols: Sequence[str]) -> Series:
        proxies = {symbol: proxy for symbol in symbols if (proxy := self._proxy(symbol)) is not None}
        return self._panel.filled(symbols, proxies)

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
        beta = self.beta(symbol)
        if beta is None:
            return None
        group = self._group(self.sector(symbol))
        place = group.places.get(symbol)
        if place is not None:
            residuals, present = group.residuals[place], group.present[place]
        else:  # all its returns are its proxy's
            filled = self._filled((symbol,))
            [residuals], [present] = _residuals(filled, [beta], self._market), filled.present
        common = present & group.dates
        count, sum_x, sum_y, sum_xy, sum_yy = _sums(residuals[common], group.mean[common])
        variance = count * sum_yy - sum_y * sum_y
        if variance == 0:
            return Coefficient(0, 1)
        return Coefficient(count * sum_xy - sum_x * sum_y, variance)

    def _group(self, sector: str) -> _Group:
        if sector not in self._groups:
            symbols = self._members.get(sector, ())
            filled = self._learn(symbols)
            places = [place for place, symbol in enumerate(symbols) if self._betas[symbol] is not None]
            known = [symbols[place] for place in places]
            kept = Series(filled.scaled[places], filled.present[places])
            residuals = _residuals(kept, [self._betas[symbol] for symbol in known], self._market)
            own = self._panel.series(known).present
            self._groups[sector] = _Group(
                {symbol: place for place, symbol in enumerate(known)},
                residuals,
                kept.present,
                _means(residuals, own),
                np.logical_or.reduce(own),
            )
        return self._groups[sector]

    def exposure(self, amounts: Mapping[str, Decimal], *, sectors: bool = True) -> FactorExposure:
        """Return what a vector holds of each factor.

        Args:
            amounts: Signed account currency by symbol; the beta of each is known.
            sectors: False leaves the sectors out: they rest on the returns of all their members, the market does not.
        """
        digits, scaled = scaled_amounts(amounts.values())
        self.unknown(amounts)  # finds all betas in one go
        market: dict[int, int] = {}
        by_sector: dict[str, dict[int, int]] = {}
        for symbol, amount in zip(amounts, scaled, strict=True):
            _add_part(market, _known(self.beta(symbol), symbol), amount)
            if sectors:
                _add_part(by_sector.setdefault(self.sector(symbol), {}), _known(self.gamma(symbol), symbol), amount)
        unit = 10**digits
        return FactorExposure(
            _total(market, unit),
            {sector: _total(by_sector[sector], unit) for sector in sorted(by_sector)},
            whole=sectors,
        )

    def add(self, exposure: FactorExposure, symbol: str, amount: Decimal) -> FactorExposure:
        """Return `exposure` with an amount more of one symbol.

        Args:
            exposure: Of the rest of the account.
            symbol: One whose beta is known.
            amount: Signed account currency; the difference where `exposure` has some of it already.
        """
        more = Fraction(amount)
        market = exposure.market + more * _known(self.beta(symbol), symbol).value
        if not exposure.whole:
            return FactorExposure(market, {}, whole=False)
        sector, gamma = self.sector(symbol), _known(self.gamma(symbol), symbol)
        return FactorExposure(market, {**exposure.sectors, sector: exposure.sector(sector) + more * gamma.value})


def factor_model(returns: Returns, sectors: Mapping[str, str], proxies: Mapping[str, str]) -> FactorModel:
    """Return the model of the market and the sectors.

    Args:
        returns: The returns folded so far.
        sectors: By symbol; those left out are in sector UNKNOWN. Not to change as long as the model is used.
        proxies: Per symbol the one whose returns fill its gaps. They count in the symbol's own coefficients, not in
            the factors, where the proxy stands for itself.
    """

    def sector(symbol: str) -> str:
        return sectors.get(symbol, SECTOR_UNKNOWN)

    return FactorModel(returns, sector, proxies.get, members_of(returns.sessions, sector))


def members_of(symbols: Iterable[str], sector: Callable[[str], str]) -> dict[str, list[str]]:
    """Return symbols by their sectors."""
    members: dict[str, list[str]] = {}
    for symbol in symbols:
        members.setdefault(sector(symbol), []).append(symbol)
    return members


def _known(coefficient: Coefficient | None, symbol: str) -> Coefficient:
    assert coefficient is not None, f"no beta of {symbol}"
    return coefficient


def _add_part(parts: dict[int, int], coefficient: Coefficient, amount: int) -> None:
    """Add to the parts of one denominator: they are added up before they are divided, for most have the same."""
    denominator = coefficient.denominator
    parts[denominator] = parts.get(denominator, 0) + coefficient.numerator * amount


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


def _betas(panel: Series, market: Integers) -> list[Coefficient | None]:
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


def _residuals(panel: Series, betas: Sequence[Coefficient | None], market: Integers) -> Exact:
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


def _sums(x: Exact, y: Exact) -> tuple[int, ...]:
    """Return n, Sx, Sy, Sxy and Syy of two series, exact."""
    count, largest = len(x), [max(int(series.max(initial=0)), -int(series.min(initial=0))) for series in (x, y)]
    if max(largest) * largest[1] * count < INT64_END:
        return count, int(x.sum()), int(y.sum()), int(x @ y), int(y @ y)
    numbers, others = x.tolist(), y.tolist()
    return count, sum(numbers), sum(others), sum(map(mul, numbers, others)), sum(map(mul, others, others))


def _total(sums: Mapping[int, int], unit: int) -> Fraction:
    """Return the sum of numerators over their denominators, times 1/unit."""
    total = sum((Fraction(numerator, denominator) for denominator, numerator in sums.items()), Fraction(0))
    return total / unit
