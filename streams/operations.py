"""What an operator sees of a worker: one line per event, and one line before it ends itself."""

import asyncio
import gc
import logging
import math
import os
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaConnectionError,
    MessageSizeTooLargeError,
    NodeNotReadyError,
    OffsetOutOfRangeError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

EX_SOFTWARE: Final = 70
"""Exit status of a worker that stopped itself so that nothing wrong could follow."""

_FENCED = "another worker has taken over; restart this one, it will get its share"
BROKER_REMEDY: Final = "see whether the broker is up, then restart"
DISK_REMEDY: Final = "see whether the disk of SEAWALL_DATA_DIR is full or broken, then restart"
_DENIED = "allow this worker's Kafka user what RUNBOOK.md lists, then restart"

_REMEDIES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (ProducerFenced, _FENCED),
    (InvalidProducerEpoch, _FENCED),
    (OutOfOrderSequenceNumber, _FENCED),
    (KafkaConnectionError, BROKER_REMEDY),
    (NodeNotReadyError, BROKER_REMEDY),
    (RequestTimedOutError, BROKER_REMEDY),
    (TimeoutError, BROKER_REMEDY),
    (TopicAuthorizationFailedError, _DENIED),
    (TransactionalIdAuthorizationFailed, _DENIED),
    (OffsetOutOfRangeError, "the topic lost records: restore it; RUNBOOK.md says how"),
    (MessageSizeTooLargeError, "raise max.message.bytes of the topics that seawall writes, then restart"),
    (OSError, DISK_REMEDY),
)


class OperatorError(Exception):
    """A reason to stop that was foreseen.

    Args:
        text: What happened, to which partition or record.
        remedy: What to do next.
    """

    def __init__(self, text: str, *, remedy: str = "restart") -> None:
        super().__init__(text)
        self.remedy = remedy


def say(event: str, **fields: object) -> None:
    """Write one line to standard output: time, event, and `key=value` for each field.

    It writes past `sys.stdout`, so that no library's redirection can swallow or delay it.
    """
    os.write(1, _line(event, fields).encode())


def warn_unauthorized(place: str, why: str) -> None:
    """Warn of a command that was not obeyed: it lacks the signature that it needs.

    Args:
        place: The record.
        why: What is wrong with it.
    """
    say("unauthorized", record=place, because=why, next="find out who sent it; whoever means it must sign it")


