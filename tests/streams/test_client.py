"""The client against a producer and a topic of decisions that the test holds in its hands."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from aiokafka.errors import MessageSizeTooLargeError

from models.canonical import SECOND_NS, canonical_bytes
from models.decisions import AsOf, DecisionStatus, Inputs, RiskDecision
from models.messages import OrderIntent, OrderType, Side
from models.reasons import RejectReason
from streams.client import (
    DECISION_AGE_MAX,
    DecisionLateError,
    DecisionTimeoutError,
    GateUnavailableError,
    RiskGateClient,
)
from streams.config import Settings
from streams.publisher import Delivered, NotSentError
from streams.records import Topic

NOW = 1_700_000_000 * SECOND_NS


class Sent:
    """What aiokafka tells of a record that a broker has."""

    def __init__(self, partition: int, offset: int) -> None:
        self.partition = partition
        self.offset = offset
        self.timestamp = NOW // 10**6


class FakePublisher:
    """Takes records and lets the test acknowledge them."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes | None, bytes | None, asyncio.Future[Any]]] = []

    async def begin(
        self, topic: Topic, key: bytes | None, value: bytes | None, *, partition: int | None = None
    ) -> asyncio.Future[Any]:
        assert topic is Topic.ORDER_INTENTS
        assert partition is None
        acknowledged: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.sent.append((key, value, acknowledged))
        return acknowledged

    def acknowledge(self, number: int, *, partition: int = 0, offset: int) -> None:
        self.sent[number][2].set_result(Sent(partition, offset))

    async def __aexit__(self, *_: object) -> None:
        pass


class Client(RiskGateClient):
    """A client whose neighbors are the test."""

    publisher: FakePublisher  # type: ignore[assignment]  # a fake of it

    def __init__(self, **options: Any) -> None:
        super().__init__(Settings(_env_prefix="NONE_"), **options)
        self.publisher = FakePublisher()
        self._reader = asyncio.create_task(listen())

    def receive(self, offset: int, *, partition: int = 0, time: int = NOW, **changes: Any) -> None:
        """Let a decision arrive."""
        self._dispatch(fetched(canonical_bytes(decided(offset, **changes)), partition=partition, time=time))


