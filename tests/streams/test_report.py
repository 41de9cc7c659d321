"""What a report says of risk that only a model knows."""

from decimal import Decimal

from streams.cli.report import _modelled
from streams.report import describe
from tests.models.test_model_checks import valued, world


def test_a_report_shows_what_may_be_lost() -> None:
    account = world({})
    report = describe(account.state, "A")
    tail, held = report.tail, valued(account, None)
    assert tail is not None
    assert (tail.sessions, tail.historical_var, tail.parametric_var) == (
        120,
        held.historical_var,
        held.parametric_var,
    )
    assert abs(sum(one.component_var for one in tail.symbols) - tail.parametric_var) <= Decimal("0.00001")
    assert {one.symbol: one.amount for one in tail.symbols} == {"T": 20000, "U": -10000}
    assert [one.factor for one in report.factors] == ["MARKET", "sector tech"]


def test_a_report_says_nothing_where_no_model_can_be_had() -> None:
    report = describe(world({}, sessions=99).state, "A")
    assert (report.tail, report.factors) == (None, ())
    assert list(_modelled(report)) == []


def test_the_screen_shows_the_largest_part_first() -> None:
    lines = list(_modelled(describe(world({}).state, "A")))
    assert str(lines[0]).startswith("\none session at risk: VaR 99 %")
    assert len(lines) == 5
