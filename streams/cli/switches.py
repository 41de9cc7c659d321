"""`seawall kill`, `unkill`, `restrict` and `allow`."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.acts import Actor, Json, Plan, Reason, Yes, bad, compose, named, refer, said_by, several

if TYPE_CHECKING:
    from models.folds.reference import Reference
    from models.messages import KillSwitch

Scope = Annotated[str, typer.Argument(metavar="SCOPE", help="GLOBAL, ACCOUNT, STRATEGY or SYMBOL.")]
Target = Annotated[
    str | None,
    typer.Argument(
        metavar="TARGET", help="The account, strategy or symbol; '*' for every one without a record of its own."
    ),
]
OfAccount = Annotated[str | None, typer.Option("--account", help="For this account only. Default: every account.")]


def kill(
    scope: Scope,
    target: Target = None,
    *,
    mode: Annotated[
        str,
        typer.Option("--mode", help="REDUCE_ONLY stops openings and lets reductions pass; ALL stops both."),
    ] = "REDUCE_ONLY",
    reason: Reason,
    actor: Actor = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Engage a kill switch: GLOBAL, or for an account, a strategy or a symbol.

    It acts on the next intent that each worker decides after reading it. Asks first where reductions would stop too,
    and where it would replace a stronger switch.
    """
    switch = _switch(scope, target, mode, engaged=True, said=said_by(actor, reason))
    asyncio.run(_kill(switch, yes=yes, json=json))


async def _kill(switch: "KillSwitch", *, yes: bool, json: bool) -> None:
    from models.messages import EVERY, KillMode, KillScope

    concerned = []
    # Only one account is quickly read, and only where somebody is asked anyway: a kill switch must not wait.
    if switch.mode is KillMode.ALL and switch.scope is KillScope.ACCOUNT and switch.target != EVERY and not yes:
        concerned = await _concerned(switch.target or "")
    await refer(lambda reference: _kill_plan(reference, switch, concerned), yes=yes, json=json)


async def _concerned(account: str) -> list[str]:
    from streams.config import load
    from streams.desk import open_desk
    from streams.report import UnknownAccountError, describe

    try:
        async with open_desk(load(), account) as desk:
            report = describe(desk.state, account)
    except UnknownAccountError:
        return [f"nothing is known of account {account}: is that its name?"]
    held = 0 if report.heat_map is None else len(report.heat_map.positions)
    return [
        f"{account} has {held} symbols held or on order, and {len(report.open_orders)} open orders, which stay open"
    ]


