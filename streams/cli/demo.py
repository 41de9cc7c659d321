"""`seawall demo`."""

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.status import DIVERGED, complain

if TYPE_CHECKING:
    from streams.audit import Verdict
    from streams.demo.run import Demo

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def demo(
    *,
    plain: Annotated[
        bool, typer.Option("--plain", help="Print lines instead of a screen, as without a terminal.")
    ] = False,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Leave broker and worker up afterwards, for intents of your own, until Ctrl-C."),
    ] = False,
    act: Annotated[str, typer.Option(help="2008, 2020 or all.")] = "all",
    speed: Annotated[
        float, typer.Option(min=0.1, max=1000, help="2 plays twice as fast, as far as the machine can.")
    ] = 1.0,
    external: Annotated[
        bool,
        typer.Option(
            "--external",
            help="Instead of the embedded broker use the one that SEAWALL_BOOTSTRAP_SERVERS names, under topics of "
            "this run's own, which are deleted afterwards.",
        ),
    ] = False,
) -> None:
    """Watch the gate work on the crashes of 2008 and 2020.

    Starts an embedded broker and a worker, plays real closing prices as a market for six accounts, audits every
    decision, and removes everything it made. Takes about a minute and a half. Status 0 if the audit is clean.
    """
    from rich.console import Console

    from streams.demo.household import DemoError
    from streams.demo.run import Demo
    from streams.demo.tape import ACTS

    acts = tuple(one for one in ACTS if act in ("all", one.name))
    if not acts:
        raise typer.Exit(complain(f"--act must be 2008, 2020 or all, was {act}"))
    console = Console()
    performance = Demo(
        console,
        plain=plain or not console.is_terminal,
        acts=acts,
        speed=speed,
        external=external,
        keep=keep,
    )
    try:
        verdict = asyncio.run(_until_told_to_stop(performance))
    except DemoError as error:
        raise typer.Exit(complain(str(error))) from None
    if isinstance(verdict, signal.Signals):
        raise typer.Exit(128 + verdict)
    if not verdict.clean:
        raise typer.Exit(DIVERGED)


async def _until_told_to_stop(performance: "Demo") -> "Verdict | signal.Signals":
    """Run to the end, or until a signal: then stop what was started and return the signal.

    Only the first signal counts: whoever presses Ctrl-C twice must not keep the cleaning up from its end.
    """
    told: list[signal.Signals] = []
    running = asyncio.create_task(performance.run())

    def stop(number: signal.Signals) -> None:
        told.append(number)
        if len(told) == 1:
            running.cancel()

    loop = asyncio.get_running_loop()
    for number in STOPPING:
        loop.add_signal_handler(number, stop, number)
    try:
        return await running
    except asyncio.CancelledError:
        if not told:
            raise
        return told[0]
