"""Other stream processors on the same broker, with the same driver and the same records. README.md says how."""

import logging
import tempfile
from pathlib import Path

from tests.benchmarks.drive import run
from tests.benchmarks.figures import Table
from tests.benchmarks.peers.compare import HOW, NAME, TITLE, nautilus, not_measured, table_of
from tests.benchmarks.stage import broker

__all__ = ("NAME", "measure")


def measure(scale: float) -> Table:
    """Measure all peers; below a scale of 0.5 the most important ones. The first time it fetches them."""
    # A topic that was just made has no leader yet; the client asks again, and says so loudly.
    logging.getLogger("aiokafka.consumer.fetcher").setLevel(logging.CRITICAL)
    kafka = broker()
    if not kafka.is_apache:
        rows = [not_measured("all", f"needs Apache Kafka, this is {kafka}"), nautilus(scale)]
        return Table(NAME, TITLE, HOW, rows)
    with tempfile.TemporaryDirectory(prefix="seawall-bench-") as folder:
        table = run(table_of(kafka.bootstrap, Path(folder), scale))
    table.rows.append(nautilus(scale))
    table.how += f" Broker: {kafka}."
    return table
