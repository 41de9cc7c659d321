"""The checks that no size changes (docs/risk.md section 4): halts, inputs, permission, and what sizing needs."""

from decimal import Decimal

from pydantic import JsonValue

from models.book import ZERO
from models.check import Check, for_openings
from models.decisions import AccountStatus, HaltCause
from models.drawdown import Pair
from models.messages import KillMode, StrategyState
from models.reasons import RejectReason
from models.request import Request, Size

# --- 6 to 10: halted


def kill_switch_all(request: Request) -> Check:
    """Fail while a matching kill switch stops everything."""
    return _kill_switch(request, RejectReason.KILL_SWITCH_ALL, KillMode.ALL)


def kill_switch(request: Request) -> Check:
    """Fail while a matching kill switch admits reductions only."""
    return _kill_switch(request, RejectReason.KILL_SWITCH, KillMode.REDUCE_ONLY)


def _kill_switch(request: Request, reason: RejectReason, mode: KillMode) -> Check:
    intent = request.intent
    switches = request.portfolio.reference.kill_switches(
        account=intent.account, strategy=intent.strategy, symbol=intent.symbol, mode=mode
    )
    return Check.condition(reason, bool(switches), detail={"switches": list(switches)} if switches else None)


def operator_halt(request: Request) -> Check:
    """Fail while an operator's halt is not resumed."""
    halt = request.portfolio.account.drawdown.operator_halt
    detail: JsonValue = None if halt is None else {"actor": halt.actor, "reason": halt.reason}
    return Check.condition(RejectReason.OPERATOR_HALT, halt is not None, detail=detail)


def drawdown_halt(request: Request) -> Check:
    """Fail while the worst drawdown since the last reset is at its halt level; warn by the current one."""
    reason, assessment, limits = RejectReason.DRAWDOWN_HALT, request.assessment, request.limits
    if assessment is None or limits is None:
        return Check.skip(reason)
    drawdown = request.portfolio.account.drawdown
    causes = {HaltCause.DRAWDOWN_SESSION, HaltCause.DRAWDOWN_HIGH_WATER} & set(assessment.causes)
    failed = assessment.status is AccountStatus.HALT and bool(causes)
    evidence = [
        (drawdown.session.worst, limits.drawdown_halt),
        (drawdown.high_water.worst, limits.high_water_halt),
    ]
    at_halt = [(pair, level) for pair, level in evidence if pair and level and pair.loss >= level * pair.base]
    value, limit = _loss(*(at_halt or evidence)[0])
    detail: JsonValue = {"causes": [str(cause) for cause in sorted(causes)]} if causes else None
    return Check.condition(reason, failed, warned=bool(causes), value=value, limit=limit, detail=detail)


def daily_loss_halt(request: Request) -> Check:
    """Fail while the worst daily loss since the session opened is at its halt level."""
    reason, assessment, limits = RejectReason.DAILY_LOSS_HALT, request.assessment, request.limits
    if assessment is None or limits is None:
        return Check.skip(reason)
    failed = assessment.status is AccountStatus.HALT and HaltCause.DAILY_LOSS in assessment.causes
    value, limit = _loss(request.portfolio.account.drawdown.daily.worst, limits.daily_loss_halt)
    return Check.condition(reason, failed, value=value, limit=limit)


def _loss(pair: Pair | None, level: Decimal | None) -> tuple[Decimal | None, Decimal | None]:
    if pair is None:
        return None, None
    return pair.loss, None if level is None else level * pair.base


# --- 11 to 21: inputs


def unknown_account(request: Request) -> Check:
    """Fail where no limit profile is bound to the account."""
    return Check.condition(RejectReason.UNKNOWN_ACCOUNT, request.limits is None)


def unknown_instrument(request: Request) -> Check:
    """Fail where the candidate or a held symbol has no record."""
    unknown = list(request.others.unknown)
    if request.instrument is None:
        unknown.append(request.intent.symbol)
    return Check.condition(RejectReason.UNKNOWN_INSTRUMENT, bool(unknown), detail=_symbols(unknown))


def currency_mismatch(request: Request) -> Check:
    """Fail where an instrument in the portfolio trades in another currency: sums would mean nothing."""
    reason, portfolio = RejectReason.CURRENCY_MISMATCH, request.portfolio
    account = portfolio.reference.account(portfolio.name)
    if account is None or request.instrument is None:
        return Check.skip(reason)
    foreign = [
        symbol
        for symbol in {*portfolio.holdings, request.intent.symbol}
        if (instrument := portfolio.instrument(symbol)) is not None and instrument.currency != account.currency
    ]
    return Check.condition(reason, bool(foreign), detail=_symbols(foreign))


def no_equity(request: Request) -> Check:
    """Fail before the account's first mark."""
    return Check.condition(RejectReason.NO_EQUITY, request.portfolio.account.drawdown.equity is None)


