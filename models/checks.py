"""The checks, each one reason and a line or two of evidence, in order of precedence.

A check says whether it fails at a given size, and the largest opening that it alone would let pass (`opening_max`,
which does not depend on the size asked about). An exposure check fails only where the exposure is past its limit
*and* worse than before. Limits are multiplied out (`limit * equity`), never divided.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from pydantic import JsonValue

from models.book import ZERO
from models.canonical import plain
from models.decisions import AccountStatus, HaltCause
from models.drawdown import Pair
from models.messages import KillMode, LimitProfile, Side, StrategyState
from models.portfolio import MARKET_MARKUP
from models.reasons import RejectReason
from models.request import Request, Size


class Check(NamedTuple):
    """What one check found."""

    reason: RejectReason
    failed: bool = False
    warned: bool = False
    skipped: bool = False
    value: Decimal | None = None
    limit: Decimal | None = None
    opening_max: Decimal | None = None
    """Units; None where this check bounds nothing."""
    detail: JsonValue = None

    @classmethod
    def condition(
        cls,
        reason: RejectReason,
        failed: bool,  # noqa: FBT001  # what the check is about
        *,
        warned: bool = False,
        value: Decimal | int | None = None,
        limit: Decimal | int | None = None,
        detail: JsonValue = None,
    ) -> "Check":
        """Return a check that no size would pass while it fails."""
        return cls(
            reason,
            failed=failed,
            warned=warned,
            value=None if value is None else Decimal(value),
            limit=None if limit is None else Decimal(limit),
            opening_max=ZERO if failed else None,
            detail=detail,
        )

    @classmethod
    def age(cls, reason: RejectReason, age: int, most: int, detail: JsonValue = None) -> "Check":
        """Return a check of an age against the greatest allowed, both in ns."""
        return cls.condition(reason, age > most, value=age, limit=most, detail=detail)

    @classmethod
    def exposure(
        cls,
        reason: RejectReason,
        *,
        before: Decimal,
        after: Decimal,
        limit: Decimal,
        opening_max: Decimal | None,
        warning: Decimal | None = None,
        detail: JsonValue = None,
    ) -> "Check":
        """Return a check of an exposure, in money."""
        return cls(
            reason,
            failed=after > limit and after > before,
            warned=warning is not None and after >= warning,
            value=after,
            limit=limit,
            opening_max=opening_max,
            detail=detail,
        )

    @classmethod
    def skip(cls, reason: RejectReason, opening_max: Decimal | None = None) -> "Check":
        """Return a check that lacks an input, or that this size does not concern."""
        return cls(reason, skipped=True, opening_max=opening_max)


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
    return _for_openings(
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


# --- 33 to 40: size


def invalid_lot(request: Request, size: Size) -> Check:
    """Fail where the opening part is no multiple of the lot."""
    if request.instrument is None:
        return Check.skip(RejectReason.INVALID_LOT)
    lot = request.instrument.lot
    return Check(RejectReason.INVALID_LOT, failed=bool(size.opening % lot), value=size.opening, limit=lot)


def too_few_trades(request: Request, size: Size | None) -> Check:
    """Fail where KELLY sizing lacks the record of trades it needs."""
    return _sizing_condition(request, size, RejectReason.TOO_FEW_TRADES)


def no_edge(request: Request, size: Size | None) -> Check:
    """Fail where KELLY finds nothing to bet on."""
    return _sizing_condition(request, size, RejectReason.NO_EDGE)


def _sizing_condition(request: Request, size: Size | None, reason: RejectReason) -> Check:
    if request.sizing is None:
        return Check.skip(reason)
    return _for_openings(Check.condition(reason, reason in request.sizing.reasons), size)


def size_zero(request: Request, size: Size | None) -> Check:
    """Fail where the gate's own size is below one lot, or there is nothing to size or to close."""
    reason = RejectReason.SIZE_ZERO
    if request.intent.quantity is None and request.closes:
        return Check.condition(reason, not request.holding.reducible(request.intent.side))
    if request.sizing is None or request.sizing.reasons:
        return Check.skip(reason)
    if request.sizing.quantity is None:  # method NONE
        return Check.condition(reason, request.intent.quantity is None)
    return _for_openings(Check.condition(reason, not request.sizing.quantity), size)


def size_exceeds_risk(request: Request, size: Size) -> Check:
    """Fail where the opening is above the gate's own size."""
    reason = RejectReason.SIZE_EXCEEDS_RISK
    if request.sizing is None or request.sizing.quantity is None:
        return Check.skip(reason)
    sized = request.sizing.quantity
    check = Check(reason, failed=size.opening > sized, value=size.opening, limit=sized, opening_max=sized)
    return _for_openings(check, size)


def size_exceeds_cap(request: Request, size: Size) -> Check:
    """Fail where one opening order takes more than its share of equity."""
    reason, limits, equity, value = (
        RejectReason.SIZE_EXCEEDS_CAP,
        request.limits,
        request.portfolio.equity,
        request.value,
    )
    if limits is None or equity is None or value is None:
        return Check.skip(reason)
    return _spending(request, size, reason, cost=value, available=limits.entry_max * equity)


