"""Heat, tiers and the map of an account (docs/risk.md section 7); the golden cases are those of section 13."""

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.canonical import canonical_bytes, exact
from models.folds.correlation import Returns
from models.heatmap import Exposure, HeatMap, Level, Tier, heat, heat_map, tier
from models.limits import Limits
from models.messages import DailyReturn

DAY = 14_015
LIMITS = Limits()


def exposure(
    symbol: str, position: str, price: str = "100", *, sector: str = "TECH", buying: str = "0", **more: Any
) -> Exposure:
    """Return the exposure of a position and open buys."""
    held, bought = Decimal(position), Decimal(position) + Decimal(buying)
    value = Decimal(price) * Decimal(more.get("multiplier", 1))
    worst = max(abs(held), abs(bought))
    return Exposure(
        symbol=symbol,
        sector=sector,
        position=held,
        worst=worst,
        amount=worst * value,
        net_long=bought * value,
        net_short=held * value,
        price=Decimal(price),
        multiplier=Decimal(more.get("multiplier", 1)),
        atr=None if more.get("atr") is None else Decimal(more["atr"]),
    )


def map_of(*exposures: Exposure, equity: str = "100000", returns: Returns | None = None) -> HeatMap:
    """Return the heat map under the default limits."""
    return heat_map(exposures, equity=Decimal(equity), limits=LIMITS, returns=returns or Returns(), day=DAY)


def linked(*groups: Iterable[str]) -> Returns:
    """Return returns by which the symbols of each group are pairwise at rho 0.8 and the groups at rho 0."""
    state = Returns()
    row = 0
    for number, symbols in enumerate(groups):
        for symbol in symbols:
            row += 1
            for session in range(16):
                common, own = ((-1) ** (index & session).bit_count() for index in (15 - number, row))
                state.fold(
                    DailyReturn(
                        symbol=symbol,
                        session=str(np.datetime64(DAY - 15 + session, "D")),
                        simple_return=Decimal(2 * common + own) / 1000,
                        event_time=0,
                    )
                )
    return state


def level(amount: str, share: str | None, standing: Tier) -> Level:
    """Return a level."""
    return Level(amount=Decimal(amount), share=None if share is None else Decimal(share), tier=standing)


OK, WARNING, CRITICAL = Tier.OK, Tier.WARNING, Tier.CRITICAL


@pytest.mark.parametrize(
    ("amount", "unit_risk", "expected"),
    [
        ("85000", "10000", "1"),  # golden 17: raw 1.8333
        ("20000", "4000", "0.4533"),  # golden 17
        ("20000", None, "0.6667"),  # k = e
        ("0", "0", "0"),
        ("30000", "30000", "1"),
        ("29999", "29999", "1.0000"),  # 0.99997 rounds to 1
        ("29997", "29997", "0.9999"),
        ("2.5", "0", "0"),  # half-even, down: 0.00005
        ("7.5", "0", "0.0002"),  # half-even, up: 0.00015
    ],
)
def test_heat(amount: str, unit_risk: str | None, expected: str) -> None:
    """Of an account of 100,000."""
    risk = None if unit_risk is None else Decimal(unit_risk)
    assert exact(heat)(Decimal(amount), Decimal(100_000), risk) == Decimal(expected)


def test_without_equity_nothing_is_hotter() -> None:
    """There is nothing to lose it from."""
    assert heat(Decimal(1), Decimal(0), Decimal(1)) == heat(Decimal(1), Decimal(-5), None) == 1


MONEY = st.decimals(0, Decimal(999999999999), places=12)


@settings(deadline=None, max_examples=100)
@given(MONEY, MONEY.map(lambda x: x + Decimal("0.000000000001")), st.none() | MONEY)
def test_heat_agrees_with_fractions(amount: Decimal, equity: Decimal, unit_risk: Decimal | None) -> None:
    """By the formula of the page, rounded once."""
    e = 100 * Fraction(amount) / Fraction(equity)
    k = e if unit_risk is None else 100 * Fraction(unit_risk) / Fraction(equity)
    oracle = round(min(Fraction(6, 10) * e / 30 + Fraction(4, 10) * k / 30, Fraction(1)) * 10_000)
    assert exact(heat)(amount, equity, unit_risk) * 10_000 == oracle


