"""The judge of halts: it passes every log that may be, and none that may not."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from models.canonical import canonical_bytes, sha256
from models.decisions import AccountStatus, TradingHalt
from models.messages import OperatorHalt
from streams.codec import Codec, decode_halt
from streams.records import Record, Topic
from tests.judge import check_halts
from tests.streams.test_audit_recovery import Gate, begun, intent, mark, profile, recover_and_publish

Halts = list[Record]


async def tightened() -> Gate:
    """A loses 7 %, which its new limits call a WARNING and newer ones a HALT; A learns of each by its next record."""
    gate = await begun()
    await gate.tell([profile(3, "0.06", "0.10"), mark("A", 400, 93)])
    await gate.tell([profile(4, "0.03", "0.05")])
    await gate.ask([intent("a-1", "A", 500)])
    await gate.tell([mark("B", 600, 94), OperatorHalt(account="A", event_time=700, actor="a", reason="r")])
    return gate


async def taken_over() -> Gate:
    """A worker dies before A's next record, and the next one applies the newer limits to an old tick."""
    gate = await begun()
    gate.silent = True
    await gate.tell([profile(3, "0.04", "0.06")])
    recover_and_publish(gate)
    gate.silent = False
    await gate.ask([intent("a-1", "A", 400), intent("b-2", "B", 400)])
    return gate


async def raced() -> Gate:
    """A tick and the limits that would make it a halt arrive together; the order of the two is nowhere written."""
    gate = await begun()
    gate.silent = True
    await gate.tell([mark("A", 500, 94), profile(3, "0.04", "0.06")])
    await gate.ask([intent("b-2", "B", 600)])
    return gate


def judged(gate: Gate) -> list[TradingHalt]:
    return check_halts(gate.log, Codec(1), 0)


@pytest.mark.parametrize(("play", "halts"), [(tightened, 4), (taken_over, 1), (raced, 0)])
def test_a_log_that_may_be_passes(play: Callable[[], Coroutine[Any, Any, Gate]], halts: int) -> None:
    assert len(judged(asyncio.run(play()))) == halts


def chained(halts: Halts, **changes: object) -> Halts:
    """Return the halts with the last one changed and its digest right."""
    halt = decode_halt(halts[-1])
    changed = halt.model_copy(update=changes)
    fields = {name: getattr(changed, name) for name in TradingHalt.model_fields if name != "digest"}
    value = canonical_bytes(changed.model_copy(update={"digest": sha256(canonical_bytes(fields))}))
    return [*halts[:-1], halts[-1]._replace(value=value)]


def doubled(halts: Halts) -> Halts:
    """Return the halts with the last one published once more, as its own successor."""
    last = decode_halt(halts[-1])
    again = halts[-1]._replace(offset=halts[-1].offset + 1)
    return chained([*halts, again], seq=last.seq + 1, previous_status=last.status, previous_digest=last.digest)


FORGERIES: dict[str, tuple[Callable[[Halts], Halts], str]] = {
    "missing, the last": (lambda halts: halts[:-1], "changed the status of A, and no halt says so"),
    "missing, after a decision": (lambda halts: [*halts[:1], *halts[2:3]], "decision 1 of A lacks its halt"),
    "missing, all": (lambda _: [], "changed the status of B, and no halt says so"),
    "twice": (lambda halts: [*halts, halts[-1]._replace(offset=9)], "goes back|tells of no change"),
    "twice, chained": (doubled, "tells of no change"),
    "another status": (lambda halts: chained(halts, status=AccountStatus.WARNING), "not what its as_of gives"),
    "another equity": (lambda halts: chained(halts, equity=decode_halt(halts[-1]).peak), "not what its as_of gives"),
    "out of order": (lambda halts: [halts[1], halts[0], *halts[2:]], "not what its as_of gives"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_log_that_may_not_be_is_named(name: str) -> None:
    forge, complaint = FORGERIES[name]
    gate = asyncio.run(tightened())
    gate.log[Topic.TRADING_HALTS] = forge(gate.log[Topic.TRADING_HALTS])
    with pytest.raises(AssertionError, match=complaint):
        judged(gate)


@pytest.mark.parametrize("known_before", [True, False])
def test_a_halt_under_whatever_limits_were_known_is_missing(known_before: bool) -> None:
    async def play() -> Gate:
        gate = await begun()
        gate.silent = True
        if known_before:
            await gate.tell([profile(3, "0.07", "0.09")])
            await gate.ask([intent("b-2", "B", 500)])
        await gate.tell([mark("A", 600, 91)])  # a WARNING under 8 % as well as under 7 %
        if not known_before:
            await gate.tell([profile(3, "0.07", "0.09")])
        await gate.ask([intent("b-3", "B", 700)])
        return gate

    with pytest.raises(AssertionError, match="changed the status of A, and no halt says so"):
        judged(asyncio.run(play()))
