"""`seawall audit`."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.status import DIVERGED, complain

if TYPE_CHECKING:
    from streams.audit import Verdict

SHOWN = 20
"""Findings printed in full; the rest is counted."""


def audit(
    *,
    json: Annotated[bool, typer.Option("--json", help="Print the verdict as one JSON object.")] = False,
) -> None:
    """Prove every decision from the topics alone: decide again at the same offsets and compare bytes.

    Also checked: one decision for each intents record, the chains of digests, halts, dead letters. Status 0: clean.
    1: something differs, and is named. 2: the audit could not run.
    """
    from streams.audit import audit as run_audit
    from streams.config import load
    from streams.operations import OperatorError

    settings = load()
    try:
        verdict = asyncio.run(run_audit(settings, _progress()))
    except OperatorError as error:
        raise typer.Exit(complain(str(error))) from None
    if json:
        typer.echo(_as_json(verdict))
    else:
        typer.echo(verdict.summary)
        for line in describe(verdict):
            typer.echo(line)
    if not verdict.clean:
        raise typer.Exit(DIVERGED)


def describe(verdict: "Verdict") -> list[str]:
    """Return the lines below the verdict's first: what else was proven, what was not judged, what was found."""
    proven = f"{verdict.halts} halt events, {verdict.halts_reproduced} reproduced"
    lines = [f"       {proven}; {verdict.dead_letters} dead letters accounted for"]
    if verdict.undecided or verdict.unjudged:
        undecided = f"{verdict.undecided} intents not decided yet"
        lines.append(f"       not judged: {undecided}, {verdict.unjudged} fills and ticks after the last decision")
    lines += [f"  {finding}" for finding in verdict.findings[:SHOWN]]
    if len(verdict.findings) > SHOWN:
        lines.append(f"  and {len(verdict.findings) - SHOWN} findings more; --json has them all")
    return lines


def _as_json(verdict: "Verdict") -> str:
    from dataclasses import asdict

    import orjson

    return orjson.dumps({"clean": verdict.clean, **asdict(verdict)}).decode()


def _progress() -> "Callable[[Verdict], None]":
    """Return a line that rewrites itself, on a terminal; elsewhere nothing."""
    import sys

    if not sys.stderr.isatty():
        return lambda _verdict: None

    def show(verdict: "Verdict") -> None:
        sys.stderr.write(f"\r{verdict.decisions} decisions\r")
        sys.stderr.flush()

    return show
