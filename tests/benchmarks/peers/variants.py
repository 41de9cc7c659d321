"""The peers and how each is configured. What stands beside a figure was changed, and all else is a peer's default."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.benchmarks.peers import supply
from tests.kafka_supply import KAFKA_VERSION, java


class Places(NamedTuple):
    """What a stage is told."""

    bootstrap: str
    source: str
    answers: str
    name: str
    """Of its consumer group, its transactions or its application."""
    folder: Path
    """For its state."""


@dataclass(frozen=True)
class Variant:
    """A peer in one configuration."""

    system: str
    configuration: str
    backlog: int
    """Records that take it some seconds."""
    command: Callable[[Places], list[str | Path]]
    main: bool = False
    """Whether it is measured when there is little time."""
    interval: float = 0.0
    """Seconds between its commits, where they are longer than a turn: turns would fall into step with them."""


def _here(script: str, places: Places, *, folder: bool) -> list[str | Path]:
    """Return the command of a script that this environment has all packages for."""
    last = [places.folder] if folder else []
    return [sys.executable, supply.HERE / script, places.bootstrap, places.source, places.answers, places.name, *last]


def bare(*, records: int = 500, offsets: bool = False) -> Callable[[Places], list[str | Path]]:
    """Return the command of the bare loop."""
    options = ["--records", str(records), *(["--offsets"] if offsets else [])]
    return lambda places: [*_here("bare.py", places, folder=False), *options]


def _faust(places: Places) -> list[str | Path]:
    return _here("naive_faust.py", places, folder=True)


def _quix(guarantee: str, *options: str, **settings: Any) -> Callable[[Places], list[str | Path]]:
    text = json.dumps({"processing_guarantee": guarantee, **settings})

    def command(places: Places) -> list[str | Path]:
        return [supply.python("quix"), supply.HERE / "quix.py", *map(str, places), text, *options]

    return command


def _kafka_streams(guarantee: str, *options: str, **settings: Any) -> Callable[[Places], list[str | Path]]:
    def command(places: Places) -> list[str | Path]:
        own = {
            "bootstrap.servers": places.bootstrap,
            "application.id": places.name,
            "state.dir": places.folder,
            "processing.guarantee": guarantee,
            **settings,
        }
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        program = [java(), "-Xmx512m", quiet, "-cp", supply.classpath(), supply.SOURCE.stem]
        return [
            *program,
            places.source,
            places.answers,
            *options,
            *(f"{name}={value}" for name, value in own.items()),
        ]

    return command


AIOKAFKA: Final = f"aiokafka {version('aiokafka')}, plain loop"
FAUST: Final = f"Faust {version('faust-streaming')}"
QUIX: Final = f"Quix Streams {supply.pinned('quix', 'quixstreams')}"
STREAMS: Final = f"Kafka Streams {KAFKA_VERSION}"
ONCE, LEAST = ("exactly-once", "exactly_once_v2"), ("at-least-once", "at_least_once")
"""What Quix Streams and Kafka Streams call it."""

QUICK: Final[dict[str, Any]] = {
    "commit_interval": 0.005,
    "consumer_poll_timeout": 0.005,
    "producer_extra_config": {"linger.ms": 0},
}

BARE: Final = Variant(AIOKAFKA, "a transaction per fetch of up to 500, positions not committed", 250_000, bare())
VARIANTS: Final = (
    Variant(
        AIOKAFKA,
        "a transaction per fetch of up to 500, positions committed in the transaction",
        300_000,
        bare(offsets=True),
    ),
    Variant(FAUST, "at least once, defaults; Table get and set", 12_000, _faust, main=True),
    Variant(QUIX, "exactly once, defaults (commit_interval 5 s)", 200_000, _quix(ONCE[0]), interval=5),
    Variant(
        QUIX,
        "exactly once, commit_interval and consumer_poll_timeout 5 ms, linger.ms 0",
        150_000,
        _quix(ONCE[0], **QUICK),
        main=True,
    ),
    Variant(
        QUIX,
        "exactly once, commit_interval and consumer_poll_timeout 5 ms, linger.ms 0; state get and set",
        50_000,
        _quix(ONCE[0], "count", **QUICK),
    ),
    Variant(QUIX, "at least once, defaults", 200_000, _quix(LEAST[0])),
    Variant(QUIX, "at least once, linger.ms 0", 200_000, _quix(LEAST[0], producer_extra_config={"linger.ms": 0})),
    Variant(STREAMS, "exactly once v2, defaults (commit.interval.ms 100)", 300_000, _kafka_streams(ONCE[1])),
    Variant(
        STREAMS,
        "exactly once v2, commit.interval.ms 5, poll.ms 5",
        300_000,
        _kafka_streams(ONCE[1], **{"commit.interval.ms": 5, "poll.ms": 5}),
        main=True,
    ),
    Variant(
        STREAMS,
        "exactly once v2, commit.interval.ms 5, poll.ms 5; store get and put",
        200_000,
        _kafka_streams(ONCE[1], "count", **{"commit.interval.ms": 5, "poll.ms": 5}),
    ),
    Variant(STREAMS, "at least once, defaults (linger.ms 100)", 200_000, _kafka_streams(LEAST[1])),
    Variant(STREAMS, "at least once, linger.ms 0", 200_000, _kafka_streams(LEAST[1], **{"producer.linger.ms": 0})),
)
SWEEP: Final = {
    records: Variant(AIOKAFKA, f"transactions of up to {records} records", backlog, bare(records=records))
    for records, backlog in ((1, 4_000), (10, 30_000), (100, 200_000), (1_000, 400_000))
}
"""The plain loop with transactions of so many records."""
