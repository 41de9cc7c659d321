"""`seawall worker`."""

import os
from typing import Annotated

import typer


def worker(
    *,
    leave: Annotated[
        bool,
        typer.Option(
            "--leave", help="Give the membership up when stopped, for scaling down: the others take over at once."
        ),
    ] = False,
) -> None:
    """Run one worker: it owns a share of the partitions, decides their intents and publishes halts.

    Start as many as you like, each with its own SEAWALL_WORKER_ID and SEAWALL_DATA_DIR; workers with the same
    SEAWALL_APPLICATION_ID share the work. Stop one with Ctrl-C or SIGTERM. It leaves with status 70 whenever going on
    could publish something wrong: restart it, it recovers from the topics.
    """
    # Matrices are small, and a second thread would take its core from another worker. Read when numpy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from streams import app

    raise typer.Exit(app.run(leave=leave))
