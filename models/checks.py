"""Every check, in order of precedence (docs/risk.md section 4)."""

from collections.abc import Callable

from models import bounds, conditions
from models.check import Check
from models.reasons import RejectReason
from models.request import Request, Size

CONDITIONS: tuple[Callable[[Request], Check], ...] = (
    conditions.kill_switch_all,
    conditions.kill_switch,
    conditions.operator_halt,
    conditions.drawdown_halt,
    conditions.daily_loss_halt,
    conditions.unknown_account,
    conditions.unknown_instrument,
    conditions.currency_mismatch,
    conditions.no_equity,
    conditions.equity_not_positive,
    conditions.equity_unconfirmed,
    conditions.stale_equity,
    conditions.price_unavailable,
    conditions.stale_price,
    conditions.stale_intent,
    conditions.restricted_symbol,
    conditions.strategy_disabled,
)
"""Checks that no size changes."""

OPENING_CONDITIONS: tuple[Callable[[Request, Size | None], Check], ...] = (
    conditions.atr_unavailable,
    conditions.reduce_only,
    conditions.too_few_trades,
    conditions.no_edge,
    conditions.size_zero,
)
"""Checks that ask only whether something is opened, or whether it can be sized at all."""

BOUNDS: tuple[tuple[RejectReason, Callable[[Request, Size], Check]], ...] = (
    (RejectReason.INVALID_LOT, bounds.invalid_lot),
    (RejectReason.SIZE_EXCEEDS_RISK, bounds.size_exceeds_risk),
    (RejectReason.SIZE_EXCEEDS_CAP, bounds.size_exceeds_cap),
    (RejectReason.MAX_ORDER_QUANTITY, bounds.max_order_quantity),
    (RejectReason.MAX_ORDER_NOTIONAL, bounds.max_order_notional),
    (RejectReason.CORRELATED_EXPOSURE, bounds.correlated_exposure),
    (RejectReason.POSITION_CONCENTRATION, bounds.position_concentration),
    (RejectReason.SECTOR_CONCENTRATION, bounds.sector_concentration),
    (RejectReason.GROSS_LEVERAGE, bounds.gross_leverage),
    (RejectReason.NET_LEVERAGE, bounds.net_leverage),
    (RejectReason.BUYING_POWER, bounds.buying_power),
)
"""Checks of a size; SKIPPED where there is none."""


def run_checks(request: Request, size: Size | None) -> list[Check]:
    """Run every check from KILL_SWITCH_ALL on, in order of precedence.

    Args:
        request: The intent and what is known.
        size: The size asked about; None where the gate should size the intent and cannot.
    """
    checks = [check(request) for check in CONDITIONS]
    checks += [check(request, size) for check in OPENING_CONDITIONS]
    checks += [Check.skip(reason) if size is None else check(request, size) for reason, check in BOUNDS]
    checks.sort(key=lambda check: check.reason.number)
    return checks
