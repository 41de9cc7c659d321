"""The checks that no size changes (docs/risk.md section 4): halts, inputs, permission, and what sizing needs."""

from decimal import Decimal

from pydantic import JsonValue

from models.checks.check import Check
from models.decisions import AccountStatus, HaltCause
from models.folds.book import UNATTRIBUTED, ZERO
from models.folds.drawdown import Pair, drawdown_warnings
from models.messages import OrderIntent, Side, StrategyState
from models.reasons import RejectReason
from models.request import Request, Size

SHOWN_MAX = 20
"""How many names a detail lists."""

# --- 6 to 10: halted


def kill_switch_all(request: Request) -> Check | None:
    """Fail while a matching kill switch stops everything."""
    switches = request.lane.stopped
    return _failed(RejectReason.KILL_SWITCH_ALL, {"switches": [*switches]}) if switches else None


def kill_switch(request: Request) -> Check | None:
    """Fail while a matching kill switch admits reductions only."""
    switches = request.lane.reduce_only
    return _failed(RejectReason.KILL_SWITCH, {"switches": [*switches]}) if switches else None


def operator_halt(request: Request) -> Check | None:
    """Fail while an operator's halt is not resumed."""
    halt = request.portfolio.account.drawdown.operator_halt
    if halt is None:
        return None
    return _failed(RejectReason.OPERATOR_HALT, {"actor": halt.actor, "reason": halt.reason})


def drawdown_halt(request: Request) -> Check:
    """Fail while the worst drawdown since the last reset is at its halt level; warn by the current one."""
    reason, assessment, limits = RejectReason.DRAWDOWN_HALT, request.assessment, request.limits
    if assessment is None or limits is None:
        return Check.skip(reason)
    drawdown = request.portfolio.account.drawdown
    causes = {HaltCause.DRAWDOWN_SESSION, HaltCause.DRAWDOWN_HIGH_WATER} & set(assessment.causes)
    failed = assessment.status is AccountStatus.HALT and bool(causes)
    if request.rules > 1 and not causes:  # halted by something else, which hides the warning in the status
        causes = drawdown_warnings(drawdown, limits)
    evidence = [
        (drawdown.session.worst, limits.drawdown_halt),
        (drawdown.high_water.worst, limits.high_water_halt),
    ]
    at_halt = [(pair, level) for pair, level in evidence if pair and level and pair.loss >= level * pair.base]
    value, limit = _loss(*(at_halt or evidence)[0])
    detail: JsonValue = {"causes": [str(cause) for cause in sorted(causes)]} if causes else None
    return Check(reason, failed, value, limit, ZERO if failed else None, detail, warned=bool(causes))


def daily_loss_halt(request: Request) -> Check:
    """Fail while the worst daily loss since the session opened is at its halt level."""
    reason, assessment, limits = RejectReason.DAILY_LOSS_HALT, request.assessment, request.limits
    if assessment is None or limits is None:
        return Check.skip(reason)
    failed = assessment.status is AccountStatus.HALT and HaltCause.DAILY_LOSS in assessment.causes
    value, limit = _loss(request.portfolio.account.drawdown.daily.worst, limits.daily_loss_halt)
    return Check(reason, failed, value, limit, ZERO if failed else None)


def _loss(pair: Pair | None, level: Decimal | None) -> tuple[Decimal | None, Decimal | None]:
    if pair is None:
        return None, None
    return pair.loss, None if level is None else level * pair.base


# --- 11 to 21: inputs


def unknown_account(request: Request) -> Check | None:
    """Fail where no limit profile is bound to the account."""
    return _failed(RejectReason.UNKNOWN_ACCOUNT) if request.limits is None else None


def unknown_instrument(request: Request) -> Check | None:
    """Fail where the candidate or a held symbol has no record."""
    unknown = [*request.others.unknown]
    if request.instrument is None:
        unknown.append(request.intent.symbol)
    return _failed(RejectReason.UNKNOWN_INSTRUMENT, _symbols(request, unknown)) if unknown else None


def currency_mismatch(request: Request) -> Check | None:
    """Fail where an instrument in the portfolio trades in another currency: sums would mean nothing."""
    reason, currency, instrument = (
        RejectReason.CURRENCY_MISMATCH,
        request.portfolio.bound.currency,
        request.instrument,
    )
    if currency is None or (request.rules == 1 and instrument is None):
        return Check.skip(reason)
    foreign = [*request.others.foreign]
    if instrument is not None and instrument.currency != currency:
        foreign.append(request.intent.symbol)
    return _failed(reason, _symbols(request, foreign)) if foreign else None


