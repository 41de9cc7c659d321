"""The agent of `fills`."""

from faust.types import StreamT

from streams.agents import Agent, batches
from streams.ownership import Ownership
from streams.records import Batch


def agent(ownership: Ownership) -> Agent:
    """Return the agent, working for the partitions in `ownership`."""

    async def fills(stream: StreamT[Batch]) -> None:
        """Fold every execution report into positions and working orders."""
        async for batch in batches(stream):  # one fetch of one partition
            owner = ownership.owner_of(batch)
            if owner is not None:  # else it was revoked while the batch was on its way
                owner.fold(batch)

    return fills
