"""One thin agent for each input topic: the way from a topic to the partition that owns it. No `if` about risk."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps

from faust.types import StreamT

from streams.operations import fail_stop
from streams.records import Batch

Agent = Callable[[StreamT[Batch]], Awaitable[None]]


async def batches(stream: StreamT[Batch]) -> AsyncIterator[Batch]:
    """Yield batches, and mark each as done when the next is asked for."""
    async for batch in stream:
        yield batch
        batch.done.set()


def guarded(agent: Agent) -> Agent:
    """Return the agent such that an error ends the process.

    Faust would acknowledge the event, log the error and restart the agent: the records would be passed over.
    """

    @wraps(agent)
    async def run(stream: StreamT[Batch]) -> None:
        try:
            await agent(stream)
        except Exception as error:  # noqa: BLE001  # whatever it is, the records must be met again
            fail_stop(f"agent {agent.__name__}", error)

    return run
