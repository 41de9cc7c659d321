"""A Kafka broker for the tests: the best one that this machine can have within a time limit.

In this order: one that runs already (SEAWALL_TEST_BOOTSTRAP_SERVERS); a container of the image apache/kafka; Apache
Kafka's own jars with Java; the embedded broker noida-db, which is not Apache Kafka. SEAWALL_TEST_BROKER=env, docker,
jars or embedded forces one.
"""

import asyncio
import atexit
import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NoReturn, Self

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from typing_extensions import override

from tests.kafka_supply import IMAGE, KAFKA_VERSION, NoBrokerError, jars, java, provide_image, run, tail

# Seconds before the next broker is tried.
ANSWER_TIMEOUT: Final = 10.0
START_TIMEOUT: Final = 90.0

BROKER_PROPERTIES: Final = {
    "node.id": "1",
    "process.roles": "broker,controller",
    "inter.broker.listener.name": "CLIENT",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # A mistyped topic is an error, not a topic.
    "auto.create.topics.enable": "false",
    # One node, and few internal partitions to create and to load after a kill.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    # The timeout is what tests choose; how often the broker looks for it is not worth ten seconds of theirs.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # After a kill the controller takes the node back only when its old session has ended.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "log.cleaner.dedupe.buffer.size": str(16 << 20),
}


class Kind(StrEnum):
    """Where a broker comes from, in the order of preference."""

    ENV = "env"
    DOCKER = "docker"
    JARS = "jars"
    EMBEDDED = "embedded"


class Broker(ABC):
    """A broker that answers. `str` names it.

    Tests of faults freeze and kill it, and `restart` brings it back on the same port with the same data.
    These methods block: an asynchronous test calls them through `asyncio.to_thread`.
    """

    kind: Kind
    bootstrap: str
    """host:port."""
    is_apache: bool
    """Whether it is Apache Kafka."""

    @abstractmethod
    def __str__(self) -> str:
        """Return what it is, where it comes from and its address."""

    @abstractmethod
    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""

    @abstractmethod
    def resume(self) -> None:
        """Thaw it."""

    @abstractmethod
    def kill(self) -> None:
        """End it with SIGKILL, so that nothing is flushed and nobody is told."""

    @abstractmethod
    def restart(self) -> None:
        """Start it again after `kill` and return when it answers."""

    @abstractmethod
    def stop(self) -> None:
        """End it and remove its data. Harmless when repeated."""

    @abstractmethod
    def log(self) -> str:
        """Return what it wrote to its log."""


class RunningBroker(Broker):
    """A broker that was there before us: used, and otherwise left alone."""

    kind = Kind.ENV

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        wait_until_answering(bootstrap.split(",", maxsplit=1)[0], ANSWER_TIMEOUT)
        self.is_apache = asyncio.run(_is_apache(bootstrap))

    @override
    def __str__(self) -> str:
        return f"{'Apache Kafka' if self.is_apache else 'not Apache Kafka'}, running already ({self.bootstrap})"

    @override
    def pause(self) -> None:
        self._refuse()

    @override
    def resume(self) -> None:
        self._refuse()

    @override
    def kill(self) -> None:
        self._refuse()

    @override
    def restart(self) -> None:
        self._refuse()

    @override
    def stop(self) -> None:
        """Leave it as it was found."""

    def _refuse(self) -> NoReturn:
        """Skip the test: what is not ours is not ours to kill."""
        pytest.skip("needs a broker that may be frozen and killed, SEAWALL_TEST_BOOTSTRAP_SERVERS is not ours")

    @override
    def log(self) -> str:
        return ""


class ContainerBroker(Broker):
    """Apache Kafka in a container."""

    kind = Kind.DOCKER
    is_apache = True

    def __init__(self) -> None:
        provide_image()
        # Its own reaper would be one more image to pull; `stop` and the end of this process remove the container.
        testcontainers_config.ryuk_disabled = True
        self._container = DockerContainer(IMAGE)
        # The port must be ours to choose: a broker announces it, and the engine would choose another at each restart.
        [port] = free_ports(1)
        self.bootstrap = f"{self._container.get_docker_client().host()}:{port}"
        self._container.with_bind_ports(9092, port)
        properties = BROKER_PROPERTIES | {
            "listeners": "CLIENT://:9092,BROKER://:9093,CONTROLLER://:9094",
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "advertised.listeners": f"CLIENT://{self.bootstrap},BROKER://localhost:9093",
            "inter.broker.listener.name": "BROKER",
            "controller.quorum.voters": "1@localhost:9094",
        }
        for name, value in properties.items():
            self._container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
        self._container.with_env("KAFKA_HEAP_OPTS", "-Xmx512m")
        atexit.register(self.stop)
        try:
            self._container.start()
            wait_until_answering(self.bootstrap, START_TIMEOUT)
        except (DockerException, NoBrokerError) as error:
            last = tail(self.log())
            self.stop()
            raise NoBrokerError(f"{IMAGE} does not start: {error}\n{last}") from error

    @override
    def __str__(self) -> str:
        return f"Apache Kafka {KAFKA_VERSION} in a container ({self.bootstrap})"

    @override
    def pause(self) -> None:
        self._container.get_wrapped_container().pause()

    @override
    def resume(self) -> None:
        self._container.get_wrapped_container().unpause()

    @override
    def kill(self) -> None:
        self._container.get_wrapped_container().kill()

    @override
    def restart(self) -> None:
        self._container.get_wrapped_container().start()
        wait_until_answering(self.bootstrap, START_TIMEOUT)

    @override
    def stop(self) -> None:
        atexit.unregister(self.stop)
        with contextlib.suppress(DockerException):
            self._container.stop()

    @override
    def log(self) -> str:
        with contextlib.suppress(DockerException):
            return "".join(part.decode(errors="replace") for part in self._container.get_logs())
        return ""


