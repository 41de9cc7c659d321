"""The records that make one mark enough for a first approval (docs/risk.md section 2)."""

from typing import Final

from aiokafka.errors import KafkaError

from models.folds.reference import natural_key
from models.messages import (
    EVERY,
    AccountRecord,
    Instrument,
    LimitProfile,
    ReferenceRecord,
    StrategyRecord,
    StrategyState,
)
from models.refusal import Refused
from streams.access import find_gate, no_broker
from streams.codec import Codec
from streams.config import Settings
from streams.operations import OperatorError
from streams.publisher import Delivered, Publisher
from streams.reader import Reader
from streams.records import Record, Topic, TopicPartition

PROFILE: Final = "default"
ACTOR: Final = "starter"
REASON: Final = "seawall topics create --starter"


async def admit_everybody(settings: Settings, currency: str, *, event_time: int) -> list[Delivered]:
    """Write the starter records that `reference` does not have yet; what operators have said since then stands.

    Args:
        settings: How to reach the broker.
        currency: Of every account and every symbol without a record of its own.
        event_time: When the operator says so, ns.

    Returns:
        Where each record came to stand; nothing where all are there.

    Raises:
        GateUnavailableError: Where no broker answers.
    """
    names, partitions = await find_gate(settings)
    codec = Codec(partitions)
    here = TopicPartition(Topic.REFERENCE, 0)
    known: set[str] = set()

    def note(record: Record) -> None:
        said = codec.reference(record)
        if not isinstance(said, Refused):
            known.add(natural_key(said))

    try:
        async with Reader(settings, names) as reader:
            await reader.read_to_end({here: (await reader.bounds([here]))[here].beginning}, note)
    except (KafkaError, OperatorError) as error:
        raise no_broker(settings, error) from error
    records = starter_records(currency, event_time=event_time)
    async with Publisher(settings) as publisher:
        return await publisher.send_all(record for record in records if natural_key(record) not in known)


def starter_records(currency: str, *, event_time: int) -> list[ReferenceRecord]:
    """Return the profile `default@1` with the default limits, and a `*` record for accounts, symbols and strategies.

    Args:
        currency: Of every account and every symbol without a record of its own.
        event_time: When the operator says so, ns.
    """
    said = {"event_time": event_time, "actor": ACTOR, "reason": REASON}
    return [
        LimitProfile.model_validate({**said, "profile_id": PROFILE, "profile_version": 1}),
        AccountRecord.model_validate({**said, "account": EVERY, "profile_id": PROFILE, "currency": currency}),
        Instrument.model_validate({**said, "symbol": EVERY, "currency": currency}),
        StrategyRecord.model_validate({**said, "strategy": EVERY, "account": EVERY, "state": StrategyState.ENABLED}),
    ]
