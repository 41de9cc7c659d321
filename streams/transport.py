"""Faust's Kafka transport, with the consumer that a gate needs.

1. One event for each topic partition and fetch: its value is the list of records. It travels through Faust's
   conductor, channel and agent as any event does, at the cost of one record.
2. aiokafka's consumer runs in the main event loop instead of a thread with a loop of its own. Record by record across
   two threads, it would fetch 95 times a second instead of 700.
3. Read committed: an aborted intent is no intent. Faust would read uncommitted.
4. Partitions are assigned by range, so that a partition's number is the same worker's in every topic.
5. Reading goes on where the recovered state ends, whatever offsets the group has committed.
6. What a fetch brought of fills and equity ticks is folded before its intents are handed over. Nothing is fetched for
   which the partition's owner has no room, so intents wait in the topic, and the others pass them by.

Parts of Faust and aiokafka used here are private: their versions are pinned, and a test holds them in place.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import faust
import faust.transport.drivers.aiokafka as driver
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import for_code
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest
from faust.types import TP, AppT, Message
from faust.types.transports import ConsumerT
from mode import ServiceT
from mode.utils.futures import maybe_async

from streams.config import READER_RETRY_BACKOFF_MS, Settings, kafka_arguments
from streams.operations import OperatorError, fail_stop
from streams.ownership import Ownership
from streams.reader import pace_empty_fetches
from streams.records import Batch, Names, Topic, TopicPartition

FETCH_WAIT_MS = 100
"""How long the broker holds a fetch that finds nothing; a record that arrives ends the wait at once.

