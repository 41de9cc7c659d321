"""What goes wrong in a simulation, drawn from its seed and counted."""

import asyncio
import random
from collections import Counter
from typing import Final

CRASHES: Final = (
    "before the fence",
    "after the fence",
    "before a transaction",
    "between two batches",
    "before the commit of a transaction",
    "after the commit of a transaction",
    "before writing to the disk",
    "after writing to the disk",
    "between two parts of a restore",
    "before clearing the disk",
    "after clearing the disk",
    "before reading",
    "between two reads",
    "waiting for the shared topics",
)
"""Every place where a worker touches something outside: between any two of them it may be gone."""


class Crash(BaseException):  # as little an error as SIGKILL is
    """The process is gone. Nothing catches it but the simulation."""


class StoppedError(BaseException):  # as little an error as os._exit is
    """What `fail_stop` is here: the worker ended itself.

    Args:
        doing: What it was doing.
        error: Why it could not go on.
    """

    def __init__(self, doing: str, error: BaseException | str) -> None:
        super().__init__(f"{doing}: {error!r}")
        self.error = error


class FencedError(Exception):
    """What the broker answers to an owner that has been replaced."""


class BrokerError(Exception):
    """The broker did not do what it was asked to, or did it and could not say so."""


ENDS: Final = (Crash, FencedError, BrokerError, StoppedError)
"""How a worker may end."""


class Faults:
    """The faults of one process.

    Args:
        chance: Draws them.
        happened: Counts them, by kind.
        rate: How likely one is, at each place where there can be one.
    """

    def __init__(self, chance: random.Random, happened: Counter[str], rate: float) -> None:
        self._chance = chance
        self._happened = happened
        self._rate = rate
        self._killed = False

    def happens(self, kind: str, *, times: int = 1) -> bool:
        """Tell whether a fault happens now; it may be so many times as likely as others."""
        happens = self._chance.random() < self._rate * times
        self._happened[kind] += happens
        return happens

    async def step(self, where: str) -> None:
        """Come to a place where the process may be gone, and where others may do something first."""
        if self.happens(f"crash {where}"):
            raise Crash
        await asyncio.sleep(0)
        if self._killed:
            raise Crash

    def may_crash(self, where: str) -> None:
        """Come to a place where the process may be gone, but where nobody else does anything."""
        if self._killed or self.happens(f"crash {where}"):
            raise Crash

    def kill(self) -> None:
        """End the process at the next step, whatever it is doing."""
        self._killed = True
