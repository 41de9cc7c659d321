"""The shared tables: folded from wherever the disk ends, and never trusted where it does not fit."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, Self

import pytest

from models.canonical import canonical_bytes
from models.decisions import AsOf
from models.messages import EVERY, AccountRecord, Instrument
from streams import broadcast as module
from streams.broadcast import Broadcast
from streams.codec import Codec
from streams.config import Settings
from streams.operations import OperatorError
from streams.reader import Bounds
from streams.records import Batch, Names, Outgoing, Record, Topic, TopicPartition
from streams.topics import Topics
from tests.simulation.broker import Log, LogReader

REFERENCE, RETURNS = TopicPartition(Topic.REFERENCE, 0), TopicPartition(Topic.DAILY_RETURNS, 0)


class FollowingReader(LogReader):
    """Follows the log in memory."""

    log: Log
    opened: "list[FollowingReader]"

    def __init__(self, *_: object, following: bool) -> None:
        assert following
        self._log = type(self).log
        self._positions: dict[TopicPartition, int] = {}
        self.started_at: Mapping[TopicPartition, int] = {}
        type(self).opened.append(self)

    async def __aenter__(self) -> Self:
        """Connect."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""

    async def bounds(self, partitions: Any) -> dict[TopicPartition, Bounds]:
        """Return what each topic holds."""
        return {each: Bounds(0, len(self._log.entries[each.topic])) for each in partitions}

    async def read(
        self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncIterator[list[Record]]:
        """Yield what is there."""
        for place, start in positions.items():
            records = [each for each in self._log.entries[place.topic][start : ends[place]] if each is not None]
            if records:
                yield records

    async def follow(self, positions: Mapping[TopicPartition, int]) -> AsyncIterator[list[list[Record]]]:
        """Yield what comes in."""
        self.started_at = dict(positions)
        self._positions = dict(positions)
        while True:
            fetched = []
            for place, start in self._positions.items():
                entries = self._log.entries[place.topic]
                records = [each for each in entries[start:] if each is not None]
                self._positions[place] = len(entries)
                if records:
                    fetched.append(records)
            yield fetched
            await asyncio.sleep(0)

    async def position(self, place: TopicPartition) -> int:
        """Return how far it was read."""
        return self._positions[place]

    def last_fetch(self, place: TopicPartition) -> float:
        """Return a time."""
        return 1.0 if place is REFERENCE or place == REFERENCE else 2.0


class Bench:
    """A broadcast, its log, and what it published."""

    def __init__(self, path: Path) -> None:
        self.settings = Settings(data_dir=path, worker_id="w", checkpoint_interval=0.1)
        self.published: list[Outgoing] = []
        self.batches: list[Batch] = []
        self.broadcast = self._make()

    def _make(self) -> Broadcast:
        return Broadcast(
            self.settings,
            Names(Topics.declared()),
            Codec(4),
            hand_over=self._hand_over,
            publish=self.published.extend,
        )

    async def _hand_over(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.broadcast.fold(batch)

    async def restart(self) -> None:
        """End, and begin again on the same disk."""
        await self.broadcast.stop()
        self.broadcast = self._make()
        self.broadcast.start()
        await self.caught_up()

    async def caught_up(self) -> None:
        """Wait until everything is folded."""
        log = FollowingReader.log
        await self.broadcast.caught_up(
            {each: Bounds(0, len(log.entries[each.topic])) for each in (REFERENCE, RETURNS)}
        )


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    FollowingReader.log, FollowingReader.opened = log, []
    monkeypatch.setattr(module, "Reader", FollowingReader)

    def fail_stop(doing: str, error: BaseException | str) -> NoReturn:
        raise AssertionError(f"{doing}: {error!r}") from (error if isinstance(error, BaseException) else None)

    monkeypatch.setattr(module, "fail_stop", fail_stop)
    _account(log, "p1")
    log.append(Topic.REFERENCE, b"k", b"garbage")
    log.append(Topic.DAILY_RETURNS, b"X", b"garbage")
    _return(log, "2020-01-02")
    log.skip(Topic.DAILY_RETURNS)
    return log


def _account(log: Log, profile: str) -> None:
    log.now += 10**9
    said: dict[str, Any] = {"event_time": log.now, "actor": "a", "reason": "r"}
    record = AccountRecord(**said, account=EVERY, profile_id=profile, currency="USD")
    log.append(Topic.REFERENCE, b"any key", canonical_bytes(record))


def _return(log: Log, session: str) -> None:
    value = b'{"symbol":"X","session":"%s","simple_return":"0.01","event_time":1}' % session.encode()
    log.append(Topic.DAILY_RETURNS, b"X", value)


def _profile(bench: Bench) -> str | None:
    record = bench.broadcast.replica.shared.reference.account("A")
    return None if record is None else record.profile_id


@pytest.mark.usefixtures("log")
async def test_everything_is_folded_and_dead_letters_are_handed_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.broadcast.start()
    await bench.caught_up()
    assert _profile(bench) == "p1"
    assert bench.broadcast.replica.folded(Topic.DAILY_RETURNS) == 1
    assert {letter.key for letter in bench.published} == {b"reference-0-1", b"daily-returns-0-0"}
    assert bench.broadcast.last_fetch() == 1.0
    await bench.broadcast.stop()


async def test_a_restart_folds_what_is_new_and_remembers_what_was_refused(tmp_path: Path, log: Log) -> None:
    bench = Bench(tmp_path)
    bench.broadcast.start()
    await bench.caught_up()
    _account(log, "p2")
    log.append(Topic.REFERENCE, b"k", b"more garbage")
    await bench.restart()
    assert _profile(bench) == "p2"
    assert FollowingReader.opened[-1].started_at == {RETURNS: 2, REFERENCE: 2}
    none = {Topic.DAILY_RETURNS: -1, Topic.REFERENCE: -1}
    keys = [letter.key for letter in bench.broadcast.refused_after(none)]
    assert keys == [b"daily-returns-0-0", b"reference-0-1", b"reference-0-3"]
    some = {Topic.DAILY_RETURNS: 0, Topic.REFERENCE: 1}
    assert [letter.key for letter in bench.broadcast.refused_after(some)] == [b"reference-0-3"]
    assert bench.broadcast.refused_after(some)[0] in bench.published
    await bench.broadcast.stop()


async def test_a_disk_of_another_log_is_not_used(tmp_path: Path, log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    bench = Bench(tmp_path)
    bench.broadcast.start()
    await bench.caught_up()
    log.entries[Topic.REFERENCE].clear()
    _account(log, "other")
    log.append(Topic.REFERENCE, b"k", b"other garbage")
    await bench.restart()
    assert _profile(bench) == "other"
    assert FollowingReader.opened[-1].started_at == {RETURNS: 0, REFERENCE: 0}
    assert "is not the record that the checkpoint knows" in capfd.readouterr().out
    await bench.broadcast.stop()


async def test_a_partition_waits_for_what_its_decisions_knew(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    bench.broadcast.start()
    await bench.caught_up()
    as_of = AsOf(fills=-1, equity_ticks=-1, daily_returns=1, reference=2)
    waiting = asyncio.create_task(bench.broadcast.covers(as_of))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    said: dict[str, Any] = {"event_time": log.now, "actor": "a", "reason": "r"}
    log.append(Topic.REFERENCE, b"k", canonical_bytes(Instrument(**said, symbol="X", currency="USD")))
    await waiting
    monkeypatch.setattr(module, "WAIT_MAX", 0.05)
    beyond = as_of.model_copy(update={"reference": 99})
    monkeypatch.setattr(bench.broadcast, "_moved", asyncio.Event())
    bench.broadcast._moved.set = lambda: None  # type: ignore[method-assign]  # as with the broker gone
    with pytest.raises(OperatorError, match="did not know what a decision in the ledger knew within"):
        await bench.broadcast.covers(beyond)
    await bench.broadcast.stop()
