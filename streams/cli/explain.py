"""`seawall explain`."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from models.decisions import CheckResult, RiskDecision
    from models.messages import OrderIntent
    from streams.hindsight.explain import Explanation, Link
    from streams.report import AccountReport

OUTCOME_STYLE: Final = {"PASS": "green", "WARN": "yellow", "FAIL": "bold red", "EXEMPT": "cyan", "SKIPPED": "dim"}
NO_HEADROOM: Final = frozenset({"EQUITY_NOT_POSITIVE", "INVALID_LOT", "PRICE_COLLAR"})
"""Checks whose limit is not, or not always, the largest allowed value: limit less value would mislead."""
DETAIL_MAX: Final = 300
"""Characters of a check's detail that are printed; --json has all."""


def explain(
    intent_id: Annotated[str, typer.Argument(help="The intent's id, or its record, such as order-intents/0@17.")],
    *,
    account: Annotated[str | None, typer.Option("--account", help="Only the intent of this account.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print each explanation as one line of JSON.")] = False,
) -> None:
    """Explain a decision: what was known and how old it was, every check with value, limit and headroom.

    Folds the topics to the offsets the decision was taken at and runs the same checks again. Every decision on the id
    is explained, in each account that used it; a record that is no intent by its place.
    """
    from rich.console import Console

    from models.canonical import canonical_bytes
    from streams.config import load
    from streams.hindsight.explain import explain as make_explanations

    made = asyncio.run(make_explanations(load(), intent_id, account))
    if json:
        for each in made:
            typer.echo(canonical_bytes(each).decode())
        return
    console = Console(highlight=False, markup=False)  # an id may look like markup
    for number, each in enumerate(made):
        if number:
            console.rule()
        for part in parts(each):
            console.print(part)


def parts(explanation: "Explanation") -> "Iterator[RenderableType]":
    """Yield an explanation as a page for a person."""
    decision = explanation.decision
    if decision is None:
        yield f"{explanation.intent_place} is not decided yet: is a worker running? (`seawall worker`)"
    else:
        yield from _answer(explanation, decision)
    yield from _request(explanation)
    yield from _known(explanation)
    yield from _checks(explanation)
    yield from _cluster(explanation.links)
    if explanation.before is not None:
        yield from _before(explanation.before)


def _answer(explanation: "Explanation", decision: "RiskDecision") -> "Iterator[RenderableType]":
    from rich.text import Text

    from models.decisions import DecisionStatus
    from streams.text import DECISION_STYLE, amount, because, order

    line = Text.assemble(
        (decision.status, DECISION_STYLE[decision.status]), f"  {order(decision)}", f"  {because(decision)}"
    )
    yield line
    same = "comes out the same, byte for byte" if explanation.reproduced else "COMES OUT DIFFERENTLY: `seawall audit`"
    yield f"{explanation.decision_place}, seq {decision.seq}, rules {decision.rules}; taken again it {same}"
    if decision.original_seq is not None:
        yield (
            f"the id was decided before: {decision.original_status} {amount(decision.original_quantity, 12)}"
            f" (seq {decision.original_seq})"
        )
    bound = f", bound by {decision.binding_constraint}" if decision.binding_constraint else ", nothing bound it"
    if decision.account is not None:
        yield f"the largest quantity that would have passed: {amount(decision.max_quantity, 12)}{bound}"
    if decision.reservation is not None:
        kept = decision.reservation
        price = "" if kept.price is None else f" at {amount(kept.price, 12)}"
        yield f"reserved: {amount(kept.quantity, 12)}{price} until filled, ended or {_when(kept.expires_at)}"
    elif decision.status is DecisionStatus.APPROVED:
        yield "reserved: nothing"


def _when(time: int) -> str:
    from streams.text import when

    return when(time)


def _request(explanation: "Explanation") -> "Iterator[RenderableType]":
    from models.canonical import plain

    intent = explanation.intent
    yield f"\nRequest  {explanation.intent_place}, taken {_when(explanation.record_time)}"
    if intent is None:
        yield f"  is no intent: {explanation.malformed}"
        return
    yield f"  {intent.intent_id}  {intent.account}/{intent.strategy}, sent {_when(intent.event_time)}"
    asked = [intent.side.lower(), _quantity(intent), intent.symbol, intent.order_type]
    if intent.limit_price is not None:
        asked.append(f"at {plain(intent.limit_price)}")
    yield f"  {' '.join(asked)}, good until {_when(intent.expires_at)}"
    said = {
        name: value
        for name in ("reference_price", "atr", "stop_distance", "win_rate", "payoff", "trades", "replaces")
        if (value := getattr(intent, name)) is not None
    }
    flags = [name for name in ("allow_resize", "reduce_only") if getattr(intent, name)]
    if said or flags:
        yield "  " + ", ".join([f"{name} {value}" for name, value in said.items()] + flags)


def _quantity(intent: "OrderIntent") -> str:
    from models.canonical import plain

    return "as the gate sizes it" if intent.quantity is None else plain(intent.quantity)