def fetched(value: bytes | None, *, partition: int = 0, time: int = NOW) -> ConsumerRecord[Any, Any]:
    """Return a record of risk-decisions as aiokafka hands it over."""
    size = len(value or b"")
    return ConsumerRecord("risk-decisions", partition, 0, time // 10**6, 1, b"A", value, None, 1, size, ())


async def listen() -> None:
    """Listen for ever."""
    await asyncio.Event().wait()


def intent(intent_id: str = "i-1") -> OrderIntent:
    return OrderIntent(
        intent_id=intent_id,
        account="A",
        strategy="s",
        symbol="X",
        side=Side.BUY,
        quantity=Decimal(1),
        order_type=OrderType.MARKET,
        event_time=NOW,
    )


def decided(offset: int, **changes: Any) -> RiskDecision:
    fields: dict[str, Any] = {
        "version": 1,
        "intent_id": "i-1",
        "account": "A",
        "strategy": "s",
        "symbol": "X",
        "side": Side.BUY,
        "order_type": OrderType.MARKET,
        "limit_price": None,
        "event_time": NOW,
        "intent_offset": offset,
        "intent_digest": "0" * 64,
        "seq": 1,
        "status": DecisionStatus.APPROVED,
        "quantity": Decimal(1),
        "reducing_quantity": Decimal(0),
        "opening_quantity": Decimal(1),
        "max_quantity": Decimal(1),
        "binding_constraint": None,
        "reasons": (),
        "warnings": (),
        "checks": (),
        "inputs": Inputs(),
        "clock": NOW,
        "as_of": AsOf(fills=-1, equity_ticks=-1, daily_returns=-1, reference=-1),
        "limits_version": None,
        "rules": 1,
        "reservation": None,
        "previous_digest": "0" * 64,
        "digest": "0" * 64,
    }
    return RiskDecision(**{**fields, **changes})


@pytest.fixture
async def gate() -> AsyncIterator[Client]:
    client = Client(timeout=0.2)
    yield client
    await client.__aexit__(None)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_decision_on_the_record_sent_is_the_answer(gate: Client) -> None:
    asked = asyncio.create_task(gate.submit(intent()))
    await settle()
    assert gate.publisher.sent[0][:2] == (b"A", canonical_bytes(intent()))
    gate.publisher.acknowledge(0, offset=7)
    await settle()
    gate.receive(6)
    gate.receive(7, partition=1)
    assert not asked.done()
    gate.receive(7)
    assert (await asked).intent_offset == 7


async def test_an_answer_may_overtake_the_acknowledgement(gate: Client) -> None:
    asked = asyncio.create_task(gate.submit(intent()))
    await settle()
    gate.receive(7)
    gate.publisher.acknowledge(0, offset=7)
    assert (await asked).intent_offset == 7
    assert gate._unclaimed == {}
    assert not gate._arrivals


async def test_many_are_in_flight_and_answered_in_any_order(gate: Client) -> None:
    asked = [asyncio.create_task(gate.submit(intent(f"i-{number}"))) for number in range(50)]
    await settle()
    for number in reversed(range(50)):
        gate.receive(number, intent_id=f"i-{number}")
        gate.publisher.acknowledge(number, offset=number)
    answers = await asyncio.gather(*asked)
    assert [one.intent_id for one in answers] == [f"i-{number}" for number in range(50)]
    assert gate._unclaimed == gate._waiting == gate._unplaced == {}


async def test_decisions_that_nobody_can_claim_are_dropped(gate: Client) -> None:
    gate.receive(1)
    assert gate._unclaimed == {}  # nothing was on its way
    first = asyncio.create_task(gate.submit(intent()))
    await settle()
    gate.receive(2)
    second = asyncio.create_task(gate.submit(intent("i-2")))
    await settle()
    gate.receive(3)
    assert set(gate._unclaimed) == {(0, 2), (0, 3)}
    gate.publisher.acknowledge(0, offset=10)
    await settle()
    assert set(gate._unclaimed) == {(0, 3)}  # the second may still turn out to be it
    gate.publisher.acknowledge(1, offset=11)
    await settle()
    assert gate._unclaimed == {}
    gate.receive(10)
    gate.receive(11)
    await asyncio.gather(first, second)


async def test_a_timeout_says_that_the_intent_may_still_be_decided(gate: Client) -> None:
    asked = asyncio.create_task(gate.submit(intent()))
    await settle()
    gate.publisher.acknowledge(0, partition=3, offset=9)
    with pytest.raises(
        DecisionTimeoutError, match=r"order-intents/3@9.*may still be decided.*outcome\('A', 'i-1'\)"
    ) as e:
        await asked
    assert e.value.delivered == Delivered(Topic.ORDER_INTENTS, 3, 9, NOW // 10**6 * 10**6)
    assert isinstance(e.value, TimeoutError)
    assert gate._waiting == {}


async def test_a_timeout_before_the_broker_confirmed_says_so(gate: Client) -> None:
    with pytest.raises(DecisionTimeoutError, match=r"did not confirm intent i-1.*within 0.05 s.*may still be") as e:
        await gate.submit(intent(), timeout=0.05)
    assert e.value.delivered is None
    assert gate._unplaced == {}


async def test_an_approval_that_comes_too_late_cannot_be_taken_for_one(gate: Client) -> None:
    for late in (DECISION_AGE_MAX + 10**6, -DECISION_AGE_MAX - 10**6):
        asked = asyncio.create_task(gate.submit(intent()))
        await settle()
        gate.receive(1, time=NOW + late)
        gate.publisher.acknowledge(-1, offset=1)
        with pytest.raises(DecisionLateError, match="do not act on it") as e:
            await asked
        assert e.value.age == late
        assert e.value.decision.status is DecisionStatus.APPROVED


async def test_the_edge_of_the_age_is_in_time_and_rejections_are_never_late(gate: Client) -> None:
    rejected: dict[str, Any] = {
        "status": DecisionStatus.REJECTED,
        "reasons": (RejectReason.NO_EQUITY,),
        "quantity": Decimal(0),
    }
    cases: list[tuple[int, dict[str, Any]]] = [(NOW + DECISION_AGE_MAX, {}), (NOW + 10 * DECISION_AGE_MAX, rejected)]
    for number, (time, changes) in enumerate(cases):
        asked = asyncio.create_task(gate.submit(intent()))
        await settle()
        gate.receive(number, time=time, **changes)
        gate.publisher.acknowledge(-1, offset=number)
        await asked


async def test_simulated_time_has_no_age() -> None:
    client = Client(decision_age_max=None)
    asked = asyncio.create_task(client.submit(intent()))
    await settle()
    client.receive(1, time=NOW + 1000 * DECISION_AGE_MAX)
    client.publisher.acknowledge(0, offset=1)
    assert (await asked).status is DecisionStatus.APPROVED
    await client.__aexit__(None)


async def test_bytes_that_are_no_intent_get_their_answer_too(gate: Client) -> None:
    nothing: dict[str, Any] = dict.fromkeys(
        ("intent_id", "account", "strategy", "symbol", "side", "order_type", "event_time", "reducing_quantity")
    )
    asked = asyncio.create_task(gate.submit_raw(b"A", b"\xff"))
    await settle()
    gate.publisher.acknowledge(0, offset=4)
    await settle()
    gate.receive(
        4, **nothing, opening_quantity=None, status=DecisionStatus.REJECTED, reasons=(RejectReason.MALFORMED,)
    )
    assert (await asked).reasons == (RejectReason.MALFORMED,)


async def test_a_record_that_is_no_decision_disturbs_nobody(gate: Client) -> None:
    asked = asyncio.create_task(gate.submit(intent()))
    await settle()
    for value in (None, b"", b"{", b"[]", b"{}", b'{"intent_offset": null}', b"\xff"):
        gate._dispatch(fetched(value))
    gate.publisher.acknowledge(0, offset=1)
    await settle()
    gate.receive(1)
    await asked


async def test_a_refused_record_is_an_error_of_its_own(gate: Client) -> None:
    asked = asyncio.create_task(gate.submit_raw(b"A", b"x"))
    await settle()
    gate.publisher.sent[0][2].set_exception(MessageSizeTooLargeError())
    with pytest.raises(NotSentError, match="MessageSizeTooLarge"):
        await asked
    assert gate._unplaced == {}


async def test_closing_ends_who_still_waits(gate: Client) -> None:
    asked = asyncio.create_task(gate.submit(intent()))
    await settle()
    gate.publisher.acknowledge(0, offset=1)
    await settle()
    await gate.__aexit__(None)
    with pytest.raises(GateUnavailableError, match="may still be decided"):
        await asked


async def test_nobody_waits_for_a_reader_that_has_ended(gate: Client) -> None:
    assert gate._reader is not None
    gate._reader.cancel()
    await settle()
    asked = asyncio.create_task(gate.submit(intent()))
    await settle()
    gate.publisher.acknowledge(0, offset=1)
    with pytest.raises(GateUnavailableError, match="connect again"):
        await asked


async def test_a_caller_that_gives_up_leaves_nothing(gate: Client) -> None:
    asked = asyncio.create_task(gate.submit(intent()))
    await settle()
    gate.publisher.acknowledge(0, offset=1)
    await settle()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert gate._waiting == {}
    gate.receive(1)


@pytest.mark.parametrize("refused", [False, True])
async def test_what_the_broker_says_after_the_caller_gave_up_leaves_nothing(gate: Client, *, refused: bool) -> None:
    with pytest.raises(DecisionTimeoutError):
        await gate.submit(intent(), timeout=0.01)
    if refused:
        gate.publisher.sent[0][2].set_exception(MessageSizeTooLargeError())
    else:
        gate.publisher.acknowledge(0, offset=1)
    await settle()
    assert gate._waiting == gate._unplaced == {}
    gate.receive(1)
    assert gate._unclaimed == {}


async def test_a_producer_that_is_closed_ends_who_waits_for_the_broker(gate: Client) -> None:
    asked = asyncio.create_task(gate.submit(intent()))
    await settle()
    gate.publisher.sent[0][2].cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert gate._waiting == gate._unplaced == {}
