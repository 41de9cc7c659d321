"""`seawall watch`."""

import asyncio
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from models.decisions import RiskDecision, TradingHalt
    from streams.config import Settings
    from streams.records import Record, Topic

app = typer.Typer(
    help="Print decisions or halts as they are published, until Ctrl-C.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print each record as one line of JSON, as it stands.")]
FromBeginning = Annotated[
    bool, typer.Option("--from-beginning", help="Begin with the first record there is, not with the next.")
]
OfAccount = Annotated[str | None, typer.Option("--account", help="Only those of one account.")]


@app.command()
def decisions(*, json: Json = False, from_beginning: FromBeginning = False, account: OfAccount = None) -> None:
    """Print the decisions, committed ones only."""
    from streams.codec import decode_decision
    from streams.records import Topic

    _watch(Topic.RISK_DECISIONS, decode_decision, json=json, from_beginning=from_beginning, account=account)


@app.command()
def halts(*, json: Json = False, from_beginning: FromBeginning = False, account: OfAccount = None) -> None:
    """Print the changes of accounts' status: HALT, WARNING and NORMAL."""
    from streams.codec import decode_halt
    from streams.records import Topic

    _watch(Topic.TRADING_HALTS, decode_halt, json=json, from_beginning=from_beginning, account=account)


def _watch(
    topic: "Topic",
    decode: "Callable[[Record], RiskDecision | TradingHalt]",
    *,
    json: bool,
    from_beginning: bool,
    account: str | None,
) -> None:
    from rich.console import Console

    from models.decisions import RiskDecision
    from streams.config import load
    from streams.text import decision_line, halt_line, when

    settings = load()
    console = Console(highlight=False, soft_wrap=True)

    def show(record: "Record") -> None:
        message = decode(record)
        if account is not None and message.account != account:
            return
        if json:
            print((record.value or b"").decode(), flush=True)  # noqa: T201
            return
        line = decision_line(message) if isinstance(message, RiskDecision) else halt_line(message)
        console.print(f"{when(message.clock)} ", line, sep="")

    asyncio.run(_follow(settings, topic, show, from_beginning=from_beginning))


async def _follow(
    settings: "Settings", topic: "Topic", show: "Callable[[Record], None]", *, from_beginning: bool
) -> None:
    from aiokafka.errors import KafkaError

    from streams.access import find_gate, no_broker
    from streams.reader import Reader
    from streams.records import TopicPartition

    names, partitions = await find_gate(settings)
    try:
        async with Reader(settings, names, following=True) as reader:
            bounds = await reader.bounds([TopicPartition(topic, number) for number in range(partitions)])
            starts = {here: it.beginning if from_beginning else it.end for here, it in bounds.items()}
            async for fetched in reader.follow(starts):
                for record in chain.from_iterable(fetched):
                    show(record)
    except KafkaError as error:
        raise no_broker(settings, error) from error