def no_equity(request: Request) -> Check | None:
    """Fail before the account's first mark."""
    return _failed(RejectReason.NO_EQUITY) if request.portfolio.account.drawdown.equity is None else None


def equity_not_positive(request: Request) -> Check:
    """Fail where equity is zero or negative: no limit has a meaning then."""
    equity = request.portfolio.account.drawdown.equity
    if equity is None:
        return Check.skip(RejectReason.EQUITY_NOT_POSITIVE)
    return Check(RejectReason.EQUITY_NOT_POSITIVE, equity <= 0, equity, ZERO, ZERO if equity <= 0 else None)


def equity_unconfirmed(request: Request) -> Check | None:
    """Fail while the last equity tick awaits confirmation."""
    return _failed(RejectReason.EQUITY_UNCONFIRMED) if request.portfolio.account.drawdown.unconfirmed else None


def stale_equity(request: Request) -> Check:
    """Fail where the last confirmed equity is too old."""
    drawdown = request.portfolio.account.drawdown
    if drawdown.equity is None or request.limits is None:
        return Check.skip(RejectReason.STALE_EQUITY)
    age = request.clock - drawdown.equity_time
    return Check.most(RejectReason.STALE_EQUITY, age, request.limits.equity_age_max)


def price_unavailable(request: Request) -> Check | None:
    """Fail where a needed price was never seen."""
    return _missing_prices(request, RejectReason.PRICE_UNAVAILABLE)


def stale_price(request: Request) -> Check | None:
    """Fail where the ladder finds only prices that are too old."""
    return _missing_prices(request, RejectReason.STALE_PRICE)


def _missing_prices(request: Request, reason: RejectReason) -> Check | None:
    if request.limits is None:
        return Check.skip(reason)
    missing = [*request.others.missing.get(reason, ())]
    if request.candidate.missing is reason:
        missing.append(request.intent.symbol)
    return _failed(reason, _symbols(request, missing)) if missing else None


def atr_unavailable(request: Request, size: Size | None) -> Check | None:
    """Fail where sizing an opening needs an ATR and there is none young enough."""
    if request.limits is None:
        return Check.skip(RejectReason.ATR_UNAVAILABLE)
    failed = request.needs_atr and request.atr is None
    return _for_openings(request, RejectReason.ATR_UNAVAILABLE, size, failed=failed)


def stale_intent(request: Request) -> Check:
    """Fail where the intent itself is too old."""
    if request.limits is None:
        return Check.skip(RejectReason.STALE_INTENT)
    age = request.clock - request.intent.event_time
    return Check.most(RejectReason.STALE_INTENT, age, request.limits.intent_age_max)


def position_drift(request: Request) -> Check | None:
    """Fail while the folded position in the symbol is known to differ from the broker's."""
    return _failed(RejectReason.POSITION_DRIFT) if request.lane.drifted else None


# --- 23 to 28: permission


def restricted_symbol(request: Request) -> Check | None:
    """Fail while the symbol is on the restricted list."""
    return _failed(RejectReason.RESTRICTED_SYMBOL) if request.lane.restricted else None


def short_sale_banned(request: Request, size: Size | None) -> Check | None:
    """Fail where a SELL opens a short position that the profile or the instrument forbids."""
    reason, limits, instrument = RejectReason.SHORT_SALE_BANNED, request.limits, request.instrument
    if limits is None or instrument is None:
        return Check.skip(reason)
    if request.buys or (limits.shorts_allowed and instrument.shortable):
        return None
    return _no_opening(reason, size)


def reduce_only(request: Request, size: Size | None) -> Check | None:
    """Fail where an intent that must only reduce would open something."""
    return _no_opening(RejectReason.REDUCE_ONLY, size) if request.intent.reduce_only else None


def _no_opening(reason: RejectReason, size: Size | None) -> Check:
    return Check(reason, failed=size is None or bool(size.opening), opening_max=ZERO)


def strategy_disabled(request: Request) -> Check | None:
    """Fail where the strategy is unknown or disabled."""
    state = request.strategy_state
    failed = state is None or state is StrategyState.DISABLED
    if request.rules > 1 and request.intent.strategy == UNATTRIBUTED:  # the name of what is no strategy's
        failed = True
    if not failed:
        return None
    return _failed(RejectReason.STRATEGY_DISABLED, {"state": "UNKNOWN" if state is None else state})


