"""Whether conditions plainly pass: one look for what is usual, instead of a check for each.

They never say yes where a check fails, and may say no where all pass: then the checks are run. The two are held
together by a test.
"""

from models.checks import conditions
from models.checks.modelled import asks_for_factors, asks_for_tail
from models.checks.throttle import most_ahead
from models.folds.book import UNATTRIBUTED
from models.request import Request, Size


def conditions_pass(request: Request) -> bool:
    """Tell whether plainly none of the checks that no size changes fails, those of the account alone aside."""
    limits, intent, clock, portfolio = request.limits, request.intent, request.clock, request.portfolio
    drawdown, ledger = portfolio.account.drawdown, portfolio.account.ledger
    if (
        request.rules == 1
        or limits is None
        or request.mark is None
        or drawdown.equity is None
        or intent.strategy == UNATTRIBUTED
        or not request.lane.clear(portfolio.bound.currency)
        or not request.others.complete
        or request.others.foreign
        or asks_for_tail(limits)
        or asks_for_factors(limits)
    ):
        return False
    strategy_full_at = ledger.strategy_buckets.get(intent.strategy, 0)
    return (
        clock - drawdown.equity_time <= limits.equity_age_max
        and clock - intent.event_time <= limits.intent_age_max
        and ledger.account_bucket - clock <= most_ahead(limits.account_rate, limits.account_burst)
        and strategy_full_at - clock <= most_ahead(limits.strategy_rate, limits.strategy_burst)
        and len(portfolio.open_orders) < limits.open_orders_max
        and conditions.strategy_conflict(request) is None
        and conditions.self_trade(request) is None
        and conditions.price_collar(request) is None
    )


def opening_passes(request: Request, size: Size | None) -> bool:
    """Tell whether plainly none of the checks fails that ask only whether something is opened."""
    sizing = request.sizing
    return (
        request.rules > 1
        and size is not None
        and request.buys
        and not request.intent.reduce_only
        and request.intent.quantity is not None
        and sizing is not None
        and not sizing.reasons
        and bool(sizing.quantity)
    )
