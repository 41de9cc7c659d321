"""Where Apache Kafka comes from: its image through a Docker engine, or its jars through Maven."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import docker
from docker.errors import DockerException, ImageNotFound

KAFKA_VERSION: Final = "4.1.0"
IMAGE: Final = f"apache/kafka:{KAFKA_VERSION}"

# Seconds before the next supply is tried.
PING_TIMEOUT: Final = 3
JAVA_TIMEOUT: Final = 20.0
PULL_TIMEOUT: Final = 120.0
DOWNLOAD_TIMEOUT: Final = 300.0

POM: Final = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>seawall.tests</groupId>
  <artifactId>broker</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


class NoBrokerError(Exception):
    """A broker could not be had; the text says why, in one line or with the tail of its log."""


def provide_image() -> None:
    """Pull the image, if there is an engine and it can be had in time.

    Raises:
        NoBrokerError: If not.
    """
    try:
        # In a process of its own: without an engine the library leaves its socket open, and warnings are errors.
        ping = f"import docker; docker.from_env(timeout={PING_TIMEOUT}).ping()"
        run([sys.executable, "-c", ping], Path.cwd(), 2 * PING_TIMEOUT)
    except NoBrokerError as error:
        raise NoBrokerError("no Docker engine answers") from error
    client = docker.from_env(timeout=round(PULL_TIMEOUT))
    try:
        with contextlib.suppress(ImageNotFound):
            client.images.get(IMAGE)
            return
        deadline = time.monotonic() + PULL_TIMEOUT
        repository, _, tag = IMAGE.partition(":")
        for progress in client.api.pull(repository, tag=tag, stream=True, decode=True):
            if "error" in progress or time.monotonic() > deadline:
                raise NoBrokerError(f"{IMAGE} cannot be pulled ({progress.get('error', 'out of time')})")
    except (DockerException, OSError) as error:
        raise NoBrokerError(f"{IMAGE} cannot be had ({_first_line(error)})") from error
    finally:
        client.close()


def java() -> str:
    """Return a Java that Kafka runs on."""
    home = os.environ.get("JAVA_HOME")
    program = (shutil.which("java", path=f"{home}/bin") if home else None) or shutil.which("java")
    if program is None:
        raise NoBrokerError("no java on the PATH (Debian: openjdk-17-jre-headless)")
    text = run([program, "-version"], Path.cwd(), JAVA_TIMEOUT)
    found = re.search(r'version "(\d+)', text)
    if found is None or int(found[1]) < 17:
        raise NoBrokerError(f"Java 17 or newer is needed, {program} is {found[1] if found else 'something else'}")
    return program


def jars() -> Path:
    """Return the folder of Kafka's jars, fetched through Maven the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seawall"
    folder = cache / f"kafka-{KAFKA_VERSION}"
    if folder.exists():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise NoBrokerError("no mvn on the PATH to fetch Kafka's jars with (Debian: maven)")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        pom, library = Path(temporary, "pom.xml"), Path(temporary, "library")
        pom.write_text(POM)
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={library}"]
        run([maven, "--batch-mode", "--quiet", "--file", pom, *goal], Path(temporary), DOWNLOAD_TIMEOUT)
        # In one step, so that a folder that exists is complete; another test run may have been quicker.
        with contextlib.suppress(OSError):
            library.rename(folder)
    return folder


def run(command: Sequence[str | Path], folder: Path, timeout: float) -> str:
    """Run `command` in `folder` for at most `timeout` seconds and return all that it wrote.

    Raises:
        NoBrokerError: If it fails or takes longer.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NoBrokerError(f"{Path(command[0]).name} took more than {timeout:g} s") from error
    if done.returncode != 0:
        raise NoBrokerError(f"{Path(command[0]).name} failed:\n{tail(done.stdout)}")
    return done.stdout


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def tail(text: str, lines: int = 30) -> str:
    """Return the last lines of a log."""
    return "\n".join(text.splitlines()[-lines:])
