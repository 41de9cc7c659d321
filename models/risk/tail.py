"""Tail risk of an account: value at risk and expected shortfall, to the last digit (docs/risk.md section 10).

The vector `v` has each symbol's signed dollars on its worst side. Historical losses `-sum v_i*r_it` are sums of
integers: an amount can be exchanged in them (`Tail.replace`), and nothing tells the result from one that was computed
from the start. The parametric VaR rests on the same integers, for with s and f of `models.risk.shrinkage`

    v's*v = variance of the losses (1/T)
    v'f*v = r*a^2 + (1 - r)*b,  a = sum v_i*sqrt(s_ii),  b = sum v_i^2*s_ii

so it takes O(T + n), no matrix, and one formula serves gate, audit and report.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, reduce
from itertools import compress
from operator import mul
from typing import NamedTuple

import numpy as np

from models.canonical import CONTEXT, rounded
from models.folds.correlation import RETURN_DIGITS, Returns
from models.folds.panel import Flags, Integers
from models.risk.shrinkage import Shrinkage, shrink

SESSIONS_MIN = 100
"""With fewer sessions that all symbols have there is no model."""

VAR_ONE_IN = 100
"""The tail of the VaR: a = 0.01."""

CVAR_ONE_IN = 40
"""The tail of the CVaR: a = 0.025."""

QUANTILE = 2.3263478740408408
"""Of the standard normal distribution, at 0.99."""


def signed_amount(if_bought: Decimal, if_sold: Decimal, value: Decimal) -> Decimal:
    """Return what a holding is worth on the side that attains W, signed; on a tie, were all open buys filled.

    Args:
        if_bought: P + B, units.
        if_sold: P - S, units.
        value: Price times multiplier, account currency per unit.
    """
    return (if_bought if abs(if_bought) >= abs(if_sold) else if_sold) * value


def largest_passing(most: int, passes: Callable[[int], bool]) -> int:
    """Return a number of lots that passes, `most` if it does, else one whose successor does not.

    Risk need not rise with the size, since an order may hedge before it adds; so this is a passing size with a
    failing one next to it, not necessarily the largest of all. Zero lots are taken to pass: they worsen nothing.

    Args:
        most: What all other checks leave, at least 0.
        passes: Asked about log2(most) sizes.
    """
    if most == 0 or passes(most):
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        if passes(middle):
            low = middle
        else:
            high = middle
    return low


# --- what is known of the symbols


class History(NamedTuple):
    """The sessions that all of some symbols have."""

    symbols: tuple[str, ...]
    """Sorted."""
    dates: tuple[int, ...]
    """Ascending, as days since 1970-01-01."""
    scaled: Integers
    """Returns in units of 1e-7, shape (n, T), ordered as the two above."""
    short: tuple[str, ...]
    """Symbols with too few sessions of their own and their proxy's, sorted."""

    @property
    def sufficient(self) -> bool:
        """Whether there are sessions enough for a model. If not and `short` is empty, too few are common."""
        return len(self.dates) >= SESSIONS_MIN


def common_history(returns: Returns, symbols: Iterable[str], proxies: Mapping[str, str]) -> History:
    """Return the sessions, of the last 250 in daily-returns, that every symbol has.

    Args:
        returns: The returns folded so far.
        symbols: In any order; without one there are no sessions.
        proxies: Per symbol the one whose returns fill its gaps; symbols without a proxy are left out.
    """
    names = sorted(set(symbols))
    scaled, present = returns.panel.filled(names, proxies)
    common: Flags = np.logical_and.reduce(present) & bool(names)
    few = np.flatnonzero(present.sum(axis=1) < SESSIONS_MIN)
    return History(
        tuple(names),
        tuple(compress(returns.panel.dates, common.tolist())),
        np.ascontiguousarray(scaled[:, common]),
        tuple(names[place] for place in few),
    )