def max_order_quantity(request: Request, size: Size) -> Check:
    """Fail where the order is larger than any order may be."""
    reason, limits = RejectReason.MAX_ORDER_QUANTITY, request.limits
    if limits is None:
        return Check.skip(reason)
    most = limits.order_quantity_max
    room = most - request.holding.reducible(request.intent.side)
    opening_max = request.with_opening(max(ZERO, room), reducing=ZERO).opening
    return Check(reason, failed=size.quantity > most, value=size.quantity, limit=most, opening_max=opening_max)


def max_order_notional(request: Request, size: Size) -> Check:
    """Fail where the order is worth more than any order may be."""
    reason, limits, value, instrument = (
        RejectReason.MAX_ORDER_NOTIONAL,
        request.limits,
        request.value,
        request.instrument,
    )
    if limits is None or value is None or instrument is None:
        return Check.skip(reason)
    most, notional = limits.order_notional_max, size.quantity * value
    room = max(ZERO, most - request.holding.reducible(request.intent.side) * value)
    opening_max = room // (value * instrument.lot) * instrument.lot
    return Check(reason, failed=notional > most, value=notional, limit=most, opening_max=opening_max)


# --- 42 to 47: correlation and concentration


def correlated_exposure(request: Request, size: Size) -> Check:
    """Fail an increase that takes the candidate's correlated group past its share of equity."""
    reason = RejectReason.CORRELATED_EXPOSURE
    known = _known(request)
    if known is None:
        return Check.skip(reason)
    limits, equity, value = known
    members = {member.symbol for member in request.cluster.members}
    if len(members) == 1:
        return Check(reason)  # a group of one is no group
    amounts = {
        valued.holding.symbol: valued.amount for valued in request.others.valued if valued.holding.symbol in members
    }
    rest, after = sum(amounts.values(), ZERO), request.after(size).worst * value
    limit, warning = limits.cluster_critical * equity, limits.cluster_warning * equity
    amounts[request.intent.symbol] = after
    return Check.exposure(
        reason,
        before=rest + request.holding.worst * value,
        after=rest + after,
        warning=warning,
        limit=limit,
        opening_max=request.largest_opening(limit - rest),
        # Only a check that is shown needs its linking path.
        detail=_linking_path(request, amounts) if rest + after >= min(warning, limit) else None,
    )


def _linking_path(request: Request, amounts: dict[str, Decimal]) -> JsonValue:
    return {
        "cluster": request.cluster.name,
        "members": [
            {
                "symbol": member.symbol,
                "parent": member.parent,
                "rho": member.rho,
                "known": member.known,
                "exposure": plain(amounts[member.symbol]),
            }
            for member in request.cluster.members
        ],
    }


def position_concentration(request: Request, size: Size) -> Check:
    """Fail an increase that takes one symbol past its share of equity."""
    reason, limits, equity, value = (
        RejectReason.POSITION_CONCENTRATION,
        request.limits,
        request.portfolio.equity,
        request.value,
    )
    if limits is None or equity is None or value is None:
        return Check.skip(reason)
    limit = limits.position_critical * equity
    return Check.exposure(
        reason,
        before=request.holding.worst * value,
        after=request.after(size).worst * value,
        warning=limits.position_warning * equity,
        limit=limit,
        opening_max=request.largest_opening(limit),
    )


def sector_concentration(request: Request, size: Size) -> Check:
    """Fail an increase that takes one sector past its share of equity."""
    reason = RejectReason.SECTOR_CONCENTRATION
    known = _known(request)
    if known is None:
        return Check.skip(reason)
    limits, equity, value = known
    rest = sum((valued.amount for valued in request.others.valued if valued.sector == request.sector), ZERO)
    limit = limits.sector_critical * equity
    return Check.exposure(
        reason,
        before=rest + request.holding.worst * value,
        after=rest + request.after(size).worst * value,
        warning=limits.sector_warning * equity,
        limit=limit,
        opening_max=request.largest_opening(limit - rest),
        detail={"sector": request.sector},
    )


def gross_leverage(request: Request, size: Size) -> Check:
    """Fail an increase that takes the sum of exposures past its multiple of equity."""
    reason = RejectReason.GROSS_LEVERAGE
    known = _known(request)
    if known is None:
        return Check.skip(reason)
    limits, equity, value = known
    rest = sum((valued.amount for valued in request.others.valued), ZERO)
    limit = limits.gross_max * equity
    return Check.exposure(
        reason,
        before=rest + request.holding.worst * value,
        after=rest + request.after(size).worst * value,
        limit=limit,
        opening_max=request.largest_opening(limit - rest),
    )


