"""A worker that can be caught at a named step of a commit or of a recovery.

    python stepping.py FOLDER worker

runs `seawall worker`. It is the same program: the functions between which the steps lie are wrapped, and a wrapper
does nothing until FOLDER holds a file with its step's name. The first to find one removes it and stops the whole
process with SIGSTOP, at that step and no other. What then happens to it (SIGCONT, SIGKILL) is for the test to say.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.producer.sender import EndTxnHandler

from streams import checkpoint, recovery
from streams.cli import main
from streams.ledger import Ledger
from streams.store import Store

COMMIT_STEPS = (
    "begun",  # the transaction has begun, nothing is sent
    "half-sent",  # the log holds the first batch, uncommitted, and not the others
    "sent",  # it holds them all, uncommitted
    "committed",  # the broker has committed, and this worker has not looked at its answer
    "saving",  # it has, and has not written to its disk
)
RECOVERY_STEPS = (
    "fencing",  # nothing is done yet
    "fenced",  # the earlier owner is fenced
    "restoring",  # rows were read from `checkpoints`, and not written to the disk
    "folding",  # the first record after the checkpoint is taken in
    "recovered",  # the partition is recovered, and nothing is published
)

_restoring: ContextVar[bool] = ContextVar("_restoring", default=False)


class Steps:
    """Stops this process where a file says so.

    Args:
        folder: Where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def awaited(self, step: str) -> bool:
        """Tell whether this process is to stop at `step`."""
        return (self._folder / step).exists()

    def reach(self, step: str) -> None:
        """Stop here, if this process is to stop at `step`."""
        try:
            (self._folder / step).unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGSTOP)

    def wrap_commit(self) -> None:
        """Put the steps of a commit between the calls that it makes of its producer and of its store."""
        send_batch, answered, write = AIOKafkaProducer.send_batch, EndTxnHandler.handle_response, Store.write

        async def half_sent(*args: Any, **kwargs: Any) -> Any:
            stands = await send_batch(*args, **kwargs)
            if self.awaited("half-sent"):
                await stands
                self.reach("half-sent")
            return stands

        def committed(handler: Any, response: Any) -> Any:
            self.reach("committed")
            return answered(handler, response)

        def saving(*args: Any, **kwargs: Any) -> None:
            self.reach("restoring" if _restoring.get() else "saving")
            write(*args, **kwargs)

        self._after(AIOKafkaProducer, "begin_transaction", "begun")
        AIOKafkaProducer.send_batch = half_sent
        self._before(AIOKafkaProducer, "commit_transaction", "sent")
        EndTxnHandler.handle_response = committed
        Store.write = saving  # type: ignore[method-assign]  # the wrapper takes whatever it is given

    def wrap_recovery(self) -> None:
        """Put the steps of a recovery around its parts."""
        restore, note = checkpoint.restore, recovery._Tail._note

        async def restoring(*args: Any) -> Any:
            token = _restoring.set(True)
            try:
                return await restore(*args)
            finally:
                _restoring.reset(token)

        def folding(*args: Any) -> None:
            note(*args)
            self.reach("folding")

        self._before(Ledger, "fence", "fencing")
        self._after(Ledger, "fence", "fenced")
        vars(recovery)["restore"] = restoring  # its own name for it
        recovery._Tail._note = folding  # type: ignore[assignment, method-assign]  # it takes whatever it is given
        self._after(recovery.Recovery, "open", "recovered")

    def _before(self, owner: type, name: str, step: str) -> None:
        wrapped: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def stepping(*args: Any, **kwargs: Any) -> Any:
            self.reach(step)
            return await wrapped(*args, **kwargs)

        setattr(owner, name, stepping)

    def _after(self, owner: type, name: str, step: str) -> None:
        wrapped: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def stepping(*args: Any, **kwargs: Any) -> Any:
            result = await wrapped(*args, **kwargs)
            self.reach(step)
            return result

        setattr(owner, name, stepping)


if __name__ == "__main__":
    steps = Steps(Path(sys.argv[1]))
    steps.wrap_commit()
    steps.wrap_recovery()
    main(sys.argv[2:])