Intents for which there is room again wait for a fetch that was made without them: less than a full queue lasts.
"""
REFETCH_SECONDS = 0.02
"""How long intents that nobody has room for keep the fetcher from asking for more fills and ticks."""
POLL_RECORDS_MAX = 500
"""More at once would keep heartbeats and ticks waiting."""
POLL_SECONDS = 1.0
IDLE_POLL_SECONDS = 0.1
_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
FULL_POLL_SECONDS = 0.005
"""The same while some partition has no room: it may have room again at any moment."""


class GateApp(faust.App):
    """A Faust app that knows what its transport needs.

    Attributes:
        settings: How to reach the broker.
        names: The broker's names of the topics.
        ownership: The partitions of this worker.
    """

    settings: Settings
    names: Names
    ownership: Ownership


class InLoopThread(driver.AIOKafkaConsumerThread):
    """The consumer "thread" without a thread. A blocked main loop now stops heartbeats too, as it should."""

    app: GateApp

    def __init__(self, consumer: "GateConsumer", **kwargs: Any) -> None:  # noqa: ANN401  # Faust's own
        super().__init__(consumer, thread_loop=asyncio.get_event_loop(), **kwargs)

    async def start(self) -> None:
        """Start serving in the present loop."""
        self._thread_started.set()
        self._thread_running = self.parent_loop.create_future()
        self._served = asyncio.create_task(self._serve(), name="consumer")
        await self._thread_running

    async def on_start(self) -> None:
        """Start the consumer underneath."""
        await super().on_start()
        pace_empty_fetches(self.kafka)
        self.kafka._fetcher._prefetch_backoff = REFETCH_SECONDS  # noqa: SLF001  # 0.1, and no argument sets it
        keep_name(self.kafka._coordinator, self.app.settings.worker_id)  # noqa: SLF001  # nothing public tells

    async def _gather_remaining_tasks(self) -> None:
        """Leave other tasks alone: the original cancels every task of its loop, which here is the whole program."""

    async def call_thread(self, fun: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # Faust's own
        """Call what Faust would have called in the other thread."""
        return await maybe_async(fun(*args, **kwargs))

    def _create_worker_consumer(self, transport: "driver.Transport") -> AIOKafkaConsumer:  # noqa: ARG002
        """Return the group's consumer, with our settings instead of Faust's."""
        settings = self.app.settings
        return AIOKafkaConsumer(
            **kafka_arguments(settings),
            group_id=settings.application_id,
            group_instance_id=settings.worker_id,
            partition_assignment_strategy=[RangePartitionAssignor],
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",  # A log that lost its end must not be read again from its beginning.
            max_poll_records=POLL_RECORDS_MAX,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            retry_backoff_ms=READER_RETRY_BACKOFF_MS,
            session_timeout_ms=round(settings.session_timeout * 1000),
            heartbeat_interval_ms=round(settings.session_timeout * 1000 / 3),
            rebalance_timeout_ms=round(settings.rebalance_timeout * 1000),
        )

    @property
    def kafka(self) -> Any:  # noqa: ANN401  # aiokafka has no types
        """The consumer underneath."""
        return self._ensure_consumer()


def keep_name(coordinator: Any, worker_id: str) -> None:  # noqa: ANN401  # aiokafka has no types
    """End the process where another has joined the group under its name, instead of joining again.

    The broker gives a static member's place to whoever joined last under its name, and tells the one before no more
    than that it is unknown. aiokafka would join again and push the other out, and so for ever.

    Args:
        coordinator: The consumer's part that belongs to the group.
        worker_id: The name.
    """
    lost = ""
    reset, join = coordinator.reset_generation, coordinator.ensure_active_group

    def noting_reset() -> None:
        nonlocal lost
        lost = coordinator.member_id or lost
        reset()

    async def join_unless_replaced(*arguments: object) -> object:
        nonlocal lost
        if lost:  # It was a member. At the first join the name may be taken by the process before, which is gone.
            request = DescribeGroupsRequest([coordinator.group_id])
            [group] = (await coordinator._send_req(request)).groups  # noqa: SLF001  # nothing public asks
            for member, _, host, *_ in group[5]:
                if member != lost and re.fullmatch(f"{re.escape(worker_id)}-{_UUID}", member):
                    because = f"another process uses the worker id {worker_id}: it joined from {host.lstrip('/')}"
                    remedy = "give each worker its own SEAWALL_WORKER_ID, then restart"
                    fail_stop("staying in the group", OperatorError(because, remedy=remedy))
            lost = ""
        return await join(*arguments)

    coordinator.reset_generation, coordinator.ensure_active_group = noting_reset, join_unless_replaced


class GateConsumer(driver.Consumer):
    """Hands over a batch for each topic partition and fetch."""

    app: GateApp
    _thread: InLoopThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # Faust's own
        self._handed_over: dict[TP, int] = {}
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> InLoopThread:
        return InLoopThread(self, loop=self.loop, beacon=self.beacon)

    # --- where reading goes on

    async def perform_seek(self) -> None:
        """Seek to where the recovered partitions go on."""
        assigned = self.assignment()
        for place, offset in self.app.ownership.positions_to_read().items():
            tp = TP(self.app.names[place.topic], place.partition)
            if tp in assigned:
                self._thread.seek(tp, offset)
                self._handed_over[tp] = offset

    async def commit_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        """Write the group's offsets. They show the lag; nothing reads on from them."""
        await self._commit(
            {TP(self.app.names[place.topic], place.partition): offset for place, offset in positions.items()}
        )

    async def leave(self) -> None:
        """Leave the group now, though the membership is static: the others take over without waiting for its end.

        The member's own id goes along, so another process that has joined under the same worker id stays in.

        Raises:
            KafkaError: If the broker does not confirm it; the session timeout ends the membership then.
        """
        coordinator = self._thread.kafka._coordinator  # noqa: SLF001  # nothing public leaves for good
        group, member, joined = coordinator.group_id, coordinator.member_id, coordinator.generation > 0
        await coordinator.close()  # First, because a heartbeat that finds itself unknown joins again.
        if joined:
            answer = await coordinator._send_req(LeaveGroupRequest(group, member))  # noqa: SLF001  # the same
            if answer.error_code:
                raise for_code(answer.error_code)

    def last_fetch(self, place: TopicPartition) -> float:
        """Return when a fetch of a partition last succeeded: seconds since the epoch, 0 for never."""
        tp = TP(self.app.names[place.topic], place.partition)
        if tp not in self.assignment():
            return 0.0
        return float(self._thread.kafka.last_poll_timestamp(tp) or 0) / 1000

    def unread(self, place: TopicPartition) -> int:
        """Return how many offsets of a partition are there to be fetched, as far as the last fetch knew."""
        tp = TP(self.app.names[place.topic], place.partition)
        if tp not in self.assignment():
            return 0
        handed_over = self._handed_over.get(tp)
        stable = self._thread.kafka.last_stable_offset(tp)
        return 0 if handed_over is None or stable is None else int(stable) - handed_over

    # --- fetching

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                if self.flow_active:
                    await self._fetch()
                else:
                    await self.wait(self.can_resume_flow)  # type: ignore[arg-type]  # mode's own annotation
        except asyncio.CancelledError:
            raise
        except self.consumer_stopped_errors as error:
            if not self.app.should_stop:
                fail_stop("fetching", error)
        except Exception as error:  # noqa: BLE001  # Faust would stop gracefully, and so run its commit
            fail_stop("fetching", error)

    async def _fetch(self) -> None:
        active = self._get_active_partitions()
        wanted = {tp for tp in active if self.app.ownership.has_room(self._place(tp))}
        if not wanted:
            await asyncio.sleep(FULL_POLL_SECONDS if active else IDLE_POLL_SECONDS)
            return
        generation = self.app.consumer_generation_id
        timeout = POLL_SECONDS if len(wanted) == len(active) else FULL_POLL_SECONDS
        fetched = await self._getmany(wanted, timeout)
        intents = self.app.names[Topic.ORDER_INTENTS]
        if sum(map(len, fetched.values())) >= POLL_RECORDS_MAX:
            # A backlog of intents fills a poll by itself, with fills and ticks waiting behind it.
            behind = {tp for tp in wanted if tp.topic != intents and tp not in fetched}
            if behind:
                fetched = {**fetched, **await self._getmany(behind, 0)}
        for of_intents in (False, True):
            some = {tp: records for tp, records in fetched.items() if (tp.topic == intents) is of_intents}
            batches = [await self._hand_over(tp, records, generation) for tp, records in some.items()]
            for batch in batches:
                # An agent is at it, and takes it in without waiting for anything; a rebalance that empties its queue
                # stops the flow. Waiting for either event would cost more than the few turns this takes. Without
                # waiting nobody would know how much room there is for intents.
                while batch is not None and not batch.done.is_set() and self.flow_active:  # noqa: ASYNC110
                    await asyncio.sleep(0)

    async def _hand_over(self, tp: TP, records: list[ConsumerRecord], generation: int) -> Batch | None:
        if not self.flow_active or self.app.consumer_generation_id != generation:
            # Revoked meanwhile. Should it go on all the same, what is missing must be noticed.
            self._handed_over.pop(tp, None)
            return None
        place = self._place(tp)
        end = await self._thread.kafka.position(tp)
        batch = Batch(
            place.topic,
            place.partition,
            [self.app.names.record(each) for each in records],
            start=self._handed_over.get(tp),
            end=end,
        )
        self._handed_over[tp] = end
        message = self._to_message(tp, records[-1])
        message.value = batch  # type: ignore[assignment]  # bytes, for Faust
        await self.callback(message)
        return batch

    def _place(self, tp: TP) -> TopicPartition:
        return TopicPartition(self.app.names.topic(tp.topic), tp.partition)


class GateTransport(driver.Transport):
    """Faust's transport with our consumer."""

    Consumer: ClassVar[type[ConsumerT]] = GateConsumer


class Batches(faust.Schema[Any, Any]):
    """Leaves keys and values as the consumer made them."""

    def loads_key(self, app: AppT, message: Message, **_: Any) -> Any:  # noqa: ANN401, ARG002  # Faust's own
        """Return the key as it is."""
        return message.key

    def loads_value(self, app: AppT, message: Message, **_: Any) -> Any:  # noqa: ANN401, ARG002  # Faust's own
        """Return the batch."""
        return message.value
