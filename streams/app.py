"""The Faust app, put together, and the worker process around it."""

import asyncio
import signal
import sys
from contextlib import suppress
from typing import Any, Final

import faust
import uvloop
from faust.app import BootStrategy
from faust.tables import TableManager
from faust.types import TP
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from streams import topics as declared
from streams.agents import daily_returns, equity_ticks, fills, guarded, order_intents, reference
from streams.broadcast import Broadcast
from streams.codec import Codec
from streams.config import ConfigurationError, Settings, load
from streams.health import Health
from streams.operations import (
    DISK_REMEDY,
    EX_SOFTWARE,
    OperatorError,
    count_repeats,
    fail_stop,
    hear_libraries,
    say,
    spare_state,
)
from streams.ownership import Ownership
from streams.partition import Partition
from streams.records import ACCOUNT_INPUTS, SHARED_INPUTS, Batch, Names, Topic, TopicPartition
from streams.topics import Topics, TopicsError
from streams.transport import Batches, GateApp, GateConsumer, GateTransport
from streams.watchdog import Watchdog

EX_USAGE: Final = 2
STOP_TIMEOUT: Final = 5.0
WATCH_SECONDS: Final = 1.0
REPORT_SECONDS: Final = 1.0


class SharedChannel(faust.Channel[Batch]):
    """An in-memory channel with one queue, which a rebalance neither stops nor empties.

    Faust's own have a queue for each clone, under its flow control: while partitions are being recovered nothing
    would pass, and what they wait for is in it.
    """

    @property
    def queue(self) -> ThrowableQueue[Any]:
        """The queue behind this channel and its clones."""
        if self._queue is None:
            self._queue = ThrowableQueue(flow_control=FlowControlEvent(initially_suspended=False))
        return self._queue

    def _clone_args(self) -> dict[str, Any]:
        return {**super()._clone_args(), "queue": self.queue}

    async def put(self, value: Any) -> None:  # noqa: ANN401  # an event, for Faust
        """Put a batch into the queue."""
        await self.queue.put(value)


class Boot(BootStrategy):
    """Without Faust's producer, which nobody uses, and without its web server, which listens on every address."""

    enable_kafka_producer = False
    enable_web = False


class Tables(TableManager):
    """Faust's table manager, which also brings every rebalance to its end; there are no tables."""

    async def on_start(self) -> None:
        """Start at once. The original waits a second for tables to be declared."""
        await self._update_channels()
        await self.recovery.start()


class App(GateApp):
    """The app of one worker."""

    BootStrategy = Boot


