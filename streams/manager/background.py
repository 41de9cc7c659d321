"""An event loop in a thread of its own, for callers that know no asyncio."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final, TypeVar

T = TypeVar("T")

CLOSING_SECONDS: Final = 10.0
"""How long closing waits for what has to be disconnected; the thread dies with the process anyway."""


class ClosedError(RuntimeError):
    """What was asked of it came after closing, or closing came before the answer."""


class Background:
    """Runs coroutines for threads that wait for them. It may be used beside a running loop, as a notebook has one.

    The thread is a daemon: a program that forgets to close it still ends.

    Args:
        name: Of the thread; errors say it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._closed = False
        self._lock = threading.Lock()
        self._stop = asyncio.Event()
        self._stack = AsyncExitStack()
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._serve, args=(started,), name=name, daemon=True)
        self._thread.start()
        self._loop = started.result()

    def _serve(self, started: "Future[asyncio.AbstractEventLoop]") -> None:
        with asyncio.Runner() as runner:  # which cancels what still runs at the end
            runner.run(self._main(started))

    async def _main(self, started: "Future[asyncio.AbstractEventLoop]") -> None:
        started.set_result(asyncio.get_running_loop())
        await self._stop.wait()
        await self._stack.aclose()

    async def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Enter a context that closing leaves; await it in a coroutine given to `run`."""
        return await self._stack.enter_async_context(manager)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and return what it returns.

        A caller that is interrupted (KeyboardInterrupt) cancels it.

        Raises:
            ClosedError: After, or by, `close`.
        """
        with self._lock:  # what is handed over before `close` is cancelled by it; what comes later hangs for ever
            if self._closed:
                coroutine.close()
                raise ClosedError(f"{self._name} is closed")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise ClosedError(f"{self._name} was closed meanwhile") from None
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Leave every context entered and end the thread. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._loop.call_soon_threadsafe(self._stop.set)
        if threading.current_thread() is not self._thread:  # the garbage collector may call from anywhere
            self._thread.join(CLOSING_SECONDS)
