"""`python -m tests.benchmarks.batched N worker`: a worker with at most N decisions in a transaction.

For the curve of throughput against batch size alone; a worker has no such setting.
"""

import sys

from streams import partition
from streams.cli import main


def run() -> None:
    """Replace the one constant and run the command."""
    assert isinstance(partition.DECISIONS_MAX, int)
    partition.DECISIONS_MAX = int(sys.argv.pop(1))  # type: ignore[misc]  # it is final for everybody else
    main()


run()
