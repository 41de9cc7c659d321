"""`seawall report`."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from decimal import Decimal

    from rich.console import RenderableType
    from rich.table import Table

    from models.heatmap import HeatMap
    from streams.report import AccountReport


def report(
    account: Annotated[str, typer.Argument(help="The account.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Report on an account: positions, exposures and their heat, clusters, drawdown, limits with headroom.

    Reads the topics to their ends; the numbers are those that the next decision would rest on. Amounts are in the
    account's currency, shares are of equity, exposures count open orders on their worst side.
    """
    from rich.console import Console

    from models.canonical import canonical_bytes
    from streams.config import load
    from streams.report import report as make_report

    made = asyncio.run(make_report(load(), account))
    if json:
        typer.echo(canonical_bytes(made).decode())
        return
    console = Console(highlight=False)
    for part in _parts(made):
        console.print(part)


def _parts(report: "AccountReport") -> "Iterator[RenderableType]":
    from streams.text import when

    yield from head_parts(report)
    limits = report.limits_version or "none, no profile is bound"
    yield f"limits {limits}; clock {when(report.clock or None)}"
    yield f"{report.decisions} decisions, {report.halts} changes of status"
    yield from drawdown_parts(report)
    if report.heat_map is not None:
        yield from _exposures(report, report.heat_map)
    yield from _modelled(report)
    if report.unpriced:
        yield f"\nwithout a price or a record: {', '.join(report.unpriced)}"
    yield from open_order_parts(report)


def head_parts(report: "AccountReport") -> "Iterator[RenderableType]":
    """Yield the account's status and its equity."""
    from rich.text import Text

    from streams.text import STATUS_STYLE, amount, duration

    yield Text.assemble(
        (report.account, "bold"), "  ", (report.status, STATUS_STYLE[report.status]), f"  {', '.join(report.causes)}"
    )
    money = f" {report.currency}" if report.currency else ""
    age = "" if report.equity_age is None else f" ({duration(report.equity_age)} old)"
    unconfirmed = ", the last tick is unconfirmed" if report.unconfirmed else ""
    yield f"equity {amount(report.equity)}{money}{age}{unconfirmed}, cash {amount(report.cash)}"


def drawdown_parts(report: "AccountReport") -> "Iterator[RenderableType]":
    """Yield the measures of drawdown."""
    from streams.text import amount

    if not report.losses:
        return
    table = _table("drawdown", "loss", "of", "share", "worst", "warning", "halt", "headroom")
    for loss in report.losses:
        table.add_row(
            loss.measure,
            amount(loss.loss),
            amount(loss.base),
            *(_percent(share) for share in (loss.share, loss.worst, loss.warning, loss.halt)),
            amount(loss.headroom),
        )
    yield ""
    yield table


def _exposures(report: "AccountReport", heats: "HeatMap") -> "Iterator[RenderableType]":
    from streams.text import amount

    sources = {price.symbol: price.source for price in report.prices}
    table = _table(
        "symbol", "units", "worst side", "price", "source", "exposure", "share", "heat", "sector", words=(4, 8)
    )
    for cell in heats.positions:
        table.add_row(
            cell.symbol,
            amount(cell.position, 12),
            amount(cell.worst, 12),
            amount(cell.price, 6),
            sources.get(cell.symbol, "-"),
            amount(cell.exposure.amount),
            _percent(cell.exposure.share, cell.exposure.tier),
            amount(cell.heat, 4),
            cell.sector,
        )
    yield ""
    yield table if heats.positions else "no positions"
    groups = _table("sector or cluster", "exposure", "share", "members", words=(3,))
    for kind, found in (("sector", heats.sectors), ("cluster", heats.clusters)):
        for group in found:
            if kind == "sector" or len(group.members) > 1:
                share = _percent(group.exposure.share, group.exposure.tier)
                groups.add_row(f"{kind} {group.name}", amount(group.exposure.amount), share, " ".join(group.members))
    if heats.positions:
        yield ""
        yield groups
    limits = _table("limit", "nearest", "value", "maximum", "headroom", words=(1,))
    for one in report.headrooms:
        limits.add_row(one.limit, one.of or "", amount(one.value), amount(one.maximum), amount(one.headroom))
    yield ""
    yield limits
    yield f"\ndiversification {amount(heats.diversification, 4)} (0 all one bet, 1 none related)"


def _modelled(report: "AccountReport") -> "Iterator[RenderableType]":
    from streams.text import amount

    if report.tail is not None:
        tail = report.tail
        yield (
            f"\none session at risk: VaR 99 % {amount(tail.historical_var)} by {tail.sessions} sessions,"
            f" {amount(tail.parametric_var)} by covariance; beyond 97.5 % {amount(tail.cvar)} on average"
        )
        table = _table("at risk", "amount", "component of VaR")
        for one in sorted(tail.symbols, key=lambda one: -one.component_var):
            table.add_row(one.symbol, amount(one.amount), amount(one.component_var))
        yield ""
        yield table
    if report.factors:
        table = _table("factor", "exposure")
        for factor in report.factors:
            table.add_row(factor.factor, amount(factor.exposure))
        yield ""
        yield table


def open_order_parts(report: "AccountReport") -> "Iterator[RenderableType]":
    """Yield the open orders, if there are any."""
    from streams.text import amount, when

    if not report.open_orders:
        return
    table = _table("open order", "side", "symbol", "approved", "remaining", "expires", words=(1, 2))
    for one in report.open_orders:
        table.add_row(
            one.intent_id,
            one.side,
            one.symbol,
            amount(one.approved, 12),
            amount(one.remaining, 12),
            when(one.expires_at),
        )
    yield ""
    yield table


def _table(first: str, *rest: str, words: tuple[int, ...] = ()) -> "Table":
    """Return an empty table; columns are numbers but the first and those in `words`."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for number, name in enumerate((first, *rest)):
        table.add_column(name, justify="left" if number == 0 or number in words else "right", overflow="fold")
    return table


def _percent(share: "Decimal | None", tier: str | None = None) -> str:
    if share is None:
        return "-"
    mark = {"WARNING": " !", "CRITICAL": " !!"}.get(tier or "", "")
    return f"{share * 100:.2f} %{mark}"