def net_leverage(request: Request, size: Size) -> Check:
    """Fail an increase that takes the net, were all buys or all sells filled, past its multiple of equity."""
    reason = RejectReason.NET_LEVERAGE
    known = _known(request)
    if known is None or request.instrument is None:
        return Check.skip(reason)
    limits, equity, value = known
    bought = sum((valued.holding.if_bought * valued.value for valued in request.others.valued), ZERO)
    sold = sum((valued.holding.if_sold * valued.value for valued in request.others.valued), ZERO)
    holding, after = request.holding, request.after(size)
    before_net = max(abs(bought + holding.if_bought * value), abs(sold + holding.if_sold * value))
    limit = limits.net_max * equity

    # The side that the intent adds to grows in its direction; the other side stays.
    if request.intent.side is Side.BUY:
        start = bought + (holding.if_bought + holding.reducible(Side.BUY)) * value
    else:
        start = -(sold + (holding.if_sold - holding.reducible(Side.SELL)) * value)
    room = max(ZERO, max(limit, before_net) - start)
    lot = request.instrument.lot
    return Check.exposure(
        reason,
        before=before_net,
        after=max(abs(bought + after.if_bought * value), abs(sold + after.if_sold * value)),
        limit=limit,
        opening_max=room // (value * lot) * lot,
    )


# --- 52: cash


def buying_power(request: Request, size: Size) -> Check:
    """Fail where an opening costs more than is left to spend."""
    reason, value, available = RejectReason.BUYING_POWER, request.value, available_to_spend(request)
    if value is None or available is None:
        return Check.skip(reason)
    cost = value * MARKET_MARKUP if request.is_market else value
    return _spending(request, size, reason, cost=cost, available=available)


def available_to_spend(request: Request) -> Decimal | None:
    """Return buying power after orders, in money; None where an input is missing."""
    portfolio, limits = request.portfolio, request.limits
    if limits is None:
        return None
    drawdown = portfolio.account.drawdown
    if drawdown.buying_power is not None:
        power, through = drawdown.buying_power
        return power - sum(portfolio.deductions(through, broker=True), ZERO)
    if drawdown.cash is not None:
        cash, through = drawdown.cash
        return max(ZERO, cash) * limits.margin_multiplier - sum(portfolio.deductions(through, broker=False), ZERO)
    known = _known(request)
    if known is None:
        return None
    _, equity, value = known
    gross = sum((valued.amount for valued in request.others.valued), request.holding.worst * value)
    return max(ZERO, equity * limits.margin_multiplier - gross)


# --- shared


def _known(request: Request) -> tuple[LimitProfile, Decimal, Decimal] | None:
    """Return limits, equity and the candidate's money per unit, where the whole portfolio could be valued."""
    limits, equity, value = request.limits, request.portfolio.equity, request.value
    if limits is None or equity is None or value is None or not request.others.complete:
        return None
    return limits, equity, value


def _spending(request: Request, size: Size, reason: RejectReason, *, cost: Decimal, available: Decimal) -> Check:
    lot = Decimal(1) if request.instrument is None else request.instrument.lot
    return Check(
        reason,
        failed=size.opening > 0 and size.opening * cost > available,
        value=size.opening * cost,
        limit=available,
        opening_max=max(ZERO, available) // (cost * lot) * lot,
    )


def _for_openings(check: Check, size: Size | None) -> Check:
    """Skip a check of openings where nothing is opened; its bound on openings stays."""
    return check if size is None or not size.reduces_only else Check.skip(check.reason, check.opening_max)


def _symbols(symbols: list[str]) -> JsonValue:
    return {"symbols": [*sorted(symbols)]} if symbols else None


CONDITIONS: tuple[Callable[[Request], Check], ...] = (
    kill_switch_all,
    kill_switch,
    operator_halt,
    drawdown_halt,
    daily_loss_halt,
    unknown_account,
    unknown_instrument,
    currency_mismatch,
    no_equity,
    equity_not_positive,
    equity_unconfirmed,
    stale_equity,
    price_unavailable,
    stale_price,
    stale_intent,
    restricted_symbol,
    strategy_disabled,
)
"""Checks that no size changes."""

OPENING_CONDITIONS: tuple[Callable[[Request, Size | None], Check], ...] = (
    atr_unavailable,
    reduce_only,
    too_few_trades,
    no_edge,
    size_zero,
)
"""Checks that ask only whether something is opened, or whether it can be sized at all."""

BOUNDS: tuple[tuple[RejectReason, Callable[[Request, Size], Check]], ...] = (
    (RejectReason.INVALID_LOT, invalid_lot),
    (RejectReason.SIZE_EXCEEDS_RISK, size_exceeds_risk),
    (RejectReason.SIZE_EXCEEDS_CAP, size_exceeds_cap),
    (RejectReason.MAX_ORDER_QUANTITY, max_order_quantity),
    (RejectReason.MAX_ORDER_NOTIONAL, max_order_notional),
    (RejectReason.CORRELATED_EXPOSURE, correlated_exposure),
    (RejectReason.POSITION_CONCENTRATION, position_concentration),
    (RejectReason.SECTOR_CONCENTRATION, sector_concentration),
    (RejectReason.GROSS_LEVERAGE, gross_leverage),
    (RejectReason.NET_LEVERAGE, net_leverage),
    (RejectReason.BUYING_POWER, buying_power),
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
