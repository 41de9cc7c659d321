"""Where the peers come from: an environment of their own from PyPI, and jars from Maven Central. Fetched once."""

import contextlib
import hashlib
import os
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.kafka_supply import KAFKA_VERSION, NoBrokerError, java, run

HERE: Final = Path(__file__).parent
SOURCE: Final = HERE / "KafkaStreamsStage.java"
INSTALL_TIMEOUT: Final = 600.0
COMPILE_TIMEOUT: Final = 120.0
COMPILER: Final = "ecj"
"""The Eclipse compiler: a jar like any other, so that a Java without a compiler suffices."""

POM: Final = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>seawall.tests</groupId>
  <artifactId>peers</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-streams</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
    <dependency>
      <groupId>org.eclipse.jdt</groupId><artifactId>{COMPILER}</artifactId><version>3.40.0</version>
    </dependency>
  </dependencies>
</project>
"""


def python(peer: str) -> Path:
    """Return the interpreter of a peer's environment, made the first time. One cannot be in another's way.

    Raises:
        NoBrokerError: If something cannot be installed; the text says why.
    """
    requirements = HERE / f"requirements-{peer}.txt"
    # Other packages or another Python are another environment.
    wanted = requirements.read_bytes() + f"{sys.version} {sysconfig.get_platform()}".encode()
    folder = _cache() / f"{peer}-{hashlib.sha256(wanted).hexdigest()[:12]}"
    interpreter = folder / "bin" / "python"
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        run([sys.executable, "-m", "venv", folder], HERE, INSTALL_TIMEOUT)
        options = ["--quiet", "--disable-pip-version-check", "--no-input", "--only-binary=:all:", "--require-hashes"]
        run([interpreter, "-m", "pip", "install", *options, "-r", requirements], HERE, INSTALL_TIMEOUT)
        complete.touch()  # last
    return interpreter


def pinned(peer: str, package: str) -> str:
    """Return the version of a package in a peer's environment."""
    text = (HERE / f"requirements-{peer}.txt").read_text()
    [found] = re.findall(rf"^{package}==([\w.]+)", text, re.MULTILINE)
    return str(found)


def classpath() -> str:
    """Return the class path of the stage for Kafka Streams, compiled the first time.

    Raises:
        NoBrokerError: If Java, Maven or a jar cannot be had.
    """
    library = _jars()
    jars = os.pathsep.join(map(str, sorted(library.glob("*.jar"))))
    folder = _cache() / f"kafka-streams-stage-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        [compiler] = library.glob(f"{COMPILER}-*.jar")
        with _aside(folder) as classes:
            run(
                [java(), "-jar", compiler, "--release", "17", "-cp", jars, "-d", classes, SOURCE],
                HERE,
                COMPILE_TIMEOUT,
            )
    return os.pathsep.join((str(folder), jars))


def _jars() -> Path:
    folder = _cache() / f"kafka-streams-{KAFKA_VERSION}"
    if not folder.exists():
        maven = shutil.which("mvn")
        if maven is None:
            raise NoBrokerError("no mvn on the PATH to fetch the jars with (Debian: maven)")
        with _aside(folder) as library, tempfile.TemporaryDirectory() as temporary:
            pom = Path(temporary, "pom.xml")
            pom.write_text(POM)
            goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={library}"]
            run([maven, "--batch-mode", "--quiet", "--file", pom, *goal], Path(temporary), INSTALL_TIMEOUT)
    return folder


def _cache() -> Path:
    """Return the folder where the broker's jars are kept as well."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seawall"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


@contextlib.contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """Yield a path that becomes the folder in one step, so that a folder that exists is complete."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary, "made")
        yield made
        with contextlib.suppress(OSError):  # Another run was quicker.
            made.rename(folder)
