"""What one account holds, has lost and may still do: its partition's topics, folded to their ends."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from models.canonical import exact, ratio, rounded
from models.decisions import AccountStatus, AsOf, HaltCause, Source
from models.folds.drawdown import Measure, assess
from models.heatmap import Exposure, HeatMap, heat_map
from models.limits import Limits
from models.messages import EVERY, Side
from models.portfolio import Portfolio
from models.risk.models import RiskModels
from models.risk.tail import signed_amount
from models.state import State
from models.wire import Exact
from streams.access import GateError
from streams.config import Settings
from streams.desk import open_desk


class UnknownAccountError(GateError):
    """No topic says anything of the account."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class OpenOrder(_Part):
    """An approval that is not filled, terminal or expired."""

    intent_id: str
    symbol: str
    side: Side
    approved: Exact
    """Units."""
    remaining: Exact
    """Units."""
    expires_at: int


class Price(_Part):
    """What a symbol is valued at, and where that comes from."""

    symbol: str
    source: Source
    age: int
    """Clock minus the price's time, ns."""


class Loss(_Part):
    """One measure of drawdown, money in account currency."""

    measure: str
    loss: Exact | None
    """Now; negative for a gain, None where there is no measure yet."""
    base: Exact | None
    """What the loss is measured against: the peak, or the opening value."""
    share: Exact | None
    """loss / base, 6 places."""
    worst: Exact | None
    """The worst share since the last reset: what halts."""
    warning: Exact | None
    halt: Exact | None
    """As fractions of the base; None is off."""
    headroom: Exact | None
    """What may still be lost before the account halts."""


class Headroom(_Part):
    """One limit on exposure, account currency."""

    limit: str
    of: str | None
    """The symbol, sector or cluster that is nearest to it."""
    value: Exact
    maximum: Exact
    headroom: Exact


class SymbolRisk(_Part):
    """One symbol's part in what its account may lose."""

    symbol: str
    amount: Exact
    """Signed, on the worst side, account currency."""
    component_var: Exact
    """Its share of the parametric VaR, to which all shares sum."""


class TailRisk(_Part):
    """What the account may lose in a session, account currency, were every open order of its worse side filled."""

    sessions: int
    """How many the model rests on."""
    historical_var: Exact
    parametric_var: Exact
    """At 99 %; the larger one is gated."""
    cvar: Exact
    """The mean loss beyond 97.5 %, 6 places."""
    symbols: tuple[SymbolRisk, ...]


class FactorRisk(_Part):
    """What is held of a factor, account currency, signed, 6 places."""

    factor: str
    """MARKET, or a sector."""
    exposure: Exact


class AccountReport(_Part):
    """One account as the topics have it."""

    account: str
    limits_version: str | None
    currency: str | None
    clock: int
    """ns since the Unix epoch; 0 before the first record."""
    as_of: AsOf
    status: AccountStatus
    causes: tuple[HaltCause, ...]
    equity: Exact | None
    equity_age: int | None
    """ns."""
    unconfirmed: bool
    cash: Exact | None
    losses: tuple[Loss, ...]
    heat_map: HeatMap | None
    """None where there is no profile, or no equity."""
    prices: tuple[Price, ...]
    unpriced: tuple[str, ...]
    """Symbols held that have no record or no price."""
    open_orders: tuple[OpenOrder, ...]
    headrooms: tuple[Headroom, ...]
    tail: TailRisk | None
    """None where nothing is held, a price is missing, or the returns do not suffice."""
    factors: tuple[FactorRisk, ...]
    """Nothing where a symbol's returns do not suffice."""
    decisions: int
    """Decided so far."""
    halts: int
    """Changes of status published so far."""


async def report(settings: Settings, account: str) -> AccountReport:
    """Fold the topics to their ends and report on one account.

    Raises:
        UnknownAccountError: If no record speaks of it.
        GateUnavailableError: Where no broker answers, or a topic is missing.
    """
    async with open_desk(settings, account) as desk:
        return describe(desk.state, account)


