"""`seawall strategy`."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.acts import Actor, Json, Plan, Reason, Yes, compose, described, refer, said_by, several

if TYPE_CHECKING:
    from models.folds.reference import Reference
    from models.messages import StrategyRecord

app = typer.Typer(
    help="Say which strategies may open positions, and with how much.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Strategy = Annotated[str, typer.Argument(help="The strategy; '*' for every one without a record of its own.")]
OfAccount = Annotated[str, typer.Option("--account", help="In this account. Default: in every one without its own.")]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        help="The most exposure that may be the strategy's own, a fraction of equity such as 0.2, or 'none'. "
        "Default: as it is.",
    ),
]


@app.command()
def enable(
    strategy: Strategy,
    *,
    account: OfAccount = "*",
    budget: Budget = None,
    reason: Reason,
    actor: Actor = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Let a strategy open positions. Asks first."""
    _set("ENABLED", strategy, account, budget, said_by(actor, reason), yes=yes, json=json)


@app.command()
def probation(
    strategy: Strategy,
    *,
    account: OfAccount = "*",
    budget: Budget = None,
    reason: Reason,
    actor: Actor = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Put a strategy on probation: half of its risk and half of its budget. Asks first where it was disabled."""
    _set("PROBATION", strategy, account, budget, said_by(actor, reason), yes=yes, json=json)


@app.command()
def disable(
    strategy: Strategy,
    *,
    account: OfAccount = "*",
    budget: Budget = None,
    reason: Reason,
    actor: Actor = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Stop a strategy's openings; its reductions pass."""
    _set("DISABLED", strategy, account, budget, said_by(actor, reason), yes=yes, json=json)


def _set(
    state: str,
    strategy: str,
    account: str,
    budget: str | None,
    said: dict[str, object],
    *,
    yes: bool,
    json: bool,
) -> None:
    asyncio.run(
        refer(
            lambda reference: _plan(reference, state, strategy, account, budget=budget, said=said), yes=yes, json=json
        )
    )


def _plan(
    reference: "Reference", state: str, strategy: str, account: str, *, budget: str | None, said: dict[str, object]
) -> Plan:
    from models.canonical import plain
    from models.messages import StrategyState
    from streams.records import Topic

    held = reference.strategy(strategy, account)
    own = held if held is not None and (held.strategy, held.account) == (strategy, account) else None
    if budget is None and own is not None and own.budget is not None:
        budget = plain(own.budget)
    record: StrategyRecord = compose(
        Topic.REFERENCE,
        kind="strategy",
        strategy=strategy,
        account=account,
        state=state,
        budget=None if budget == "none" else budget,
        **said,
    )
    before = "unknown, so it may only reduce" if held is None else described(held)
    lines = [f"now: {before}"]
    if own is not None and own.budget is not None and record.budget is None:
        lines.append(f"its budget, {own.budget:f} of equity, goes")
    hiding = list(_hiding(reference, record))
    if hiding:
        lines.append(f"it does not reach {several(hiding)}: a record of their own goes before it")
    stopped = held is None or held.state is StrategyState.DISABLED
    asks = record.state is StrategyState.ENABLED or (stopped and record.state is StrategyState.PROBATION)
    return Plan([record], lines, asks=asks)


def _hiding(reference: "Reference", record: "StrategyRecord") -> Iterator[str]:
    """Yield the records that go before this one and say something else."""
    from models.messages import EVERY, StrategyRecord

    for other in reference.of_kind(StrategyRecord):
        closer = (other.strategy == EVERY, other.account == EVERY) < (
            record.strategy == EVERY,
            record.account == EVERY,
        )
        both = _meet(other.strategy, record.strategy) and _meet(other.account, record.account)
        if closer and both and (other.state, other.budget) != (record.state, record.budget):
            yield f"{other.strategy} in {other.account} ({other.state})"


def _meet(one: str, other: str) -> bool:
    from models.messages import EVERY

    return one == other or EVERY in {one, other}


@app.command("list")
def list_(
    *,
    account: Annotated[str | None, typer.Option("--account", help="Only what is said of this account.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print each record as one line of JSON.")] = False,
) -> None:
    """List what is said of strategies. A strategy of which nothing is said may only reduce."""
    from models.canonical import canonical_bytes
    from models.messages import EVERY, StrategyRecord
    from streams.config import load
    from streams.desk import open_desk
    from streams.text import when

    async def run() -> None:
        async with open_desk(load()) as desk:
            records = desk.reference.of_kind(StrategyRecord)
        found = [each for each in records if account is None or each.account in {account, EVERY}]
        for each in found:
            line = f"{described(each)}  ({when(each.event_time)}, {each.actor}: {each.reason})"
            typer.echo(canonical_bytes(each).decode() if json else line)
        if not found and not json:
            typer.echo("no strategy is known: all may only reduce")

    asyncio.run(run())
