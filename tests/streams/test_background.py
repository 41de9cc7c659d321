"""A loop in a thread of its own."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from streams.manager.background import Background, ClosedError


@pytest.fixture
def background() -> Iterator[Background]:
    background = Background("the background")
    yield background
    background.close()


async def twice(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def fail() -> None:
    raise KeyError("it")


def test_a_coroutine_is_run_and_its_answer_or_error_returned(background: Background) -> None:
    assert background.run(twice(21)) == 42
    with pytest.raises(KeyError, match="it"):
        background.run(fail())


async def test_it_runs_beside_a_loop(background: Background) -> None:
    assert background.run(twice(1)) == 2


def test_contexts_entered_are_left_in_reverse_in_the_same_loop(background: Background) -> None:
    left: list[tuple[int, bool]] = []

    @asynccontextmanager
    async def context(number: int) -> AsyncIterator[int]:
        loop = asyncio.get_running_loop()
        yield number
        left.append((number, asyncio.get_running_loop() is loop))

    assert [background.run(background.enter(context(number))) for number in (1, 2)] == [1, 2]
    background.close()
    assert left == [(2, True), (1, True)]


def test_an_interrupted_caller_cancels_what_it_waits_for(background: Background) -> None:
    canceled = threading.Event()

    async def wait() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            canceled.set()

    with pytest.raises(KeyboardInterrupt):
        background.run(wait())
    assert canceled.wait(10)
    assert background.run(twice(3)) == 6


def test_closing_ends_who_still_waits_and_whoever_comes_later(background: Background) -> None:
    waiting = threading.Event()
    ended: list[BaseException] = []

    async def wait() -> None:
        waiting.set()
        await asyncio.Event().wait()

    def ask() -> None:
        try:
            background.run(wait())
        except ClosedError as error:
            ended.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert waiting.wait(10)
    background.close()
    thread.join(10)
    assert [str(error) for error in ended] == ["the background was closed meanwhile"]
    with pytest.raises(ClosedError, match="the background is closed"):
        background.run(twice(1))
    background.close()


def test_closing_from_within_does_not_wait_for_itself(background: Background) -> None:
    async def close() -> None:
        background.close()
        await asyncio.sleep(0)

    background.run(close())
