"""The gate's own size (docs/risk.md section 5), against fractions; the golden cases are those of section 13."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.canonical import exact
from models.limits import Limits, SizingMethod
from models.messages import OrderIntent, OrderType, Side
from models.reasons import RejectReason
from models.sizing import Sizing, size_opening

VOLATILITY_ADJUSTED, KELLY = SizingMethod.VOLATILITY_ADJUSTED, SizingMethod.KELLY
FIXED_PERCENT, FIXED_DOLLAR = SizingMethod.FIXED_PERCENT, SizingMethod.FIXED_DOLLAR


def decimals(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with strings made into decimals."""
    return {name: Decimal(value) if type(value) is str else value for name, value in fields.items()}


def intent(**fields: Any) -> OrderIntent:
    """Return an intent that leaves the quantity to the gate."""
    return OrderIntent(
        intent_id="1",
        account="a",
        strategy="s",
        symbol="SPY",
        side=Side.BUY,
        order_type=OrderType.MARKET,
        event_time=0,
        **decimals(fields),
    )


@exact
def size(limits: dict[str, Any] | None = None, said: dict[str, Any] | None = None, **inputs: Any) -> Sizing:
    """Return the sizing of an intent that says `said`, with the defaults of section 13."""
    defaults: dict[str, Any] = {
        "equity": "100000",
        "price": "100",
        "atr": "1",
        "lot": "1",
        "multiplier": "1",
        "probation": False,
    }
    found = size_opening(Limits(**decimals(limits or {})), intent(**(said or {})), **decimals(defaults | inputs))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("quantity", "limits", "said", "inputs"),
    [
        pytest.param("10", {}, {}, {"equity": "10000", "atr": "5"}, id="golden 1"),
        pytest.param("2.5", {}, {}, {"equity": "10000", "price": "200", "atr": "20", "lot": "0.1"}, id="golden 2"),
        pytest.param("2", {}, {}, {"equity": "10000", "price": "200", "atr": "20"}, id="golden 3: never 3"),
        pytest.param("142", {}, {}, {"price": "185", "atr": "3.5"}, id="golden 4"),
        pytest.param("14", {}, {}, {"equity": "10000", "price": "185", "atr": "3.5"}, id="golden 4, E 10,000"),
        pytest.param(
            "10",
            {"sizing_method": KELLY},
            {"win_rate": "0.52", "payoff": "1", "trades": 30},
            {"equity": "10000", "atr": "5"},
            id="golden 6",
        ),
        pytest.param("0", {}, {}, {"equity": "10000", "price": "200", "atr": "60"}, id="golden 7: 0.83 units"),
        pytest.param("10", {}, {}, {"price": "2", "atr": "0.5", "multiplier": "100"}, id="golden 8"),
        pytest.param(
            "27", {"sizing_method": FIXED_PERCENT}, {}, {"price": "185", "atr": None}, id="golden 9, percent"
        ),
        pytest.param(
            "13",
            {"sizing_method": FIXED_DOLLAR, "fixed_dollar": "2500"},
            {},
            {"price": "185", "atr": None},
            id="golden 9, dollar",
        ),
        pytest.param("250", {}, {"stop_distance": "4"}, {"atr": None}, id="a stop replaces multiple and ATR"),
        pytest.param("2500", {}, {"stop_distance": "0.4"}, {"atr": "9"}, id="even a closer one"),
        pytest.param("333", {"atr_multiple": "3"}, {}, {}, id="atr_multiple"),
        pytest.param("1000", {"risk_per_trade": "0.02"}, {}, {}, id="risk_per_trade"),
        pytest.param("0", {"risk_per_trade": "0"}, {}, {}, id="no risk, no units"),
        pytest.param("250", {}, {}, {"probation": True}, id="probation halves"),
        pytest.param("2.5", {"sizing_method": FIXED_PERCENT}, {}, {"price": "2000", "lot": "0.5"}, id="percent"),
        pytest.param(
            "1.2", {"sizing_method": FIXED_PERCENT}, {}, {"price": "2000", "lot": "0.3", "probation": True}, id="half"
        ),
        pytest.param(
            "25",
            {"sizing_method": FIXED_DOLLAR, "fixed_dollar": "2500"},
            {},
            {"price": "50", "multiplier": "2"},
            id="a unit costs price times multiplier",
        ),
        pytest.param(
            "400",  # 0.5 * (0.6 * 2 - 0.4) / 2 * 100,000 = 20,000 over 2 * 1 * 25
            {"sizing_method": KELLY, "kelly_fraction": "0.5", "kelly_trades_min": 0},
            {"win_rate": "0.6", "payoff": "2", "trades": 0},
            {"multiplier": "25"},
            id="kelly with all its parts",
        ),
    ],
)
def test_size(quantity: str, limits: dict[str, Any], said: dict[str, Any], inputs: dict[str, Any]) -> None:
    """The budget over the unit, floored to the lot."""
    assert size(limits, said, **inputs) == Sizing(Decimal(quantity), ())


