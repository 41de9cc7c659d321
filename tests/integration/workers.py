"""Real workers as child processes, and what they left in the topics."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from pydantic import SecretStr

from streams.config import PREFIX, Settings, kafka_arguments
from streams.ledger import EPOCH_HEADER
from streams.reader import Reader
from streams.records import Names, Record, Topic, TopicPartition
from streams.topics import Topics

READY_TIMEOUT: Final = 60.0
STOP_TIMEOUT: Final = 30.0
COMMAND_TIMEOUT: Final = 300.0


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the environment of a process that is to have these settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    for field in settings.model_fields_set:
        value = getattr(settings, field)
        environment[PREFIX + field.upper()] = str(value.get_secret_value() if isinstance(value, SecretStr) else value)
    return environment


class WorkerProcess:
    """`seawall worker` in a process of its own.

    Args:
        settings: What its environment says.
        folder: Where its output goes.
        options: Of the command.
        program: What Python runs.
    """

    def __init__(
        self, settings: Settings, folder: Path, *options: str, program: Sequence[str | Path] = ("-m", "streams")
    ) -> None:
        self.settings = settings
        self._program = program
        self._options = options
        self.starts = 0
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process; there must be one."""
        assert self._process is not None
        return self._process

    @property
    def output(self) -> str:
        """What the present process wrote."""
        return self._output.read_text(errors="replace")

    @property
    def _output(self) -> Path:
        return self._folder / f"{self.settings.worker_id}-{self.starts}.log"

    def start(self) -> None:
        """Start a process; the one before has ended."""
        assert self._process is None or self._process.poll() is not None
        self.starts += 1
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *self._program, "worker", *self._options],
                env=environment_of(self.settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Wait until its partitions are open."""
        deadline = time.monotonic() + READY_TIMEOUT
        while " ready " not in self.output:
            assert self.process.poll() is None, f"the worker ended with {self.process.returncode}:\n{self.output}"
            assert time.monotonic() < deadline, f"the worker is not ready:\n{self.output}"
            time.sleep(0.02)

    def ask(self, path: str = "/readyz") -> tuple[int, Any]:
        """Return the status and the body of what it answers over HTTP."""
        found = re.search(r" health url=http://127\.0\.0\.1:(\d+)", self.output)
        assert found is not None, self.output
        connection = HTTPConnection("127.0.0.1", int(found[1]), timeout=5)
        with closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.load(answer)

    def owned(self) -> set[int]:
        """Return the partitions that it serves; none while it is not ready."""
        status, told = self.ask()
        return {int(number) for number in told["partitions"]} if status == 200 else set()

    def memory(self) -> int:
        """Return the most bytes of memory that it has had (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def wait_stopped(self) -> None:
        """Wait until it has stopped itself with SIGSTOP."""
        deadline = time.monotonic() + READY_TIMEOUT
        while os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is None:
            assert self.process.poll() is None, f"the worker ended with {self.process.returncode}:\n{self.output}"
            assert time.monotonic() < deadline, f"the worker has not stopped:\n{self.output}"
            time.sleep(0.01)

    def kill(self, *, lose_disk: bool = False) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait()
        if lose_disk:
            shutil.rmtree(self.settings.worker_dir, ignore_errors=True)

    def stop(self) -> int:
        """End it with SIGTERM; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT)


def command(settings: Settings, *arguments: str) -> str:
    """Run a command of `seawall` in a process of its own and return what it printed; it must end with 0."""
    done = subprocess.run(
        [sys.executable, "-m", "streams", *arguments],
        env=environment_of(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, f"seawall {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def worker(
    settings: Settings, folder: Path, *options: str, program: Sequence[str | Path] = ("-m", "streams")
) -> Iterator[WorkerProcess]:
    """Yield a worker that is running and ready, and leave nothing behind."""
    process = WorkerProcess(settings, folder, *options, program=program)
    try:
        process.start()
        process.wait_ready()
        yield process
    finally:
        if process.process.poll() is None:
            process.kill()


async def read_topic(settings: Settings, topic: Topic, partition: int) -> list[Record]:
    """Return every committed record of a topic partition."""
    records: list[Record] = []
    async with Reader(settings, Names(Topics.of(settings))) as reader:
        await reader.read_to_end({TopicPartition(topic, partition): 0}, records.append)
    return records


async def read_partition(
    settings: Settings, partition: int, topics: Iterable[Topic] = Topic
) -> dict[Topic, list[Record]]:
    """Return every committed record of each topic's partition (partition 0 where a topic has only that)."""
    records: dict[Topic, list[Record]] = {topic: [] for topic in topics}
    shared = {Topic.DAILY_RETURNS, Topic.REFERENCE}
    places = {TopicPartition(topic, 0 if topic in shared else partition): 0 for topic in records}
    async with Reader(settings, Names(Topics.of(settings))) as reader:
        await reader.read_to_end(places, lambda record: records[record.topic].append(record))
    return records


async def read_headers(settings: Settings, topic: Topic, partition: int) -> list[dict[str, str]]:
    """Return the headers of a topic partition's records, in their order."""
    name = Names(Topics.of(settings))[topic]
    consumer = AIOKafkaConsumer(
        name, **kafka_arguments(settings), auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    try:
        await asyncio.sleep(0)
        [assigned] = [tp for tp in consumer.assignment() if tp.partition == partition]
        end = (await consumer.end_offsets([assigned]))[assigned]
        headers: list[dict[str, str]] = []
        while await consumer.position(assigned) < end:
            fetched = await consumer.getmany(assigned, timeout_ms=200)
            headers += [{key: value.decode() for key, value in each.headers} for each in fetched.get(assigned, ())]
        return headers
    finally:
        await consumer.stop()


async def read_epochs(settings: Settings, topic: Topic, partition: int) -> list[int]:
    """Return the producer epochs in the headers of a topic partition's records, in their order."""
    return [int(headers[EPOCH_HEADER]) for headers in await read_headers(settings, topic, partition)]
