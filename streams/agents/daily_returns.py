"""The agent of `daily-returns`."""

from faust.types import StreamT

from streams.agents import Agent, batches
from streams.broadcast import Broadcast
from streams.records import Batch


def agent(broadcast: Broadcast) -> Agent:
    """Return the agent, working for the shared tables."""

    async def daily_returns(stream: StreamT[Batch]) -> None:
        """Fold every daily return into the correlation window."""
        async for batch in batches(stream):
            broadcast.fold(batch)

    return daily_returns
