"""What the operators' commands share: who says what and why, asking first, sending, and telling what came of it."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import orjson
import typer

from streams.cli.status import APPROVED, BAD, REJECTED, SILENT, complain

if TYPE_CHECKING:
    from models.folds.reference import Reference
    from models.messages import KillSwitch, ReferenceRecord
    from streams.config import Settings
    from streams.desk import Desk
    from streams.publisher import Delivered, Message
    from streams.records import Topic

Actor = Annotated[str | None, typer.Option("--actor", help="Who says so. Default: the user of this shell.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded with the command.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print what came of it as one JSON object.")]

NO_TERMINAL = "this asks first, and there is no terminal to ask at: add --yes"
_COMMANDED = {"event_time", "actor", "reason", "signed_by", "signature"}


class Sent(NamedTuple):
    """A command that was sent."""

    message: "Message"
    place: "Delivered"
    refused: str | None
    """Why it is a dead letter, None where it is none."""


class Plan(NamedTuple):
    """What a command to `reference` is about to do."""

    records: "Sequence[ReferenceRecord]"
    preview: list[str]
    """What will change, and what whoever says so should know."""
    asks: bool
    after: "Callable[[Reference], Iterable[str]]" = lambda _: ()
    """What to say once it is in force."""


def said_by(actor: str | None, reason: str) -> dict[str, Any]:
    """Return who says so and why, as every command carries it."""
    return {"event_time": time.time_ns(), "actor": user() if actor is None else actor, "reason": reason.strip()}


def user() -> str:
    """Return the name of the user of this shell."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise typer.Exit(complain("this user has no name: say --actor")) from None


def compose(topic: "Topic", **fields: Any) -> Any:  # noqa: ANN401  # any message of the topic
    """Return a message for `equity-ticks` or `reference`; leave where the workers would refuse it."""
    from models.refusal import Refused
    from streams.codec import Codec
    from streams.records import Record, Topic

    given = {name: value for name, value in fields.items() if value is not None}
    key = str(given.get("account", "")).encode()
    record = Record(topic, 0, 0, 0, key, orjson.dumps(given))
    codec = Codec(1)  # of one partition, where every key belongs
    message = codec.equity_tick(record) if topic is Topic.EQUITY_TICKS else codec.reference(record)
    if isinstance(message, Refused):
        raise typer.Exit(complain(message.why))
    return message


def terminal() -> bool:
    """Tell whether there is somebody to ask."""
    return sys.stdin.isatty()


def ask(preview: Iterable[str], *, asks: bool, yes: bool) -> None:
    """Say what will change and, where that is dangerous, ask; leave unless the answer is yes."""
    for line in preview:
        typer.echo(line, err=True)
    if not asks or yes:
        return
    if not terminal():
        raise typer.Exit(complain(NO_TERMINAL))
    if not typer.confirm("Go on?", err=True):
        raise typer.Exit(complain("nothing was sent"))


async def send(settings: "Settings", desk: "Desk", messages: "Iterable[Message]") -> list[Sent]:
    """Send messages with the present time, and read on until each of them is folded."""
    from streams import desk as desks

    # The present time is that of the sending: whoever was asked may have thought for a while.
    messages = [message.model_copy(update={"event_time": time.time_ns()}) for message in messages]
    places = await desks.send(settings, messages)
    with unseen(places):
        return [Sent(message, place, await desk.fate(place)) for message, place in zip(messages, places, strict=True)]


@contextmanager
def unseen(places: "Sequence[Delivered]") -> Iterator[None]:
    """Make of an error inside what it is once commands are sent: nobody knows yet what came of them."""
    from aiokafka.errors import KafkaError

    from streams.access import GateError
    from streams.operations import OperatorError

    try:
        yield
    except (GateError, KafkaError, OperatorError) as error:
        where = several(map(str, places))
        raise typer.Exit(
            complain(f"{where} was sent; what came of it cannot be read: {error}", status=SILENT)
        ) from None