def unkill(
    scope: Scope,
    target: Target = None,
    *,
    reason: Reason,
    actor: Actor = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Release a kill switch. Asks first."""
    switch = _switch(scope, target, "ALL", engaged=False, said=said_by(actor, reason))
    asyncio.run(refer(lambda reference: _unkill_plan(reference, switch), yes=yes, json=json))


def _switch(scope: str, target: str | None, mode: str, *, engaged: bool, said: dict[str, object]) -> "KillSwitch":
    from streams.records import Topic

    switch: KillSwitch = compose(
        Topic.REFERENCE,
        kind="kill_switch",
        scope=scope.upper(),
        target=target,
        mode=mode.upper().replace("-", "_"),
        engaged=engaged,
        **said,
    )
    return switch


def _own(reference: "Reference", switch: "KillSwitch") -> "KillSwitch | None":
    from models.folds.reference import natural_key
    from models.messages import KillSwitch

    held = reference.record(natural_key(switch))
    assert held is None or isinstance(held, KillSwitch)
    return held


def _of_every(reference: "Reference", switch: "KillSwitch") -> "KillSwitch | None":
    """Return the engaged `*` switch that a record of the target's own hides."""
    from models.messages import EVERY

    if switch.target in {None, EVERY}:
        return None
    held = _own(reference, switch.model_copy(update={"target": EVERY}))
    return held if held is not None and held.engaged else None


def _kill_plan(reference: "Reference", switch: "KillSwitch", concerned: list[str]) -> Plan:
    from models.messages import EVERY, KillMode

    own = _own(reference, switch)
    held = own if own is not None else _of_every(reference, switch)
    weaker = held is not None and held.engaged and held.mode is KillMode.ALL and switch.mode is not KillMode.ALL
    lines = list(concerned)
    if switch.mode is KillMode.ALL:
        lines.append("mode ALL: nothing passes, not even the closing of a position; only `seawall unkill` ends it")
    if weaker:
        lines.append(
            f"{named(switch)} is stopped in mode ALL now: this record takes its place, and reductions pass again"
        )
    every = _of_every(reference, switch)
    if own is not None and every is not None:
        lines.append(
            f"kill switch {named(every)}, mode {every.mode}, does not reach {switch.target}: its own comes first"
        )
    if switch.target == EVERY:
        hiding = list(_hiding(reference, switch))
        if hiding:
            lines += [
                f"it does not reach {several(hiding)}: a record of their own hides it",
                f"stop those by name, or everything with `seawall kill GLOBAL --mode {switch.mode}`",
            ]

    def after(_: "Reference") -> Iterator[str]:
        if switch.mode is KillMode.ALL:
            yield "openings and reductions stop"
        else:
            yield "openings stop, reductions pass (--mode ALL stops those too)"

    return Plan([switch], lines, asks=weaker or switch.mode is KillMode.ALL, after=after)


def _hiding(reference: "Reference", switch: "KillSwitch") -> Iterator[str]:
    """Yield the targets whose own records make less of a `*` switch."""
    from models.messages import EVERY, KillMode, KillSwitch

    for own in reference.of_kind(KillSwitch):
        if own.scope is switch.scope and own.target not in {None, EVERY}:
            if not own.engaged:
                yield f"{own.target} (released)"
            elif own.mode is not switch.mode and switch.mode is KillMode.ALL:
                yield f"{own.target} ({own.mode})"


def _unkill_plan(reference: "Reference", switch: "KillSwitch") -> Plan:
    own, every = _own(reference, switch), _of_every(reference, switch)
    held = own if own is not None and own.engaged else every if own is None else None
    if held is None:
        bad(f"kill switch {named(switch)} is not engaged", *_engaged(reference))
    switch = switch.model_copy(update={"mode": held.mode})
    lines = [f"kill switch {named(held)}, mode {held.mode}, engaged by {held.actor}: {held.reason}"]
    if own is None:
        lines.append(f"releasing {named(switch)} exempts it from the switch of every {switch.scope.lower()}")
    elif every is not None:
        lines.append(f"kill switch {named(every)} is engaged too; {switch.target} is exempt from it from now on")
    return Plan([switch], lines, asks=True, after=lambda after: _engaged(after) or ["no kill switch is engaged"])


def _engaged(reference: "Reference") -> list[str]:
    from models.messages import KillSwitch

    return [
        f"still engaged: {named(each)}, mode {each.mode}, by {each.actor}: {each.reason}"
        for each in reference.of_kind(KillSwitch)
        if each.engaged
    ]


def restrict(
    symbol: Annotated[str, typer.Argument(help="The symbol.")],
    *,
    account: OfAccount = None,
    reason: Reason,
    actor: Actor = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Put a symbol on the restricted list: openings in it are rejected, reductions pass."""
    said = said_by(actor, reason)
    asyncio.run(refer(lambda reference: _restriction(reference, symbol, account, said), yes=yes, json=json))


def _restriction(reference: "Reference", symbol: str, account: str | None, said: dict[str, object]) -> Plan:
    from models.messages import EVERY, Restricted
    from streams.records import Topic

    record = compose(Topic.REFERENCE, kind="restricted", symbol=symbol, account=account, active=True, **said)
    lines = []
    if symbol == EVERY:
        records = reference.of_kind(Restricted)
        exempt = [
            each.symbol for each in records if each.account == account and each.symbol != EVERY and not each.active
        ]
        if exempt:
            lines.append(f"it does not reach {several(exempt)}: a record of their own hides it")
    return Plan([record], lines, asks=False, after=lambda _: ["openings in it stop, reductions pass"])


def allow(
    symbol: Annotated[str, typer.Argument(help="The symbol.")],
    *,
    account: OfAccount = None,
    reason: Reason,
    actor: Actor = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Take a symbol off the restricted list. Asks first."""
    said = said_by(actor, reason)
    asyncio.run(refer(lambda reference: _allowance(reference, symbol, account, said), yes=yes, json=json))


def _allowance(reference: "Reference", symbol: str, account: str | None, said: dict[str, object]) -> Plan:
    from models.folds.reference import natural_key
    from models.messages import EVERY, Restricted
    from streams.records import Topic

    record: Restricted = compose(
        Topic.REFERENCE, kind="restricted", symbol=symbol, account=account, active=False, **said
    )
    own = reference.record(natural_key(record))
    every = reference.record(natural_key(record.model_copy(update={"symbol": EVERY})))
    held = own if own is not None else every
    whose = account or "every account"
    if not isinstance(held, Restricted) or not held.active:
        others = _still(reference, symbol, account)
        bad(f"{symbol} is not on the restricted list of {whose}", *others)
    lines = [f"{held.symbol} is restricted for {whose} by {held.actor}: {held.reason}"]
    if own is None:
        lines.append(f"allowing {symbol} exempts it from the restriction of every symbol")
    return Plan([record], lines, asks=True, after=lambda after: _still(after, symbol, account))


def _still(reference: "Reference", symbol: str, account: str | None) -> list[str]:
    """Return what still restricts a symbol: the list of every account, or those of single ones."""
    from models.messages import EVERY, Restricted

    return [
        f"still restricted: {each.symbol} for {each.account or 'every account'}, by {each.actor}: {each.reason}"
        for each in reference.of_kind(Restricted)
        if each.active
        and each.symbol in {symbol, EVERY}
        and (account is None or each.account in {None, account})
        and not (
            each.symbol == EVERY
            and any(own.symbol == symbol and own.account == each.account for own in reference.of_kind(Restricted))
        )
    ]
