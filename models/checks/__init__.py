"""Every check, in order of precedence (docs/risk.md section 4)."""

from collections.abc import Callable
from decimal import Decimal

from models.checks import bounds, conditions, modelled, throttle
from models.checks.check import Check, tightest
from models.reasons import RejectReason as Reason
from models.request import Request, Size

CONDITIONS: dict[Reason, Callable[[Request], Check]] = {
    Reason.KILL_SWITCH_ALL: conditions.kill_switch_all,
    Reason.KILL_SWITCH: conditions.kill_switch,
    Reason.OPERATOR_HALT: conditions.operator_halt,
    Reason.DRAWDOWN_HALT: conditions.drawdown_halt,
    Reason.DAILY_LOSS_HALT: conditions.daily_loss_halt,
    Reason.UNKNOWN_ACCOUNT: conditions.unknown_account,
    Reason.UNKNOWN_INSTRUMENT: conditions.unknown_instrument,
    Reason.CURRENCY_MISMATCH: conditions.currency_mismatch,
    Reason.NO_EQUITY: conditions.no_equity,
    Reason.EQUITY_NOT_POSITIVE: conditions.equity_not_positive,
    Reason.EQUITY_UNCONFIRMED: conditions.equity_unconfirmed,
    Reason.STALE_EQUITY: conditions.stale_equity,
    Reason.PRICE_UNAVAILABLE: conditions.price_unavailable,
    Reason.STALE_PRICE: conditions.stale_price,
    Reason.STALE_INTENT: conditions.stale_intent,
    Reason.POSITION_DRIFT: conditions.position_drift,
    Reason.RESTRICTED_SYMBOL: conditions.restricted_symbol,
    Reason.STRATEGY_DISABLED: conditions.strategy_disabled,
    Reason.STRATEGY_CONFLICT: conditions.strategy_conflict,
    Reason.SELF_TRADE: conditions.self_trade,
    Reason.RATE_LIMIT_ACCOUNT: throttle.rate_limit_account,
    Reason.RATE_LIMIT_STRATEGY: throttle.rate_limit_strategy,
    Reason.MAX_OPEN_ORDERS: throttle.max_open_orders,
    Reason.PRICE_COLLAR: conditions.price_collar,
    Reason.RISK_MODEL_UNAVAILABLE: modelled.risk_model_unavailable,
}
"""Checks that no size changes."""

OPENING_CONDITIONS: dict[Reason, Callable[[Request, Size | None], Check]] = {
    Reason.ATR_UNAVAILABLE: conditions.atr_unavailable,
    Reason.SHORT_SALE_BANNED: conditions.short_sale_banned,
    Reason.REDUCE_ONLY: conditions.reduce_only,
    Reason.TOO_FEW_TRADES: conditions.too_few_trades,
    Reason.NO_EDGE: conditions.no_edge,
    Reason.SIZE_ZERO: conditions.size_zero,
}
"""Checks that ask only whether something is opened, or whether it can be sized at all."""

BOUNDS: dict[Reason, Callable[[Request, Size], Check]] = {
    Reason.REPEATED_ORDER: throttle.repeated_order,
    Reason.INVALID_LOT: bounds.invalid_lot,
    Reason.SIZE_EXCEEDS_RISK: bounds.size_exceeds_risk,
    Reason.SIZE_EXCEEDS_CAP: bounds.size_exceeds_cap,
    Reason.MAX_ORDER_QUANTITY: bounds.max_order_quantity,
    Reason.MAX_ORDER_NOTIONAL: bounds.max_order_notional,
    Reason.CORRELATED_EXPOSURE: bounds.correlated_exposure,
    Reason.POSITION_CONCENTRATION: bounds.position_concentration,
    Reason.SECTOR_CONCENTRATION: bounds.sector_concentration,
    Reason.STRATEGY_BUDGET: bounds.strategy_budget,
    Reason.GROSS_LEVERAGE: bounds.gross_leverage,
    Reason.NET_LEVERAGE: bounds.net_leverage,
    Reason.BUYING_POWER: bounds.buying_power,
}
"""Checks of a size; SKIPPED where there is none."""

MODELS: dict[Reason, Callable[[Request, Size, Decimal | None], Check]] = {
    Reason.VAR_LIMIT: modelled.var_limit,
    Reason.CVAR_LIMIT: modelled.cvar_limit,
    Reason.FACTOR_LIMIT: modelled.factor_limit,
}
"""Checks of a size that are bounded last, each by what all before leave."""

SINCE_RULES_2 = frozenset(
    {
        Reason.POSITION_DRIFT,
        Reason.SHORT_SALE_BANNED,
        Reason.STRATEGY_CONFLICT,
        Reason.SELF_TRADE,
        Reason.RATE_LIMIT_ACCOUNT,
        Reason.RATE_LIMIT_STRATEGY,
        Reason.REPEATED_ORDER,
        Reason.MAX_OPEN_ORDERS,
        Reason.PRICE_COLLAR,
        Reason.STRATEGY_BUDGET,
        Reason.RISK_MODEL_UNAVAILABLE,
        Reason.VAR_LIMIT,
        Reason.CVAR_LIMIT,
        Reason.FACTOR_LIMIT,
    }
)
"""Checks that the first rules did not have."""


def run_checks(request: Request, size: Size | None) -> list[Check]:
    """Run every check of the request's rules from KILL_SWITCH_ALL on, in order of precedence.

    Args:
        request: The intent and what is known.
        size: The size asked about; None where the gate should size the intent and cannot.
    """
    absent = SINCE_RULES_2 if request.rules == 1 else frozenset()
    checks = [check(request) for reason, check in CONDITIONS.items() if reason not in absent]
    checks += [check(request, size) for reason, check in OPENING_CONDITIONS.items() if reason not in absent]
    checks += [
        Check.skip(reason) if size is None else check(request, size)
        for reason, check in BOUNDS.items()
        if reason not in absent
    ]
    for reason, check in MODELS.items():
        if reason not in absent:
            checks.append(Check.skip(reason) if size is None else check(request, size, tightest(checks)[0]))
    checks.sort(key=lambda check: check.reason.number)
    return checks
