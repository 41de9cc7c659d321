"""How much to open: a budget over the risk of one unit (docs/risk.md section 5)."""

from decimal import Decimal
from typing import NamedTuple

from models.folds.book import ZERO
from models.limits import Limits, SizingMethod
from models.messages import OrderIntent
from models.reasons import RejectReason

PROBATION_SHARE = Decimal("0.5")
"""What is left of the budget to a strategy on probation."""


class Sizing(NamedTuple):
    """The gate's own size for an opening, units; None with the reason, or without one where nothing is sized."""

    quantity: Decimal | None
    reasons: tuple[RejectReason, ...] = ()


def size_opening(
    limits: Limits,
    intent: OrderIntent,
    *,
    equity: Decimal | None,
    price: Decimal | None,
    atr: Decimal | None,
    lot: Decimal | None,
    multiplier: Decimal | None,
    probation: bool,
) -> Sizing | None:
    """Return the opening quantity: the budget over the unit, floored to the lot, never rounded up.

    None where the method needs something that is not there.

    Args:
        limits: The method and its parameters.
        intent: May bring a stop distance and, for KELLY, the strategy's record.
        equity: Account currency, positive.
        price: Account currency per unit, positive; needed by FIXED_PERCENT and FIXED_DOLLAR.
        atr: Average true range, account currency per unit; needed by VOLATILITY_ADJUSTED and KELLY without a stop.
        lot: Units, positive.
        multiplier: Account currency per unit and point of price, positive.
        probation: Halves the budget.
    """
    method = limits.sizing_method
    if method is SizingMethod.NONE:
        return Sizing(None)
    edge = _edge(limits, intent) if method is SizingMethod.KELLY else ZERO
    if isinstance(edge, RejectReason):
        return Sizing(None, (edge,))
    if equity is None or lot is None or multiplier is None:
        return None

    risk = price
    if method in (SizingMethod.VOLATILITY_ADJUSTED, SizingMethod.KELLY):
        risk = intent.stop_distance
        if risk is None and atr is not None:
            risk = limits.atr_multiple * atr
    if risk is None:
        return None
    unit = risk * multiplier
    if method is SizingMethod.KELLY:
        assert intent.payoff is not None  # else there were no edge
        unit *= intent.payoff
    budget = _budget(limits, equity, edge)
    if probation:
        budget *= PROBATION_SHARE
    return Sizing(budget // (unit * lot) * lot)


def _budget(limits: Limits, equity: Decimal, edge: Decimal) -> Decimal:
    """Return what may be lost with one position, or by price spent on it; money."""
    match limits.sizing_method:
        case SizingMethod.VOLATILITY_ADJUSTED:
            return limits.risk_per_trade * equity
        case SizingMethod.FIXED_PERCENT:
            return limits.fixed_percent * equity
        case SizingMethod.FIXED_DOLLAR:
            assert limits.fixed_dollar is not None  # a profile without it is refused
            return limits.fixed_dollar
        case _:
            return limits.kelly_fraction * edge * equity


def _edge(limits: Limits, intent: OrderIntent) -> Decimal | RejectReason:
    """Return b*f*, of Kelly (1956): f* = p - (1 - p)/b, times b so that nothing is divided."""
    if intent.win_rate is None or intent.payoff is None or intent.trades is None:
        return RejectReason.TOO_FEW_TRADES
    if intent.trades < limits.kelly_trades_min:
        return RejectReason.TOO_FEW_TRADES
    edge = intent.win_rate * intent.payoff - (1 - intent.win_rate)
    return edge if edge > 0 else RejectReason.NO_EDGE
