"""Two workers under one name: one of them ends, and says why."""

from pathlib import Path

import pytest

from streams.config import Settings
from streams.topics import Topics
from tests.integration.workers import WorkerProcess, worker
from tests.kafka import Broker


def test_the_older_of_two_workers_with_one_id_ends_and_says_why(
    settings: Settings, topics: Topics, broker: Broker, tmp_path: Path
) -> None:
    """On two hosts. The newer one goes on, and so does the one that a supervisor starts in its place."""
    if not broker.is_apache:
        pytest.skip(f"needs Apache Kafka, this is {broker}: it does not tell members by their names")
    ready = f" ready partitions={','.join(str(number) for number in range(topics.partitions))} "
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with (
        worker(settings, tmp_path) as older,
        worker(settings.model_copy(update={"data_dir": elsewhere}), elsewhere) as newer,
    ):
        assert older.process.wait(30) == 70, older.output
        [line] = [line for line in older.output.splitlines() if " stopped " in line]
        assert "another process uses the worker id worker-1: it joined from 127.0.0.1" in line
        assert line.endswith('next="give each worker its own SEAWALL_WORKER_ID, then restart"')
        assert newer.output.count(ready) <= 2, newer.output
        assert newer.stop() == 0, newer.output


def test_a_worker_that_finds_its_folder_in_use_ends_and_says_why(
    settings: Settings, topics: Topics, tmp_path: Path
) -> None:
    """On one host, where both have the same folder. The one before it does not notice."""
    assert topics.partitions > 1
    again = tmp_path / "again"
    again.mkdir()
    with worker(settings, tmp_path) as first:
        second = WorkerProcess(settings, again)
        second.start()
        assert second.process.wait(30) == 70, second.output
        assert "is in use by another process: give each worker its own SEAWALL_WORKER_ID" in second.output
        assert first.stop() == 0, first.output
        assert first.output.count(" ready ") == 1, first.output
