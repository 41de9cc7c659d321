"""Whether conditions plainly pass: one look for what is usual, instead of a check for each.

They never say yes where a check fails, and may say no where all pass: then the checks are run. The two are held
together by a test.
"""

from models.canonical import SECOND_NS
from models.checks import conditions
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
        or limits.models
    ):
        return False
    account_ahead = (limits.account_burst - 1) * (SECOND_NS // limits.account_rate)
    strategy_ahead = (limits.strategy_burst - 1) * (SECOND_NS // limits.strategy_rate)
    return (
        clock - drawdown.equity_time <= limits.equity_age_max
        and clock - intent.event_time <= limits.intent_age_max
        and ledger.account_bucket - clock <= account_ahead
        and ledger.strategy_buckets.get(intent.strategy, 0) - clock <= strategy_ahead
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