class ProcessBroker(Broker):
    """A broker that is a child of this process, with its data in a temporary folder."""

    def __init__(self, folder: Path, port: int, command: Sequence[str | Path]) -> None:
        self.bootstrap = f"127.0.0.1:{port}"
        self._folder = folder
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        atexit.register(self.stop)

    def start(self) -> Self:
        """Start it for the first time and return when it answers; leave nothing behind where it does not."""
        try:
            self.restart()
        except NoBrokerError:
            self.stop()
            raise
        return self

    @override
    def pause(self) -> None:
        self._running().send_signal(signal.SIGSTOP)

    @override
    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    @override
    def kill(self) -> None:
        if self._guard is not None:
            # First, because it would kill the number, whoever has it by then.
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @override
    def restart(self) -> None:
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start the process and return at once: one node of several answers only when most of them are up."""
        assert self._process is None, "kill it first"
        with self._log_file.open("ab") as log:
            # A session of its own: Ctrl-C is for the tests, which then end it in good order.
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Should this process be killed, the pipe closes and the guard cleans up in its place.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'read _; kill -9 "$1"; rm -rf "$2"', "guard", str(self._process.pid), self._folder],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait(self) -> None:
        """Return when it answers."""
        try:
            wait_until_answering(self.bootstrap, START_TIMEOUT, alive=lambda: self._running().poll() is None)
        except NoBrokerError as error:
            raise NoBrokerError(f"{self} does not start: {error}\n{tail(self.log())}") from error

    @override
    def stop(self) -> None:
        atexit.unregister(self.stop)
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @override
    def log(self) -> str:
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    @property
    def _log_file(self) -> Path:
        return self._folder / "broker.log"

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was killed"
        return self._process


class JarsBroker(ProcessBroker):
    """Apache Kafka from the jars of Maven Central: one KRaft node, broker and controller in one.

    Args:
        node: Its id.
        voters: Of every node of the cluster by its id: its port for clients, and its port for controllers.
        cluster: The cluster's id.
        copies: Of what the broker keeps for itself, group offsets and transactions.
    """

    kind = Kind.JARS
    is_apache = True

    def __init__(self, node: int, voters: Mapping[int, tuple[int, int]], cluster: str, *, copies: int = 1) -> None:
        program = java()
        classpath = f"{jars()}/*"
        folder = _folder()
        port, controller_port = voters[node]
        properties = BROKER_PROPERTIES | {
            "node.id": str(node),
            "listeners": f"CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"CLIENT://127.0.0.1:{port}",
            "controller.quorum.voters": ",".join(f"{each}@127.0.0.1:{voters[each][1]}" for each in voters),
            "log.dirs": str(folder / "data"),
            "offsets.topic.replication.factor": str(copies),
            "transaction.state.log.replication.factor": str(copies),
            # With three copies a record that two of them have outlives any one broker.
            "transaction.state.log.min.isr": str(min(copies, 2)),
            "min.insync.replicas": str(min(copies, 2)),
        }
        configuration = folder / "server.properties"
        configuration.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        tool = [program, *quick, "-cp", classpath, "kafka.tools.StorageTool"]
        # With `=`: one id of sixty-four begins with a dash.
        run([*tool, "format", f"--cluster-id={cluster}", "--config", configuration], folder, START_TIMEOUT)
        simple_logger = "-Dorg.slf4j.simpleLogger"
        logging = [
            f"{simple_logger}.showDateTime=true",
            f"{simple_logger}.dateTimeFormat=HH:mm:ss.SSS",
            # Four hundred lines of settings at each start.
            f"{simple_logger}.log.org.apache.kafka.common.config=warn",
        ]
        super().__init__(
            folder, port, [program, "-Xmx512m", *logging, "-cp", classpath, "kafka.Kafka", configuration]
        )

    @classmethod
    def alone(cls) -> Self:
        """Return a cluster of one node, answering."""
        port, controller_port = free_ports(2)
        return cls(1, {1: (port, controller_port)}, new_cluster_id()).start()

    @override
    def __str__(self) -> str:
        return f"Apache Kafka {KAFKA_VERSION} from jars ({self.bootstrap})"


class EmbeddedBroker(ProcessBroker):
    """noida-db: Kafka's protocol in one binary, good enough to look at and no proof of anything."""

    kind = Kind.EMBEDDED
    is_apache = False

    def __init__(self) -> None:
        package = find_spec("noida_db")
        if package is None or package.origin is None:
            raise NoBrokerError("the package noida-db is not installed")
        # The binary itself: the package's command starts it as a child that a signal would not reach.
        binary = Path(package.origin).parent / "noida-db"
        if not binary.exists():
            raise NoBrokerError("the package noida-db has no binary for this platform")
        binary.chmod(0o755)
        folder = _folder()
        [port] = free_ports(1)
        options = ["--only", "kafka", "--kafka-port", str(port), "--data-dir", str(folder / "data")]
        super().__init__(folder, port, [binary, "start", *options])
        self.start()

    @override
    def __str__(self) -> str:
        return f"noida-db, embedded, not Apache Kafka ({self.bootstrap})"