def equity_not_positive(request: Request) -> Check:
    """Fail where equity is zero or negative: no limit has a meaning then."""
    equity = request.portfolio.account.drawdown.equity
    if equity is None:
        return Check.skip(RejectReason.EQUITY_NOT_POSITIVE)
    return Check.condition(RejectReason.EQUITY_NOT_POSITIVE, equity <= 0, value=equity, limit=ZERO)


def equity_unconfirmed(request: Request) -> Check:
    """Fail while the last equity tick awaits confirmation."""
    return Check.condition(RejectReason.EQUITY_UNCONFIRMED, request.portfolio.account.drawdown.unconfirmed)


def stale_equity(request: Request) -> Check:
    """Fail where the last confirmed equity is too old."""
    drawdown = request.portfolio.account.drawdown
    if drawdown.equity is None or request.limits is None:
        return Check.skip(RejectReason.STALE_EQUITY)
    age = request.portfolio.clock - drawdown.equity_time
    return Check.age(RejectReason.STALE_EQUITY, age, request.limits.equity_age_max)


def price_unavailable(request: Request) -> Check:
    """Fail where a needed price was never seen."""
    return _missing_prices(request, RejectReason.PRICE_UNAVAILABLE)


def stale_price(request: Request) -> Check:
    """Fail where the ladder finds only prices that are too old."""
    return _missing_prices(request, RejectReason.STALE_PRICE)


def _missing_prices(request: Request, reason: RejectReason) -> Check:
    if request.limits is None:
        return Check.skip(reason)
    missing = list(request.others.missing.get(reason, ()))
    if request.candidate.missing is reason:
        missing.append(request.intent.symbol)
    return Check.condition(reason, bool(missing), detail=_symbols(missing))


def atr_unavailable(request: Request, size: Size | None) -> Check:
    """Fail where sizing an opening needs an ATR and there is none young enough."""
    if request.limits is None:
        return Check.skip(RejectReason.ATR_UNAVAILABLE)
    return for_openings(
        Check.condition(RejectReason.ATR_UNAVAILABLE, request.needs_atr and request.atr is None), size
    )


def stale_intent(request: Request) -> Check:
    """Fail where the intent itself is too old."""
    if request.limits is None:
        return Check.skip(RejectReason.STALE_INTENT)
    age = request.portfolio.clock - request.intent.event_time
    return Check.age(RejectReason.STALE_INTENT, age, request.limits.intent_age_max)


# --- 23 to 26: permission


def restricted_symbol(request: Request) -> Check:
    """Fail while the symbol is on the restricted list."""
    restricted = request.portfolio.reference.restricted(request.intent.symbol, request.intent.account)
    return Check.condition(RejectReason.RESTRICTED_SYMBOL, restricted)


def reduce_only(request: Request, size: Size | None) -> Check:
    """Fail where an intent that must only reduce would open something."""
    opens = size is None or bool(size.opening)
    flagged = request.intent.reduce_only
    return Check(RejectReason.REDUCE_ONLY, failed=flagged and opens, opening_max=ZERO if flagged else None)


def strategy_disabled(request: Request) -> Check:
    """Fail where the strategy is unknown or disabled."""
    state = request.strategy_state
    failed = state is None or state is StrategyState.DISABLED
    return Check.condition(
        RejectReason.STRATEGY_DISABLED,
        failed,
        detail={"state": "UNKNOWN" if state is None else state} if failed else None,
    )


# --- 34 to 36: sizing


def too_few_trades(request: Request, size: Size | None) -> Check:
    """Fail where KELLY sizing lacks the record of trades it needs."""
    return _sizing_condition(request, size, RejectReason.TOO_FEW_TRADES)


def no_edge(request: Request, size: Size | None) -> Check:
    """Fail where KELLY finds nothing to bet on."""
    return _sizing_condition(request, size, RejectReason.NO_EDGE)


def _sizing_condition(request: Request, size: Size | None, reason: RejectReason) -> Check:
    if request.sizing is None:
        return Check.skip(reason)
    return for_openings(Check.condition(reason, reason in request.sizing.reasons), size)


def size_zero(request: Request, size: Size | None) -> Check:
    """Fail where the gate's own size is below one lot, or there is nothing to size or to close."""
    reason = RejectReason.SIZE_ZERO
    if request.intent.quantity is None and request.closes:
        return Check.condition(reason, not request.holding.reducible(request.intent.side))
    if request.sizing is None or request.sizing.reasons:
        return Check.skip(reason)
    if request.sizing.quantity is None:  # method NONE
        return Check.condition(reason, request.intent.quantity is None)
    return for_openings(Check.condition(reason, not request.sizing.quantity), size)


def _symbols(symbols: list[str]) -> JsonValue:
    return {"symbols": [*sorted(symbols)]} if symbols else None
