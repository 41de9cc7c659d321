"""`seawall keys`."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.acts import Actor, Json, Reason, Sent, Yes, ask, bad, finish, said_by, unseen

if TYPE_CHECKING:
    from models.messages import OperatorKeys
    from streams.config import Settings
    from streams.operator_keys import InForce
    from streams.signatures import Signer

app = typer.Typer(
    help="Make keys that sign commands, and say which ones are obeyed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def generate(
    file: Annotated[Path, typer.Argument(help="Where the private key goes; its public key goes to FILE.pub.")],
) -> None:
    """Make a key. Its private part stays in FILE, which only its owner may read; nothing ever prints it."""
    from streams.signatures import PUBLIC_SUFFIX
    from streams.signatures import generate as make

    public = make(file)
    typer.echo(f"private key {file}: keep it; SEAWALL_SIGNING_KEY={file} signs with it")
    typer.echo(f"public key {file}{PUBLIC_SUFFIX}: {public}")


@app.command("list")
def list_(
    *, json: Annotated[bool, typer.Option("--json", help="Print the keys at each place as one JSON object.")] = False
) -> None:
    """List the keys in force. Reads equity-ticks and reference from their beginning."""
    import orjson

    from streams.config import load
    from streams.operator_keys import keys_in_force

    found = asyncio.run(keys_in_force(load()))
    if json:
        keys = {str(place): {} if each is None else each.keys for place, each in found.items()}
        typer.echo(orjson.dumps(keys).decode())
        return
    for line in _listed(found):
        typer.echo(line)


@app.command("set")
def set_(
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID=PUBLICKEYFILE...", help="Every key that is to be obeyed from now on."),
    ] = None,
    *,
    none: Annotated[bool, typer.Option("--none", help="List no key: commands need no signature any more.")] = False,
    reason: Reason,
    actor: Actor = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Say which keys are obeyed, in every partition of equity-ticks and in reference. Asks first.

    The first time it is trusted; after that it must be signed by a key that is listed (SEAWALL_SIGNING_KEY,
    SEAWALL_SIGNING_KEY_ID).
    """
    from models.messages import OperatorKeys
    from streams.config import load

    if bool(keys) is none:
        bad("say ID=PUBLICKEYFILE for every key, or --none")
    said = said_by(actor, reason)
    record = _valid(OperatorKeys.model_construct(**said, keys=_public_keys(keys or [])))
    asyncio.run(_set(load(), record, yes=yes, json=json))


def _public_keys(given: list[str]) -> dict[str, str]:
    from streams.signatures import load_public_key

    keys: dict[str, str] = {}
    for each in given:
        key_id, _, file = each.partition("=")
        if not key_id or not file:
            bad(f"a key is ID=PUBLICKEYFILE, was {each}")
        if key_id in keys:
            bad(f"key {key_id} is given more than once")
        keys[key_id] = load_public_key(Path(file))
    return keys


def _valid(record: "OperatorKeys") -> "OperatorKeys":
    """Return the record as the workers will read it; leave where they would refuse it."""
    from models.canonical import canonical_bytes
    from models.refusal import Refused
    from streams.codec import Codec
    from streams.records import Record, Topic

    read = Codec(1).reference(Record(Topic.REFERENCE, 0, 0, 0, b"", canonical_bytes(record)))
    if isinstance(read, Refused):
        bad(read.why)
    return record


async def _set(settings: "Settings", record: "OperatorKeys", *, yes: bool, json: bool) -> None:
    from streams.operator_keys import keys_in_force, set_keys
    from streams.signatures import signer

    signing = signer(settings)
    before = await keys_in_force(settings)
    others = [place for place, held in before.items() if _keys(held) != record.keys]
    deaf = [place for place in others if _keys(before[place]) and not _lists(before[place], signing)]
    places = [place for place in others if place not in deaf]
    if deaf and not places:
        bad(f"{deaf[0]} obeys only a key that it lists: set SEAWALL_SIGNING_KEY and SEAWALL_SIGNING_KEY_ID to one")
    lines = ["now:", *_listed(before), "then:"]
    lines += [f"  {key_id} {public}" for key_id, public in record.keys.items()]
    if not record.keys:
        lines.append("  no key: whoever may write to the topics commands")
    lines += [f"{place} does not list the key that signs: say it again with one that it lists" for place in deaf]
    if record.keys and not _lists(record, signing):
        who = "no key is set here" if signing is None else f"key {signing.key_id} of this shell is not among them"
        lines.append(f"{who}: see that somebody holds the private key of a new one, or no command is obeyed again")
    if not places:
        finish([], ["in force everywhere already"], json=json)
    ask(lines, asks=True, yes=yes)
    record = record.model_copy(update={"event_time": time.time_ns()})
    delivered = await set_keys(settings, record, places)
    with unseen(delivered):
        after = await keys_in_force(settings)
    sent = [Sent(record, place, None) for place in delivered]
    wrong = [
        f"{place} has other keys: see dead-letters, and say it again signed by a key that it lists"
        for place, held in after.items()
        if _keys(held) != record.keys
    ]
    done = [f"{place}  {', '.join(record.keys) or 'no key'}" for place in delivered]
    finish(sent, done if wrong else [*done, "in force everywhere"], json=json, wrong=wrong)


def _keys(held: "OperatorKeys | None") -> dict[str, str]:
    return {} if held is None else held.keys


def _lists(held: "OperatorKeys | None", signing: "Signer | None") -> bool:
    return signing is not None and _keys(held).get(signing.key_id) == signing.public_key


def _listed(found: "InForce") -> list[str]:
    """Return the keys at each place, those that have the same ones together."""
    from streams.text import when

    places: dict[str, list[str]] = {}
    for place, held in found.items():
        keys = "" if held is None else "\n".join(f"  {key_id} {key}" for key_id, key in held.keys.items())
        since = "" if held is None else f" (since {when(held.event_time)}, {held.actor}: {held.reason})"
        text = f"{since}:\n{keys}" if keys else f"{since}: no key, commands need no signature"
        places.setdefault(text, []).append(str(place))
    return [line for text, names in places.items() for line in f"{_ranged(names)}{text}".split("\n")]


def _ranged(names: list[str]) -> str:
    """Return places with those of one topic together."""
    numbers: dict[str, list[str]] = {}
    for name in names:
        topic, _, number = name.partition("/")
        numbers.setdefault(topic, []).append(number)
    return " and ".join(
        f"{topic}/{found[0]}"
        if len(found) == 1
        else f"{topic}/{found[0]}..{found[-1]}"
        if len(found) == int(found[-1]) - int(found[0]) + 1
        else f"{topic}/{','.join(found)}"
        for topic, found in numbers.items()
    )
