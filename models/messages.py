"""Every message that comes in: order intents, fills, equity ticks, daily returns, reference records."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)

from models.canonical import DAY_NS, SECOND_NS
from models.limits import Limits
from models.wire import (
    Fact,
    Fraction,
    Message,
    Name,
    Nanoseconds,
    NonNegative,
    Number,
    Positive,
    PublicKey,
    Session,
    Signature,
    Text,
)

FUTURE_TOLERANCE = 5 * SECOND_NS
"""How far an event_time may run ahead of its record's time before it counts as from the future."""

EVERY = "*"
"""In reference records: every account, symbol or strategy that has no record of its own."""


class Side(StrEnum):
    """FIX Side (54). Whether a SELL is a short sale follows from the folded position, never from the sender."""

    BUY = "BUY"
    SELL = "SELL"


class OrderType(StrEnum):
    """FIX OrdType (40)."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"


EXPIRY_DEFAULT = {OrderType.MARKET: 300 * SECOND_NS, OrderType.LIMIT: DAY_NS}
EXPIRY_MAX = 5 * DAY_NS


class OrderIntent(Message):
    """What a trading program would like to do; the record's key is the account."""

    intent_id: Name
    """Unique per account, never reused: dedupe, reservation and fill join."""
    account: Name
    strategy: Name
    symbol: Name
    side: Side
    quantity: Positive | None = None
    """Units. Absent: asks the gate to close what is open on the other side, or to size the opening."""
    order_type: OrderType
    limit_price: Positive | None = None
    reference_price: Positive | None = None
    """The strategy's price at its decision, account currency per unit."""
    atr: Positive | None = None
    """Average true range, account currency per unit; the larger of this and the marked one is used."""
    stop_distance: Positive | None = None
    """Replaces `atr_multiple * atr`, account currency per unit."""
    win_rate: Fraction | None = None
    payoff: Positive | None = None
    """Average win / average loss."""
    trades: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    allow_resize: bool = False
    """Take the largest approvable quantity not above the requested one instead of a rejection."""
    reduce_only: bool = False
    """Any opening part fails."""
    replaces: Name | None = None
    """FIX OrigClOrdID (41): the live order of the same symbol and side that this one takes the place of."""
    event_time: Nanoseconds
    expires_at: Nanoseconds = Field(default=None, validate_default=True)
    """After it the order may not be live. Default: five minutes after event_time for MARKET, a day for LIMIT."""

    @field_validator("expires_at", mode="before")
    @classmethod
    def _default_expiry(cls, value: object, info: ValidationInfo) -> object:
        if value is None and {"event_time", "order_type"} <= info.data.keys():
            return info.data["event_time"] + EXPIRY_DEFAULT[info.data["order_type"]]
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.order_type is OrderType.LIMIT) != (self.limit_price is not None):
            raise ValueError("limit_price belongs to a LIMIT order, and only to one")
        if self.expires_at > self.event_time + EXPIRY_MAX:
            raise ValueError("expires_at must be at most five days after event_time")
        return self


class ExecutionType(StrEnum):
    """FIX ExecType (150)."""

    TRADE = "TRADE"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    REPLACED = "REPLACED"
    CORRECTED = "CORRECTED"
    BUSTED = "BUSTED"
    # Known, and without effect on positions and reservations.
    NEW = "NEW"
    PENDING_NEW = "PENDING_NEW"
    PENDING_CANCEL = "PENDING_CANCEL"
    PENDING_REPLACE = "PENDING_REPLACE"
    DONE_FOR_DAY = "DONE_FOR_DAY"
    SUSPENDED = "SUSPENDED"
    RESTATED = "RESTATED"


class Fill(Fact):
    """One execution report, as the venue sent it.

    A fill is a fact: an overfill is recorded and flagged, never refused.
    """

    execution_id: Name
    """FIX ExecID (17). With venue and UTC date the identity."""
    execution_reference_id: Name | None = None
    """FIX ExecRefID (19): the execution that a BUSTED or CORRECTED report supersedes."""
    intent_id: Name | None = None
    strategy: Name | None = None
    venue: Name | None = None
    account: Name
    symbol: Name
    side: Side
    execution_type: ExecutionType
    last_quantity: Positive | None = None
    """Units in this execution. Unsigned; `side` carries the sign."""
    last_price: Positive | None = None
    order_quantity: Positive | None = None
    """New total of a REPLACED order, units."""
    leaves_quantity: NonNegative | None = None
    """FIX LeavesQty (151), a cross-check only."""
    fee: NonNegative | None = None
    event_time: Nanoseconds

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needs: dict[ExecutionType, tuple[str, ...]] = {
            ExecutionType.TRADE: ("last_quantity", "last_price"),
            ExecutionType.CORRECTED: ("last_quantity", "last_price", "execution_reference_id"),
            ExecutionType.BUSTED: ("execution_reference_id",),
            ExecutionType.REPLACED: ("order_quantity",),
        }
        missing = [name for name in needs.get(self.execution_type, ()) if getattr(self, name) is None]
        if missing:
            raise ValueError(f"{self.execution_type} needs {', '.join(missing)}")
        return self


