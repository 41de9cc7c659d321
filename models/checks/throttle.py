"""How fast and how often an account may open: token buckets, repetitions, open orders (docs/risk.md section 9)."""

from models.canonical import SECOND_NS
from models.checks.check import Check
from models.decisions import Throttle, built
from models.folds.ledger import REPEAT_WINDOW, Like
from models.reasons import RejectReason
from models.request import Request, Size


def rate_limit_account(request: Request) -> Check:
    """Fail where the account's token bucket is empty."""
    reason, limits = RejectReason.RATE_LIMIT_ACCOUNT, request.limits
    if limits is None:
        return Check.skip(reason)
    full_at = request.portfolio.account.ledger.account_bucket
    return _bucket(reason, full_at, request.clock, limits.account_rate, limits.account_burst)


def rate_limit_strategy(request: Request) -> Check:
    """Fail where the strategy's token bucket in this account is empty."""
    reason, limits = RejectReason.RATE_LIMIT_STRATEGY, request.limits
    if limits is None:
        return Check.skip(reason)
    full_at = request.portfolio.account.ledger.strategy_buckets.get(request.intent.strategy, 0)
    return _bucket(reason, full_at, request.clock, limits.strategy_rate, limits.strategy_burst)


def most_ahead(rate: int, burst: int) -> int:
    """Return how far ahead of the clock a bucket with a token left may be full again, ns.

    By the generic cell rate algorithm (ITU-T I.371, Annex A), whose theoretical arrival time is when the bucket is
    full again: no more than `burst - 1` tokens ahead.
    """
    return (burst - 1) * (SECOND_NS // rate)


def _bucket(reason: RejectReason, full_at: int, clock: int, rate: int, burst: int) -> Check:
    return Check.most(reason, max(0, full_at - clock), most_ahead(rate, burst))


def charge(request: Request) -> Throttle | None:
    """Return both buckets after taking a token from each; None without a profile, which has the rates."""
    limits, ledger, clock = request.limits, request.portfolio.account.ledger, request.clock
    if limits is None:
        return None
    strategy = ledger.strategy_buckets.get(request.intent.strategy, 0)
    return built(
        Throttle,
        {
            "account": max(clock, ledger.account_bucket) + SECOND_NS // limits.account_rate,
            "strategy": max(clock, strategy) + SECOND_NS // limits.strategy_rate,
        },
    )


def repeated_order(request: Request, size: Size) -> Check:
    """Fail where like orders were approved too often in the last ten seconds: a program may be running away."""
    reason, limits, intent = RejectReason.REPEATED_ORDER, request.limits, request.intent
    if limits is None or not size.opening:
        return Check.skip(reason)
    recent, count = request.portfolio.account.ledger.recent, 1
    if recent:
        like = Like(intent.strategy, intent.symbol, intent.side, size.opening, intent.limit_price)
        count += sum(request.clock - clock < REPEAT_WINDOW for clock in recent.get(like, ()))
    return Check.most(reason, count, limits.repeat_max)


def max_open_orders(request: Request) -> Check:
    """Fail where the account would have too many orders open; the one that is replaced makes room."""
    reason, limits = RejectReason.MAX_OPEN_ORDERS, request.limits
    if limits is None:
        return Check.skip(reason)
    count = len(request.portfolio.open_orders) + (0 if request.target else 1)
    return Check.most(reason, count, limits.open_orders_max)
