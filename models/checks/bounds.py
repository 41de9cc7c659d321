"""The checks of a size (docs/risk.md sections 4, 5, 7 and 9): order, concentration, cash.

An exposure check fails only where the exposure is past its limit *and* worse than before. Limits are multiplied out
(`limit * equity`), never divided.
"""

from collections.abc import Iterable
from decimal import Decimal

from pydantic import JsonValue

from models.canonical import plain
from models.checks.check import Check, for_openings
from models.folds.book import KEPT, ZERO
from models.folds.reference import SECTOR_UNKNOWN
from models.reasons import RejectReason
from models.request import Money, Request, Size
from models.standing.holdings import Holding
from models.standing.spending import MARKET_MARKUP

MEMBERS_SHOWN = 50
"""How many members of a cluster a decision lists: it must fit into a record, however much the account holds."""

# --- 33 to 40: size


def invalid_lot(request: Request, size: Size) -> Check:
    """Fail where the opening part is no multiple of the lot."""
    if request.instrument is None:
        return Check.skip(RejectReason.INVALID_LOT)
    lot = request.instrument.lot
    return Check(RejectReason.INVALID_LOT, failed=bool(size.opening % lot), value=size.opening, limit=lot)


def size_exceeds_risk(request: Request, size: Size) -> Check:
    """Fail where the opening is above the gate's own size."""
    reason = RejectReason.SIZE_EXCEEDS_RISK
    if request.sizing is None or request.sizing.quantity is None:
        return Check.skip(reason)
    sized = request.sizing.quantity
    check = Check(reason, failed=size.opening > sized, value=size.opening, limit=sized, opening_max=sized)
    return for_openings(check, size)


def size_exceeds_cap(request: Request, size: Size) -> Check:
    """Fail where one opening order takes more than its share of equity."""
    reason, money = RejectReason.SIZE_EXCEEDS_CAP, request.money
    if money is None:
        return Check.skip(reason)
    return _spending(size, reason, cost=money.value, available=money.limits.entry_max * money.equity, lot=money.lot)


