"""The parts of Faust and aiokafka that nobody promised to keep, and what the transport makes of them."""

import asyncio
import importlib.metadata
import inspect
import uuid
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import aiokafka.producer.sender
import faust.transport.drivers.aiokafka as driver
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.app import App
from faust.channels import Channel
from faust.tables import TableManager
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer, ThreadDelegateConsumer
from faust.types import TP
from mode.threads import ServiceThread

from streams import ledger, transport
from streams.records import Batch, Names, Topic, TopicPartition
from streams.topics import Topics
from streams.transport import GateConsumer

PRIVATE: dict[object, tuple[str, ...]] = {
    driver.AIOKafkaConsumerThread: ("_create_worker_consumer", "_ensure_consumer", "assignment", "seek", "on_start"),
    driver.Consumer: ("_new_consumer_thread", "_to_message"),
    ThreadDelegateConsumer: ("_commit", "_getmany", "assignment"),
    Consumer: ("_drain_messages", "_get_active_partitions", "perform_seek", "stop_flow", "resume_flow"),
    ServiceThread: ("start", "_serve", "_gather_remaining_tasks"),
    Channel: ("_clone_args", "put"),
    TableManager: ("_update_channels", "on_start"),
    Recovery: ("_resume_streams",),
    App: ("_new_consumer", "_on_partitions_assigned", "_on_partitions_revoked"),
    AIOKafkaConsumer: ("last_poll_timestamp", "last_stable_offset", "position", "pause"),
    GroupCoordinator: ("reset_generation", "ensure_active_group", "_send_req"),
    Fetcher: ("_proc_fetch_request", "_fetch_requests_routine"),
    AIOKafkaProducer: ("create_batch", "send_batch", "begin_transaction", "commit_transaction"),
}
"""What is overridden or called although it is private, or would do harm if it were gone."""


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in PRIVATE.items() for name in names])
def test_a_part_that_is_relied_on_is_still_there(owner: object, name: str) -> None:
    assert callable(getattr(owner, name))


def test_versions_are_those_that_were_read() -> None:
    """Whoever raises one of these reads the new sources first."""
    assert importlib.metadata.version("faust-streaming") == "0.15.3"
    assert importlib.metadata.version("aiokafka") == "0.14.0"


def test_arguments_are_what_the_overrides_take() -> None:
    assert list(inspect.signature(Consumer._drain_messages).parameters) == ["self", "fetcher"]
    assert list(inspect.signature(ThreadDelegateConsumer._getmany).parameters) == [
        "self",
        "active_partitions",
        "timeout",
    ]
    assert list(inspect.signature(Fetcher._proc_fetch_request).parameters) == [
        "self",
        "assignment",
        "node_id",
        "request",
    ]


def test_the_wait_after_a_commit_is_short() -> None:
    assert ledger.BATCH_BYTES
    assert aiokafka.producer.sender.BACKOFF_OVERRIDE == 0.001


def test_the_wait_for_room_is_where_it_is_set() -> None:
    assert "self._prefetch_backoff = prefetch_backoff" in inspect.getsource(Fetcher.__init__)
    assert "backoff=self._prefetch_backoff" in inspect.getsource(Fetcher._proc_fetch_request)


def test_faust_seeks_before_records_flow() -> None:
    """Reading goes on where `perform_seek` says: it must come after the partitions are open and before the flow."""
    source = inspect.getsource(Recovery._resume_streams)
    steps = ("on_rebalance_complete.send", "perform_seek", "resume_flow")
    assert [source.index(step) for step in steps] == sorted(source.index(step) for step in steps)


class FakeKafka:
    """What is asked of aiokafka's consumer."""

    def __init__(self) -> None:
        self.positions: dict[TP, int] = {}

    async def position(self, tp: TP) -> int:
        """Return where the last fetch ended."""
        return self.positions[tp]


class FakeOwnership:
    """Has room, or has none."""

    def __init__(self) -> None:
        self.full: set[TopicPartition] = set()

    def has_room(self, place: TopicPartition) -> bool:
        """Tell."""
        return place not in self.full


