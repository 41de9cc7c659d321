"""`seawall publish`."""

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from streams.cli.status import complain

if TYPE_CHECKING:
    from models.refusal import Refused
    from streams.publisher import Message
    from streams.records import Topic


def publish(
    *,
    topic: Annotated[str, typer.Argument(help="fills, equity-ticks, daily-returns or reference.", metavar="TOPIC")],
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Messages as JSON lines; - reads standard input. One without event_time gets the present time.",
        ),
    ],
) -> None:
    """Send marks, fills, returns, operators' commands or reference records, under the keys they need.

    Every line is checked first, by the rules that the workers read with; if one is wrong, nothing is sent.
    """
    from streams.config import load
    from streams.publisher import Publisher
    from streams.records import SHARED_INPUTS, Topic

    accepted = [Topic.FILLS, Topic.EQUITY_TICKS, *SHARED_INPUTS]
    if topic not in accepted:
        raise typer.Exit(complain(f"messages go to {', '.join(accepted)}; was {topic} (intents: seawall submit)"))
    messages = _read(Topic(topic), file)

    async def run() -> None:
        async with Publisher(load()) as publisher:
            for place in await publisher.send_all(messages):
                typer.echo(place)

    asyncio.run(run())


def _read(topic: "Topic", file: str) -> "list[Message]":
    from models.refusal import Refused

    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise typer.Exit(complain(f"cannot read {file}: {error.strerror or error}")) from None
    messages: list[Message] = []
    wrong: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            message = _parsed(topic, line)
            if isinstance(message, Refused):
                wrong.append(f"{file}, line {number}: {message.why}")
            else:
                messages.append(message)
    if wrong:
        raise typer.Exit(complain(*wrong, "nothing was sent"))
    return messages


def _parsed(topic: "Topic", line: bytes) -> "Message | Refused":
    """Return a line's message, or why the workers would refuse it."""
    from models.messages import OperatorKeys
    from models.refusal import Refused
    from streams.codec import Codec
    from streams.records import Record, Topic

    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return Refused("is no JSON")
    key = b""
    if isinstance(document, dict):
        document.setdefault("event_time", time.time_ns())
        line = orjson.dumps(document)
        key = str(document.get("symbol" if topic is Topic.DAILY_RETURNS else "account", "")).encode()
    said: Message | Refused
    codec = Codec(1)  # of one partition, where every key belongs
    record = Record(topic, 0, 0, 0, key, line)
    match topic:
        case Topic.FILLS:
            return codec.fill(record)
        case Topic.EQUITY_TICKS:
            said = codec.equity_tick(record)
        case Topic.DAILY_RETURNS:
            return codec.daily_return(record)
        case _:
            said = codec.reference(record)
    if isinstance(said, OperatorKeys):
        return Refused("operator keys must stand in every partition of equity-ticks too: `seawall keys` writes them")
    return said