def max_order_quantity(request: Request, size: Size) -> Check:
    """Fail where the order is larger than any order may be."""
    reason, limits = RejectReason.MAX_ORDER_QUANTITY, request.limits
    if limits is None:
        return Check.skip(reason)
    most = limits.order_quantity_max
    return Check(reason, size.quantity > most, size.quantity, most, request.in_lots(most - request.reducible))


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
    room = max(ZERO, most - request.reducible * value)
    return Check(reason, notional > most, notional, most, room // (value * instrument.lot) * instrument.lot)


# --- 42 to 47: correlation and concentration


def correlated_exposure(request: Request, size: Size) -> Check | None:
    """Fail an increase that takes the candidate's correlated group past its share of equity."""
    reason = RejectReason.CORRELATED_EXPOSURE
    if request.money is None:
        return Check.skip(reason)
    members = request.group.symbols
    money = _known(request, members)
    if money is None:
        return Check.skip(reason)
    if len(members) == 1:
        return None  # a group of one is no group
    limits, others, rest = money.limits, request.others, ZERO
    for symbol in members:
        if (valued := others.of(symbol)) is not None:
            rest += valued.amount
    check = _exposure(request, size, reason, rest, limits.cluster_critical, limits.cluster_warning)
    if not check.warned:
        return check  # nobody asks for its linking path
    return check._replace(detail=_linking_path(request, request.after(size).worst * money.value))


def _linking_path(request: Request, own: Decimal) -> JsonValue:
    amounts = {valued.holding.symbol: valued.amount for valued in request.others.valued}
    amounts[request.intent.symbol] = own
    # In the order of the search, so that each member's parent comes before it.
    shown = request.cluster.members if request.rules == 1 else request.cluster.members[:MEMBERS_SHOWN]
    cut = {} if len(shown) == len(request.cluster.members) else {"count": len(request.cluster.members)}
    return {
        **cut,
        "cluster": request.cluster.name,
        "members": [
            {
                "symbol": member.symbol,
                "parent": member.parent,
                "rho": member.rho,
                "known": member.known,
                "exposure": plain(amounts[member.symbol]),
            }
            for member in shown
        ],
    }


def position_concentration(request: Request, size: Size) -> Check:
    """Fail an increase that takes one symbol past its share of equity."""
    reason, money = RejectReason.POSITION_CONCENTRATION, request.money
    if money is None:
        return Check.skip(reason)
    limits = money.limits
    return _exposure(request, size, reason, ZERO, limits.position_critical, limits.position_warning)


def sector_concentration(request: Request, size: Size) -> Check:
    """Fail an increase that takes one sector past its share of equity."""
    reason = RejectReason.SECTOR_CONCENTRATION
    money = _known(request, () if request.others.complete else _of_sector(request))
    if money is None:
        return Check.skip(reason)
    limits, rest = money.limits, request.others.in_sector(request.sector)
    detail: JsonValue = {"sector": request.sector}
    return _exposure(request, size, reason, rest, limits.sector_critical, limits.sector_warning, detail)


def strategy_budget(request: Request, size: Size) -> Check:
    """Fail an increase that takes what is the strategy's own past its budget."""
    reason = RejectReason.STRATEGY_BUDGET
    if request.budget is None or (money := _known(request, request.attributed)) is None:
        return Check.skip(reason)
    equity, value = money.equity, money.value
    intent, attributed = request.intent, request.attributed
    rest = sum(
        (
            holding.worst * valued.value
            for symbol, holding in attributed.items()
            if (valued := request.others.of(symbol)) is not None
        ),
        ZERO,
    )
    own = attributed.get(intent.symbol) or Holding.of(intent.symbol)
    slack = request.own_slack
    # Every unit is the strategy's own, also one that closes what another strategy holds.
    direction, start = (1, own.if_bought) if request.buys else (-1, own.if_sold)
    after = abs(start + direction * max(ZERO, size.quantity - slack))
    other_side = abs(own.if_sold if request.buys else own.if_bought)
    limit = request.budget * equity
    room = max(limit - rest, own.worst * value) - (direction * start + request.reducible - slack) * value
    before, after = rest + own.worst * value, rest + max(after, other_side) * value
    return Check(
        reason,
        failed=after > limit and after > before,
        value=after,
        limit=limit,
        opening_max=money.lots(max(ZERO, room)),
        detail={"strategy": intent.strategy},
    )


def _of_sector(request: Request) -> list[str]:
    """Return the symbols held that are, or for want of a record may be, of the candidate's sector."""
    instruments = {symbol: request.portfolio.instrument(symbol) for symbol in request.portfolio.holdings}
    return [
        symbol
        for symbol, instrument in instruments.items()
        if instrument is None or (instrument.sector or SECTOR_UNKNOWN) == request.sector
    ]


def gross_leverage(request: Request, size: Size) -> Check:
    """Fail an increase that takes the sum of exposures past its multiple of equity."""
    reason, money = RejectReason.GROSS_LEVERAGE, _known(request)
    if money is None:
        return Check.skip(reason)
    return _exposure(request, size, reason, request.others.gross, money.limits.gross_max)


def net_leverage(request: Request, size: Size) -> Check:
    """Fail an increase that takes the net, were all buys or all sells filled, past its multiple of equity."""
    reason, money = RejectReason.NET_LEVERAGE, _known(request)
    if money is None:
        return Check.skip(reason)
    value, holding, after = money.value, request.holding, request.after(size)
    bought, sold = request.others.if_bought, request.others.if_sold
    limit = money.limits.net_max * money.equity
    # The side that the intent adds to grows in its direction; the other side stays.
    if request.buys:
        other_side = abs(sold + holding.if_sold * value)
        before_net, after_net = abs(bought + holding.if_bought * value), abs(bought + after.if_bought * value)
        start = bought + (request.vacated.if_bought + request.reducible) * value
    else:
        other_side = abs(bought + holding.if_bought * value)
        before_net, after_net = abs(sold + holding.if_sold * value), abs(sold + after.if_sold * value)
        start = -(sold + (request.vacated.if_sold - request.reducible) * value)
    before_net, after_net = max(before_net, other_side), max(after_net, other_side)
    room = max(ZERO, max(limit, before_net) - start)
    return Check(reason, after_net > limit and after_net > before_net, after_net, limit, money.lots(room))


# --- 52: cash


def buying_power(request: Request, size: Size) -> Check:
    """Fail where an opening costs more than is left to spend."""
    reason, value, instrument, available = (
        RejectReason.BUYING_POWER,
        request.value,
        request.instrument,
        available_to_spend(request),
    )
    if value is None or instrument is None or available is None:
        return Check.skip(reason)
    cost = value * MARKET_MARKUP if request.is_market else value
    return _spending(size, reason, cost=cost, available=available, lot=instrument.lot)


def available_to_spend(request: Request) -> Decimal | None:
    """Return buying power after orders, in money; None where an input is missing."""
    limits, drawdown = request.limits, request.portfolio.account.drawdown
    if limits is None:
        return None
    if drawdown.buying_power is not None:
        power, through = drawdown.buying_power
        return ZERO if _too_old(request, through) else power - _taken(request, through, broker=True)
    if drawdown.cash is not None:
        cash, through = drawdown.cash
        if _too_old(request, through):
            return ZERO
        return max(ZERO, cash) * limits.margin_multiplier - _taken(request, through, broker=False)
    money = _known(request)
    if money is None:
        return None
    gross = request.others.gross + request.vacated.worst * money.value
    return max(ZERO, money.equity * limits.margin_multiplier - gross)


def _too_old(request: Request, through: int) -> bool:
    """Tell whether fills that a figure does not know of may be summed into the base by now: it buys nothing then."""
    return request.rules > 1 and through < request.portfolio.account.book.clock - KEPT


def _taken(request: Request, through: int, *, broker: bool) -> Decimal:
    """Return what is taken from the figure, money; what is set aside for the target is the intent's to spend."""
    portfolio = request.portfolio
    return portfolio.account.standing.spending.taken(
        portfolio.reference, through, broker=broker, target=request.target
    )


def _known(request: Request, needed: Iterable[str] | None = None) -> Money | None:
    """Return what exposures are measured by, where all that a check adds up could be valued.

    Args:
        request: The intent and what is known.
        needed: The symbols it adds up; by default all that the account holds.
    """
    if request.money is None or request.others.complete:
        return request.money
    return None if request.unpriced(request.portfolio.holdings if needed is None else needed) else request.money


def _exposure(  # noqa: PLR0917  # one after the other in each line that calls it
    request: Request,
    size: Size,
    reason: RejectReason,
    rest: Decimal,
    share: Decimal,
    warning: Decimal | None = None,
    detail: JsonValue = None,
) -> Check:
    """Check what the candidate and others come to.

    Args:
        request: The intent and what is known.
        size: The size asked about.
        reason: The check.
        rest: The others' exposure, money.
        share: How much of equity there may be.
        warning: How much of it is worth a warning.
        detail: Evidence.
    """
    money = request.money
    assert money is not None  # else the caller had nothing to compare
    limit = share * money.equity
    after = rest + request.after(size).worst * money.value
    failed = after > limit and after > rest + money.before
    warned = warning is not None and after >= warning * money.equity
    room, opening_max = limit - rest - money.start, money.no_worse
    if room > 0:
        opening_max = max(opening_max, money.lots(room))
    return Check(reason, failed, after, limit, opening_max, detail, warned)


def _spending(size: Size, reason: RejectReason, *, cost: Decimal, available: Decimal, lot: Decimal) -> Check:
    value = size.opening * cost
    opening_max = available // (cost * lot) * lot if available > 0 else ZERO
    return Check(reason, size.opening > 0 and value > available, value, available, opening_max)
