"""`seawall what-if`."""

import asyncio
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.status import complain

if TYPE_CHECKING:
    from decimal import Decimal

    from rich.console import RenderableType

    from streams.hindsight.what_if import WhatIf
    from streams.limit_files import LimitFile


class Fills(StrEnum):
    """What becomes of fills whose order would have been approved in another quantity."""

    SCALE = "scale"
    DROP = "drop"


def what_if(
    *,
    limits: Annotated[Path, typer.Option("--limits", help="A limit file; what it names is different.")],
    account: Annotated[str | None, typer.Option("--account", help="Only this account.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="First date or time, UTC, such as 2008-09-15.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last date or time, UTC; a date is its whole day.")] = None,
    fills: Annotated[
        Fills, typer.Option("--fills", help="Scale fills with an order's other quantity, or drop them.")
    ] = Fills.SCALE,
    whole: Annotated[
        bool, typer.Option("--whole", help="Limits that the file does not name are at their defaults.")
    ] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Also write one page with charts to this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Replay history under other limits: what would have been answered, lost, saved and missed.

    Limits that the file does not name stay as each account had them. What is assumed of fills, exits and equity is
    written in docs/what-if.md; prices and intents are those of history.
    """
    from rich.console import Console

    from streams.config import load
    from streams.hindsight.spans import span_of
    from streams.hindsight.what_if import what_if as compare
    from streams.hindsight.what_if_page import render

    span, said = span_of(first, last), _read(limits)
    made = asyncio.run(
        compare(
            load(),
            said.limits,
            instruments=said.instruments,
            account=account,
            span=span,
            drop=fills is Fills.DROP,
            whole=whole,
            progress=_progress(),
        )
    )
    if html is not None:
        try:
            html.write_text(render(made), encoding="utf-8")
        except OSError as error:
            raise typer.Exit(complain(f"cannot write {html}: {error.strerror}")) from None
    if json:
        typer.echo(made.model_dump_json())
        return
    console = Console(highlight=False, markup=False)
    for part in parts(made):
        console.print(part)
    if html is not None:
        console.print(f"\nwith charts: {html}", soft_wrap=True)


def _read(path: Path) -> "LimitFile":
    from streams.limit_files import read

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no text in UTF-8"
        raise typer.Exit(complain(f"cannot read {path}: {why}")) from None
    return read(text, str(path))


def parts(made: "WhatIf") -> "Iterator[RenderableType]":
    """Yield the result as a person reads it."""
    from streams.hindsight.what_if_page import caveats, headline, verdict

    yield f"other limits: {', '.join(f'{name} {value}' for name, value in made.limits.items()) or 'none'}"
    yield headline(made)
    yield ""
    yield verdict(made)
    yield from _answer(made)
    yield from _worlds(made)
    yield from _reasons(made)
    yield from _flips(made)
    yield ""
    yield from caveats(made)


def _answer(made: "WhatIf") -> "Iterator[RenderableType]":
    from streams.cli.tables import table
    from streams.text import amount, day

    shown = table("account", "saved", "cost", "on balance", "largest episodes", words=(4,))
    for each in made.accounts:
        largest = [f"{one.symbol} {one.result:+,.0f} from {day(one.first)}" for one in each.largest[:2]]
        shown.add_row(
            each.account, amount(each.saved, 0), amount(each.cost, 0), f"{each.net:+,.0f}", "\n".join(largest)
        )
    yield ""
    yield shown


def _worlds(made: "WhatIf") -> "Iterator[RenderableType]":
    from streams.cli.tables import table

    shown = table("was > would be", "approved", "halts", "exposure %", "drawdown %", "profit")
    for each in made.accounts:
        was, would = each.was, each.would
        shown.add_row(
            each.account,
            f"{was.approved} > {would.approved}",
            f"{was.halts} > {would.halts}",
            _shares(was.exposure_share, would.exposure_share),
            _shares(was.drawdown, would.drawdown),
            f"{was.profit:,.0f} > {would.profit:,.0f}",
        )
    yield ""
    yield shown


def _shares(was: "Decimal", would: "Decimal") -> str:
    return f"{was * 100:.1f} > {would * 100:.1f}"


def _reasons(made: "WhatIf") -> "Iterator[RenderableType]":
    from rich.text import Text

    from streams.cli.tables import table

    shown = table("reason", "was", "would be", "change")
    for each in made.reasons:
        if each.was != each.would:
            shown.add_row(each.reason, str(each.was), str(each.would), f"{each.would - each.was:+}")
    yield ""
    yield shown
    same = [f"{each.reason} {each.was}" for each in made.reasons if each.was == each.would]
    if same:
        yield Text(f"as often as before: {', '.join(same)}", style="dim")


def _flips(made: "WhatIf") -> "Iterator[RenderableType]":
    from streams.hindsight.what_if_page import way_line
    from streams.text import amount

    yield ""
    for flips in made.flips:
        yield way_line(flips)
        for each in flips.examples[:2]:
            reasons = f"  {', '.join(each.reasons)}" if each.reasons else ""
            yield (
                f"  {each.account} {each.intent_id}: {each.side.lower()} {each.symbol},"
                f" {amount(each.was, 12)} > {amount(each.would, 12)}{reasons}"
            )


def _progress() -> "Callable[[int], None]":
    """Return a line that rewrites itself, on a terminal; elsewhere nothing."""
    import sys

    if not sys.stderr.isatty():
        return lambda _count: None

    def show(count: int) -> None:
        sys.stderr.write(f"\r{count} decisions\r")
        sys.stderr.flush()

    return show
