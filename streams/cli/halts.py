"""`seawall halt`, `resume` and `session-open`: commands to one account, in `equity-ticks`."""

import asyncio
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from streams.cli.acts import Actor, Json, Reason, Sent, Yes, ask, compose, finish, said_by, send, unseen
from streams.cli.status import APPROVED, SILENT, complain

if TYPE_CHECKING:
    from models.messages import Resume, SessionOpen
    from streams.desk import Desk
    from streams.report import AccountReport

Account = Annotated[str, typer.Argument(help="The account.")]
Wait = Annotated[
    float, typer.Option("--wait", min=0, max=600, help="Seconds to wait for a worker to publish the new status.")
]
WAIT_SECONDS = 5.0


def halt(
    account: Account,
    *,
    reason: Reason,
    actor: Actor = None,
    wait: Wait = WAIT_SECONDS,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Halt an account: openings are rejected until somebody resumes it. Never asks.

    The command is sent before anything is read: a halt must not wait.
    """
    del yes  # for scripts that say it everywhere
    from streams import desk as desks
    from streams.config import load
    from streams.records import Topic

    message = compose(Topic.EQUITY_TICKS, kind="halt", account=account, **said_by(actor, reason))
    settings = load()

    async def run() -> None:
        [place] = await desks.send(settings, [message])
        with unseen([place]):
            async with desks.open_desk(settings, account) as desk:
                sent = Sent(message, place, await desk.fate(place))
                notes = [] if desk.known else [f"nothing else is known of account {account}: is that its name?"]
                await _tell(desk, account, sent, notes=notes, wait=wait, json=json)

    asyncio.run(run())


def resume(
    account: Account,
    *,
    reason: Reason,
    actor: Actor = None,
    wait: Wait = WAIT_SECONDS,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Resume an account: ends every halt of it and restarts its peaks at the present equity. Asks first."""
    from streams.records import Topic

    message = compose(Topic.EQUITY_TICKS, kind="resume", account=account, **said_by(actor, reason))
    asyncio.run(_carry_out(_Resuming(message), yes=yes, wait=wait, json=json))


def session_open(
    account: Account,
    *,
    equity: Annotated[str, typer.Option("--equity", help="The account's value at the opening, account currency.")],
    session: Annotated[
        str | None, typer.Option("--session", metavar="DATE", help="The session's date. Default: today, UTC.")
    ] = None,
    cash: Annotated[str | None, typer.Option("--cash", help="Cash at the opening, account currency.")] = None,
    net_deposits: Annotated[
        str | None,
        typer.Option("--net-deposits", help="Cumulative deposits less withdrawals, from the same snapshot."),
    ] = None,
    keep_halts: Annotated[
        bool, typer.Option("--keep-halts", help="Restart peak and open, but end no halt of the session before.")
    ] = False,
    reason: Reason,
    actor: Actor = None,
    wait: Wait = WAIT_SECONDS,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Open a trading session: drawdown and daily loss start again. Asks first where that ends a halt."""
    from streams.records import Topic

    message = compose(
        Topic.EQUITY_TICKS,
        kind="session_open",
        account=account,
        equity=equity,
        session=session or f"{datetime.fromtimestamp(time.time(), UTC):%Y-%m-%d}",
        cash=cash,
        net_deposits=net_deposits,
        clear_halts=not keep_halts,
        **said_by(actor, reason),
    )
    asyncio.run(_carry_out(_Opening(message), yes=yes, wait=wait, json=json))


class _Act(Protocol):
    """A command to an account, and what is said before and after it."""

    message: Any

    def preview(self, desk: "Desk", report: "AccountReport | None") -> list[str]:
        """Return what will change; without a report nothing is known of the account."""
        ...

    def asks(self, report: "AccountReport | None") -> bool:
        """Tell whether it is dangerous."""
        ...

    def wrong(self, desk: "Desk", sent: Sent) -> list[str]:
        """Return what did not come about although the command was not refused."""
        ...


class _Resuming:
    def __init__(self, message: "Resume") -> None:
        self.message: Any = message

    def preview(self, desk: "Desk", report: "AccountReport | None") -> list[str]:
        from streams.report import UnknownAccountError
        from streams.text import amount

        del desk
        account = self.message.account
        if report is None:
            raise UnknownAccountError(f"nothing is known of account {account}: there is nothing to resume")
        ends = (
            f"ends {', '.join(report.causes)}"
            if report.status == "HALT"
            else f"it is {report.status}, there is no halt to end"
        )
        equity = (
            "no equity is known yet" if report.equity is None else f"all peaks restart at {amount(report.equity)}"
        )
        return [f"resuming {account}: {ends}; {equity}"]

    def asks(self, report: "AccountReport | None") -> bool:
        del report
        return True

    def wrong(self, desk: "Desk", sent: Sent) -> list[str]:
        account = self.message.account
        resumed = desk.state.accounts[account].drawdown.last_resume
        if resumed is not None and resumed.offset == sent.place.offset:
            return []
        return [f"{sent.place} changed nothing: what halted {account} is later than this command; say it again"]


class _Opening:
    def __init__(self, message: "SessionOpen") -> None:
        self.message: Any = message
        self._before = ""
        """The latest session before."""

    def preview(self, desk: "Desk", report: "AccountReport | None") -> list[str]:
        from streams.text import amount

        account, session = self.message.account, self.message.session
        if report is None:
            return [f"nothing is known of account {account} yet: this is its first record"]
        self._before = desk.state.accounts[account].drawdown.last_session
        ends = self._ends(report)
        ended = f"ends {', '.join(ends)}; " if ends else ""
        return [f"opening session {session} of {account}: {ended}peak and open at {amount(self.message.equity)}"]

    def asks(self, report: "AccountReport | None") -> bool:
        return report is None or bool(self._ends(report))

    def _ends(self, report: "AccountReport") -> list[str]:
        if not self.message.clear_halts or report.status != "HALT":
            return []
        return [cause for cause in report.causes if cause in {"DRAWDOWN_SESSION", "DAILY_LOSS"}]

    def wrong(self, desk: "Desk", sent: Sent) -> list[str]:
        drawdown = desk.state.accounts[self.message.account].drawdown
        if drawdown.last_session != self.message.session or self._before >= self.message.session:
            latest = self._before or "none"
            return [f"{sent.place} opened nothing, it counts as a mark: the latest session before it is {latest}"]
        if drawdown.unconfirmed:
            return [f"{sent.place} waits: {self.message.equity} is far from the last equity; the next mark decides"]
        return []


async def _carry_out(act: _Act, *, yes: bool, wait: float, json: bool) -> None:
    """Show the account and what will change, ask, send, and tell what came of it."""
    from streams.config import load
    from streams.desk import open_desk
    from streams.report import UnknownAccountError, describe

    settings, account = load(), act.message.account
    async with open_desk(settings, account) as desk:
        try:
            report = describe(desk.state, account)
        except UnknownAccountError:
            report = None
        preview = act.preview(desk, report)
        if report is not None and not json:
            _show(report)
        ask(preview, asks=act.asks(report), yes=yes)
        [sent] = await send(settings, desk, [act.message])
        wrong = [] if sent.refused is not None else act.wrong(desk, sent)
        with unseen([sent.place]):
            await _tell(desk, account, sent, wrong, wait=wait, json=json)


def _show(report: "AccountReport") -> None:
    from rich.console import Console

    from streams.cli.report import drawdown_parts, head_parts, open_order_parts

    console = Console(highlight=False, stderr=True)
    for parts in (head_parts, drawdown_parts, open_order_parts):
        for part in parts(report):
            console.print(part)
    console.print()


async def _tell(
    desk: "Desk",
    account: str,
    sent: Sent,
    wrong: Iterable[str] = (),
    *,
    notes: Iterable[str] = (),
    wait: float,
    json: bool,
) -> None:
    """Wait for a worker's answer, and tell how the account stands."""
    from streams.report import describe

    answered = await desk.answered(wait)
    report = describe(desk.state, account)
    kind = getattr(sent.message, "kind", "")
    lines = [f"{sent.place}  {kind} {account}", *notes]
    status = APPROVED
    if report.limits_version is None:
        lines.append(f"no limit profile is bound to {account}: its status is not evaluated")
    else:
        published = f"published, seq {report.halts}" if answered else "not published yet"
        because = f"  {', '.join(report.causes)}" if report.causes else ""
        lines.append(f"{account}  {report.status}{because}  ({published})")
    if not answered:
        status = complain(
            f"no worker has published it within {wait:g} s: it stands in the topic, and holds once a worker runs",
            status=SILENT,
        )
    found = {"account": account, "status": report.status, "causes": report.causes, "answered": answered}
    finish([sent], lines, json=json, wrong=wrong, exit_status=status, **found)