def _known(explanation: "Explanation") -> "Iterator[RenderableType]":
    from streams.cli.tables import table
    from streams.text import amount, duration

    decision = explanation.decision
    if decision is None:
        return
    offsets = ", ".join(f"{name.replace('_', '-')} {offset}" for name, offset in decision.as_of)
    clock = "" if decision.account is None else f", at {_when(decision.clock)} of the account's clock"
    yield f"\nKnown  {offsets}{clock}"
    if decision.limits_version is not None:
        yield f"  limits {decision.limits_version}"
    if explanation.known:
        shown = table("what", "value", "source", "age", words=(2,))
        for each in explanation.known:
            shown.add_row(each.what, amount(each.value, 6), each.source or "-", duration(each.age))
        yield shown


def _checks(explanation: "Explanation") -> "Iterator[RenderableType]":
    from rich.text import Text

    from streams.cli.tables import table
    from streams.text import amount

    decision = explanation.decision
    if decision is None:
        return
    yield f"\nChecks  at {_size_of(decision)}"
    shown = table("check", "", "value", "limit", "headroom", "opens at most", words=(1,))
    silent: dict[str, list[str]] = {"PASS": [], "SKIPPED": []}
    for check in explanation.checks:
        binds = check.name is decision.binding_constraint
        if check.outcome in silent and check.value is None and check.max_quantity is None and not binds:
            silent[check.outcome].append(check.name)
            continue
        shown.add_row(
            Text(check.name, style="bold" if binds else ""),
            Text(check.outcome, style=OUTCOME_STYLE[check.outcome]),
            *_figures(check),
            f"{amount(check.max_quantity, 12)}{' <' if binds else '  '}",
        )
    yield shown
    for what, outcome in (("passed without a figure", "PASS"), ("skipped, lacking an input or a limit", "SKIPPED")):
        if silent[outcome]:
            yield Text(f"{what}: {', '.join(silent[outcome])}", style="dim")
    if len(explanation.checks) <= 5 and decision.reasons:  # noqa: PLR2004  # the five of integrity
        yield "what fails one of these is looked at no further"
    for check in explanation.checks:
        if check.detail is not None and check.name != "CORRELATED_EXPOSURE":
            yield Text(f"  {check.name}: {_detail(check)}", style="dim")


def _size_of(decision: "RiskDecision") -> str:
    from streams.text import amount

    if decision.reducing_quantity is None or decision.opening_quantity is None:
        return "no size"
    return (
        f"{amount(decision.reducing_quantity + decision.opening_quantity, 12)}:"
        f" {amount(decision.reducing_quantity, 12)} closing, {amount(decision.opening_quantity, 12)} opening"
    )


def _figures(check: "CheckResult") -> tuple[str, str, str]:
    from streams.text import DURATIONS, amount, duration

    show = duration if check.name in DURATIONS else amount
    value, limit, headroom = (
        "-" if each is None else show(each) for each in (check.value, check.limit, check.headroom)
    )
    return value, limit, "-" if check.name in NO_HEADROOM else headroom


def _detail(check: "CheckResult") -> str:
    from models.canonical import canonical_bytes

    text = canonical_bytes(check.detail).decode()
    return text if len(text) <= DETAIL_MAX else f"{text[: DETAIL_MAX - 3]}..."


def _cluster(links: "tuple[Link, ...]") -> "Iterator[RenderableType]":
    from streams.cli.tables import table
    from streams.text import amount

    if not links:
        return
    yield f"\nCluster  {min(link.symbol for link in links)}: how each symbol is linked to {links[0].symbol}"
    shown = table("symbol", "linked through", "correlation", "exposure", words=(1,))
    parents = {link.symbol: link.parent for link in links}
    for link in links:
        path, step = [], link.parent
        while step is not None:
            path.append(step)
            step = parents[step]
        rho = (link.rho or "-") if link.known else "unknown: assumed"
        shown.add_row(link.symbol, " - ".join(path), "" if link.parent is None else rho, amount(link.exposure))
    yield shown


def _before(report: "AccountReport") -> "Iterator[RenderableType]":
    from rich.text import Text

    from streams.cli.tables import table
    from streams.text import STATUS_STYLE, amount

    causes = f"  {', '.join(report.causes)}" if report.causes else ""
    yield Text.assemble(
        f"\nBefore  {report.account}  ",
        (report.status, STATUS_STYLE[report.status]),
        causes,
        f"  equity {amount(report.equity)}, cash {amount(report.cash)}",
        f", {report.decisions} decisions, {report.halts} changes of status",
    )
    losses = table("drawdown", "loss", "share", "worst", "halt at", "headroom")
    for loss in report.losses:
        shares = map(_percent, (loss.share, loss.worst, loss.halt))
        losses.add_row(loss.measure, amount(loss.loss), *shares, amount(loss.headroom))
    if report.losses:
        yield losses
    if report.heat_map is not None and report.heat_map.positions:
        held = table("holds", "units", "worst side", "exposure", "share", "sector", words=(5,))
        for cell in report.heat_map.positions:
            held.add_row(
                cell.symbol,
                amount(cell.position, 12),
                amount(cell.worst, 12),
                amount(cell.exposure.amount),
                _percent(cell.exposure.share),
                cell.sector,
            )
        yield ""
        yield held
    if report.open_orders:
        orders = ", ".join(
            f"{one.side.lower()} {amount(one.remaining, 12)} {one.symbol} ({one.intent_id})"
            for one in report.open_orders
        )
        yield f"open orders: {orders}"


def _percent(share: object) -> str:
    from decimal import Decimal

    return f"{share * 100:.2f} %" if isinstance(share, Decimal) else "-"