def start_broker(environment: Mapping[str, str], report: Callable[[str], None]) -> Broker:
    """Return the first broker that can be had.

    Args:
        environment: Where SEAWALL_TEST_BROKER and SEAWALL_TEST_BOOTSTRAP_SERVERS are looked up.
        report: Is given a line for each broker that cannot be had.

    Raises:
        NoBrokerError: If there is none, or the one that was forced cannot be had.
    """
    forced = environment.get("SEAWALL_TEST_BROKER")
    running = environment.get("SEAWALL_TEST_BOOTSTRAP_SERVERS")
    starters: dict[Kind, Callable[[], Broker]] = {
        Kind.DOCKER: ContainerBroker,
        Kind.JARS: JarsBroker.alone,
        Kind.EMBEDDED: EmbeddedBroker,
    }
    if running:
        starters = {Kind.ENV: lambda: RunningBroker(running), **starters}
    if forced:
        if forced not in starters:
            wanted = "SEAWALL_TEST_BOOTSTRAP_SERVERS" if forced == Kind.ENV else "env, docker, jars or embedded"
            raise NoBrokerError(f"SEAWALL_TEST_BROKER was {forced!r}: needs {wanted}")
        starters = {Kind(forced): starters[Kind(forced)]}
    reasons = []
    for kind, starter in starters.items():
        try:
            return starter()
        except NoBrokerError as error:
            reasons.append(f"no broker from {kind}: {error}")
            report(reasons[-1])
    raise NoBrokerError("\n".join(reasons))


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until_answering(server: str, timeout: float, *, alive: Callable[[], bool] = lambda: True) -> None:
    """Return when the Kafka broker at `server` answers.

    Raises:
        NoBrokerError: After `timeout` seconds, or as soon as it is not `alive`.
    """
    deadline = time.monotonic() + timeout
    while not _answers(server):
        if not alive():
            raise NoBrokerError("it ended by itself")
        if time.monotonic() > deadline:
            raise NoBrokerError(f"{server} does not answer within {timeout:g} s")
        time.sleep(0.05)


def _answers(server: str) -> bool:
    """Return whether an ApiVersions request is answered, the first of every client."""
    host, _, port = server.rpartition(":")
    api_versions, version, correlation, no_client_id = 18, 0, 1, -1
    body = struct.pack(">hhih", api_versions, version, correlation, no_client_id)
    try:
        with socket.create_connection((host, int(port)), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            return len(connection.recv(8)) > 0
    except OSError:
        return False


async def _is_apache(bootstrap: str) -> bool:
    """Return whether the broker knows a setting that only Apache Kafka has: imitations do not list it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        [node, *_] = (await admin.describe_cluster())["brokers"]
        resource = ConfigResource(ConfigResourceType.BROKER, str(node["node_id"]))
        [response] = await admin.describe_configs([resource])
        entries: list[Any] = response.resources[0][4]
        return any(entry[0] == "log.cleaner.threads" for entry in entries)
    finally:
        await admin.close()


def new_cluster_id() -> str:
    """Return an id that no other cluster has."""
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="seawall-broker-"))


def main() -> None:
    """Start a broker and keep it until Ctrl-C, to run tests against by hand."""
    broker = start_broker(os.environ, partial(print, file=sys.stderr))
    print(f"{broker}\nexport SEAWALL_TEST_BOOTSTRAP_SERVERS={broker.bootstrap}", flush=True)  # noqa: T201 - a command
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    broker.stop()


if __name__ == "__main__":
    main()
