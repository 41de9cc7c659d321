"""What the topics say of one account, up to now: its partition folded to the ends, and from there on again."""

from contextlib import AsyncExitStack, suppress
from typing import Self

from aiokafka.errors import KafkaError

from models.state import State
from streams.access import GateError, find_gate, no_broker
from streams.codec import Codec, LedgerError
from streams.config import Settings
from streams.desk import Desk
from streams.operations import OperatorError
from streams.reader import Reader


class Follower:
    """A replica of an account's partition that `catch_up` folds to the ends. An async context manager.

    The first time it reads the partition from its beginning, later only what has come since. It needs no worker.

    Args:
        settings: How to reach the broker.
        account: Whose partition it is.
    """

    def __init__(self, settings: Settings, account: str) -> None:
        self._settings = settings
        self._account = account

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            GateUnavailableError: Where no broker answers, or a topic is missing.
        """
        names, partitions = await find_gate(self._settings)
        try:
            async with AsyncExitStack() as stack:
                reader = await stack.enter_async_context(Reader(self._settings, names))
                self._desk = Desk(reader, Codec(partitions), self._account)
                self._stack = stack.pop_all()
        except (KafkaError, OperatorError) as error:
            raise no_broker(self._settings, error) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        with suppress(TimeoutError):  # the broker is gone, and nothing is lost
            await self._stack.aclose()

    async def catch_up(self) -> State:
        """Fold what has come since the last time, up to the ends at this moment, and return the state.

        A caller that gives up in the middle loses nothing: what is folded twice changes nothing.

        Raises:
            GateUnavailableError: Where no broker answers.
        """
        try:
            await self._desk.look()
        except LedgerError as error:
            raise GateError(f"{error}: {error.remedy}") from error
        except (KafkaError, OperatorError) as error:
            raise no_broker(self._settings, error) from error
        return self._desk.state
