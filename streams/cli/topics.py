"""`seawall topics`."""

import asyncio
import time
from typing import Annotated

import typer

from streams.cli.status import BAD, complain

app = typer.Typer(
    help="Create the topics that topics.yaml declares, or check them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def create(
    starter: Annotated[
        str | None,
        typer.Option(
            metavar="CURRENCY",
            help="Also admit every account, symbol and strategy under the default limits, in this currency (USD): "
            "one mark is then enough for a first approval. Leave it out where unknown names are to be rejected.",
        ),
    ] = None,
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000, help="N, for each account topic; it cannot be changed later. Default: as declared."
        ),
    ] = None,
    replication_factor: Annotated[
        int | None, typer.Option(min=1, max=100, help="Copies of each partition. Default: as declared.")
    ] = None,
) -> None:
    """Create what is missing, and leave what exists as it is."""
    from streams import topics
    from streams.config import load

    settings = load()
    if partitions is not None:
        settings = settings.model_copy(update={"partitions": partitions})

    async def run() -> None:
        wanted = topics.Topics.of(settings)
        created = await topics.create(wanted, settings, replication_factor=replication_factor)
        for name in created:
            typer.echo(f"created {name}")
        if not created:
            typer.echo("every topic exists")
        violations = await topics.check(wanted, settings)
        if violations:
            raise topics.TopicsError(violations)
        if starter is not None:
            from streams.starter import admit_everybody

            delivered = await admit_everybody(settings, starter, event_time=time.time_ns())
            typer.echo(f"wrote {len(delivered)} starter records" if delivered else "the starter records are there")

    asyncio.run(run())


@app.command()
def check() -> None:
    """Say how the broker's topics differ from what is declared; status 0 if they do not."""
    from streams import topics
    from streams.config import load

    settings = load()
    violations = asyncio.run(topics.check(topics.Topics.of(settings), settings))
    if violations:
        raise typer.Exit(complain(*violations, status=BAD))
    typer.echo("every topic is as declared")