class TailModel:
    """What the returns say about some symbols. It depends on no amount, so it serves as long as no return changes."""

    def __init__(self, history: History) -> None:
        """Estimate the covariance.

        Args:
            history: Of at least one session; whether it is `sufficient` is for the caller to know.
        """
        self.history = history
        self.places = {symbol: place for place, symbol in enumerate(history.symbols)}
        self.shrinkage: Shrinkage = shrink(history.scaled)
        largest, count = int(np.abs(history.scaled).max(initial=0)), len(history.symbols)
        self._limb = 62 - largest.bit_length() - count.bit_length()
        """Bits of an amount that int64 can multiply with any return and add up over all symbols."""

    @property
    def sessions(self) -> int:
        """How many sessions the model rests on: T."""
        return len(self.history.dates)

    def losses(self, amounts: Sequence[int]) -> list[int]:
        """Return -sum_i amounts_i * r_it for each session t, exact, whatever the size of the amounts.

        Args:
            amounts: Of each symbol, in order; any unit.
        """
        totals, shift, mask = [0] * self.sessions, 0, (1 << self._limb) - 1
        sizes = [abs(amount) for amount in amounts]
        while any(sizes):
            limb = [
                size & mask if amount < 0 else -(size & mask) for size, amount in zip(sizes, amounts, strict=True)
            ]
            part = (np.array(limb, dtype=np.int64) @ self.history.scaled).tolist()
            totals = [total + (loss << shift) for total, loss in zip(totals, part, strict=True)]
            sizes, shift = [size >> self._limb for size in sizes], shift + self._limb
        return totals

    def value(self, amounts: Mapping[str, Decimal]) -> "Tail":
        """Return the tail risk of a vector.

        Args:
            amounts: Signed account currency by symbol, each of this model; those of the model left out are zero.
        """
        assert amounts.keys() <= self.places.keys(), "an amount of a symbol that is not in the model"
        digits, integers = scaled_amounts(amounts.values())
        scaled = [0] * len(self.places)
        for symbol, amount in zip(amounts, integers, strict=True):
            scaled[self.places[symbol]] = amount
        unit = 10**digits
        spread = [amount / unit * deviation for amount, deviation in zip(scaled, self.deviations, strict=True)]
        return Tail(self, digits, scaled, self.losses(scaled), spread)

    @property
    def deviations(self) -> tuple[float, ...]:
        """Standard deviation of each symbol, in order, a fraction per session."""
        return self.shrinkage.deviations


