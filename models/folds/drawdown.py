"""Drawdown: what an account has lost since its peak, and the halt that follows (docs/risk.md section 8).

The table is a fold of equity-ticks and knows no thresholds: it keeps the worst loss since the last reset.
Whether that is a halt is asked of the profile at the moment of decision (`assess`). So it cannot matter which
of a tick and a new threshold arrived first, and a halt ends by a recorded act, never by a recovery.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from enum import IntEnum
from typing import Any, NamedTuple, Self, cast

from pydantic import JsonValue, TypeAdapter

from models.canonical import DAY_NS, ceil_ratio, day_of, plain
from models.decisions import AccountStatus, HaltCause
from models.folds.rows import Rows
from models.folds.touched import Touched
from models.limits import Limits
from models.messages import AccountTick, EquityMark, Resume, SessionOpen, Statement
from models.wire import Exact, session_day

ZERO = Decimal(0)

JUMP_MAX = Decimal("0.2")
"""A tick farther than this fraction from what was expected is not believed until a second one confirms it."""

MARK_KEPT = 7 * DAY_NS
"""A symbol's mark farther than this behind the account's clock is forgotten."""

SESSION_SKEW_MAX = 2
"""How many days a session may lie from the UTC date of the record that opens it."""

PEAK_MAX = Decimal(10**24)
"""Absurd flows may multiply a peak again and again. Beyond this it stays: next to nothing of it is left then,
and the arithmetic never runs out of digits."""

_NEVER = 2**63

HEAD = ""
"""Key of the row that holds everything but the marks."""

MARK = "m"
"""What the key of a mark's row begins with; its symbol follows."""

ADJUSTMENT = "a"
"""The same of an adjustment."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A loss and what it is measured against; their quotient is never taken."""

    loss: Exact
    """Account currency; negative for a gain."""
    base: Exact
    """Account currency, positive."""
    offset: int
    """Of the equity tick that made the pair."""
    event_time: int


class Mark(NamedTuple):
    """The last known price of a symbol, account currency per unit, and its average true range."""

    price: Exact
    price_time: int
    atr: Exact | None
    atr_time: int
    """0 where there is no atr."""


@dataclass(frozen=True, slots=True)
class Commanded:
    """An operator's command that was applied."""

    offset: int
    actor: str
    reason: str
    event_time: int


class Reset(IntEnum):
    """What a session does to the measures it resets. Of two that wait together the greater one happens."""

    NONE = 0
    REBASE = 1
    """Start from the present equity, but keep the worst pairs: halts stay."""
    CLEAR = 2


@dataclass(frozen=True, slots=True)
class Suspect:
    """A tick too far from the last one to be believed, until the next one confirms or discards it."""

    equity: Exact
    event_time: int
    net_deposits: Exact | None
    reset: Reset
    """A session was opened meanwhile; its reset waits for an equity that can be believed."""


@dataclass(slots=True)
class Measure:
    """The current pair and the worst since the last reset; on a tie the earlier one stays."""

    current: Pair | None = None
    worst: Pair | None = None

    def record(self, loss: Decimal, base: Decimal, offset: int, event_time: int) -> None:
        """Make (loss, base) the current pair; a base that is not positive makes none."""
        if base <= 0:
            self.current = None
            return
        pair = self.current = Pair(loss, base, offset, event_time)
        if self.worst is None or loss * self.worst.base > self.worst.loss * base:
            self.worst = pair

    def clear(self, kind: Reset) -> None:
        """Drop the current pair and, unless the reset only rebases, the worst one."""
        self.current = None
        if kind is Reset.CLEAR:
            self.worst = None


@dataclass(slots=True)
class PeakLoss(Measure):
    """The loss from the highest equity since the last reset, adjusted for deposits and withdrawals."""

    peak: Exact = ZERO

    def reset(self, equity: Decimal, kind: Reset) -> None:
        """Start again from `equity`."""
        self.peak = equity
        self.clear(kind)

    def observe(self, equity: Decimal, before: Decimal, flow: Decimal, offset: int, event_time: int) -> None:
        """Advance by one tick.

        A flow scales the peak as it scales the account: no deposit hides a loss, no withdrawal fakes one.

        Args:
            equity: Of this tick.
            before: Equity of the tick before it.
            flow: External money that came in between the two; negative for a withdrawal.
            offset: Of this tick.
            event_time: Of this tick.
        """
        if flow:
            after = before + flow
            scalable = before > 0 and after > 0
            self.peak = min(ceil_ratio(self.peak * after, before, 8), PEAK_MAX) if scalable else equity
        self.peak = max(self.peak, equity)
        self.record(self.peak - equity, self.peak, offset, event_time)


