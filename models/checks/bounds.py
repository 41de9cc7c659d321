"""The checks of a size (docs/risk.md sections 4, 5, 7 and 9): order, concentration, cash.

An exposure check fails only where the exposure is past its limit *and* worse than before. Limits are multiplied out
(`limit * equity`), never divided.
"""

from collections.abc import Iterable
from decimal import Decimal

from pydantic import JsonValue

from models.book import KEPT, ZERO
from models.canonical import plain
from models.checks.check import Check, for_openings
from models.holdings import Holding
from models.messages import LimitProfile
from models.reasons import RejectReason
from models.reference import SECTOR_UNKNOWN
from models.request import Request, Size
from models.spending import MARKET_MARKUP

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
    room = most - request.reducible
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
    room = max(ZERO, most - request.reducible * value)
    opening_max = room // (value * instrument.lot) * instrument.lot
    return Check(reason, failed=notional > most, value=notional, limit=most, opening_max=opening_max)


# --- 42 to 47: correlation and concentration


def correlated_exposure(request: Request, size: Size) -> Check | None:
    """Fail an increase that takes the candidate's correlated group past its share of equity."""
    reason = RejectReason.CORRELATED_EXPOSURE
    if request.limits is None or request.value is None or request.portfolio.equity is None:
        return Check.skip(reason)
    members = request.group.symbols
    known = _known(request, members)
    if known is None:
        return Check.skip(reason)
    limits, equity, value = known
    if len(members) == 1:
        return None  # a group of one is no group
    amounts = {symbol: valued.amount for symbol in members if (valued := request.others.of(symbol)) is not None}
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
    known = _known(request, _of_sector(request) if request.others.unpriced else ())
    if known is None:
        return Check.skip(reason)
    limits, equity, value = known
    rest = request.others.in_sector(request.sector)
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


def strategy_budget(request: Request, size: Size) -> Check:
    """Fail an increase that takes what is the strategy's own past its budget."""
    reason, instrument = RejectReason.STRATEGY_BUDGET, request.instrument
    if request.budget is None or instrument is None or (known := _known(request, request.attributed)) is None:
        return Check.skip(reason)
    _, equity, value = known
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
    return Check.exposure(
        reason,
        before=rest + own.worst * value,
        after=rest + max(after, other_side) * value,
        limit=limit,
        opening_max=max(ZERO, room) // (value * instrument.lot) * instrument.lot,
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
    reason = RejectReason.GROSS_LEVERAGE
    known = _known(request)
    if known is None:
        return Check.skip(reason)
    limits, equity, value = known
    rest, limit = request.others.gross, limits.gross_max * equity
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
    bought, sold = request.others.if_bought, request.others.if_sold
    holding, after = request.holding, request.after(size)
    before_net = max(abs(bought + holding.if_bought * value), abs(sold + holding.if_sold * value))
    limit = limits.net_max * equity

    # The side that the intent adds to grows in its direction; the other side stays.
    if request.buys:
        start = bought + (request.vacated.if_bought + request.reducible) * value
    else:
        start = -(sold + (request.vacated.if_sold - request.reducible) * value)
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
    known = _known(request)
    if known is None:
        return None
    _, equity, value = known
    gross = request.others.gross + request.vacated.worst * value
    return max(ZERO, equity * limits.margin_multiplier - gross)


def _too_old(request: Request, through: int) -> bool:
    """Tell whether fills that a figure does not know of may be summed into the base by now: it buys nothing then."""
    return request.rules > 1 and through < request.portfolio.account.book.clock - KEPT


def _taken(request: Request, through: int, *, broker: bool) -> Decimal:
    """Return what is taken from the figure, money; what is set aside for the target is the intent's to spend."""
    portfolio = request.portfolio
    return portfolio.account.standing.spending.taken(
        portfolio.reference, through, broker=broker, target=request.target
    )


def _known(request: Request, needed: Iterable[str] | None = None) -> tuple[LimitProfile, Decimal, Decimal] | None:
    """Return limits, equity and the candidate's money per unit, where all that a check adds up could be valued.

    Args:
        request: The intent and what is known.
        needed: The symbols it adds up; by default all that the account holds.
    """
    limits, equity, value = request.limits, request.portfolio.equity, request.value
    if limits is None or equity is None or value is None:
        return None
    if request.unpriced(request.portfolio.holdings if needed is None else needed):
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