class FakeApp:
    """What is asked of the app."""

    def __init__(self) -> None:
        self.names = Names(Topics.declared())
        self.ownership = FakeOwnership()
        self.consumer_generation_id = 1


class Bench(GateConsumer):
    """The consumer, without Faust around it."""

    def __init__(self) -> None:
        self.app: Any = FakeApp()
        self.flow_active = True
        self.kafka = FakeKafka()
        self._thread: Any = self
        self._handed_over = {}
        self.active = {TP(topic, 0) for topic in ("order-intents", "fills", "equity-ticks")}
        self.fetches: list[dict[TP, list[ConsumerRecord]]] = []
        self.asked: list[set[TP]] = []
        self.delivered: list[Batch] = []
        self.agents: asyncio.Queue[Batch] = asyncio.Queue()
        self.slow = False
        self.callback: Any = self._deliver

    def _get_active_partitions(self) -> set[TP]:
        return self.active

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        del timeout
        self.asked.append(set(active_partitions or ()))
        return self.fetches.pop(0)

    def _to_message(self, tp: TP, record: Any) -> Any:
        return type("Message", (), {"tp": tp, "value": record})()

    async def _deliver(self, message: Any) -> None:
        batch: Batch = message.value
        self.delivered.append(batch)
        if self.slow:
            self.agents.put_nowait(batch)
        else:
            batch.done.set()


def _fetched(topic: str, *offsets: int) -> list[ConsumerRecord]:
    return [ConsumerRecord(topic, 0, offset, 5, 1, b"A", b"{}", None, 1, 2, ()) for offset in offsets]


async def _agent(bench: Bench) -> None:
    while True:
        batch = await bench.agents.get()
        await asyncio.sleep(0)
        if batch.topic is not Topic.ORDER_INTENTS:
            assert not any(each.topic is Topic.ORDER_INTENTS for each in bench.delivered[-1:])
        batch.done.set()


async def test_a_fetch_is_one_batch_for_each_partition_and_intents_come_last() -> None:
    bench = Bench()
    bench.slow = True
    agent = asyncio.create_task(_agent(bench))
    intents, fills, ticks = (TP(topic, 0) for topic in ("order-intents", "fills", "equity-ticks"))
    bench.kafka.positions = {intents: 9, fills: 5, ticks: 2}
    bench.fetches = [
        {intents: _fetched("order-intents", 7, 8), fills: _fetched("fills", 4), ticks: _fetched("equity-ticks", 1)}
    ]
    await bench._fetch()
    assert [batch.topic for batch in bench.delivered] == [Topic.FILLS, Topic.EQUITY_TICKS, Topic.ORDER_INTENTS]
    assert [record.offset for record in bench.delivered[-1].records] == [7, 8]
    assert bench.delivered[-1].records[0].time == 5_000_000
    assert bench.delivered[-1].done.is_set()
    agent.cancel()


async def test_a_poll_full_of_intents_leaves_nothing_else_behind() -> None:
    bench = Bench()
    intents, fills, ticks = (TP(topic, 0) for topic in ("order-intents", "fills", "equity-ticks"))
    bench.kafka.positions = {intents: 500, fills: 5, ticks: 2}
    full = _fetched("order-intents", *range(transport.POLL_RECORDS_MAX))
    bench.fetches = [{intents: full}, {fills: _fetched("fills", 4), ticks: _fetched("equity-ticks", 1)}]
    await bench._fetch()
    assert bench.asked == [{intents, fills, ticks}, {fills, ticks}]
    assert [batch.topic for batch in bench.delivered] == [Topic.FILLS, Topic.EQUITY_TICKS, Topic.ORDER_INTENTS]


async def test_a_batch_begins_where_the_last_one_ended() -> None:
    bench = Bench()
    intents = TP("order-intents", 0)
    bench.kafka.positions[intents] = 4  # two records and a marker
    bench.fetches = [{intents: _fetched("order-intents", 1, 2)}, {intents: _fetched("order-intents", 6)}]
    await bench._fetch()
    bench.kafka.positions[intents] = 7
    await bench._fetch()
    assert [(batch.start, batch.end) for batch in bench.delivered] == [(None, 4), (4, 7)]