@dataclass(slots=True)
class DailyLoss(Measure):
    """The loss since the session opened, deposits and withdrawals apart."""

    open: Exact | None = None
    """The first positive equity since the last reset."""
    flow: Exact = ZERO
    """External money that came in since then."""

    def reset(self, equity: Decimal, kind: Reset) -> None:
        """Start again from `equity`; one that is not positive leaves `open` to a later tick."""
        self.open = equity if equity > 0 else None
        self.flow = ZERO
        self.clear(kind)

    def observe(self, equity: Decimal, flow: Decimal, offset: int, event_time: int) -> None:
        """Advance by one tick, after `flow` of external money."""
        if self.open is not None:
            self.flow += flow
        elif equity > 0:
            self.open = equity
        else:
            return
        self.record(self.open + self.flow - equity, self.open, offset, event_time)


def _flow(before: Decimal | None, after: Decimal | None) -> Decimal:
    """Return the change in cumulative deposits; the first value seen is a baseline."""
    return ZERO if before is None or after is None else after - before


def _near(equity: Decimal, expected: Decimal) -> bool:
    """Tell whether `equity` is within the believable jump of `expected`, or both are not positive."""
    if expected <= 0:
        return equity <= 0
    return abs(equity - expected) <= JUMP_MAX * expected