@exact
def describe(state: State, account: str) -> AccountReport:
    """Report on one account of a state.

    Raises:
        UnknownAccountError: If no record speaks of it.
    """
    columns, reference = state.accounts[account], state.shared.reference
    portfolio = state.portfolio(account)
    bound = reference.account(account)
    limits = portfolio.limits
    if columns.clock == 0 and (bound is None or bound.account == EVERY):
        raise UnknownAccountError(
            f"nothing is known of account {account}: no tick, no fill, no intent, no record of its own"
        )
    drawdown = columns.drawdown
    assessment = None if limits is None else assess(drawdown, limits)
    others = portfolio.others()
    exposures = tuple(
        Exposure(
            symbol=valued.holding.symbol,
            sector=valued.sector,
            position=valued.holding.position,
            worst=valued.holding.worst,
            amount=valued.amount,
            net_long=valued.holding.if_bought * valued.value,
            net_short=valued.holding.if_sold * valued.value,
            price=valued.quote.price,
            multiplier=valued.multiplier,
            atr=mark.atr if (mark := drawdown.marks.get(valued.holding.symbol)) else None,
        )
        for valued in others.valued
    )
    amounts = {
        valued.holding.symbol: signed_amount(valued.holding.if_bought, valued.holding.if_sold, valued.value)
        for valued in others.valued
    }
    known = amounts if others.complete else {}
    heats = None
    if limits is not None and drawdown.equity is not None:
        heats = heat_map(
            exposures, equity=drawdown.equity, limits=limits, returns=portfolio.returns, day=portfolio.day
        )
    return AccountReport(
        account=account,
        limits_version=None if limits is None else limits.limits_version,
        currency=None if bound is None else bound.currency,
        clock=columns.clock,
        as_of=state.as_of,
        status=columns.ledger.status if assessment is None else assessment.status,
        causes=columns.ledger.causes if assessment is None else assessment.causes,
        equity=drawdown.equity,
        equity_age=None if drawdown.equity is None else columns.clock - drawdown.equity_time,
        unconfirmed=drawdown.unconfirmed,
        cash=None if drawdown.cash is None else drawdown.cash[0],
        losses=() if limits is None else tuple(_losses(portfolio, limits)),
        heat_map=heats,
        prices=tuple(
            Price(symbol=one.holding.symbol, source=one.quote.source, age=columns.clock - one.quote.time)
            for one in others.valued
        ),
        unpriced=(*others.unknown, *(symbol for symbols in others.missing.values() for symbol in symbols)),
        open_orders=tuple(_open_orders(portfolio)),
        headrooms=() if limits is None or heats is None else tuple(_headrooms(heats, limits, drawdown.equity)),
        tail=_tail(portfolio.models, known),
        factors=tuple(_factors(portfolio.models, known)),
        decisions=columns.ledger.decisions.seq,
        halts=columns.ledger.halts.seq,
    )


def _tail(models: RiskModels, amounts: Mapping[str, Decimal]) -> TailRisk | None:
    model = models.tail(amounts) if amounts else ()
    if isinstance(model, tuple):
        return None
    tail = model.value(amounts)
    components = tail.component_var()
    return TailRisk(
        sessions=model.sessions,
        historical_var=tail.historical_var,
        parametric_var=tail.parametric_var,
        cvar=rounded(tail.cvar),
        symbols=tuple(
            SymbolRisk(symbol=symbol, amount=amount, component_var=components[symbol])
            for symbol, amount in amounts.items()
        ),
    )


def _factors(models: RiskModels, amounts: Mapping[str, Decimal]) -> Iterator[FactorRisk]:
    if not amounts:
        return
    model = models.factors()
    if any(model.beta(symbol) is None for symbol in amounts):
        return
    exposure = model.exposure(amounts)
    yield FactorRisk(factor="MARKET", exposure=rounded(exposure.market))
    for sector, held in exposure.sectors.items():
        yield FactorRisk(factor=f"sector {sector}", exposure=rounded(held))


class _Measured(NamedTuple):
    name: str
    measure: Measure
    warning: Decimal | None
    halt: Decimal | None


def _losses(portfolio: Portfolio, limits: Limits) -> Iterator[Loss]:
    drawdown = portfolio.account.drawdown
    for name, measure, warning, halt in (
        _Measured("session", drawdown.session, limits.drawdown_warning, limits.drawdown_halt),
        _Measured("high water", drawdown.high_water, limits.high_water_warning, limits.high_water_halt),
        _Measured("daily loss", drawdown.daily, None, limits.daily_loss_halt),
    ):
        now, worst = measure.current, measure.worst
        yield Loss(
            measure=name,
            loss=None if now is None else now.loss,
            base=None if now is None else now.base,
            share=None if now is None else ratio(now.loss, now.base),
            worst=None if worst is None else ratio(worst.loss, worst.base),
            warning=warning,
            halt=halt,
            headroom=None if now is None or halt is None else halt * now.base - now.loss,
        )


def _open_orders(portfolio: Portfolio) -> Iterator[OpenOrder]:
    for approval, left in sorted(portfolio.open_orders.values(), key=lambda order: order[0].seq):
        yield OpenOrder(
            intent_id=approval.intent_id,
            symbol=approval.symbol,
            side=approval.side,
            approved=approval.quantity,
            remaining=left,
            expires_at=approval.expires_at,
        )


def _headrooms(heats: HeatMap, limits: Limits, equity: Decimal | None) -> Iterator[Headroom]:
    """Yield each exposure limit with what comes nearest to it."""
    assert equity is not None
    positions = [(cell.symbol, cell.exposure.amount) for cell in heats.positions]
    sectors = [(group.name, group.exposure.amount) for group in heats.sectors]
    clusters = [(group.name, group.exposure.amount) for group in heats.clusters if len(group.members) > 1]
    for name, candidates, share in (
        ("position", positions, limits.position_critical),
        ("sector", sectors, limits.sector_critical),
        ("cluster", clusters, limits.cluster_critical),
        ("gross leverage", [(None, heats.gross.amount)], limits.gross_max),
        ("net leverage", [(None, heats.net.amount)], limits.net_max),
    ):
        nearest: tuple[str | None, Decimal] = _largest(candidates)
        maximum = share * equity
        yield Headroom(limit=name, of=nearest[0], value=nearest[1], maximum=maximum, headroom=maximum - nearest[1])


def _largest(candidates: Sequence[tuple[str | None, Decimal]]) -> tuple[str | None, Decimal]:
    return max(candidates, key=lambda candidate: candidate[1], default=(None, Decimal(0)))
