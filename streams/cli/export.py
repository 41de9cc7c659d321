"""`seawall export`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Write decisions, halts or positions to a CSV or Parquet file. docs/export.md lists the columns.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

File = Annotated[Path, typer.Argument(help="Ends in .csv or .parquet (which needs the extra `export`).")]
OfAccount = Annotated[str | None, typer.Option("--account", help="Only those of one account.")]
From = Annotated[str | None, typer.Option("--from", help="First date or time, UTC, such as 2008-09-15.")]
To = Annotated[str | None, typer.Option("--to", help="Last date or time, UTC; a date is its whole day.")]


@app.command()
def decisions(file: File, *, account: OfAccount = None, first: From = None, last: To = None) -> None:
    """Write a row for each decision."""
    _export("decisions", file, account, first, last)


@app.command()
def halts(file: File, *, account: OfAccount = None, first: From = None, last: To = None) -> None:
    """Write a row for each change of an account's status."""
    _export("halts", file, account, first, last)


@app.command()
def positions(file: File, *, account: OfAccount = None, first: From = None, last: To = None) -> None:
    """Write a row for each change of a position; the last one of each account, symbol and strategy is held."""
    _export("positions", file, account, first, last)


def _export(what: str, file: Path, account: str | None, first: str | None, last: str | None) -> None:
    from streams.config import load
    from streams.hindsight.export import export
    from streams.hindsight.spans import span_of

    span = span_of(first, last)
    count = asyncio.run(export(load(), what, file, account=account, span=span))
    typer.echo(f"{count} {what} in {file}")
