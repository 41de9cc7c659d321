"""`seawall audit`."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.status import DIVERGED, complain

if TYPE_CHECKING:
    from rich.progress import Task

    from streams.audit import Finding, Progress, Scope, Verdict
    from streams.config import Settings

SHOWN = 20
"""Findings printed in full; the rest is counted."""


def _time(text: str | None, option: str) -> int | None:
    """Return a moment as ns since the epoch.

    Raises:
        BadParameter: If it is none.
    """
    if text is None:
        return None
    if text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{option} must be a time such as 2026-11-01T14:30:00Z, or ns since 1970, was {text}"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000


def audit(
    *,
    account: Annotated[
        str | None,
        typer.Option(help="Take only this account's decisions again; its partition is folded all the same."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Take again only what was published at this time (UTC) or after it.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Look at nothing that was published at this time (UTC) or after it.")
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option(help="A new folder for a third party: verdict, heads, offsets, limits, digests.")
    ] = None,
    anchors: Annotated[
        Path | None,
        typer.Option(
            help="An earlier evidence folder, or a folder of them; --from goes on from the newest before it."
        ),
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(help="Instead: compare the topics with an evidence folder, or with heads that were kept."),
    ] = None,
    heads: Annotated[
        bool, typer.Option("--heads", help="Instead: print the last link of every chain, to be kept elsewhere.")
    ] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one for each core.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the verdict as one JSON object.")] = False,
) -> None:
    """Prove every decision from the topics alone: decide again at the same offsets and compare bytes.

    Also checked: one decision for each intents record, the chains of digests, halts, dead letters, holes in topics.
    Status 0: clean. 1: something differs, and is named. 2: the audit could not run.
    """
    from streams.config import load
    from streams.operations import OperatorError

    others = {"--account": account, "--from": since, "--to": until, "--evidence": evidence, "--anchors": anchors}
    given = [name for name, value in others.items() if value is not None]
    if (verify is not None or heads) and given:
        raise typer.BadParameter(f"{given[0]} does not go together with {'--heads' if heads else '--verify'}")
    if anchors is not None and since is None:
        raise typer.BadParameter("--anchors needs --from: it says how far back to begin")
    settings = load()
    try:
        if heads:
            clean = _heads(settings)
        elif verify is not None:
            clean = _verify(settings, verify, json=json)
        else:
            from streams.audit import Scope

            scope = Scope(account, _time(since, "--from"), _time(until, "--to"))
            clean = _audit(settings, scope, evidence, anchors, jobs, json=json)
    except OperatorError as error:
        raise typer.Exit(complain(str(error))) from None
    if not clean:
        raise typer.Exit(DIVERGED)


def _audit(
    settings: "Settings",
    scope: "Scope",
    evidence: Path | None,
    anchors: Path | None,
    jobs: int | None,
    *,
    json: bool,
) -> bool:
    from streams.audit import audit as run_audit

    with _progress("decisions") as progress:
        verdict = asyncio.run(
            run_audit(settings, progress, scope=scope, jobs=jobs, evidence=evidence, anchors=anchors)
        )
    if json:
        typer.echo(_as_json(verdict))
        return verdict.clean
    typer.echo(verdict.summary)
    for line in describe(verdict):
        typer.echo(line)
    if evidence is not None:
        typer.echo(f"       evidence: {evidence}; keep the SHA-256 of its SHA256SUMS elsewhere")
    return verdict.clean


def _verify(settings: "Settings", path: Path, *, json: bool) -> bool:
    from streams.audit import verify

    with _progress("records") as progress:
        found = asyncio.run(verify(settings, path, progress))
    if json:
        from dataclasses import asdict

        import orjson

        fields = {"clean": found.clean, "records": found.records, "heads": found.heads}
        typer.echo(orjson.dumps({**fields, "findings": [asdict(each) for each in found.findings]}).decode())
        return found.clean
    typer.echo(found.summary)
    for line in _shown(found.findings, 0):
        typer.echo(line)
    return found.clean


def _heads(settings: "Settings") -> bool:
    import sys

    from models.canonical import sha256
    from streams.audit import Verdict, head_line, heads

    verdict = Verdict()
    found = asyncio.run(heads(settings, verdict))
    lines = b"".join(head_line(head) for head in found)
    sys.stdout.write(lines.decode())
    sys.stdout.flush()
    count = f"{len(found)} chain heads of {verdict.passed} decisions"
    sys.stderr.write(f"{count}; SHA-256 of these lines: {sha256(lines)}\n")
    sys.stderr.writelines(f"{line}\n" for line in _shown(verdict.findings, verdict.more))
    return verdict.clean


def describe(verdict: "Verdict") -> list[str]:
    """Return the lines below the verdict's first: what else was proven, what was not judged, what was found."""
    proven = f"{verdict.halts} halt events, {verdict.halts_reproduced} reproduced"
    lines = [f"       {proven}; {verdict.dead_letters} dead letters accounted for"]
    if verdict.passed:
        lines.append(f"       {verdict.passed} decisions outside the scope: chains verified, not taken again")
    if verdict.undecided or verdict.unjudged:
        undecided = f"{verdict.undecided} intents not decided yet"
        lines.append(f"       not judged: {undecided}, {verdict.unjudged} fills and ticks after the last decision")
    if verdict.aborted:
        lines.append(f"       {verdict.aborted} input records were aborted by their producers: nobody acted on them")
    lines += [f"       note: {note}" for note in verdict.notes]
    return lines + _shown(verdict.findings, verdict.more)


def _shown(findings: "list[Finding]", more: int) -> list[str]:
    lines = [f"  {finding.kind}  {finding}" for finding in findings[:SHOWN]]
    more += max(0, len(findings) - SHOWN)
    if more:
        lines.append(
            f"  and {more} findings more; --json has {'the first of them' if more > len(findings) else 'them all'}"
        )
    return lines


def _as_json(verdict: "Verdict") -> str:
    from dataclasses import asdict

    import orjson

    return orjson.dumps({"clean": verdict.clean, **asdict(verdict)}).decode()


@contextmanager
def _progress(unit: str) -> "Iterator[Callable[[Progress], None]]":
    """Show a bar with rate and time left, on a terminal; elsewhere nothing."""
    import sys

    if not sys.stderr.isatty():
        yield lambda _progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: "Task") -> Text:
            return Text("" if task.speed is None else f"{task.speed:,.0f}/s")

    columns = (TextColumn(unit), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=10) as bar:
        task = bar.add_task(unit, total=None)

        def show(progress: "Progress") -> None:
            bar.update(task, completed=progress.done, total=progress.total)

        yield show