def strategy_conflict(request: Request) -> Check | None:
    """Fail where another strategy holds the symbol the other way round: the two would trade with each other."""
    intent = request.intent
    positions = request.portfolio.account.book.positions.get(intent.symbol)
    opposite = sorted(
        strategy
        for strategy, position in (positions or {}).items()
        if strategy not in (intent.strategy, UNATTRIBUTED) and (position < 0) is request.buys
    )
    return _failed(RejectReason.STRATEGY_CONFLICT, {"strategies": [*opposite[:SHOWN_MAX]]}) if opposite else None


def self_trade(request: Request) -> Check | None:
    """Fail where the order would meet an open order of the account's own."""
    intent = request.intent
    opposite = request.portfolio.orders.of(intent.symbol, Side.SELL if request.buys else Side.BUY)
    if not opposite:
        return None
    crossed = sorted(
        intent_id
        for intent_id, order in opposite.items()
        if _crosses(intent, intent.limit_price, order.approval.limit_price)
    )
    return _failed(RejectReason.SELF_TRADE, {"orders": [*crossed[:SHOWN_MAX]]}) if crossed else None


def _crosses(intent: OrderIntent, own: Decimal | None, other: Decimal | None) -> bool:
    """Tell whether two limits meet; a MARKET order meets every one."""
    if own is None or other is None:
        return True
    return own >= other if intent.side is Side.BUY else own <= other


# --- 34 to 36: sizing


def too_few_trades(request: Request, size: Size | None) -> Check | None:
    """Fail where KELLY sizing lacks the record of trades it needs."""
    return _sizing_condition(request, size, RejectReason.TOO_FEW_TRADES)


def no_edge(request: Request, size: Size | None) -> Check | None:
    """Fail where KELLY finds nothing to bet on."""
    return _sizing_condition(request, size, RejectReason.NO_EDGE)


def _sizing_condition(request: Request, size: Size | None, reason: RejectReason) -> Check | None:
    if request.sizing is None:
        return Check.skip(reason)
    return _for_openings(request, reason, size, failed=reason in request.sizing.reasons)


def _for_openings(request: Request, reason: RejectReason, size: Size | None, *, failed: bool) -> Check | None:
    if request.closes_only or (size is not None and size.reduces_only):
        return Check.skip(reason, ZERO if failed else None)
    return _failed(reason) if failed else None


def size_zero(request: Request, size: Size | None) -> Check | None:
    """Fail where the gate's own size is below one lot, or there is nothing to size or to close."""
    reason = RejectReason.SIZE_ZERO
    if request.intent.quantity is None and request.closes:
        sized_away = request.rules > 1 and request.sizing is not None and request.sizing.quantity == ZERO
        if request.reducible and sized_away:
            return Check.skip(reason, ZERO)
        return None if request.reducible else _failed(reason)
    if request.sizing is None or request.sizing.reasons:
        return Check.skip(reason)
    if request.sizing.quantity is None:  # method NONE
        return _failed(reason) if request.intent.quantity is None else None
    if size is not None and size.reduces_only:
        return Check.skip(reason, None if request.sizing.quantity else ZERO)
    return None if request.sizing.quantity else _failed(reason)


# --- 41: price


def price_collar(request: Request) -> Check | None:
    """Fail where the order is priced far from the market: past it by a slip, or behind it by a wrong digit."""
    reason, limits, intent = RejectReason.PRICE_COLLAR, request.limits, request.intent
    if limits is None:
        return Check.skip(reason)
    quote = request.mark or request.portfolio.prices.fallback(intent.symbol)
    if quote is None:
        return Check.skip(reason)
    market, away, passive = quote.price, limits.collar_away, limits.collar_passive
    below, above = (passive, away) if request.buys else (away, passive)
    for price, down, up in ((intent.limit_price, below, above), (intent.reference_price, away, away)):
        if price is not None and price > market + up * market:
            return _failed(reason, value=price, limit=market + up * market)
        if price is not None and price < market - down * market:
            return _failed(reason, value=price, limit=market - down * market)
    return None


def _failed(
    reason: RejectReason, detail: JsonValue = None, *, value: Decimal | None = None, limit: Decimal | None = None
) -> Check:
    """Return a check that no size would pass."""
    return Check(reason, failed=True, value=value, limit=limit, opening_max=ZERO, detail=detail)


def _symbols(request: Request, symbols: list[str]) -> JsonValue:
    if not symbols:
        return None
    symbols = sorted(symbols)
    if request.rules == 1 or len(symbols) <= SHOWN_MAX:
        return {"symbols": [*symbols]}
    # A decision must fit into a record, however much the account holds.
    return {"symbols": [*symbols[:SHOWN_MAX]], "count": len(symbols)}