class Worker:
    """A worker process: the app, its partitions, and the clocks that watch over them.

    Args:
        settings: What the environment says.
        leave: Whether it gives its membership up when it is told to stop, for good.
    """

    def __init__(self, settings: Settings, *, leave: bool = False) -> None:
        self.settings = settings
        self._leave = leave
        self.topics = Topics.of(settings)
        self.names = Names(self.topics)
        codec = Codec(self.topics.partitions)
        self.ownership = Ownership(settings, self.names, codec, may_decide=self._may_decide)
        self.app = self._make_app()
        self._channels: dict[Topic, Any] = {topic: SharedChannel(self.app) for topic in SHARED_INPUTS}
        self.broadcast = Broadcast(
            settings, self.names, codec, hand_over=self._hand_over, publish=self.ownership.publish_shared
        )
        self.ownership.broadcast = self.broadcast
        self.watchdog = Watchdog(self.ownership, self.broadcast, lambda: self.consumer)
        self._repeats = count_repeats(settings.worker_dir)
        self._register_agents()

    def _may_decide(self, partition: Partition) -> bool:
        return self.watchdog.may_decide(partition)

    def _make_app(self) -> App:
        settings = self.settings
        try:
            settings.worker_dir.mkdir(parents=True, exist_ok=True)  # Faust makes its folder without the parents.
        except OSError as error:
            raise OperatorError(f"{settings.worker_dir} cannot be made: {error}", remedy=DISK_REMEDY) from error
        app = App(
            settings.application_id,
            broker=[f"kafka://{server}" for server in settings.bootstrap_servers.split(",")],
            datadir=str(settings.worker_dir / "faust"),
            store="memory://",
            TableManager=Tables,
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            topic_partitions=self.topics.partitions,
            stream_wait_empty=False,  # Revocation would wait for acknowledgements that nobody gives.
            broker_session_timeout=settings.session_timeout,
            broker_heartbeat_interval=settings.session_timeout / 3,
            broker_rebalance_timeout=settings.rebalance_timeout,
            broker_request_timeout=settings.request_timeout,
            worker_redirect_stdouts=False,
        )
        app.settings, app.names, app.ownership = settings, self.names, self.ownership
        app.transport = GateTransport(app.conf.broker_consumer, app)
        app.on_partitions_assigned.connect(lambda *args, **_: self._assigned(args[1]))
        app.on_partitions_revoked.connect(lambda *_, **__: self.ownership.revoked())
        app.on_rebalance_complete.connect(lambda *_, **__: self._rebalanced())
        return app

    def _register_agents(self) -> None:
        for topic, make in (
            (Topic.ORDER_INTENTS, order_intents.agent),
            (Topic.FILLS, fills.agent),
            (Topic.EQUITY_TICKS, equity_ticks.agent),
        ):
            # Acknowledgements are off: the ledger alone says what is done.
            source = self.app.topic(self.names[topic], schema=Batches(), acks=False)
            self.app.agent(source, name=str(topic))(guarded(make(self.ownership)))
        for topic, make_shared in (
            (Topic.DAILY_RETURNS, daily_returns.agent),
            (Topic.REFERENCE, reference.agent),
        ):
            self.app.agent(self._channels[topic], name=str(topic))(guarded(make_shared(self.broadcast)))

    async def _hand_over(self, batch: Batch) -> None:
        await self._channels[batch.topic].put(batch)
        await batch.done.wait()

    # --- what Faust tells

    async def _assigned(self, assigned: set[TP]) -> None:
        by_topic = {
            topic: {tp.partition for tp in assigned if tp.topic == self.names[topic]} for topic in ACCOUNT_INPUTS
        }
        numbers = by_topic[Topic.ORDER_INTENTS]
        if any(each != numbers for each in by_topic.values()):
            fail_stop("taking partitions over", "the group gave other partitions of one topic than of another")
        self.ownership.assigned(numbers)

    async def _rebalanced(self) -> None:
        """Return when the partitions are open: records flow from here on."""
        if await self.ownership.opened():
            await self._commit_positions()

    async def _commit_positions(self) -> None:
        positions = self.ownership.positions()
        if positions:
            await self.consumer.commit_positions(positions)

    @property
    def consumer(self) -> GateConsumer:
        """The group's consumer."""
        consumer = self.app.consumer
        assert isinstance(consumer, GateConsumer)
        return consumer

    # --- running

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT, then finish what is in hand. Return the exit status.

        Raises:
            TopicsError: If the broker's topics are not those that topics.yaml declares: every difference at once.
        """
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        violations = await declared.check(self.topics, self.settings)
        if violations:
            raise TopicsError(violations)
        async with Health(self.settings, self.ownership, self.broadcast, self.watchdog):
            await self._serve(stopping)
        return 0

    async def _serve(self, stopping: asyncio.Event) -> None:
        app = asyncio.create_task(self.app.start(), name="app")
        app.add_done_callback(_stop_on_error)
        await self.app.agents.wait_until_agents_started()
        self.broadcast.start()
        self.watchdog.start_thread()
        clocks = [
            asyncio.create_task(self._watch(), name="watch"),
            asyncio.create_task(self._report(), name="report"),
        ]
        for each in clocks:
            each.add_done_callback(_stop_on_error)
        await stopping.wait()
        say("stopping")
        for each in clocks:
            each.cancel()
        await self._stop(app)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self.watchdog.check()
            self._repeats.forget_passed(self._dealt_with())
            if self.app.crashed:
                fail_stop("running Faust", self.app.crash_reason or "it stopped by itself")

    def _dealt_with(self) -> dict[str, int]:
        replica = self.broadcast.replica
        shared = {str(TopicPartition(topic, 0)): replica.folded(topic) + 1 for topic in SHARED_INPUTS}
        return shared | {str(place): offset for place, offset in self.ownership.positions().items()}

    async def _report(self) -> None:
        """Write the group's offsets every second. With the broker gone this waits, which must not stop the watch."""
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            if not self.app.rebalancing:
                await self._commit_positions()

    async def _stop(self, app: "asyncio.Task[None]") -> None:
        await self.ownership.end()
        if self._leave:
            await self._leave_group()
        await self.broadcast.stop()
        app.remove_done_callback(_stop_on_error)
        # Everything that matters is committed. A Faust that does not come to its end is left behind.
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT):
                await self.app.stop()

    async def _leave_group(self) -> None:
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self.consumer.leave()
            say("left", worker=self.settings.worker_id)
        except Exception as error:  # noqa: BLE001  # it ends all the same, only later for the others
            say("not-left", worker=self.settings.worker_id, because=error, next="its session timeout ends it")


def _stop_on_error(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        fail_stop(f"running the {task.get_name()}", error)


def run(*, leave: bool = False) -> int:
    """Run a worker with the settings of the environment. Return the exit status: 2 where it could not even start."""
    try:
        return run_worker(load(), leave=leave)
    except (ConfigurationError, TopicsError) as error:
        sys.stderr.writelines(f"seawall: {violation}\n" for violation in error.violations)
        return EX_USAGE
    except OperatorError as error:
        sys.stderr.write(f"seawall: {error}; next: {error.remedy}\n")
        return EX_SOFTWARE


def run_worker(settings: Settings, *, leave: bool = False) -> int:
    """Run a worker until it is told to stop. Return the exit status.

    Raises:
        TopicsError: If the broker cannot be reached, or its topics are not those that topics.yaml declares.
        OperatorError: If the disk cannot be used.
    """
    # Faust logs every step of a rebalance, and building those lines costs a tenth of the worker.
    hear_libraries()
    spare_state()

    async def main() -> int:
        return await Worker(settings, leave=leave).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())
