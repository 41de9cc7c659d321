"""The heat map of one account: exposure by symbol, sector and cluster, and how hot each is (docs/risk.md section 7).

A report. What gates an intent are the checks; this shows the same sums to people, rounded.
"""

from collections.abc import Collection, Iterable
from decimal import Decimal
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from models.canonical import exact, ratio
from models.folds.correlation import Cluster, Returns, clusters, diversification
from models.limits import Limits
from models.wire import Exact, Name

ZERO = Decimal(0)
HOTTEST = Decimal(1)
HEAT_DIGITS = 4


class Exposure(NamedTuple):
    """One symbol of an account, on its worst side: every open order filled, buys and sells never netted."""

    symbol: str
    sector: str
    position: Decimal
    """P, signed units."""
    worst: Decimal
    """W = max(|P + B|, |P - S|), units."""
    amount: Decimal
    """X = W * price * multiplier, account currency."""
    net_long: Decimal
    """(P + B) * price * multiplier, account currency, signed."""
    net_short: Decimal
    """(P - S) * price * multiplier, account currency, signed."""
    price: Decimal
    """Account currency per unit."""
    multiplier: Decimal
    """Account currency per unit and point of price."""
    atr: Decimal | None
    """Average true range, account currency per unit."""


class Tier(StrEnum):
    """Where a share of equity stands against its two limits."""

    OK = "OK"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Level(_Part):
    """An exposure beside equity."""

    amount: Exact
    """Account currency."""
    share: Exact | None
    """Of equity, 6 places; None where equity is not positive."""
    tier: Tier


class Cell(_Part):
    """One symbol."""

    symbol: Name
    sector: Name
    position: Exact
    """Signed units."""
    worst: Exact
    """Units on the worst side, open orders included."""
    price: Exact
    """Account currency per unit."""
    exposure: Level
    heat: Exact
    """From 0 to 1, 4 places."""


class Group(_Part):
    """A sector or a cluster."""

    name: Name
    members: tuple[Name, ...]
    """Sorted."""
    exposure: Level
    """The gross sum of the members."""


class HeatMap(_Part):
    """An account's exposures. A symbol that is neither held nor on order does not appear."""

    positions: tuple[Cell, ...]
    """Sorted by symbol."""
    sectors: tuple[Group, ...]
    """Sorted by name; every symbol is in one."""
    clusters: tuple[Group, ...]
    """Sorted by name; every symbol is in one, by known links only. The limits hold from two members on."""
    gross: Level
    net: Level
    diversification: Exact
    """From 0 to 1, 6 places."""


def heat(amount: Decimal, equity: Decimal, unit_risk: Decimal | None) -> Decimal:
    """Return how hot a position is, from 0 to 1, rounded half-even to 4 places.

    It is `0.6 * e / 30 + 0.4 * k / 30`, clamped, with e the exposure and k the risk in percent of equity. Taken as
    one fraction, `(6 * amount + 4 * unit_risk) / (3 * equity)`, it is rounded once.

    Args:
        amount: The exposure X, account currency, not negative.
        equity: Account currency; where it is not positive nothing is hotter.
        unit_risk: W times the risk of one unit, account currency; None takes k to be e.
    """
    risk = amount if unit_risk is None else unit_risk
    value = ratio(6 * amount + 4 * risk, 3 * equity, HEAT_DIGITS)
    return HOTTEST if value is None else min(value, HOTTEST)


def tier(amount: Decimal, equity: Decimal, warning: Decimal, critical: Decimal) -> Tier:
    """Return where `amount` stands: a warning acts when it is reached, a limit when it is passed.

    Args:
        amount: Account currency, not negative.
        equity: Account currency; where it is not positive any exposure at all is critical.
        warning: Fraction of equity.
        critical: Fraction of equity.
    """
    if equity <= 0:
        return Tier.CRITICAL if amount > 0 else Tier.OK
    if amount > critical * equity:
        return Tier.CRITICAL
    return Tier.WARNING if amount >= warning * equity else Tier.OK


@exact
def heat_map(
    exposures: Iterable[Exposure], *, equity: Decimal, limits: Limits, returns: Returns, day: int
) -> HeatMap:
    """Return the heat map of an account.

    Args:
        exposures: One per symbol, in any order; those with W = 0 are left out.
        equity: Of the last confirmed tick, account currency, any sign.
        limits: Of the account's profile.
        returns: The returns folded so far.
        day: Date of the account's clock, days since 1970-01-01.
    """
    found = sorted((exposure for exposure in exposures if exposure.worst > 0), key=attrgetter("symbol"))
    held = {exposure.symbol: exposure for exposure in found}
    sectors: dict[str, list[str]] = {}
    for symbol, exposure in held.items():
        sectors.setdefault(exposure.sector, []).append(symbol)

    def level(amount: Decimal, *limit_pair: Decimal) -> Level:
        standing = tier(amount, equity, *limit_pair) if limit_pair else Tier.OK
        return Level(amount=amount, share=ratio(amount, equity), tier=standing)

    def group(name: str, members: Collection[str], *limit_pair: Decimal) -> Group:
        amount = sum((held[member].amount for member in members), ZERO)
        return Group(name=name, members=tuple(members), exposure=level(amount, *limit_pair))

    def cell(exposure: Exposure) -> Cell:
        unit_risk = None
        if exposure.atr is not None:
            unit_risk = exposure.worst * limits.atr_multiple * exposure.atr * exposure.multiplier
        return Cell(
            symbol=exposure.symbol,
            sector=exposure.sector,
            position=exposure.position,
            worst=exposure.worst,
            price=exposure.price,
            exposure=level(exposure.amount, limits.position_warning, limits.position_critical),
            heat=heat(exposure.amount, equity, unit_risk),
        )

    def cluster(component: Cluster) -> Group:
        members = sorted(member.symbol for member in component.members)
        limit_pair = (limits.cluster_warning, limits.cluster_critical) if len(members) > 1 else ()
        return group(component.name, members, *limit_pair)

    amounts = {symbol: exposure.amount for symbol, exposure in held.items()}
    gross = sum(amounts.values(), ZERO)
    net_long = sum((exposure.net_long for exposure in held.values()), ZERO)
    net_short = sum((exposure.net_short for exposure in held.values()), ZERO)
    return HeatMap(
        positions=tuple(map(cell, held.values())),
        sectors=tuple(
            group(name, sectors[name], limits.sector_warning, limits.sector_critical) for name in sorted(sectors)
        ),
        clusters=tuple(map(cluster, clusters(returns, held, day))),
        gross=level(gross, limits.gross_max, limits.gross_max),
        net=level(max(abs(net_long), abs(net_short)), limits.net_max, limits.net_max),
        diversification=Decimal(diversification(returns, amounts, day)),
    )