class PriceMark(BaseModel):
    """What an equity tick says of one symbol."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    price: Positive
    """Account currency per unit."""
    price_time: Nanoseconds | None = None
    """Default: the tick's event_time."""
    atr: Positive | None = None
    """Wilder's average true range over 14 sessions, account currency per unit."""
    atr_time: Nanoseconds | None = None
    """Default: the tick's event_time."""


class Command(Message):
    """What a person or a program with authority says. Where operator keys are listed it must be signed by one."""

    signed_by: Name | None = None
    """Id of the key, as the latest `operator_keys` record of the same topic lists it."""
    signature: Signature | None = None


class _Tick(Message):
    account: Name
    event_time: Nanoseconds


class _Valuation(_Tick):
    equity: Number
    """Account currency, any sign."""
    cash: Number | None = None
    """Any sign. Absent: unchanged."""
    buying_power: NonNegative | None = None
    """As the broker reports it. Absent: unchanged."""
    net_deposits: Number | None = None
    """Cumulative external flow, signed, from the same snapshot as equity: one that lags fakes a halt."""
    fills_through: Nanoseconds = Field(default=None, validate_default=True)
    """Fills up to here are in cash and buying_power. Default: five seconds before event_time."""
    marks: dict[Name, PriceMark] = Field(default_factory=dict, max_length=500)
    """By symbol."""

    @field_validator("fills_through", mode="before")
    @classmethod
    def _default_fills_through(cls, value: object, info: ValidationInfo) -> object:
        if value is None:
            return max(0, info.data.get("event_time", 0) - 5 * SECOND_NS)
        return value

    @model_validator(mode="after")
    def _not_ahead(self) -> Self:
        now = self.event_time
        ahead = [
            f"marks of {symbol}"
            for symbol, mark in self.marks.items()
            if (mark.price_time or 0) > now or (mark.atr_time or 0) > now
        ]
        if self.fills_through > self.event_time:
            ahead.append("fills_through")
        if ahead:
            raise ValueError(f"{', '.join(ahead)} must not be after event_time")
        return self


class EquityMark(_Valuation):
    """The account's value as its feed reports it. A fact."""

    model_config = ConfigDict(extra="ignore")

    kind: Literal["mark"] = "mark"


class SessionOpen(_Valuation, Command):
    """A mark that opens a trading session and, unless told otherwise, clears the session's drawdown. A command."""

    kind: Literal["session_open"] = "session_open"
    session: Session
    actor: Name
    reason: Text | None = None
    clear_halts: bool = True


class Resume(_Tick, Command):
    """An operator ends every halt of the account and restarts its peaks. A command."""

    kind: Literal["resume"] = "resume"
    actor: Name
    reason: Text


class OperatorHalt(_Tick, Command):
    """An operator halts the account until it is resumed. A command, and one that always applies."""

    kind: Literal["halt"] = "halt"
    actor: Name
    reason: Text


