"""Every check, in order of precedence (docs/risk.md section 4)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from models.checks import bounds, conditions, modelled, throttle
from models.checks.check import Check
from models.checks.quick import conditions_pass, opening_passes
from models.reasons import RejectReason as Reason
from models.request import Request, Size

OF_ACCOUNT: dict[Reason, Callable[[Request], Check | None]] = {
    Reason.OPERATOR_HALT: conditions.operator_halt,
    Reason.DRAWDOWN_HALT: conditions.drawdown_halt,
    Reason.DAILY_LOSS_HALT: conditions.daily_loss_halt,
    Reason.UNKNOWN_ACCOUNT: conditions.unknown_account,
    Reason.NO_EQUITY: conditions.no_equity,
    Reason.EQUITY_NOT_POSITIVE: conditions.equity_not_positive,
    Reason.EQUITY_UNCONFIRMED: conditions.equity_unconfirmed,
}
"""Checks of the account alone, the same for all its intents until its equity or its limits change."""

CONDITIONS: dict[Reason, Callable[[Request], Check | None]] = {
    Reason.KILL_SWITCH_ALL: conditions.kill_switch_all,
    Reason.KILL_SWITCH: conditions.kill_switch,
    Reason.UNKNOWN_INSTRUMENT: conditions.unknown_instrument,
    Reason.CURRENCY_MISMATCH: conditions.currency_mismatch,
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
"""The others that no size changes."""

OPENING_CONDITIONS: dict[Reason, Callable[[Request, Size | None], Check | None]] = {
    Reason.ATR_UNAVAILABLE: conditions.atr_unavailable,
    Reason.SHORT_SALE_BANNED: conditions.short_sale_banned,
    Reason.REDUCE_ONLY: conditions.reduce_only,
    Reason.TOO_FEW_TRADES: conditions.too_few_trades,
    Reason.NO_EDGE: conditions.no_edge,
    Reason.SIZE_ZERO: conditions.size_zero,
}
"""Checks that ask only whether something is opened, or whether it can be sized at all."""

BOUNDS: dict[Reason, Callable[[Request, Size], Check | None]] = {
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

MODELS: dict[Reason, Callable[[Request, Size, Sequence[Check]], Check]] = {
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


class Checks(NamedTuple):
    """The checks of one version of the rules."""

    of_account: tuple[Callable[[Request], Check | None], ...]
    conditions: tuple[Callable[[Request], Check | None], ...]
    opening_conditions: tuple[Callable[[Request, Size | None], Check | None], ...]
    bounds: tuple[tuple[Reason, Callable[[Request, Size], Check | None]], ...]
    models: tuple[tuple[Reason, Callable[[Request, Size, Sequence[Check]], Check]], ...]
    reasons: tuple[Reason, ...]
    """In order of precedence."""

    @classmethod
    def without(cls, absent: frozenset[Reason]) -> "Checks":
        """Return all checks but some."""
        tables = (OF_ACCOUNT, CONDITIONS, OPENING_CONDITIONS, BOUNDS, MODELS)
        reasons = {reason for table in tables for reason in table} - absent
        return cls(
            tuple(check for reason, check in OF_ACCOUNT.items() if reason in reasons),
            tuple(check for reason, check in CONDITIONS.items() if reason in reasons),
            tuple(check for reason, check in OPENING_CONDITIONS.items() if reason in reasons),
            tuple(each for each in BOUNDS.items() if each[0] in reasons),
            tuple(each for each in MODELS.items() if each[0] in reasons),
            tuple(sorted(reasons, key=lambda reason: reason.number)),
        )


_RULES_1, _RULES_2 = Checks.without(SINCE_RULES_2), Checks.without(frozenset())


def checks_of(rules: int) -> Checks:
    """Return the checks of a version of the rules."""
    return _RULES_1 if rules == 1 else _RULES_2


def run_conditions(request: Request, *, thorough: bool = False) -> list[Check]:
    """Run the checks that no size changes; returned is what there is to show, in no order.

    Args:
        request: The intent and what is known.
        thorough: Run all of them, also where plainly none fails: for who wants to see what passed.
    """
    checks = checks_of(request.rules)
    account = request.portfolio.account
    if thorough:
        found = [each for check in checks.of_account if (each := check(request)) is not None]
    else:
        key = (account.drawdown.version, request.limits, request.rules)
        if account.standing.conditions is None or account.standing.conditions[0] != key:
            found = [each for check in checks.of_account if (each := check(request)) is not None]
            account.standing.conditions = key, [each for each in found if each.failed or each.warned]
        found = account.standing.conditions[1]
        if conditions_pass(request):
            return found
    return found + [each for check in checks.conditions if (each := check(request)) is not None]


def run_sized(request: Request, size: Size | None, unsized: list[Check], *, thorough: bool = False) -> list[Check]:
    """Run the checks of a size; returned is what there is to show, in no order.

    Args:
        request: The intent and what is known.
        size: The size asked about; None where the gate should size the intent and cannot.
        unsized: What the checks found that no size changes.
        thorough: Run all of them, also where plainly none fails.
    """
    checks = checks_of(request.rules)
    found: list[Check] = []
    if thorough or not opening_passes(request, size):
        found = [each for check in checks.opening_conditions if (each := check(request, size)) is not None]
    if size is None:
        found += [Check.skip(reason) for reason, _ in (*checks.bounds, *checks.models)]
        return found
    found += [each for _, check in checks.bounds if (each := check(request, size)) is not None]
    for _, check in checks.models:
        found.append(check(request, size, [*unsized, *found]))
    return found
