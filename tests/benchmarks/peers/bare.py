"""A plain loop of aiokafka that hands records on in transactions: what no stage in Python with aiokafka can beat.

`python bare.py BOOTSTRAP SOURCE ANSWERS TRANSACTIONAL_ID [--offsets] [--records N]`. With `--offsets` the positions
are committed in the transaction, as a stage must that has no other place for them.
"""

import argparse
import asyncio
from typing import Any

import aiokafka.producer.sender
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

# As in streams/ledger.py: aiokafka's own 20 ms would be the latency of every record under load.
aiokafka.producer.sender.BACKOFF_OVERRIDE = 0.001
BATCH_BYTES = 1_000_000


async def run(bootstrap: str, source: str, answers: str, name: str, most: int, *, offsets: bool) -> None:
    """Hand on every record of a topic, one fetch after the other."""
    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=bootstrap,
        group_id=name if offsets else None,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, transactional_id=name, linger_ms=0, max_batch_size=BATCH_BYTES
    )
    await consumer.start()
    await producer.start()
    while True:
        fetched = await consumer.getmany(timeout_ms=1000, max_records=most)
        if not fetched:
            continue
        await producer.begin_transaction()
        written = [
            await producer.send_batch(batch_of(producer, records), answers, partition=place.partition)
            for place, records in fetched.items()
        ]
        await asyncio.gather(*written)  # aiokafka commits even when a batch has failed
        if offsets:
            positions = {place: records[-1].offset + 1 for place, records in fetched.items()}
            await producer.send_offsets_to_transaction(positions, name)
        await producer.commit_transaction()


def batch_of(producer: Any, records: list[Any]) -> Any:
    """Return records as one batch."""
    batch = producer.create_batch()
    for record in records:
        assert batch.append(timestamp=None, key=record.key, value=record.value) is not None, "too many for a batch"
    batch.close()
    return batch


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for argument in ("bootstrap", "source", "answers", "name"):
        parser.add_argument(argument)
    parser.add_argument("--records", type=int, default=500, help="most of one transaction")
    parser.add_argument("--offsets", action="store_true", help="commit the positions in the transaction")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            run(
                options.bootstrap,
                options.source,
                options.answers,
                options.name,
                options.records,
                offsets=options.offsets,
            )
        )