class Statement(_Tick, Command):
    """What the broker says the account holds. Its positions are a fact and overwrite nothing.

    Its adjustments are a command: they say how far the folded positions are off, and are added to them.
    """

    model_config = ConfigDict(extra="ignore")

    kind: Literal["statement"] = "statement"
    positions: dict[Name, Number]
    """Signed units by symbol."""
    fills_through: Nanoseconds
    """Fills up to here are in the positions."""
    adjustments: dict[Name, Number] | None = None
    """Signed units by symbol, to be added to the folded position."""
    actor: Name | None = None
    reason: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _closed_where_it_commands(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("adjustments") is not None:
            unknown = sorted(data.keys() - cls.model_fields.keys())
            if unknown:
                raise ValueError(f"a statement with adjustments has no field {unknown[0]!r}")
        return data

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.fills_through > self.event_time:
            raise ValueError("fills_through must not be after event_time")
        if self.adjustments is not None and (self.actor is None or self.reason is None):
            raise ValueError("adjustments need actor and reason")
        return self


class OperatorKeys(Command):
    """The keys whose signatures commands of this topic need from here on; none: commands need no signature.

    Written to each partition of `equity-ticks` and to `reference`. The first is trusted; each later one must be
    signed by a key that the one before lists.
    """

    kind: Literal["operator_keys"] = "operator_keys"
    event_time: Nanoseconds
    actor: Name
    reason: Text
    keys: dict[Name, PublicKey] = Field(max_length=64)
    """By id."""


EquityTick = Annotated[
    EquityMark | SessionOpen | Resume | OperatorHalt | Statement | OperatorKeys, Field(discriminator="kind")
]
AccountTick = EquityMark | SessionOpen | Resume | OperatorHalt | Statement
"""An equity tick that belongs to an account."""


RETURN_MIN, RETURN_MAX = Decimal(-1), Decimal(10)


def _plausible_return(value: Decimal) -> Decimal:
    if not RETURN_MIN <= value <= RETURN_MAX:
        raise ValueError(f"must lie from {RETURN_MIN} to {RETURN_MAX}, was {value}")
    return value


class DailyReturn(Fact):
    """One symbol's return over one session. The latest offset wins for a symbol and session."""

    symbol: Name
    session: Session
    simple_return: Annotated[Number, AfterValidator(_plausible_return)]
    """A fraction in [-1, 10]: 0.01 is a gain of 1 %."""
    close: Positive | None = None
    """Account currency per unit."""
    event_time: Nanoseconds


class _Reference(Command):
    event_time: Nanoseconds
    actor: Name
    reason: Text


class LimitProfile(_Reference, Limits):
    """A set of limits; what is not said is at its default."""

    kind: Literal["limit_profile"] = "limit_profile"
    profile_id: Name
    profile_version: Annotated[int, Field(ge=1, lt=2**31)]

    @property
    def limits_version(self) -> str:
        """The name by which decisions refer to this profile: `profile_id@version`."""
        return f"{self.profile_id}@{self.profile_version}"


class AccountRecord(_Reference):
    """Binds an account to a profile and a currency."""

    kind: Literal["account"] = "account"
    account: Name
    profile_id: Name
    currency: Name


class Instrument(_Reference):
    """What the gate must know of a symbol."""

    kind: Literal["instrument"] = "instrument"
    symbol: Name
    sector: Name | None = None
    """None joins the sector UNKNOWN, which is gated like any other."""
    lot: Positive = Decimal(1)
    """Units; openings are multiples of it."""
    multiplier: Positive = Decimal(1)
    """Account currency per unit and point of price."""
    currency: Name
    shortable: bool = True
    """Whether it can be borrowed, and so sold short."""
    proxy: Name | None = None
    """A symbol whose returns stand in where this one has none."""


class Restricted(_Reference):
    """Puts a symbol on the restricted list, or takes it off, for one account or for all."""

    kind: Literal["restricted"] = "restricted"
    symbol: Name
    account: Name | None = None
    active: bool


class KillScope(StrEnum):
    """What a kill switch stops."""

    GLOBAL = "GLOBAL"
    ACCOUNT = "ACCOUNT"
    STRATEGY = "STRATEGY"
    SYMBOL = "SYMBOL"


class KillMode(StrEnum):
    """How much a kill switch stops: openings only, or everything."""

    REDUCE_ONLY = "REDUCE_ONLY"
    ALL = "ALL"


class KillSwitch(_Reference):
    """Stops trading in its scope until it is released by a newer record."""

    kind: Literal["kill_switch"] = "kill_switch"
    scope: KillScope
    target: Name | None = None
    """The account, strategy or symbol; none for GLOBAL."""
    mode: KillMode
    engaged: bool

    @model_validator(mode="after")
    def _targeted(self) -> Self:
        if (self.scope is KillScope.GLOBAL) != (self.target is None):
            raise ValueError("target belongs to every scope but GLOBAL")
        return self


class StrategyState(StrEnum):
    """PROBATION halves the budgets of risk and of capital; DISABLED and unknown strategies may only reduce."""

    ENABLED = "ENABLED"
    PROBATION = "PROBATION"
    DISABLED = "DISABLED"


class StrategyRecord(_Reference):
    """Whether a strategy may open positions in an account."""

    kind: Literal["strategy"] = "strategy"
    strategy: Name
    account: Name
    state: StrategyState
    budget: NonNegative | None = None
    """The most exposure that may be the strategy's own, a fraction of the account's equity; None: no such limit."""


class Drift(_Reference):
    """Whether the folded position in a symbol has been found to differ from the broker's."""

    kind: Literal["drift"] = "drift"
    account: Name
    symbol: Name
    flagged: bool


ReferenceRecord = Annotated[
    LimitProfile | AccountRecord | Instrument | Restricted | KillSwitch | StrategyRecord | Drift | OperatorKeys,
    Field(discriminator="kind"),
]

EQUITY_TICK: TypeAdapter[EquityTick] = TypeAdapter(EquityTick)
REFERENCE: TypeAdapter[ReferenceRecord] = TypeAdapter(ReferenceRecord)
