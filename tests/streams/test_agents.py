"""The agents: thin, and never survived by what they drop."""

from collections.abc import AsyncIterator
from typing import Any, NoReturn

import pytest

from streams import agents as module
from streams.agents import daily_returns, equity_ticks, fills, guarded, order_intents, reference
from streams.records import Batch, Record, Topic


class Stopped(BaseException):  # as little an error as an exit is
    """What `fail_stop` is here."""


class Owner:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Batch]] = []

    def owner_of(self, batch: Batch) -> "Owner | None":
        """Own partition 0."""
        return self if batch.partition == 0 else None

    def decide(self, batch: Batch) -> None:
        """Take intents."""
        self.calls.append(("decide", batch))

    def fold(self, batch: Batch) -> None:
        """Take anything else."""
        self.calls.append(("fold", batch))


def _batch(topic: Topic, partition: int = 0) -> Batch:
    return Batch(topic, partition, [Record(topic, partition, 1, 0, None, None)], start=1, end=2)


async def _stream(*batches: Batch) -> AsyncIterator[Batch]:
    for batch in batches:
        yield batch


@pytest.mark.parametrize(
    ("make", "topic", "verb"),
    [
        (order_intents.agent, Topic.ORDER_INTENTS, "decide"),
        (fills.agent, Topic.FILLS, "fold"),
        (equity_ticks.agent, Topic.EQUITY_TICKS, "fold"),
        (daily_returns.agent, Topic.DAILY_RETURNS, "fold"),
        (reference.agent, Topic.REFERENCE, "fold"),
    ],
)
async def test_an_agent_takes_batches_to_their_owner(make: Any, topic: Topic, verb: str) -> None:
    owner = Owner()
    batches = [_batch(topic), _batch(topic)]
    await make(owner)(_stream(*batches))
    assert owner.calls == [(verb, batch) for batch in batches]
    assert all(batch.done.is_set() for batch in batches)


async def test_a_batch_of_a_revoked_partition_is_dropped() -> None:
    owner = Owner()
    batch = _batch(Topic.FILLS, partition=1)
    stream: Any = _stream(batch)
    await fills.agent(owner)(stream)  # type: ignore[arg-type]  # a fake
    assert owner.calls == []
    assert batch.done.is_set()


async def test_an_error_in_an_agent_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_stop(doing: str, error: BaseException | str) -> NoReturn:
        raise Stopped(f"{doing}: {error!r}")

    monkeypatch.setattr(module, "fail_stop", fail_stop)

    async def broken(_: object) -> None:
        raise ValueError("defect")

    with pytest.raises(Stopped, match=r"agent broken: ValueError\('defect'\)"):
        await guarded(broken)(None)  # type: ignore[arg-type]  # it is not looked at
