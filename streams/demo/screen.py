"""The demo's screen: drawdowns and heat by account, halts and commands, decisions as they come; or plain lines."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.text import Text

from models.decisions import AccountStatus, CheckResult, DecisionStatus, HaltCause, Outcome, RiskDecision, TradingHalt
from models.messages import KillMode
from models.reasons import Flag, RejectReason
from streams.demo.board import AccountView, Board
from streams.demo.cast import CAST
from streams.demo.market import Market
from streams.text import DECISION_STYLE, DURATIONS, STATUS_STYLE, about, amount, measured, order

SECTORS: Final = {
    "Information Technology": "Tec",
    "Communication Services": "Com",
    "Financials": "Fin",
    "Industrials": "Ind",
    "Consumer Discretionary": "Dis",
    "Consumer Staples": "Sta",
    "Health Care": "Hea",
    "Energy": "Ene",
    "Other": "Etf",
}
"""Columns of the heat map; what has no column of its own is a fund."""
WIDE: Final = 110
"""From so many columns on, every reason has room."""
CELL: Final = 4
BEFORE_BARS: Final = 25
AFTER_BARS: Final = 11

CAUSES: Final = {
    HaltCause.DAILY_LOSS: "daily loss",
    HaltCause.DRAWDOWN_HIGH_WATER: "high water",
    HaltCause.DRAWDOWN_SESSION: "session",
    HaltCause.OPERATOR: "by hand",
}

SIZES: Final = {Flag.RESIZED: "resized", Flag.STRATEGY_PROBATION: "half size on probation"}
"""Why an approved opening is smaller than it might be."""
MONEY: Final = dict.fromkeys(
    (
        RejectReason.CORRELATED_EXPOSURE,
        RejectReason.POSITION_CONCENTRATION,
        RejectReason.SECTOR_CONCENTRATION,
        RejectReason.STRATEGY_BUDGET,
        RejectReason.GROSS_LEVERAGE,
        RejectReason.NET_LEVERAGE,
    ),
    ".0%",
) | dict.fromkeys((RejectReason.VAR_LIMIT, RejectReason.CVAR_LIMIT, RejectReason.FACTOR_LIMIT), ".1%")
"""Checks in money, and how they are shown as a part of equity."""

ADMITTED: Final = {KillMode.ALL: "no order at all", KillMode.REDUCE_ONLY: "reductions only"}

EVENTS_TITLE: Final = "halts, commands, decisions of a new kind"
EVENTS_KEPT: Final = 60
SHOWN_SHARE: Final = 0.005
"""What rounds to 1 %."""
BAD_DAY: Final = -0.03
"""The index's return from which on it is set in bold."""
BLOCKS: Final = " ▏▎▍▌▋▊▉█"
HEAT: Final = ((0.60, "on red3"), (0.40, "on dark_orange3"), (0.20, "on gold3"), (0.0, "on dark_green"))
"""Background by share of equity: the default limits of a sector are 40 % for a warning and 60 %."""


def bar(part: float, width: int) -> str:
    """Return a bar that fills `width` cells at 1."""
    eighths = round(min(1.0, max(0.0, part)) * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (BLOCKS[rest] if rest else "")).ljust(width)


def evidence(decision: RiskDecision, *, every: bool = True) -> str:
    """Return the reasons of a rejection, the first with its numbers; or how large an approved opening is, and why.

    Args:
        decision: The decision.
        every: Whether to name all of them, or the first and how many more there are.
    """
    if decision.status is DecisionStatus.APPROVED:
        return ", ".join(_size(decision))
    failed = {check.name: check for check in decision.checks if check.outcome is Outcome.FAIL}
    equity = decision.inputs.equity.value if decision.inputs.equity is not None else None
    first = decision.reasons[0]
    words = f"{first} {_told(failed[first], equity) if first in failed else ''}".rstrip()
    rest = decision.reasons[1:]
    if not rest:
        return words
    return f"{words}, {', '.join(rest)}" if every else f"{words}, {len(rest)} more"


def _size(decision: RiskDecision) -> Iterator[str]:
    equity, reservation = decision.inputs.equity, decision.reservation
    if decision.opening_quantity and reservation and reservation.price and equity:
        value = float(decision.opening_quantity) * float(reservation.price)
        yield f"{value / float(equity.value):.1%} of equity"
    yield from (SIZES[flag] for flag in _made_small(decision))


def _made_small(decision: RiskDecision) -> list[Flag]:
    return [flag for flag in SIZES if decision.opening_quantity and flag in decision.warnings]


def _told(check: CheckResult, equity: Decimal | None) -> str:
    """Return a check in a few words: money as percent of equity, or else what it is about."""
    value, limit = check.value, check.limit
    if value is None or limit is None:
        return about(check)
    if check.name not in MONEY or equity is None or equity <= 0:
        return measured(check) if check.name in DURATIONS else ""
    shares = (float(money) / float(equity) for money in (value, limit))
    return " > ".join(f"{share:{MONEY[check.name]}}" for share in shares)


