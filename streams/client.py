"""Ask the gate from a program: `async with RiskGateClient() as gate: decision = await gate.submit(intent)`."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from models.canonical import SECOND_NS, canonical_bytes
from models.decisions import DecisionStatus, RiskDecision
from models.messages import OrderIntent
from streams.access import GateError, GateUnavailableError, find_gate, no_broker
from streams.codec import Codec, decode_decision
from streams.config import READER_RETRY_BACKOFF_MS, Settings, kafka_arguments, load
from streams.operations import OperatorError
from streams.publisher import Delivered, NotSentError, Publisher, delivered, destination
from streams.reader import Reader, pace_empty_fetches
from streams.records import NANOSECONDS_PER_MILLISECOND, Names, Record, Topic, TopicPartition
from streams.topics import Topics

if TYPE_CHECKING:
    from streams.manager import RiskManager

__all__ = [
    "DecisionLateError",
    "DecisionTimeoutError",
    "GateError",
    "GateUnavailableError",
    "NotSentError",
    "Outcome",
    "OutcomeState",
    "RiskGateClient",
    "RiskManager",
]


def __getattr__(name: str) -> object:
    if name == "RiskManager":  # it is made of this module, so it can be imported only when this one is complete
        from streams.manager import RiskManager  # noqa: PLC0415  # see above

        return RiskManager
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


DECISION_AGE_MAX: Final = 30 * SECOND_NS
"""docs/risk.md section 2: act on an approval while its record is at most this far from the intent's event_time."""

Place = tuple[int, int]
"""Partition and offset of an intent."""


class _Submission:
    """An intent on its way.

    Args:
        number: Its own, counted from the first.
        answer: Is given the record of the decision.
    """

    __slots__ = ("answer", "delivered", "number")

    def __init__(self, number: int, answer: asyncio.Future[Record]) -> None:
        self.number = number
        self.answer = answer
        self.delivered: Delivered | None = None
        """Where it stands; None as long as the broker has not said that it has it."""


class DecisionTimeoutError(GateError, TimeoutError):
    """No decision came in time. The intent may still be decided: ask `outcome` before doing anything else.

    Attributes:
        delivered: Where the intent stands; None if the broker has not even confirmed that it has it.
    """

    def __init__(self, text: str, delivered: Delivered | None) -> None:
        super().__init__(text)
        self.delivered = delivered


class DecisionLateError(GateError):
    """The gate approved, and too late to act on. It is an exception, so that nobody acts on it unawares.

    The approval stands in the ledger and reserves its quantity until it expires or a fill report ends it.

    Attributes:
        decision: The approval.
        age: The decision's record time minus the intent's event_time, ns.
    """

    def __init__(self, decision: RiskDecision, age: int, limit: int) -> None:
        super().__init__(
            f"intent {decision.intent_id} of {decision.account} was approved {age / SECOND_NS:.3f} s after its"
            f" event_time, the limit is {limit / SECOND_NS:g} s: do not act on it, report it CANCELED in `fills`,"
            " and send a new intent (for simulated time set decision_age_max=None)"
        )
        self.decision = decision
        self.age = age


class OutcomeState(StrEnum):
    """What became of an intent."""

    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    WAITING = "WAITING"
    """It stands in order-intents and is not decided yet."""
    ABSENT = "ABSENT"
    """It is not in the topic. One on its way from a sender that still runs may yet arrive."""


class Outcome(NamedTuple):
    """What became of an intent, and the decision where there is one."""

    state: OutcomeState
    decision: RiskDecision | None = None


