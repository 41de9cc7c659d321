"""The audit of a log that is held in memory."""

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple

from streams.audit import PartitionAudit, Verdict
from streams.codec import Codec
from streams.records import Record, Topic

Log = dict[Topic, list[Record]]


class Source(NamedTuple):
    """A log as the source of an audit."""

    log: Log

    def records(self, topic: Topic, start: int = 0) -> AsyncGenerator[list[Record]]:
        async def batches() -> AsyncGenerator[list[Record]]:
            records = [each for each in self.log.get(topic, []) if each.offset >= start]
            for first in range(0, len(records), 7):
                yield records[first : first + 7]

        return batches()


def audited(log: Log) -> Verdict:
    verdict = Verdict()
    asyncio.run(PartitionAudit(0, Codec(1), Source(log), verdict).run())
    return verdict