class Firsts:
    """Tells what a decision is the first to show: a reason, or why an opening is small."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def line(self, decision: RiskDecision) -> str | None:
        """Return a decision that is the first of its kind in words, and None for another."""
        kinds: Sequence[str] = decision.reasons[:1] or _made_small(decision)
        if self._seen.issuperset(kinds):
            return None
        self._seen.update(kinds)
        who = "somebody" if decision.account is None else decision.account
        return f"{who} {decision.status} {order(decision)}: {evidence(decision, every=False)}"


def halt_words(halt: TradingHalt) -> str:
    """Return why an account has its status, and what it had before."""
    words = " still" if halt.status is halt.previous_status else f" after {halt.previous_status}"
    if halt.causes:
        words += ": " + ", ".join(CAUSES[cause] for cause in halt.causes)
    if halt.drawdown:
        words += f"; {amount(halt.drawdown * 100, 1)} % below its session's peak"
    return words


class LiveScreen:
    """A full screen, drawn from the board whenever it is asked to.

    Args:
        board: What was read from the topics.
        view: Returns one account as the replica has it.
        latency: Returns p50 and p99 so far, milliseconds.
    """

    def __init__(
        self, board: Board, view: Callable[[str], AccountView], latency: Callable[[], tuple[float, float]]
    ) -> None:
        self._board = board
        self._view = view
        self._latency = latency
        self._market: Market | None = None
        self._session = 0
        self._events: deque[Text] = deque(maxlen=EVENTS_KEPT)
        self._firsts = Firsts()
        self._status = "starting"

    def say(self, status: str) -> None:
        """Show what is going on before and after the play."""
        self._status = status

    def raise_curtain(self, market: Market) -> None:
        """Announce an act."""
        self._market, self._session = market, market.tape.first

    def turn_to(self, session: int) -> None:
        """Announce a session."""
        self._session = session

    def announce(self, text: str) -> None:
        """Announce a cue."""
        self._events.append(Text(f"{self._day():%d %b}  {text}", style="cyan"))

    def show(self, message: RiskDecision | TradingHalt) -> None:
        """Take in a decision or a halt."""
        if isinstance(message, TradingHalt):
            line = Text(f"{self._day():%d %b}  {message.account} ")
            line.append(message.status, style=STATUS_STYLE[message.status])
            line.append(halt_words(message), style="red" if message.status is AccountStatus.HALT else "")
            self._events.append(line)
        elif (first := self._firsts.line(message)) is not None:
            self._events.append(Text(f"{self._day():%d %b}  {first}"))

    def _day(self) -> date:
        if self._market is None:
            return date(2008, 1, 1)
        return date.fromisoformat(self._market.tape.sessions[self._session])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or console.height
        views = [self._view(trader.account) for trader in CAST]
        lines = [self._header(width), *self._table(views, width)]
        left = max(0, height - len(lines) - 3)  # two rules and the footer
        events = min(left, max(3, left * 2 // 5))
        lines.append(_events_rule(views, width))
        lines += _last(self._events, events)
        lines.append(_rule("decisions", width))
        newest = islice(reversed(self._board.decisions), left - events)
        wide = width >= WIDE
        lines += _last([_decision_line(decision, wide=wide) for decision in newest][::-1], left - events)
        lines.append(self._footer(width))
        for number, line in enumerate(lines[:height]):
            line.truncate(width, overflow="ellipsis", pad=True)
            yield from line.render(console)
            if number < height - 1:
                yield Segment.line()

    def _header(self, width: int) -> Text:
        line = Text(" seawall ", style="bold white on blue")
        if self._market is None:
            line.append(f"  {self._status}")
            return line
        tape = self._market.tape
        line.append(f"  {tape.act.title}  ", style="italic")
        line.append(f"{self._day():%a %d %b %Y}", style="bold")
        level, before = tape.index[self._session], tape.index[self._session - 1]
        change = float(level / before) - 1
        line.append(f"  S&P 500 {amount(level)} ")
        line.append(f"{change:+.2%}", style="green" if change >= 0 else "red" if change > BAD_DAY else "bold red")
        played = f"{self._session - tape.first + 1}/{len(tape.sessions) - tape.first} "
        line.append(" " * max(1, width - line.cell_len - len(played)))
        line.append(played, style="dim")
        return line

    def _table(self, views: list[AccountView], width: int) -> Iterator[Text]:
        bars = max(8, min(30, width - BEFORE_BARS - AFTER_BARS - CELL * len(SECTORS)))
        head = Text(f" {'account':10}{'status':8}{'equity':>6}", style="dim")
        head.append(f" {'loss of limit':{bars + AFTER_BARS - 1}}")
        for name in SECTORS.values():
            head.append(f"{name:>{CELL}}")
        yield head
        for view in views:
            yield self._row(view, bars)

    def _row(self, view: AccountView, bars: int) -> Text:
        style = STATUS_STYLE[view.status]
        line = Text(" ")
        line.append(f"{view.name:10}", style="bold" if view.status is AccountStatus.HALT else "")
        line.append(f"{view.status:8}", style=style)
        line.append(f"{'-' if view.equity is None else f'{float(view.equity) / 1000:.0f}k':>6} ")
        loss = view.worst
        if loss is None:
            line.append(" " * (bars + AFTER_BARS - 1))
        else:
            line.append(bar(loss.used, bars), style=f"{style.removeprefix('bold ')} on grey19")
            line.append(f"{loss.share * 100:5.1f} /{loss.limit * 100:2.0f}%".ljust(AFTER_BARS - 1))
        shares = dict.fromkeys(SECTORS, 0.0)
        for sector, share in view.sectors.items():
            shares[sector if sector in SECTORS else "Other"] += share
        for share in shares.values():
            line.append(" ")
            line.append(f"{share * 100:.0f}".rjust(CELL - 1) if share >= SHOWN_SHARE else "  ·", style=_heat(share))
        return line

    def _footer(self, width: int) -> Text:
        board = self._board
        p50, p99 = self._latency()
        line = Text(" ", style="on grey15")
        line.append(f"{board.total} decisions  ")
        line.append(f"{board.counts[DecisionStatus.APPROVED]} approved  ", style="green")
        line.append(f"{board.counts[DecisionStatus.REJECTED]} rejected  ", style="red")
        line.append(f"{board.halted.total()} halts  ", style="bold red")
        line.append(f"p50 {p50:.1f} ms  p99 {p99:.1f} ms")
        line.append(" " * max(0, width - line.cell_len))
        return line


def _heat(share: float) -> str:
    if share < SHOWN_SHARE:
        return "dim"
    return "white " + next(style for least, style in HEAT if share >= least)


def _rule(title: str, width: int) -> Text:
    return Text(f"── {title} ".ljust(width, "─"), style="dim")


def _events_rule(views: list[AccountView], width: int) -> Text:
    """Return the title of the events, with the kill switch that stops the first account that one stops."""
    stopped = [view.stopped for view in views if view.stopped is not None]
    if not stopped:
        return _rule(EVENTS_TITLE, width)
    sign = Text(f" KILL SWITCH: {ADMITTED[stopped[0]]} ", style="bold white on red")
    return _rule(EVENTS_TITLE, width - sign.cell_len).append_text(sign)


def _last(lines: Iterable[Text], count: int) -> list[Text]:
    kept = list(lines)[-count:] if count > 0 else []
    return [line.copy() for line in kept] + [Text("")] * (count - len(kept))


def _decision_line(decision: RiskDecision, *, wide: bool) -> Text:
    line = Text(" ")
    line.append(f"{decision.status:8} ", style=DECISION_STYLE[decision.status])
    line.append(f"{decision.account or '-':10}{order(decision):24} ")
    line.append(evidence(decision, every=wide), style="" if decision.reasons else "dim")
    return line


class PlainScreen:
    """One line for each session, halt, cue and decision of a new kind, for whatever is no terminal.

    Args:
        board: What was read from the topics.
        write: Takes each line.
    """

    def __init__(self, board: Board, write: Callable[[str], object]) -> None:
        self._board = board
        self._write = write
        self._market: Market | None = None
        self._session = 0
        self._counts: Counter[DecisionStatus] = Counter()
        self._reasons: Counter[str] = Counter()
        self._firsts = Firsts()

    def say(self, status: str) -> None:
        """Write what is going on before and after the play."""
        self._sum_up()
        self._market = None
        self._write(status)

    def raise_curtain(self, market: Market) -> None:
        """Announce an act."""
        self._sum_up()
        self._market = market
        self._write(f"{market.tape.act.name}: {market.tape.act.title}")

    def turn_to(self, session: int) -> None:
        """Announce a session, after summing the one before up."""
        if session != self._session:
            self._sum_up()
        self._session = session

    def announce(self, text: str) -> None:
        """Announce a cue."""
        self._write(f"{self._day()} {text}")

    def show(self, message: RiskDecision | TradingHalt) -> None:
        """Take in a decision or a halt."""
        if isinstance(message, RiskDecision):
            self._counts[message.status] += 1
            self._reasons.update(str(reason) for reason in message.reasons[:1])
            first = self._firsts.line(message)
            if first is not None:
                self._write(f"{self._day()} {first}")
            return
        self._write(f"{self._day()} {message.account} {message.status}{halt_words(message)}")

    def _day(self) -> str:
        return "" if self._market is None else self._market.tape.sessions[self._session]

    def _sum_up(self) -> None:
        counts, reasons = self._counts, self._reasons
        self._counts, self._reasons = Counter(), Counter()
        if self._market is None or not counts:
            return
        index = self._market.tape.index
        change = float(index[self._session] / index[self._session - 1]) - 1
        named = ", ".join(f"{name} {number}" for name, number in reasons.most_common(3))
        self._write(
            f"{self._day()} S&P 500 {amount(index[self._session])} {change:+.2%}:"
            f" {counts[DecisionStatus.APPROVED]} approved, {counts[DecisionStatus.REJECTED]} rejected"
            + (f" ({named})" if named else "")
        )