class Libraries(logging.Handler):
    """Shows what libraries warn of, a line each, and each kind of line once in a while.

    While a broker is down, aiokafka says the same five hundred times a second.

    Args:
        pause: Seconds until the same kind is shown again.
    """

    def __init__(self, *, pause: float = 10.0) -> None:
        super().__init__(logging.WARNING)
        self._pause = pause
        self._shown: dict[tuple[str, str], tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, or count it."""
        kind = (record.name, str(record.msg))
        shown, left_out = self._shown.get(kind, (-math.inf, 0))
        now = time.monotonic()
        if now - shown < self._pause:
            self._shown[kind] = (shown, left_out + 1)
            return
        self._shown[kind] = (now, 0)
        fields = {"library": record.name, "level": record.levelname.lower(), "text": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            fields["because"] = _reason(record.exc_info[1])
        if left_out:
            fields["left_out"] = str(left_out)
        os.write(2, _line("log", fields).encode())


def hear_libraries() -> None:
    """Let libraries report warnings and errors, and spare them the making of anything less."""
    logging.basicConfig(handlers=[Libraries()], force=True)
    logging.disable(logging.INFO)


_COLLECTED_AFTER: Final = (5_000, 10, 20_000)


def spare_state() -> None:
    """Keep Python's garbage collector from visiting the state again and again.

    State is millions of objects, none of them in a cycle: folding and deciding leave nothing to the collector (a test
    holds that), and an account that is forgotten goes with its last reference. By default all of it would be visited
    whenever it has grown by a quarter: a third of the work of a backlog, and stops of a tenth of a second in between.
    What dies young in a cycle, as errors do with their tracebacks, is collected as ever.
    """
    gc.set_threshold(*_COLLECTED_AFTER)


def fail_stop(doing: str, error: BaseException | str) -> NoReturn:
    """End the process at once with status 70 and one line on standard error.

    Nothing is flushed, committed or acknowledged on the way out: a graceful stop would run machinery that may. What
    was not committed is met again by the next owner.

    Args:
        doing: What failed, with the partition or record.
        error: What happened.
    """
    fields = {"doing": doing, "because": _reason(error)}
    times = _repeats.count(doing) if _repeats is not None else 1
    if times >= REPEATS_MAX:
        fields["again"] = f"{_ordinal(times)} time in a row at this record"
        fields["next"] = "see 'The same record stops the worker again and again' in RUNBOOK.md"
    else:
        fields["next"] = _remedy(error)
    os.write(2, _line("stopped", fields).encode())
    sys.stderr.flush()
    os._exit(EX_SOFTWARE)


class Repeats:
    """Counts, in a small file, how often in a row the same record has ended this worker.

    The file is there only between an end at a record and the first sight of progress past it. Where it cannot be read
    or written, nothing is counted: it is for the operator's eyes alone.

    Args:
        folder: The worker's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "stopped-at"
        self._doing = self._read()[0]

    def count(self, doing: str) -> int:
        """Note that this ends the worker; return how often in a row it has. Never raises; 1 where it is no record.

        A disk that hangs does not keep the worker: this is the thread of the event loop, and the watchdog's thread
        ends a worker whose event loop is blocked.
        """
        if not doing.startswith(_AT_RECORD):
            return 1
        last, times = self._read()
        times = times + 1 if last == doing else 1
        try:
            self._file.write_text(f"{doing} {times}", encoding="utf-8")
        except OSError:
            return times
        return times

    def _read(self) -> tuple[str, int]:
        try:
            doing, _, times = self._file.read_text(encoding="utf-8").rpartition(" ")
            return doing, int(times)
        except (OSError, ValueError):
            return "", 0

    def forget_passed(self, positions: Mapping[str, int]) -> None:
        """Forget the record if the worker has come past it.

        Args:
            positions: Up to where each topic partition is dealt with, by its name as in `order-intents/2`.
        """
        place, _, offset = self._doing.rpartition(" ")[2].rpartition("@")
        if place in positions and offset.isdecimal() and positions[place] > int(offset):
            self._doing = ""
            with suppress(OSError):
                self._file.unlink()


_AT_RECORD: Final = ("folding ", "deciding ")
REPEATS_MAX: Final = 3
"""The same record so often in a row is no accident."""
_repeats: Repeats | None = None


def count_repeats(folder: Path) -> Repeats:
    """From now on let `fail_stop` count, in this folder, how often in a row it is called at the same record."""
    global _repeats  # noqa: PLW0603  # `fail_stop` is called from everywhere, and ends the process
    _repeats = Repeats(folder)
    return _repeats


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _line(event: str, fields: Mapping[str, object]) -> str:
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
    return " ".join([stamp, event, *(f"{name}={_quoted(str(value))}" for name, value in fields.items())]) + "\n"


def _quoted(text: str) -> str:
    text = " ".join(text.split())
    return '"' + text.replace('"', "'") + '"' if " " in text or not text else text


def _reason(error: BaseException | str) -> str:
    if isinstance(error, str):
        return error
    text = str(error)
    if isinstance(error, OperatorError) and text:
        return text
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119
    return f"{type(error).__name__}: {text}{where}" if text else f"{type(error).__name__}{where}"


def _remedy(error: BaseException | str) -> str:
    if isinstance(error, OperatorError):
        return error.remedy
    if isinstance(error, str | asyncio.CancelledError):
        return "restart"
    for kind, remedy in _REMEDIES:
        if isinstance(error, kind):
            return remedy
    return "restart; if it names the same place again, it is a defect: report it with this line"
