"""The agent of `equity-ticks`."""

from faust.types import StreamT

from streams.agents import Agent, batches
from streams.ownership import Ownership
from streams.records import Batch


def agent(ownership: Ownership) -> Agent:
    """Return the agent, working for the partitions in `ownership`."""

    async def equity_ticks(stream: StreamT[Batch]) -> None:
        """Fold every equity tick into equity and drawdown, and publish each change of status."""
        async for batch in batches(stream):  # one fetch of one partition
            owner = ownership.owner_of(batch)
            if owner is not None:  # else it was revoked while the batch was on its way
                owner.fold(batch)

    return equity_ticks