def test_method_none_sizes_nothing_and_gives_no_reason() -> None:
    """An explicit quantity is gated all the same."""
    assert size({"sizing_method": SizingMethod.NONE}) == Sizing(None, ())


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"win_rate": "0.9", "payoff": "2", "trades": 29}, RejectReason.TOO_FEW_TRADES),
        ({"win_rate": "0.1", "payoff": "2", "trades": 29}, RejectReason.TOO_FEW_TRADES),
        ({"win_rate": "0.9", "payoff": "2"}, RejectReason.TOO_FEW_TRADES),
        ({"win_rate": "0.9", "trades": 30}, RejectReason.TOO_FEW_TRADES),
        ({"payoff": "2", "trades": 30}, RejectReason.TOO_FEW_TRADES),
        ({"win_rate": "0.40", "payoff": "1.5", "trades": 30}, RejectReason.NO_EDGE),  # golden 7: f* = 0
        ({"win_rate": "0.4", "payoff": "1.499999999999", "trades": 30}, RejectReason.NO_EDGE),
        ({"win_rate": "0", "payoff": "999999999999", "trades": 30}, RejectReason.NO_EDGE),
    ],
)
def test_kelly_needs_a_record_and_an_edge(said: dict[str, Any], reason: RejectReason) -> None:
    """One reason, never both: without a record nothing is known of the edge."""
    assert size({"sizing_method": KELLY}, said) == Sizing(None, (reason,))


def test_the_smallest_edge_is_one() -> None:
    """It is the difference of two products; a double would keep few digits of it."""
    said = {"win_rate": "0.400000000001", "payoff": "1.5", "trades": 30, "stop_distance": "0.000000000001"}
    assert size({"sizing_method": KELLY}, said).quantity == Decimal(41666)


WIRE = st.one_of(
    st.decimals(Decimal("0.000000000001"), Decimal("999999999999.999999999999"), places=12),
    st.sampled_from(["0.000000000001", "999999999999.999999999999", "1", "100", "0.01", "3"]).map(Decimal),
)
SHARE = st.decimals(0, 1, places=12)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from([VOLATILITY_ADJUSTED, FIXED_PERCENT, FIXED_DOLLAR, KELLY]),
    st.fixed_dictionaries(
        {"risk_per_trade": SHARE, "fixed_percent": SHARE, "fixed_dollar": WIRE, "atr_multiple": WIRE}
        | {"kelly_fraction": st.decimals(0, Decimal("0.5"), places=12)}
    ),
    st.fixed_dictionaries({"win_rate": SHARE, "payoff": WIRE, "stop_distance": st.none() | WIRE}),
    st.fixed_dictionaries(dict.fromkeys(("equity", "price", "atr", "lot", "multiplier"), WIRE)),
    st.booleans(),
)
def test_the_size_is_the_largest_multiple_of_the_lot_within_the_budget(
    method: SizingMethod,
    limits: dict[str, Decimal],
    said: dict[str, Decimal | None],
    inputs: dict[str, Decimal],
    half: bool,
) -> None:
    """By the definition in fractions, whatever wire numbers come: nothing is rounded, nothing overflows."""
    parts = {name: Fraction(value) for name, value in {**limits, **said, **inputs}.items() if value is not None}
    risk = parts.get("stop_distance", parts["atr_multiple"] * parts["atr"]) * parts["multiplier"]
    money = parts["price"] * parts["multiplier"]
    f = parts["win_rate"] - (1 - parts["win_rate"]) / parts["payoff"]
    budget, unit = {
        VOLATILITY_ADJUSTED: (parts["risk_per_trade"] * parts["equity"], risk),
        FIXED_PERCENT: (parts["fixed_percent"] * parts["equity"], money),
        FIXED_DOLLAR: (parts["fixed_dollar"], money),
        KELLY: (parts["kelly_fraction"] * f * parts["equity"], risk),
    }[method]
    oracle = budget / (2 if half else 1) / unit // parts["lot"] * parts["lot"]

    found = size({"sizing_method": method, **limits}, {"trades": 30, **said}, probation=half, **inputs)
    if method is KELLY and f <= 0:
        assert found == Sizing(None, (RejectReason.NO_EDGE,))
    else:
        assert found.reasons == ()
        assert found.quantity is not None
        assert Fraction(found.quantity) == oracle
