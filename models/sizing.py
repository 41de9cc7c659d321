"""How much to open: a budget over the risk of one unit (docs/risk.md section 5)."""

from decimal import Decimal
from typing import NamedTuple

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
    equity: Decimal,
    price: Decimal,
    atr: Decimal | None,
    lot: Decimal,
    multiplier: Decimal,
    probation: bool,
) -> Sizing:
    """Return the opening quantity: the budget over the unit, floored to the lot, never rounded up.

    Args:
        limits: The method and its parameters.
        intent: May bring a stop distance and, for KELLY, the strategy's record.
        equity: Account currency, positive.
        price: Account currency per unit, positive.
        atr: Average true range, account currency per unit; needed by VOLATILITY_ADJUSTED and KELLY without a stop.
        lot: Units, positive.
        multiplier: Account currency per unit and point of price, positive.
        probation: Halves the budget.
    """
    share = PROBATION_SHARE if probation else Decimal(1)

    def over(budget: Decimal, unit: Decimal) -> Sizing:
        return Sizing(budget * share // (unit * lot) * lot)

    match limits.sizing_method:
        case SizingMethod.NONE:
            return Sizing(None)
        case SizingMethod.FIXED_PERCENT:
            return over(limits.fixed_percent * equity, price * multiplier)
        case SizingMethod.FIXED_DOLLAR:
            assert limits.fixed_dollar is not None  # a profile without it is refused
            return over(limits.fixed_dollar, price * multiplier)

    distance = intent.stop_distance
    if distance is None:
        assert atr is not None  # the caller knows that these methods need one
        distance = limits.atr_multiple * atr
    unit = distance * multiplier
    if limits.sizing_method is SizingMethod.VOLATILITY_ADJUSTED:
        return over(limits.risk_per_trade * equity, unit)

    if intent.win_rate is None or intent.payoff is None or intent.trades is None:
        return Sizing(None, (RejectReason.TOO_FEW_TRADES,))
    if intent.trades < limits.kelly_trades_min:
        return Sizing(None, (RejectReason.TOO_FEW_TRADES,))
    # Kelly (1956): f* = p - (1 - p)/b, taken times b so that nothing is divided.
    edge = intent.win_rate * intent.payoff - (1 - intent.win_rate)
    if edge <= 0:
        return Sizing(None, (RejectReason.NO_EDGE,))
    return over(limits.kelly_fraction * edge * equity, intent.payoff * unit)