async def test_what_a_rebalance_cut_off_is_vouched_for_by_nobody() -> None:
    bench = Bench()
    intents = TP("order-intents", 0)
    bench._handed_over[intents] = 1
    bench.kafka.positions = defaultdict(lambda: 9)
    bench.flow_active = False
    assert await bench._hand_over(intents, _fetched("order-intents", 1), 1) is None
    bench.flow_active = True
    assert await bench._hand_over(intents, _fetched("order-intents", 1), generation=0) is None
    batch = await bench._hand_over(intents, _fetched("order-intents", 8), 1)
    assert batch is not None
    assert batch.start is None
    assert bench.delivered == [batch]


async def test_nothing_is_fetched_that_nobody_has_room_for() -> None:
    bench = Bench()
    bench.app.ownership.full = {TopicPartition(Topic.ORDER_INTENTS, 0)}
    bench.fetches = [{}]
    await bench._fetch()
    assert bench.asked == [{TP("fills", 0), TP("equity-ticks", 0)}]
    bench.app.ownership.full |= {TopicPartition(Topic.FILLS, 0), TopicPartition(Topic.EQUITY_TICKS, 0)}
    await bench._fetch()
    assert len(bench.asked) == 1


def test_a_poll_is_small_enough_for_heartbeats() -> None:
    assert transport.POLL_RECORDS_MAX <= 500


class Fenced(BaseException):
    """The process has ended itself."""


class FakeCoordinator:
    """A member of a group of which the broker tells."""

    group_id = "seawall"

    def __init__(self, *others: str) -> None:
        self.members = list(others)
        self.member_id = ""
        self.asked = 0
        transport.keep_name(self, "worker-1")

    def reset_generation(self) -> None:
        """Forget that it is a member."""
        self.member_id = ""

    async def ensure_active_group(self) -> str:
        """Join, under a new id."""
        self.member_id = self.member_id or f"worker-1-{uuid.uuid4()}"
        self.members.append(self.member_id)
        return self.member_id

    async def _send_req(self, _: object) -> object:
        self.asked += 1
        described = [(member, "aiokafka", "/10.0.0.7", b"", b"") for member in self.members]
        return SimpleNamespace(groups=[(0, self.group_id, "Stable", "consumer", "range", described)])


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []

    def end(doing: str, error: object) -> None:
        lines.append(f"{doing}: {error}")
        raise Fenced

    monkeypatch.setattr(transport, "fail_stop", end)
    return lines


async def test_whoever_lost_its_place_to_another_of_its_name_ends(ended: list[str]) -> None:
    coordinator = FakeCoordinator()
    await coordinator.ensure_active_group()
    coordinator.members = [f"worker-1-{uuid.uuid4()}"]
    coordinator.reset_generation()
    coordinator.reset_generation()
    with pytest.raises(Fenced):
        await coordinator.ensure_active_group()
    assert ended == [
        "staying in the group: another process uses the worker id worker-1: it joined from 10.0.0.7",
    ]


async def test_whoever_only_fell_out_of_the_group_joins_again(ended: list[str]) -> None:
    """Its session ended, or its generation is an old one; the place of a process before it is its own."""
    others = [f"worker-1-{number}-{uuid.uuid4()}" for number in range(2)]
    coordinator = FakeCoordinator(f"worker-1-{uuid.uuid4()}", *others)
    await coordinator.ensure_active_group()
    assert coordinator.asked == 0
    coordinator.members = [*others, coordinator.member_id]
    for _ in range(2):
        coordinator.reset_generation()
        await coordinator.ensure_active_group()  # it is still known under its old id
        coordinator.members = [*others]
        coordinator.reset_generation()
        await coordinator.ensure_active_group()
        await coordinator.ensure_active_group()
        coordinator.members = [*others, coordinator.member_id]
    assert coordinator.asked == 4
    assert ended == []