@dataclass
class Drawdown(Rows):
    """One account's fold of equity-ticks. Rows: the head, one per mark and one per adjustment.

    Money is account currency, times are ns UTC event time. Call under `canonical.CONTEXT`.
    """

    clock: int = 0
    """The greatest event_time of any record folded, even of one that changed nothing; 0 before the first."""
    equity: Exact | None = None
    """Of the last confirmed tick, like `equity_time` and `net_deposits`; None before the first."""
    equity_time: int = 0
    net_deposits: Exact | None = None
    suspect: Suspect | None = None
    cash: tuple[Exact, int] | None = None
    """The value and `fills_through` of the tick that carried it."""
    buying_power: tuple[Exact, int] | None = None
    marks: dict[str, Mark] = field(default_factory=dict)
    adjustments: dict[str, Exact] = field(default_factory=dict)
    """What operators have added to the folded positions, signed units by symbol; never zero."""
    last_adjustment: int = 0
    """Event time of the last adjustments applied."""
    operator_halt: Commanded | None = None
    """The halt in force, None once it is resumed."""
    last_resume: Commanded | None = None
    last_session: str = ""
    """The latest session opened, an ISO date; such dates compare like strings."""
    session: PeakLoss = field(default_factory=PeakLoss)
    high_water: PeakLoss = field(default_factory=PeakLoss)
    daily: DailyLoss = field(default_factory=DailyLoss)
    version: int = field(default=0, compare=False)
    """Raised whenever what `assess` reads may have changed. Not persisted: it only serves caches."""
    dirty: set[str] = field(default_factory=set, compare=False)
    _forget_after: int = field(init=False, compare=False, repr=False)
    """No mark is too old before the clock passes this."""

    def __post_init__(self) -> None:
        self._forget_after = self._oldest_mark()
        self.touched = Touched()

    @property
    def unconfirmed(self) -> bool:
        """Whether the last tick still awaits confirmation."""
        return self.suspect is not None

    def fold(self, tick: AccountTick, *, offset: int, event_time: int) -> None:
        """Advance by one record of equity-ticks. Total: no valid message can make it raise.

        Args:
            tick: The message.
            offset: Its offset in equity-ticks.
            event_time: Its own, except for a halt from the future, which applies at its record's time.
        """
        if event_time > self.clock:
            self.clock = event_time
            self.dirty.add(HEAD)
        if isinstance(tick, EquityMark):
            self._value(tick, Reset.NONE, offset, event_time)
        elif isinstance(tick, SessionOpen):
            self._value(tick, self._opening(tick, event_time), offset, event_time)
        elif isinstance(tick, Resume):
            self._resume(Commanded(offset, tick.actor, tick.reason, event_time))
        elif isinstance(tick, Statement):
            self._adjust(tick.adjustments, event_time)
        else:
            self._halt(Commanded(offset, tick.actor, tick.reason, event_time))
        if self.clock > self._forget_after:
            self._forget_marks()

    def _opening(self, tick: SessionOpen, event_time: int) -> Reset:
        """Return the reset that an opening asks for: none if it is a repeat, or far from its own date."""
        if tick.session <= self.last_session:
            return Reset.NONE
        if abs(session_day(tick.session) - day_of(event_time)) > SESSION_SKEW_MAX:
            return Reset.NONE
        self.last_session = tick.session
        return Reset.CLEAR if tick.clear_halts else Reset.REBASE

    def _value(self, tick: EquityMark | SessionOpen, reset: Reset, offset: int, event_time: int) -> None:
        """Believe the tick, or keep it as a suspect, or pass it over as old."""
        if self.equity is None:
            self._apply(tick, tick.net_deposits, Reset.CLEAR, offset, event_time)
            return
        suspect = self.suspect
        if event_time <= (self.equity_time if suspect is None else suspect.event_time):
            # What an old tick says of values is ignored, but the session it opens is open.
            self._reset_late(reset)
            return

        if suspect is not None:
            reset = max(reset, suspect.reset)
        deposits = self.net_deposits if tick.net_deposits is None else tick.net_deposits
        expected = self.equity + _flow(self.net_deposits, deposits)
        if expected > 0 and not _near(tick.equity, expected):
            # Deposits that this tick does not mention are as the suspect left them, and believed with it.
            if suspect is not None and tick.net_deposits is None:
                deposits = suspect.net_deposits
            if suspect is None or not _near(tick.equity, suspect.equity + _flow(suspect.net_deposits, deposits)):
                self.suspect = Suspect(tick.equity, event_time, deposits, reset)
                self._touch()
                return
        self._apply(tick, deposits, reset, offset, event_time)

    def _apply(
        self,
        tick: EquityMark | SessionOpen,
        deposits: Decimal | None,
        reset: Reset,
        offset: int,
        event_time: int,
    ) -> None:
        """Take over all that a believed tick says. The tick of a reset, like the first one, makes no pair."""
        before, equity = self.equity, tick.equity
        flow = _flow(self.net_deposits, deposits)
        if before is None:
            self.high_water.reset(equity, reset)
        else:
            self.high_water.observe(equity, before, flow, offset, event_time)
        if before is None or reset is not Reset.NONE:
            self.session.reset(equity, reset)
            self.daily.reset(equity, reset)
        else:
            self.session.observe(equity, before, flow, offset, event_time)
            self.daily.observe(equity, flow, offset, event_time)

        self.equity, self.equity_time, self.net_deposits = equity, event_time, deposits
        self.suspect = None
        if tick.cash is not None:
            self.cash = tick.cash, tick.fills_through
        if tick.buying_power is not None:
            self.buying_power = tick.buying_power, tick.fills_through
        self._apply_marks(tick, event_time)
        self._touch()

    def _apply_marks(self, tick: EquityMark | SessionOpen, event_time: int) -> None:
        """Take over each price, and each average true range, that is newer than the one known."""
        for symbol, said in tick.marks.items():
            price, price_time = said.price, event_time if said.price_time is None else said.price_time
            atr, atr_time = said.atr, event_time if said.atr_time is None else said.atr_time
            if atr is None:
                atr_time = 0
            known = self.marks.get(symbol)
            if known is not None:
                if price_time <= known.price_time:
                    price, price_time = known.price, known.price_time
                if atr_time <= known.atr_time:
                    atr, atr_time = known.atr, known.atr_time
            self.marks[symbol] = Mark(price, price_time, atr, atr_time)
            self._forget_after = min(self._forget_after, price_time + MARK_KEPT)
            self.dirty.add(MARK + symbol)
            self.touched.mark(symbol)

    def _forget_marks(self) -> None:
        """Drop every mark that is too old, and note when the next one can be."""
        forgotten = [symbol for symbol, mark in self.marks.items() if self.clock - mark.price_time > MARK_KEPT]
        for symbol in forgotten:
            del self.marks[symbol]
            self.dirty.add(MARK + symbol)
            self.touched.mark(symbol)
        self._forget_after = self._oldest_mark()

    def _oldest_mark(self) -> int:
        return min((mark.price_time + MARK_KEPT for mark in self.marks.values()), default=_NEVER)

    def _reset_late(self, reset: Reset) -> None:
        """Open a session by a record older than the last tick: at the known equity, once it is believed."""
        if reset is Reset.NONE or self.equity is None:
            return
        if self.suspect is not None:
            self.suspect = replace(self.suspect, reset=max(reset, self.suspect.reset))
        else:
            self.session.reset(self.equity, reset)
            self.daily.reset(self.equity, reset)
        self._touch()

    def _resume(self, command: Commanded) -> None:
        """End every halt, unless one began after the command was given: nobody has agreed to end that."""
        if self.last_resume is not None and command.event_time <= self.last_resume.event_time:
            return
        worst = (self.session.worst, self.high_water.worst, self.daily.worst)
        if any(cause is not None and command.event_time < cause.event_time for cause in (self.operator_halt, *worst)):
            return
        self.last_resume = command
        self.operator_halt = None
        if self.equity is not None:
            for measure in (self.session, self.high_water, self.daily):
                measure.reset(self.equity, Reset.CLEAR)
        self._touch()

    def _halt(self, command: Commanded) -> None:
        """Halt, always. Of several halts in force the newest is named, so a repeat changes nothing."""
        if self.operator_halt is None or command.event_time > self.operator_halt.event_time:
            self.operator_halt = command
            self._touch()

    def _adjust(self, adjustments: Mapping[str, Decimal] | None, event_time: int) -> None:
        """Add to the folded positions, unless this is no newer than the last adjustments: a repeat adds nothing."""
        if adjustments is None or event_time <= self.last_adjustment:
            return
        self.last_adjustment = event_time
        self.dirty.add(HEAD)
        for symbol, quantity in adjustments.items():
            total = self.adjustments.pop(symbol, ZERO) + quantity
            if total:
                self.adjustments[symbol] = total
            self.dirty.add(ADJUSTMENT + symbol)
            self.touched.symbol(symbol)

    def _touch(self) -> None:
        self.version += 1
        self.dirty.add(HEAD)

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return 1 + len(self.marks)

    def row(self, key: str) -> JsonValue:
        """Return the row as JSON can carry it: the head, or what is known of one symbol; None where nothing is."""
        if key == HEAD:
            return cast("JsonValue", _STATE.dump_python(self, mode="json", exclude=_NOT_HEAD))
        if key.startswith(ADJUSTMENT):
            adjustment = self.adjustments.get(key.removeprefix(ADJUSTMENT))
            return None if adjustment is None else plain(adjustment)
        mark = self.marks.get(key.removeprefix(MARK))
        if mark is None:
            return None
        return [
            plain(mark.price),
            mark.price_time,
            None if mark.atr is None else plain(mark.atr),
            mark.atr_time,
        ]

    @classmethod
    def from_rows(cls, rows: Mapping[str, Any]) -> Self:
        """Return the state that had these rows; no rows give a fresh state."""
        by_symbol: dict[str, dict[str, Any]] = {MARK: {}, ADJUSTMENT: {}}
        for key, row in rows.items():
            if key != HEAD:
                by_symbol[key[0]][key[1:]] = row
        marks, adjustments = by_symbol[MARK], by_symbol[ADJUSTMENT]
        return cast(
            "Self", _STATE.validate_python({**rows.get(HEAD, {}), "marks": marks, "adjustments": adjustments})
        )


