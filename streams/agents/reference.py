"""The agent of `reference`."""

from faust.types import StreamT

from streams.agents import Agent, batches
from streams.broadcast import Broadcast
from streams.records import Batch


def agent(broadcast: Broadcast) -> Agent:
    """Return the agent, working for the shared tables."""

    async def reference(stream: StreamT[Batch]) -> None:
        """Fold every limit profile, instrument and switch."""
        async for batch in batches(stream):
            broadcast.fold(batch)

    return reference