class Tail:
    """The tail risk of one vector. Amounts are in account currency; nothing here is changed once it is made."""

    def __init__(
        self, model: TailModel, digits: int, scaled: list[int], losses: list[int], spread: list[float]
    ) -> None:
        """Take over what `TailModel.value` and `replace` computed.

        Args:
            model: The symbols' model.
            digits: An amount is in units of 10^-digits.
            scaled: Signed amount per symbol, in that unit.
            losses: Per session, in that unit times 1e-7.
            spread: v_i*sqrt(s_ii) per symbol, account currency.
        """
        self.model = model
        self._digits = digits
        self._scaled = scaled
        self._losses = losses
        self._spread = spread

    def replace(self, symbol: str, amount: Decimal) -> "Tail":
        """Return the tail risk with another amount of one symbol: O(T + n), and the same as if valued from new.

        Args:
            symbol: One of the model's.
            amount: Signed account currency.
        """
        place = self.model.places[symbol]
        own_digits, [new] = scaled_amounts((amount,))
        digits = max(self._digits, own_digits)
        finer, new = 10 ** (digits - self._digits), new * 10 ** (digits - own_digits)
        change = new - self._scaled[place] * finer
        row = self.model.history.scaled[place].tolist()
        losses, scaled = self._losses, self._scaled
        if finer > 1:
            losses, scaled = [loss * finer for loss in losses], [size * finer for size in scaled]
        losses = [loss - change * scaled_return for loss, scaled_return in zip(losses, row, strict=True)]
        scaled, spread = scaled.copy(), self._spread.copy()
        scaled[place], spread[place] = new, new / 10**digits * self.model.deviations[place]
        return Tail(self.model, digits, scaled, losses, spread)

    # --- historical: exact

    @cached_property
    def _worst(self) -> list[int]:
        """Losses, the largest first: L(1), L(2), ..."""
        return sorted(self._losses, reverse=True)

    @cached_property
    def historical_var(self) -> Decimal:
        """max(0, L(k)), k = ceil(a*T), a = 0.01: exact."""
        tail = self._worst[(self.model.sessions - 1) // VAR_ONE_IN]
        return Decimal(max(0, tail)).scaleb(-self._digits - RETURN_DIGITS, CONTEXT)

    @cached_property
    def cvar(self) -> Fraction:
        """(L(1) + ... + L(k-1) + (aT - k + 1)*L(k)) / (aT), k = ceil(a*T), a = 0.025: exact, of any sign."""
        sessions, worst = self.model.sessions, self._worst
        whole = (sessions - 1) // CVAR_ONE_IN  # k - 1
        # Numerator and denominator are multiplied by 40, then all is in integers.
        numerator = CVAR_ONE_IN * sum(worst[:whole]) + (sessions - CVAR_ONE_IN * whole) * worst[whole]
        return Fraction(numerator, sessions * 10 ** (self._digits + RETURN_DIGITS))

    # --- parametric: float64, the same bits everywhere

    @cached_property
    def _deviation(self) -> float:
        """sqrt(v'Cv): standard deviation of the account's result per session."""
        sessions, losses, shrinkage = self.model.sessions, self._losses, self.model.shrinkage
        sample = (sessions * sum(map(mul, losses, losses)) - sum(losses) ** 2) / self._squared_unit
        total, squares = math.fsum(self._spread), math.fsum(map(mul, self._spread, self._spread))
        correlation, intensity = shrinkage.mean_correlation, shrinkage.intensity
        target = math.fsum((correlation * total * total, (1 - correlation) * squares))
        # Rounding may leave less than nothing of a perfect hedge.
        return math.sqrt(max(0.0, math.fsum(((1 - intensity) * sample, intensity * target))))

    @property
    def _squared_unit(self) -> int:
        """How many units of T^2 times a squared loss are one."""
        units: int = 10 ** (self._digits + RETURN_DIGITS)
        return (self.model.sessions * units) ** 2

    @cached_property
    def parametric_var(self) -> Decimal:
        """2.326... * sqrt(v'Cv), rounded half-even to 6 places: the number that is shown is the one compared."""
        return rounded(QUANTILE * self._deviation)

    @cached_property
    def var(self) -> Decimal:
        """The larger VaR."""
        return max(self.historical_var, self.parametric_var)

    def component_var(self) -> dict[str, Decimal]:
        """Return z*v_i*(Cv)_i/sqrt(v'Cv) of every symbol, 6 places; they sum to the parametric VaR.

        All are zero where that is.
        """
        history, shrinkage = self.model.history, self.model.shrinkage
        if not self._deviation:
            return dict.fromkeys(history.symbols, rounded(0.0))
        losses, total = self._losses, math.fsum(self._spread)
        sum_of_losses, sessions, unit = sum(losses), self.model.sessions, self._squared_unit
        correlation, intensity = shrinkage.mean_correlation, shrinkage.intensity
        result = {}
        for symbol, row, amount, own in zip(
            history.symbols, history.scaled.tolist(), self._scaled, self._spread, strict=True
        ):
            # The symbol's own losses are -amount * row.
            covariance = -amount * (sessions * sum(map(mul, row, losses)) - sum(row) * sum_of_losses)
            target = own * math.fsum((correlation * total, (1 - correlation) * own))
            share = math.fsum(((1 - intensity) * (covariance / unit), intensity * target))
            result[symbol] = rounded(QUANTILE * share / self._deviation)
        return result


def scaled_amounts(amounts: Collection[Decimal]) -> tuple[int, list[int]]:
    """Return how many decimal places amounts have between them, and each as an integer of that unit."""
    exponent = reduce(CONTEXT.add, amounts, Decimal(0)).as_tuple().exponent  # an exact sum has the finest of all
    assert isinstance(exponent, int), "amounts are finite"
    return -exponent, [int(amount.scaleb(-exponent, CONTEXT)) for amount in amounts]