_STATE = TypeAdapter(Drawdown)
_NOT_HEAD = {"marks", "adjustments", *(each.name for each in fields(Drawdown) if not each.compare)}


class Assessment(NamedTuple):
    """How an account stands, and why."""

    status: AccountStatus
    causes: tuple[HaltCause, ...]
    """Those that give this status, sorted."""
    cause_offset: dict[HaltCause, int]
    """Per cause the tick of the worst pair, for WARNING of the current one, or the operator's command."""


NORMAL = Assessment(AccountStatus.NORMAL, (), {})


def assess(drawdown: Drawdown, limits: Limits) -> Assessment:
    """Return the account's status: its losses joined with its profile's thresholds.

    A threshold acts when it is reached. HALT looks at the worst loss since the last reset, WARNING at the
    present one, so a recovery ends a WARNING and never a HALT.
    """
    measures = (  # sorted by cause; OPERATOR comes last
        (HaltCause.DAILY_LOSS, drawdown.daily, None, limits.daily_loss_halt),
        (
            HaltCause.DRAWDOWN_HIGH_WATER,
            drawdown.high_water,
            limits.high_water_warning,
            limits.high_water_halt,
        ),
        (HaltCause.DRAWDOWN_SESSION, drawdown.session, limits.drawdown_warning, limits.drawdown_halt),
    )
    halts = {cause: at for cause, measure, _, halt in measures if (at := _reached(measure.worst, halt)) is not None}
    if drawdown.operator_halt is not None:
        halts[HaltCause.OPERATOR] = drawdown.operator_halt.offset
    if halts:
        return Assessment(AccountStatus.HALT, tuple(halts), halts)

    warnings = {
        cause: at for cause, measure, warn, _ in measures if (at := _reached(measure.current, warn)) is not None
    }
    return Assessment(AccountStatus.WARNING, tuple(warnings), warnings) if warnings else NORMAL


def drawdown_warnings(drawdown: Drawdown, limits: Limits) -> set[HaltCause]:
    """Return the drawdowns whose present loss has reached its warning, whatever the account's status is."""
    measures = (
        (HaltCause.DRAWDOWN_SESSION, drawdown.session, limits.drawdown_warning),
        (HaltCause.DRAWDOWN_HIGH_WATER, drawdown.high_water, limits.high_water_warning),
    )
    return {cause for cause, measure, level in measures if _reached(measure.current, level) is not None}


def _reached(pair: Pair | None, level: Decimal | None) -> int | None:
    """Return the offset of a pair whose loss has reached `level` of its base, else None."""
    if pair is None or level is None or pair.loss < level * pair.base:
        return None
    return pair.offset
