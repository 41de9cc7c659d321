"""`seawall limits`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.acts import Actor, Json, Plan, Reason, Yes, bad, finish, refer, said_by, several

if TYPE_CHECKING:
    from models.folds.reference import Reference
    from models.messages import Instrument, LimitProfile
    from streams.limit_files import Change, LimitFile

app = typer.Typer(
    help="Show limit profiles, say what a file would change, and set them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

File = Annotated[str, typer.Argument(metavar="FILE", help="A limit profile as `seawall limits show` prints them.")]
_DRAWDOWN = ("drawdown_", "high_water_", "daily_loss_")
NAME_WIDTH = 20


@app.command()
def show(
    profile: Annotated[str | None, typer.Argument(metavar="PROFILE", help="Its id. Default: list them.")] = None,
    *,
    account: Annotated[
        str | None, typer.Option("--account", help="Show the profile that binds this account.")
    ] = None,
    library: Annotated[
        bool, typer.Option("--library", help="Show the starting profiles that come with seawall, not those in force.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print records as one line of JSON each.")] = False,
) -> None:
    """Print limit profiles as files that `seawall limits set` takes.

    With --library the commented starting profiles: `seawall limits show --library retail > mine.yaml`.
    """
    if library:
        _show_library(profile)
        return
    if profile is not None and account is not None:
        bad("say a profile or --account, not both")
    reference = asyncio.run(_reference())
    if profile is None and account is None:
        _show_all(reference, json=json)
        return
    _show_one(reference, profile, account, json=json)


async def _reference() -> "Reference":
    from streams.config import load
    from streams.desk import open_desk

    async with open_desk(load()) as desk:
        return desk.reference


def _show_library(name: str | None) -> None:
    from streams.limit_files import library

    texts = library()
    if name is None:
        for each, text in texts.items():
            typer.echo(f"{each:16} {text.splitlines()[0].removeprefix('# ')}")
        return
    if name not in texts:
        bad(f"the library has {', '.join(texts)}; was {name}")
    typer.echo(texts[name], nl=False)


def _show_all(reference: "Reference", *, json: bool) -> None:
    from models.canonical import canonical_bytes
    from models.messages import LimitProfile
    from streams.text import when

    for each in reference.of_kind(LimitProfile):
        if json:
            typer.echo(canonical_bytes(each).decode())
        else:
            typer.echo(f"{each.limits_version}  {when(each.event_time)}, {each.actor}: {each.reason}")
            typer.echo(f"  for {bound(reference, each.profile_id)}")


def _show_one(reference: "Reference", profile: str | None, account: str | None, *, json: bool) -> None:
    from models.canonical import canonical_bytes
    from streams.limit_files import text_of

    held = _profile(reference, profile) if account is None else reference.profile(account)
    if held is None:
        bad(f"no profile binds account {account}" if account is not None else f"there is no profile {profile}")
    typer.echo(canonical_bytes(held).decode() if json else text_of(held), nl=json)


def _profile(reference: "Reference", profile_id: str | None) -> "LimitProfile | None":
    from models.messages import LimitProfile

    return next((each for each in reference.of_kind(LimitProfile) if each.profile_id == profile_id), None)


@app.command()
def diff(
    file: File,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print the differences as one JSON object.")] = False,
) -> None:
    """Say what a file would change, and for whom. Nothing is sent."""
    import orjson

    said = _read(file)
    reference = asyncio.run(_reference())
    if json:
        limits, instruments = _compared(reference, said)
        changes = {each.name: [each.before, each.after] for each in limits}
        others = {symbol: {each.name: [each.before, each.after] for each in found} for symbol, found in instruments}
        accounts = _bound(reference, said.profile_id)
        told = {"profile_id": said.profile_id, "limits": changes, "instruments": others, "accounts": accounts}
        typer.echo(orjson.dumps(told).decode())
        return
    for line in _differences(reference, said):
        typer.echo(line)


@app.command("set")
def set_(
    file: File,
    *,
    reason: Reason,
    actor: Actor = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Set a limit profile from a file, as its next version. Asks first."""
    from streams.limit_files import records

    said = said_by(actor, reason)
    wanted = _read(file)

    def plan(reference: "Reference") -> Plan:
        made = records(wanted, _profile(reference, wanted.profile_id), _instruments(reference), said)
        lines = list(_differences(reference, wanted))
        if not made:
            finish([], lines, json=json)
        return Plan(made, lines, asks=True)

    asyncio.run(refer(plan, yes=yes, json=json))


def _read(file: str) -> "LimitFile":
    from streams.limit_files import read

    try:
        text = Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        bad(f"{file} must be text in UTF-8")
    except OSError as error:
        bad(f"cannot read {file}: {error.strerror or error}")
    return read(text, file)


def _instruments(reference: "Reference") -> "dict[str, Instrument]":
    from models.messages import Instrument

    return {each.symbol: each for each in reference.of_kind(Instrument)}


def _compared(reference: "Reference", said: "LimitFile") -> "tuple[list[Change], list[tuple[str, list[Change]]]]":
    from streams.limit_files import changes, instrument_changes

    known = _instruments(reference)
    others = [(each.symbol, instrument_changes(known.get(each.symbol), each)) for each in said.instruments]
    limits = changes(_profile(reference, said.profile_id), said.limits)
    return limits, [(symbol, found) for symbol, found in others if found]


def _differences(reference: "Reference", said: "LimitFile") -> Iterator[str]:
    """Yield what a file would change, and for whom."""
    held = _profile(reference, said.profile_id)
    limits, instruments = _compared(reference, said)
    if held is None:
        yield f"{said.profile_id}@1, a new profile; what differs from the defaults:"
    elif limits:
        yield f"{held.limits_version} -> {said.profile_id}@{held.profile_version + 1}"
    else:
        yield f"{held.limits_version} has these limits already"
    yield from _lines(limits)
    for symbol, found in instruments:
        yield f"instrument {symbol}, in every account"
        yield from _lines(found)
    if limits or held is None:
        yield f"for {bound(reference, said.profile_id)}"
    if held is not None and any(each.name.startswith(_DRAWDOWN) for each in limits):
        yield "thresholds of loss apply to what has happened: an account may halt at its next record"


def _lines(changes: "list[Change]") -> Iterator[str]:
    for each in changes:
        yield f"  {each.name:{NAME_WIDTH}} {each.before} -> {each.after}"


def _bound(reference: "Reference", profile_id: str) -> list[str]:
    from models.messages import AccountRecord

    return [each.account for each in reference.of_kind(AccountRecord) if each.profile_id == profile_id]


def bound(reference: "Reference", profile_id: str) -> str:
    """Return for whom a profile holds."""
    from models.messages import EVERY

    names = _bound(reference, profile_id)
    said = [name for name in names if name != EVERY]
    text = [several(said)] if said else []
    if EVERY in names:
        text.append("every account without a record of its own")
    return " and ".join(text) or "no account: none is bound to it by an account record in reference"
