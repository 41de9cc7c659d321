"""`seawall submit`."""

import asyncio
import contextlib
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import orjson
import typer

from streams.cli.status import APPROVED, BAD, REJECTED, SILENT, complain, worst

if TYPE_CHECKING:
    from models.decisions import RiskDecision
    from models.messages import OrderIntent
    from streams.client import RiskGateClient

IN_FLIGHT = 500
"""Intents sent and not yet answered."""


class _Line(NamedTuple):
    """One intent of the input, or why it is none."""

    number: int
    intent: "OrderIntent | None"
    why: str = ""


def _about_one(text: str, *names: str) -> Any:  # noqa: ANN401 - as typer's Option itself
    return typer.Option(*names, help=text, rich_help_panel="One intent")


def submit(
    *,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            help="Order intents as JSON lines; - reads standard input and answers as they come. A line without "
            "event_time gets the present time.",
        ),
    ] = None,
    account: Annotated[str | None, _about_one("The account.")] = None,
    strategy: Annotated[str | None, _about_one("The strategy that asks.")] = None,
    symbol: Annotated[str | None, _about_one("The instrument.")] = None,
    side: Annotated[str | None, _about_one("BUY or SELL.")] = None,
    quantity: Annotated[
        str | None,
        _about_one("Units. Left out, the gate closes what is open on the other side, or sizes an opening."),
    ] = None,
    limit_price: Annotated[str | None, _about_one("Makes it a LIMIT order.")] = None,
    reference_price: Annotated[str | None, _about_one("The strategy's price at its decision.")] = None,
    atr: Annotated[str | None, _about_one("Average true range, in units of price.")] = None,
    stop_distance: Annotated[str | None, _about_one("Replaces a multiple of the ATR.")] = None,
    win_rate: Annotated[str | None, _about_one("0 to 1, for Kelly sizing.")] = None,
    payoff: Annotated[str | None, _about_one("Average win over average loss, for Kelly sizing.")] = None,
    trades: Annotated[int | None, _about_one("Trades behind both, for Kelly sizing.")] = None,
    allow_resize: Annotated[bool, _about_one("Take less rather than nothing.", "--allow-resize")] = False,
    reduce_only: Annotated[bool, _about_one("Open nothing.", "--reduce-only")] = False,
    intent_id: Annotated[str | None, _about_one("Unique in the account. Default: a random one.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds to wait for each decision.")] = 10.0,
    any_age: Annotated[
        bool,
        typer.Option("--any-age", help="Accept approvals however far from event_time, for simulated time."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print each decision as one line of JSON.")] = False,
) -> None:
    """Send order intents and print the decisions on them.

    Status 0: approved. 3: rejected. 2: bad input or no broker. 4: no answer in time, or an approval too late to act
    on. With several intents the worst, in the order 4, 2, 3, 0.
    """
    from streams.client import DECISION_AGE_MAX, RiskGateClient
    from streams.config import load

    given = {
        "account": account,
        "strategy": strategy,
        "symbol": symbol,
        "side": None if side is None else side.upper(),
        "quantity": quantity,
        "limit_price": limit_price,
        "reference_price": reference_price,
        "atr": atr,
        "stop_distance": stop_distance,
        "win_rate": win_rate,
        "payoff": payoff,
        "trades": trades,
        "intent_id": intent_id,
    }
    said = {name: value for name, value in given.items() if value is not None}
    if file is not None and said:
        raise typer.Exit(complain("give a FILE or the flags of one intent, not both"))
    if file is None:
        source = _each(_from_flags(said, allow_resize=allow_resize, reduce_only=reduce_only))
    else:
        source = _as_they_come() if file == "-" else _each(_from_file(file))
    settings = load()

    async def run() -> int:
        age = None if any_age else DECISION_AGE_MAX
        async with RiskGateClient(settings, timeout=timeout, decision_age_max=age) as gate:
            return await _submit_all(gate, source, _print_json if json else _print_text)

    raise typer.Exit(asyncio.run(run()))


def _from_flags(said: Mapping[str, object], *, allow_resize: bool, reduce_only: bool) -> list[_Line]:
    missing = [name for name in ("account", "strategy", "symbol", "side") if name not in said]
    if missing:
        flags = ", ".join(f"--{name}" for name in missing)
        raise typer.Exit(complain(f"one intent needs {flags}; several come from a FILE, or - for standard input"))
    document = {
        "intent_id": str(uuid.uuid4()),
        "order_type": "LIMIT" if "limit_price" in said else "MARKET",
        **said,
        "allow_resize": allow_resize,
        "reduce_only": reduce_only,
    }
    line = _parsed(0, orjson.dumps(document))
    if line.intent is None:
        raise typer.Exit(complain(line.why))
    return [line]


def _parsed(number: int, text: bytes) -> _Line:
    """Return a line's intent, or in one line why it is none. The gate would say MALFORMED; we need not ask it."""
    from models.messages import OrderIntent
    from streams.codec import Codec
    from streams.records import Record, Topic

    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _Line(number, None, f"line {number} is no JSON")
    if isinstance(document, dict):
        document.setdefault("event_time", time.time_ns())
        text = orjson.dumps(document)
    key = str(document.get("account", "")).encode() if isinstance(document, dict) else b""
    message = Codec(1).order_intent(Record(Topic.ORDER_INTENTS, 0, 0, 0, key, text))
    if isinstance(message, OrderIntent):
        return _Line(number, message)
    where = f"line {number}: " if number else ""
    return _Line(number, None, f"{where}{message.why}")


async def _each(lines: Iterable[_Line]) -> AsyncIterator[_Line]:
    for line in lines:
        yield line


def _from_file(file: str) -> list[_Line]:
    """Return the intents of a file, if every line is one."""
    try:
        texts = Path(file).read_bytes()
    except OSError as error:
        raise typer.Exit(complain(f"cannot read {file}: {error.strerror or error}")) from None
    lines = [_parsed(number, text) for number, text in enumerate(texts.splitlines(), 1) if text.strip()]
    bad = [line for line in lines if line.intent is None]
    if bad:
        raise typer.Exit(complain(*(f"{file}, {line.why}" for line in bad), f"nothing of {file} was sent"))
    return lines


async def _as_they_come() -> AsyncIterator[_Line]:
    """Yield the intents on standard input."""
    async for number, text in _standard_input():
        yield _parsed(number, text)


async def _standard_input() -> AsyncIterator[tuple[int, bytes]]:
    """Yield numbered lines as they come. A thread reads: no other way serves pipes, files and terminals alike."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        with contextlib.suppress(RuntimeError):  # The loop has gone, and so has whoever wanted to know.
            for text in sys.stdin.buffer:
                loop.call_soon_threadsafe(queue.put_nowait, text)
            loop.call_soon_threadsafe(queue.put_nowait, b"")

    threading.Thread(target=read, daemon=True).start()
    number = 0
    while text := await queue.get():
        number += 1
        if text.strip():
            yield number, text


class _Answer(NamedTuple):
    """What came of one line of the input."""

    line: _Line
    status: int
    decision: "RiskDecision | None" = None
    complaint: str = ""


async def _submit_all(gate: "RiskGateClient", source: AsyncIterator[_Line], show: Callable[[_Answer], None]) -> int:
    """Submit every intent, many in flight, and print the answers in the order of the input."""
    statuses: set[int] = set()
    answers: asyncio.Queue[asyncio.Task[_Answer] | None] = asyncio.Queue(IN_FLIGHT)

    async def print_in_order() -> None:
        while (task := await answers.get()) is not None:
            answer = await task
            statuses.add(answer.status)
            show(answer)

    async with asyncio.TaskGroup() as group:
        group.create_task(print_in_order())
        async for line in source:
            await answers.put(group.create_task(_answer(gate, line)))
        await answers.put(None)
    return worst(statuses)


async def _answer(gate: "RiskGateClient", line: _Line) -> _Answer:
    from models.decisions import DecisionStatus
    from streams.client import DecisionLateError, DecisionTimeoutError, NotSentError

    if line.intent is None:
        return _Answer(line, BAD, complaint=f"{line.why}: not sent")
    try:
        decision = await gate.submit(line.intent)
    except DecisionLateError as late:
        return _Answer(line, SILENT, late.decision, str(late))
    except DecisionTimeoutError as silence:
        return _Answer(line, SILENT, complaint=str(silence))
    except NotSentError as refusal:
        return _Answer(line, BAD, complaint=str(refusal))
    approved = decision.status is DecisionStatus.APPROVED
    return _Answer(line, APPROVED if approved else REJECTED, decision)


def _print_text(answer: _Answer) -> None:
    from rich.console import Console

    from streams.text import decision_lines

    if answer.decision is not None and not answer.complaint:  # a late approval must not look like one
        console = Console(highlight=False, soft_wrap=True)
        for line in decision_lines(answer.decision):
            console.print(line)
    if answer.complaint:
        complain(answer.complaint)


def _print_json(answer: _Answer) -> None:
    from models.canonical import canonical_bytes

    if answer.decision is not None and not answer.complaint:
        print(canonical_bytes(answer.decision).decode(), flush=True)  # noqa: T201
        return
    intent = answer.line.intent
    told = {
        "error": answer.complaint,
        "line": answer.line.number,
        "account": None if intent is None else intent.account,
        "intent_id": None if intent is None else intent.intent_id,
    }
    print(orjson.dumps(told).decode(), flush=True)  # noqa: T201
    complain(answer.complaint)
