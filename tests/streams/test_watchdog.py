"""The clocks that end a worker."""

from typing import Any, NoReturn

import pytest

from streams import watchdog as module
from streams.records import Topic, TopicPartition
from streams.watchdog import LOST_SECONDS, STALE_SECONDS, STALLED_SECONDS, Watchdog


class Stopped(BaseException):  # as little an error as an exit is
    """What `fail_stop` is here."""


class FakePartition:
    """A partition that does what it is told."""

    number = 3

    def __init__(self) -> None:
        self.opened_at = 1000.0
        self.commits = 0
        self.waiting = 0
        self.next_offsets = {Topic.FILLS: 0}


class FakeSource:
    """A consumer that fetches when it is told."""

    def __init__(self) -> None:
        self.fetches = dict.fromkeys((Topic.FILLS, Topic.EQUITY_TICKS), 1000.0)
        self.there = 0

    def last_fetch(self, place: TopicPartition) -> float:
        """Return when the last fetch was."""
        return self.fetches[place.topic]

    def unread(self, place: TopicPartition) -> int:  # noqa: ARG002  # the consumer's own
        """Return what is there."""
        return self.there


class Fakes:
    """Everything a watchdog looks at."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.shared_fetch = 1000.0
        self.partition: Any = FakePartition()
        self.source = FakeSource()
        self.partitions = {3: self.partition}
        ownership: Any = self
        broadcast: Any = self
        self.watchdog = Watchdog(ownership, broadcast, lambda: self.source, clock=lambda: self.now)

    def last_fetch(self) -> float:
        """Return when the shared topics were fetched."""
        return self.shared_fetch


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    def fail_stop(doing: str, error: BaseException | str) -> NoReturn:
        raise Stopped(f"{doing}: {error}")

    monkeypatch.setattr(module, "fail_stop", fail_stop)
    return Fakes()


def test_every_input_must_be_fresh(fakes: Fakes) -> None:
    assert fakes.watchdog.may_decide(fakes.partition)
    fakes.now += STALE_SECONDS
    assert not fakes.watchdog.may_decide(fakes.partition)
    fakes.source.fetches = dict.fromkeys(fakes.source.fetches, fakes.now)
    assert not fakes.watchdog.may_decide(fakes.partition), "reference is stale"
    fakes.shared_fetch = fakes.now
    assert fakes.watchdog.may_decide(fakes.partition)
    fakes.source.fetches[Topic.FILLS] -= STALE_SECONDS
    assert not fakes.watchdog.may_decide(fakes.partition)


def test_a_partition_just_opened_is_fresh(fakes: Fakes) -> None:
    fakes.source.fetches = dict.fromkeys(fakes.source.fetches, 0.0)
    fakes.shared_fetch = 0.0
    assert fakes.watchdog.may_decide(fakes.partition)


def test_a_worker_that_is_cut_off_ends(fakes: Fakes) -> None:
    fakes.now += LOST_SECONDS
    fakes.watchdog.check()
    fakes.now += 1
    fakes.shared_fetch = fakes.source.fetches[Topic.EQUITY_TICKS] = fakes.now
    with pytest.raises(Stopped, match="reading fills/3: no fetch succeeded for 31 s"):
        fakes.watchdog.check()


def _pass_time(fakes: Fakes, seconds: float) -> None:
    fakes.now += seconds
    fakes.shared_fetch = fakes.now
    fakes.source.fetches = dict.fromkeys(fakes.source.fetches, fakes.now)


@pytest.mark.parametrize("where", ["queue", "topic"])
def test_a_worker_that_hangs_ends(fakes: Fakes, where: str) -> None:
    fakes.watchdog.check()
    fakes.partition.waiting, fakes.source.there = (1, 0) if where == "queue" else (0, 1)
    _pass_time(fakes, STALLED_SECONDS)
    fakes.watchdog.check()
    _pass_time(fakes, 1)
    with pytest.raises(Stopped, match="serving partition 3: records wait"):
        fakes.watchdog.check()


def test_progress_and_rest_are_no_hanging(fakes: Fakes) -> None:
    for _ in range(3):
        fakes.watchdog.check()
        fakes.partition.waiting = 1
        _pass_time(fakes, STALLED_SECONDS)
        fakes.partition.commits += 1
        fakes.watchdog.check()
        fakes.partition.waiting = 0
        _pass_time(fakes, 10 * STALLED_SECONDS)