def finish(
    sent: Sequence[Sent],
    lines: Iterable[str],
    *,
    json: bool,
    wrong: Iterable[str] = (),
    exit_status: int = APPROVED,
    **found: object,
) -> NoReturn:
    """Tell what came of it and leave.

    Args:
        sent: What was sent; whatever of it is a dead letter is an error.
        lines: What to say, for a person.
        json: Whether a program is listening.
        wrong: What else did not come about.
        exit_status: Where nothing is wrong.
        found: More for the program.
    """
    from models.canonical import canonical_bytes

    notes = list(lines)
    wrong = [*(f"{each.place} was refused: {each.refused}" for each in sent if each.refused is not None), *wrong]
    if json:
        told = [{**each.place._asdict(), "refused": each.refused, "message": each.message} for each in sent]
        typer.echo(canonical_bytes({"sent": told, "notes": notes, "wrong": wrong, **found}).decode())
    else:
        for line in notes:
            typer.echo(line)
    raise typer.Exit(complain(*wrong, status=REJECTED) if wrong else exit_status)


async def refer(plan_of: "Callable[[Reference], Plan]", *, yes: bool, json: bool) -> None:
    """Carry out a command to `reference`: read it, say what will change, ask, send, and see that it is in force.

    Args:
        plan_of: Returns what to do, given what is in force.
        yes: Do not ask.
        json: Print one JSON object.
    """
    from streams.config import load
    from streams.desk import open_desk

    settings = load()
    async with open_desk(settings) as desk:
        plan = plan_of(desk.reference)
        ask(plan.preview, asks=plan.asks, yes=yes)
        sent = await send(settings, desk, plan.records)
        lines = [f"{each.place}  {described(each.message)}" for each in sent]
        wrong = [
            f"{each.place} changed nothing: a newer record says otherwise"
            for each in sent
            if each.refused is None and not in_force(desk.reference, each)
        ]
        if not wrong and all(each.refused is None for each in sent):
            lines += plan.after(desk.reference)
            lines.append(f"holds for every decision whose as_of.reference is at least {sent[-1].place.offset}")
        finish(sent, lines, json=json, wrong=wrong)


def in_force(reference: "Reference", sent: Sent) -> bool:
    """Tell whether `reference` says what a record said that was sent."""
    from models.folds.reference import natural_key

    message: Any = sent.message
    held = reference.record(natural_key(message))
    return held is not None and held.model_dump(exclude=_COMMANDED) == message.model_dump(exclude=_COMMANDED)


def described(record: "Message") -> str:
    """Return a record of `reference` in a few words."""
    from models.messages import (
        EVERY,
        Instrument,
        KillSwitch,
        LimitProfile,
        Restricted,
        StrategyRecord,
    )
    from models.wire import Message as Wire

    match record:
        case LimitProfile():
            return f"limits {record.limits_version}"
        case Instrument():
            return f"instrument {record.symbol}"
        case Restricted():
            what = "restricted" if record.active else "allowed"
            return f"{record.symbol} {what} for {record.account or 'every account'}"
        case KillSwitch():
            what = record.mode.value if record.engaged else "released"
            return f"kill switch {named(record)}: {what}"
        case StrategyRecord():
            budget = "" if record.budget is None else f", budget {record.budget:f} of equity"
            strategy = "every strategy" if record.strategy == EVERY else f"strategy {record.strategy}"
            account = "every account" if record.account == EVERY else record.account
            return f"{strategy} in {account}: {record.state}{budget}"
        case _:
            assert isinstance(record, Wire)
            return str(getattr(record, "kind", type(record).__name__))


def named(switch: "KillSwitch") -> str:
    """Return what a kill switch stops."""
    return switch.scope if switch.target is None else f"{switch.scope} {switch.target}"


def several(names: Iterable[str], most: int = 10) -> str:
    """Return names with commas between, the first ones where there are many."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def bad(*lines: str) -> NoReturn:
    """Leave because the command cannot be carried out; nothing was sent."""
    raise typer.Exit(complain(*lines, status=BAD))
