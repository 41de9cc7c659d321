"""Who trades in the demo: six accounts, their strategies and their limits, as reference records."""

from decimal import Decimal
from typing import Any, NamedTuple

from models.limits import Limits, SizingMethod
from models.messages import REFERENCE, ReferenceRecord, StrategyState
from streams.demo import strategies
from streams.demo.strategies import Strategy
from streams.demo.tape import Act, load

CURRENCY = "USD"
STAKE = Decimal(1_000_000)
"""What each account begins an act with, US dollars."""
ACTOR = "demo"


class Trader(NamedTuple):
    """One account and the one strategy that trades it."""

    account: str
    strategy: str
    title: str
    limits: Limits
    wants: Strategy


CAST = (
    Trader(
        "banks",
        "conviction",
        "two banks and GE, averaging down",
        Limits(
            sizing_method=SizingMethod.NONE,
            entry_max=Decimal("0.15"),
            position_warning=Decimal("0.35"),
            position_critical=Decimal("0.40"),
            sector_warning=Decimal("0.70"),
            sector_critical=Decimal("0.75"),
            cluster_warning=Decimal("0.75"),
            cluster_critical=Decimal("0.95"),
            daily_loss_halt=Decimal("0.08"),
            high_water_warning=Decimal("0.10"),
            high_water_halt=Decimal("0.20"),
        ),
        strategies.banks,
    ),
    Trader(
        "dip-buyer",
        "reversion",
        "buys what fell 6 % in three days",
        Limits(
            sizing_method=SizingMethod.FIXED_PERCENT,
            fixed_percent=Decimal("0.08"),
            drawdown_warning=Decimal("0.04"),
            drawdown_halt=Decimal("0.08"),
            high_water_warning=Decimal("0.06"),
            high_water_halt=Decimal("0.12"),
        ),
        strategies.buy_the_dip,
    ),
    Trader(
        "kelly",
        "edge",
        "half Kelly on 60 sessions",
        Limits(
            sizing_method=SizingMethod.KELLY,
            kelly_fraction=Decimal("0.5"),
            high_water_warning=Decimal("0.08"),
            high_water_halt=Decimal("0.15"),
        ),
        strategies.kelly,
    ),
    Trader(
        "pension",
        "saving",
        "a fixed sum a day, defensive",
        Limits(
            sizing_method=SizingMethod.FIXED_DOLLAR,
            fixed_dollar=Decimal(25_000),
            position_warning=Decimal("0.10"),
            position_critical=Decimal("0.15"),
            var_max=Decimal("0.01"),
        ),
        strategies.pension,
    ),
    Trader(
        "tech",
        "growth",
        "technology, doubling up on bad days",
        Limits(
            sizing_method=SizingMethod.NONE,
            high_water_warning=Decimal("0.10"),
            high_water_halt=Decimal("0.18"),
        ),
        strategies.technology,
    ),
    Trader(
        "trend",
        "momentum",
        "the strongest of 20 sessions",
        Limits(high_water_halt=Decimal("0.15"), high_water_warning=Decimal("0.10")),
        strategies.momentum,
    ),
)


def reference(acts: tuple[Act, ...], *, event_time: int) -> list[ReferenceRecord]:
    """Return what the gate must be told before the first decision: profiles, accounts, symbols, strategies.

    Nobody and nothing is admitted by a `*`, so a misspelled symbol is unknown.

    Args:
        acts: Their symbols become instruments.
        event_time: When the operator says so, ns.
    """
    said = {"event_time": event_time, "actor": ACTOR, "reason": "the cast of the demo"}
    records: list[dict[str, Any]] = []
    for trader in CAST:
        records += (
            {"kind": "limit_profile", "profile_id": trader.account, "profile_version": 1, **dict(trader.limits)},
            {"kind": "account", "account": trader.account, "profile_id": trader.account, "currency": CURRENCY},
            {
                "kind": "strategy",
                "strategy": trader.strategy,
                "account": trader.account,
                "state": StrategyState.ENABLED,
            },
        )
    sectors = {symbol: sector for act in acts for symbol, sector in load(act).sectors.items()}
    records += (
        {"kind": "instrument", "symbol": symbol, "sector": sector, "currency": CURRENCY}
        for symbol, sector in sorted(sectors.items())
    )
    return [REFERENCE.validate_python({**said, **record}) for record in records]