class RiskGateClient:
    """Submits intents and returns the decisions on them. An async context manager; many submissions may be in flight.

    One producer, and one read-committed consumer of `risk-decisions` that belongs to no group and starts at the end
    before the first intent is sent. A decision is matched by the partition and offset of its intent's record, so
    repeats and records that are no intents get their own answers too.

    Args:
        settings: How to reach the broker; by default what the environment says.
        timeout: Seconds that `submit` waits for a decision.
        decision_age_max: The farthest an approval's record may be from the intent's event_time, ns; beyond it
            `submit` raises `DecisionLateError`. None for simulated time.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        timeout: float = 10.0,
        decision_age_max: int | None = DECISION_AGE_MAX,
    ) -> None:
        self.settings = load() if settings is None else settings
        self.timeout = timeout
        self.decision_age_max = decision_age_max
        self.publisher = Publisher(self.settings)
        """For fills, ticks and the rest, over the same producer."""
        self._names = Names(Topics.of(self.settings))
        self._consumer: AIOKafkaConsumer | None = None
        self._reader: asyncio.Task[None] | None = None
        self._partitions = 0
        self._waiting: dict[Place, asyncio.Future[Record]] = {}
        self._started = 0
        self._unplaced: dict[int, None] = {}
        """Submissions whose offsets are not known yet, oldest first."""
        # Decisions that came meanwhile, and the newest submission that was on its way when each of them did.
        self._unclaimed: dict[Place, Record] = {}
        self._arrivals: deque[tuple[int, Place]] = deque()

    async def __aenter__(self) -> Self:
        """Connect, and stand at the end of every partition of `risk-decisions`.

        Raises:
            GateUnavailableError: Where no broker answers, or the topics are missing.
        """
        await self.publisher.__aenter__()
        try:
            await self._listen()
        except BaseException:
            await self.__aexit__(None)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect. Submissions still waiting end as if their time were over."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None
        self._fail_all(GateUnavailableError("the client was closed: an intent on its way may still be decided"))
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None
        await self.publisher.__aexit__()

    async def _listen(self) -> None:
        layout = await find_gate(self.settings)
        self._names, self._partitions = layout
        consumer = AIOKafkaConsumer(
            **kafka_arguments(self.settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            retry_backoff_ms=READER_RETRY_BACKOFF_MS,
        )
        self._consumer = consumer
        name = self._names[Topic.RISK_DECISIONS]
        partitions = [KafkaPartition(name, number) for number in range(self._partitions)]
        try:
            async with asyncio.timeout(self.settings.request_timeout):
                await consumer.start()
                pace_empty_fetches(consumer)
                consumer.assign(partitions)
                for partition, end in (await consumer.end_offsets(partitions)).items():
                    consumer.seek(partition, end)
        except (KafkaError, TimeoutError) as error:
            raise no_broker(self.settings, error) from error
        self._reader = asyncio.create_task(self._read(consumer), name=name)

    async def submit(self, intent: OrderIntent, *, timeout: float | None = None) -> RiskDecision:
        """Send an intent and return the decision on it.

        An intent sent again under its id is rejected as a duplicate; that decision's `original_` fields carry the
        first answer.

        Args:
            intent: What the program would like to do.
            timeout: Seconds to wait for the decision; None is the client's own.

        Raises:
            DecisionTimeoutError: If no decision came in time; the intent may still be decided.
            DecisionLateError: If it was approved, and too late to act on.
            NotSentError: If the broker refused the intent's record.
        """
        topic, key = destination(intent)
        assert topic is Topic.ORDER_INTENTS
        return await self._ask(key, canonical_bytes(intent), timeout=timeout, intent=intent)

    async def submit_raw(
        self,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        timeout: float | None = None,
    ) -> RiskDecision:
        """Send bytes as they are and return the decision on them, MALFORMED where they are no intent.

        Args:
            key: The record's key, the account.
            value: An order intent in JSON.
            partition: Where to, whatever the key hashes to.
            timeout: Seconds to wait for the decision; None is the client's own.

        Raises:
            DecisionTimeoutError: If no decision came in time; it may still come.
            DecisionLateError: If it was approved, and too late to act on.
            NotSentError: If the broker refused the record.
        """
        return await self._ask(key, value, partition=partition, timeout=timeout)

    async def _ask(
        self,
        key: bytes | None,
        value: bytes | None,
        *,
        timeout: float | None,
        partition: int | None = None,
        intent: OrderIntent | None = None,
    ) -> RiskDecision:
        timeout = self.timeout if timeout is None else timeout
        self._started += 1
        asked = _Submission(self._started, asyncio.get_running_loop().create_future())
        self._unplaced[asked.number] = None
        try:
            async with asyncio.timeout(timeout):
                sent = await self.publisher.begin(Topic.ORDER_INTENTS, key, value, partition=partition)
                sent.add_done_callback(partial(self._placed, asked))
                record = await asked.answer
        except TimeoutError:
            raise _silence(asked.delivered, timeout, intent) from None
        finally:
            self._unplaced.pop(asked.number, None)
            if asked.delivered is not None:
                self._waiting.pop((asked.delivered.partition, asked.delivered.offset), None)
            self._forget()
        decision = decode_decision(record)
        if self.decision_age_max is not None and decision.status is DecisionStatus.APPROVED:
            assert decision.event_time is not None
            age = record.time - decision.event_time
            if abs(age) > self.decision_age_max:
                raise DecisionLateError(decision, age, self.decision_age_max)
        return decision

    def _placed(self, asked: _Submission, sent: asyncio.Future[RecordMetadata]) -> None:
        """Expect the decision on an intent that the broker has. It may be here already, ahead of the broker."""
        try:
            stands = delivered(Topic.ORDER_INTENTS, sent)
        except asyncio.CancelledError:
            asked.answer.cancel()
            return
        except NotSentError as error:
            if not asked.answer.done():
                asked.answer.set_exception(error)
            return
        if asked.answer.done():
            return  # nobody waits any more
        asked.delivered = stands
        del self._unplaced[asked.number]
        place = (stands.partition, stands.offset)
        record = self._unclaimed.get(place)
        self._forget()
        if record is not None:
            asked.answer.set_result(record)
        elif self._reader is None or self._reader.done():
            asked.answer.set_exception(_deaf())
        else:
            self._waiting[place] = asked.answer

    def _forget(self) -> None:
        """Drop the decisions that no submission can claim any more: all that could have are placed."""
        oldest = next(iter(self._unplaced), self._started + 1)
        while self._arrivals and self._arrivals[0][0] < oldest:
            del self._unclaimed[self._arrivals.popleft()[1]]

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        try:
            while True:
                for fetched in (await consumer.getmany(timeout_ms=1000)).values():
                    for each in fetched:
                        self._dispatch(each)
        finally:
            self._fail_all(_deaf())

    def _fail_all(self, error: GateError) -> None:
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(error)

    def _dispatch(self, fetched: ConsumerRecord) -> None:
        if not self._waiting and not self._unplaced:
            return
        try:
            place = (fetched.partition, int(orjson.loads(fetched.value or b"")["intent_offset"]))
        except (KeyError, TypeError, ValueError):
            return  # no decision of ours; an audit names it
        waiter = self._waiting.get(place)
        if waiter is not None:
            if not waiter.done():
                waiter.set_result(self._names.record(fetched))
        elif self._unplaced and place not in self._unclaimed:
            self._unclaimed[place] = self._names.record(fetched)
            self._arrivals.append((self._started, place))

    async def outcome(self, account: str, intent_id: str, *, since: int | None = None) -> Outcome:
        """Find out what became of an intent, by reading the ledger's partition of its account.

        Of several decisions under one id an approval counts, else the first.

        Args:
            account: The intent's account.
            intent_id: Its id.
            since: Read no record that is older, ns since the Unix epoch; None reads from the beginning.

        Raises:
            GateUnavailableError: Where no broker answers.
        """
        partition = Codec(self._partitions).partition_of(account)
        last = -1
        rejected: Outcome | None = None
        async with self._logs() as reader:
            async for record in self._read_from(reader, Topic.RISK_DECISIONS, partition, since):
                decision = decode_decision(record)
                last = decision.intent_offset
                if (decision.account, decision.intent_id) == (account, intent_id):
                    outcome = Outcome(OutcomeState(decision.original_status or decision.status), decision)
                    if outcome.state is OutcomeState.APPROVED:
                        return outcome
                    rejected = rejected or outcome
            if rejected is not None:
                return rejected
            async for record in self._read_from(reader, Topic.ORDER_INTENTS, partition, since):
                if record.offset > last and _is_intent(record, account, intent_id):
                    return Outcome(OutcomeState.WAITING)
        return Outcome(OutcomeState.ABSENT)

    @asynccontextmanager
    async def _logs(self) -> AsyncIterator[Reader]:
        try:
            async with Reader(self.settings, self._names) as reader:
                yield reader
        except (KafkaError, TimeoutError) as error:
            raise no_broker(self.settings, error) from error

    async def _read_from(
        self, reader: Reader, topic: Topic, partition: int, since: int | None
    ) -> AsyncIterator[Record]:
        """Yield the records of one partition from `since` to its end now."""
        here = TopicPartition(topic, partition)
        try:
            bounds = (await reader.bounds([here]))[here]
            first = bounds.beginning
            if since is not None and self._consumer is not None:
                kafka = KafkaPartition(self._names[topic], partition)
                asked = {kafka: since // NANOSECONDS_PER_MILLISECOND}
                found = (await self._consumer.offsets_for_times(asked))[kafka]
                first = bounds.end if found is None else found.offset
            async for records in reader.read({here: first}, {here: bounds.end}):
                for record in records:
                    yield record
        except (KafkaError, OperatorError) as error:
            raise no_broker(self.settings, error) from error


def _is_intent(record: Record, account: str, intent_id: str) -> bool:
    try:
        document = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and (document.get("account"), document.get("intent_id")) == (
        account,
        intent_id,
    )


def _silence(stands: Delivered | None, timeout: float, intent: OrderIntent | None) -> DecisionTimeoutError:
    name, outcome = "a record of order-intents", "outcome"
    if intent is not None:
        name = f"intent {intent.intent_id} of {intent.account}"
        outcome = f"outcome({intent.account!r}, {intent.intent_id!r})"
    what, where = (
        (f"the broker did not confirm {name}", "the broker is up")
        if stands is None
        else (f"no decision on {name} ({stands})", "a worker runs")
    )
    return DecisionTimeoutError(
        f"{what} within {timeout:g} s: it may still be decided; see whether {where}, and ask `{outcome}` before"
        " sending anything else",
        stands,
    )


def _deaf() -> GateError:
    return GateUnavailableError(
        "the decisions can be read no longer: an intent on its way may still be decided; connect again and ask"
        " `outcome`"
    )