@pytest.mark.parametrize(
    ("amount", "expected"),
    [("0", OK), ("19.999", OK), ("20", WARNING), ("30", WARNING), ("30.001", CRITICAL), ("1000", CRITICAL)],
)
def test_a_warning_is_reached_and_a_limit_passed(amount: str, expected: Tier) -> None:
    """The limit itself is still allowed."""
    assert tier(Decimal(amount), Decimal(100), Decimal("0.2"), Decimal("0.3")) is expected


@pytest.mark.parametrize("equity", [0, -100])
def test_without_equity_any_exposure_is_critical(equity: int) -> None:
    """And none at all is not."""
    assert tier(Decimal(1), Decimal(equity), Decimal(0), Decimal(1)) is CRITICAL
    assert tier(Decimal(0), Decimal(equity), Decimal(0), Decimal(1)) is OK


def test_golden_13_five_positions_are_one_cluster() -> None:
    """Each is within its own limit; together they are 80 %, and the score says how little they differ."""
    symbols = ("SPY", "QQQ", "AAPL", "MSFT", "NVDA")
    found = map_of(*(exposure(symbol, "160", sector=symbol) for symbol in symbols), returns=linked(symbols))
    assert [group.name for group in found.clusters] == ["AAPL"]
    assert found.clusters[0].members == tuple(sorted(symbols))
    assert found.clusters[0].exposure == level("80000", "0.8", CRITICAL)
    assert [cell.exposure.tier for cell in found.positions] == [OK] * 5
    assert round(found.diversification, 4) == Decimal("0.0476")


def test_the_map_of_a_book() -> None:
    """Worst side, post-trade, over equity; every number by hand."""
    found = map_of(
        exposure("MSFT", "100", buying="50"),  # 15,000
        exposure("XOM", "-300", "80", sector="ENERGY", atr="2"),  # 24,000
        exposure("AAPL", "0", buying="50", atr="3"),  # 5,000
        exposure("IDLE", "0", sector="NONE"),
        exposure("OPT", "5", "20", sector="UNKNOWN", multiplier="100", atr="0.5"),  # 10,000
        returns=linked(["MSFT", "AAPL"], ["XOM"], ["OPT"]),
    )
    assert [cell.symbol for cell in found.positions] == ["AAPL", "MSFT", "OPT", "XOM"]
    assert [cell.exposure for cell in found.positions] == [
        level("5000", "0.05", OK),
        level("15000", "0.15", OK),
        level("10000", "0.1", OK),
        level("24000", "0.24", WARNING),
    ]
    assert [cell.heat for cell in found.positions] == [Decimal(heat) for heat in ("0.104", "0.5", "0.2067", "0.496")]
    assert [(cell.position, cell.worst, cell.price) for cell in found.positions] == [
        tuple(map(Decimal, row)) for row in ((0, 50, 100), (100, 150, 100), (5, 5, 20), (-300, 300, 80))
    ]
    assert [(g.name, g.members, g.exposure) for g in found.sectors] == [
        ("ENERGY", ("XOM",), level("24000", "0.24", OK)),
        ("TECH", ("AAPL", "MSFT"), level("20000", "0.2", OK)),
        ("UNKNOWN", ("OPT",), level("10000", "0.1", OK)),
    ]
    assert [(g.name, g.members, g.exposure) for g in found.clusters] == [
        ("AAPL", ("AAPL", "MSFT"), level("20000", "0.2", OK)),
        ("OPT", ("OPT",), level("10000", "0.1", OK)),
        ("XOM", ("XOM",), level("24000", "0.24", OK)),
    ]
    assert found.gross == level("54000", "0.54", OK)
    assert found.net == level("6000", "0.06", OK)  # long 5 + 15 + 10 - 24 = 6, short 0 + 10 + 10 - 24 = -4


def test_net_is_the_worse_of_the_two_sides() -> None:
    """All buys filled and no sell, or the other way round."""
    short = exposure("A", "-10")._replace(net_long=Decimal(500), net_short=Decimal(-1000))
    assert map_of(short).net.amount == 1000


def sized(symbol: str, share: int, **more: Any) -> Exposure:
    """Return a long position of `share` percent of 100,000."""
    return exposure(symbol, str(10 * share), **more)


@pytest.mark.parametrize(
    ("shares", "sector", "cluster", "gross", "net"),
    [
        ((10, 19), OK, OK, OK, OK),
        ((10, 20), OK, WARNING, OK, OK),
        ((20, 20), WARNING, WARNING, OK, OK),
        ((25, 25), WARNING, WARNING, OK, OK),
        ((25, 26), WARNING, CRITICAL, OK, OK),
        ((30, 30), WARNING, CRITICAL, OK, OK),
        ((30, 31), CRITICAL, CRITICAL, OK, OK),
        ((50, 50), CRITICAL, CRITICAL, WARNING, WARNING),
        ((50, 51), CRITICAL, CRITICAL, CRITICAL, CRITICAL),
        ((51, -50), CRITICAL, CRITICAL, CRITICAL, OK),
    ],
)
def test_each_level_has_its_own_limits(
    shares: Sequence[int], sector: Tier, cluster: Tier, gross: Tier, net: Tier
) -> None:
    """Two linked symbols of one sector."""
    found = map_of(*(sized(symbol, share) for symbol, share in zip("AB", shares, strict=True)), returns=linked("AB"))
    standing = [found.sectors[0].exposure.tier, found.clusters[0].exposure.tier, found.gross.tier, found.net.tier]
    assert standing == [sector, cluster, gross, net]


@pytest.mark.parametrize(
    ("share", "position"), [(19, OK), (20, WARNING), (30, WARNING), (31, CRITICAL), (90, CRITICAL)]
)
def test_one_symbol_is_no_cluster(share: int, position: Tier) -> None:
    """Its own limits hold for it, the cluster's from two members on."""
    found = map_of(sized("A", share))
    assert (found.positions[0].exposure.tier, found.clusters[0].exposure.tier) == (position, OK)


def test_an_empty_account_has_an_empty_map() -> None:
    """And one without equity has no shares."""
    assert (
        map_of(exposure("A", "0"))
        == map_of()
        == map_of(equity="-5").model_copy(update={"gross": level("0", "0", OK), "net": level("0", "0", OK)})
    )
    bust = map_of(exposure("A", "1"), equity="-5")
    assert (bust.positions[0].exposure, bust.positions[0].heat) == (level("100", None, CRITICAL), Decimal(1))


def test_the_map_has_canonical_bytes() -> None:
    """Whatever the order of the exposures; decimals are strings."""
    book = [sized("B", 10), sized("A", 5, atr="1.50", sector="ENERGY")]
    first, second = (canonical_bytes(map_of(*exposures)) for exposures in (book, book[::-1]))
    assert first == second
    assert json.loads(first)["positions"][0] == {
        "exposure": {"amount": "5000", "share": "0.05", "tier": "OK"},
        "heat": "0.102",
        "position": "50",
        "price": "100",
        "sector": "ENERGY",
        "symbol": "A",
        "worst": "50",
    }


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["X", "Y", "Z"]), st.integers(-400, 400)), max_size=8))
def test_sectors_and_clusters_part_the_gross_exposure(book: list[tuple[str, int]]) -> None:
    """Each symbol is in one sector and one cluster, so both sum to the same."""
    symbols = [f"S{number}" for number in range(len(book))]
    found = map_of(
        *(exposure(symbol, str(units), sector=sector) for symbol, (sector, units) in zip(symbols, book, strict=True)),
        returns=linked(symbols[:3], symbols[3:6]),
    )
    held = {symbol for symbol, (_, units) in zip(symbols, book, strict=True) if units}
    gross = sum(100 * abs(units) for _, units in book)
    assert found.gross.amount == sum(cell.exposure.amount for cell in found.positions) == gross
    for groups in (found.sectors, found.clusters):
        assert sum(group.exposure.amount for group in groups) == gross
        assert sorted(member for group in groups for member in group.members) == sorted(held)
    assert found.net.amount == abs(100 * sum(units for _, units in book))
