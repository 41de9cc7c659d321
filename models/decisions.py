"""Every message that goes out: decisions, halts, dead letters."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from models.canonical import canonical_bytes, seal
from models.messages import OrderType, Side
from models.reasons import RejectReason
from models.wire import Digest, Exact, Message, Name, Offset, Text

RULES = 2
"""Raised whenever `decide` or the status of an account could come out otherwise for the same log.

Rules 1 had none of the checks 22, 24, 27 to 32, 41, 45 and 48 to 51. They are kept, so that what they decided audits.
"""

Count = Annotated[int, Field(ge=0)]
LimitsVersion = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,64}@[0-9]{1,10}$")]
"""`profile_id@version`."""


Built = TypeVar("Built", bound=BaseModel)


_set_dict, _set_fields, _set_extra, _set_private = (
    vars(BaseModel)[slot].__set__
    for slot in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)
"""What `object.__setattr__` finds after a search."""
_new = object.__new__
_NAMES: dict[type[BaseModel], set[str]] = {}


def built(kind: type[Built], fields: dict[str, Any]) -> Built:
    """Return a message of which every field is given, unchecked: the gate made them, and pydantic takes its time."""
    if kind not in _NAMES:
        _NAMES[kind] = {*kind.model_fields}
    message: Built = _new(kind)
    _set_dict(message, fields)
    _set_fields(message, _NAMES[kind])
    _set_extra(message, None)
    _set_private(message, None)
    return message


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Sealed(Message):
    """A message of a chain: it carries the digest of the one before and, over everything else in it, its own."""

    __slots__ = ("_encoded",)
    if TYPE_CHECKING:
        _encoded: bytes

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """Return the message with these fields, which become its own, and the digest over them.

        They are taken as they are, like those of `model_construct`, which would look at each.

        Args:
            fields: Every field of the message but `digest`.
        """
        encoded = seal(fields)
        message = built(cls, fields)
        object.__setattr__(message, "_encoded", encoded)  # it is frozen for everybody else
        return message

    def encoded(self) -> bytes:
        """Return the canonical bytes."""
        try:
            return self._encoded
        except AttributeError:
            return canonical_bytes(self)  # it was not made by `of`


class DecisionStatus(StrEnum):
    """The answer."""

    APPROVED = "APPROVED"
    REJECTED = "REJECTED"


class Outcome(StrEnum):
    """What a check came to. EXEMPT: it would have failed, but the intent only reduces."""

    PASS = "PASS"  # noqa: S105  # not a password
    WARN = "WARN"
    FAIL = "FAIL"
    EXEMPT = "EXEMPT"
    SKIPPED = "SKIPPED"


class CheckResult(_Part):
    """One check of one decision, in the check's own unit: money, units, or ns."""

    name: RejectReason
    outcome: Outcome
    value: Exact | None = None
    limit: Exact | None = None
    headroom: Exact | None = None
    """limit - value."""
    max_quantity: Exact | None = None
    """The largest opening quantity that this check alone would let pass; None where size does not matter to it."""
    detail: JsonValue = None


class Source(StrEnum):
    """Where a price, an ATR or an equity came from."""

    MARK = "MARK"
    LIMIT_PRICE = "LIMIT_PRICE"
    REFERENCE_PRICE = "REFERENCE_PRICE"
    LAST_CLOSE = "LAST_CLOSE"
    LAST_FILL = "LAST_FILL"
    INTENT = "INTENT"


class Input(_Part):
    """A value the decision rests on."""

    value: Exact
    source: Source
    age: int
    """Clock minus the value's own time, ns."""


class OtherInputs(_Part):
    """The prices of the account's other symbols."""

    count: Count
    oldest: int
    """Age of the oldest, ns."""


class Inputs(_Part):
    """What the decision rests on; None where it was not to be had or not needed."""

    price: Input | None = None
    atr: Input | None = None
    equity: Input | None = None
    others: OtherInputs | None = None


class AsOf(_Part):
    """The last offset folded of each input topic, -1 for none: with the ledger's own order it names one state."""

    fills: Offset
    equity_ticks: Offset
    daily_returns: Offset
    reference: Offset


class Reservation(_Part):
    """What an approval sets aside until it is filled, terminal or expired."""

    quantity: Exact
    price: Exact | None
    """Account currency per unit; None where a reduction had no price."""
    expires_at: int


class Replacement(Reservation):
    """A reservation in the place of an earlier order's: while both are live the larger one counts."""

    replaces: Name


class Throttle(_Part):
    """The two token buckets that an opening was charged to: when each would be full again, ns event time."""

    account: int
    strategy: int


class RiskDecision(Sealed):
    """The one answer to one record of order-intents. Its key is the account, none where that is unknown."""

    intent_id: Name | None
    account: Name | None
    strategy: Name | None
    symbol: Name | None
    side: Side | None
    order_type: OrderType | None
    limit_price: Exact | None
    event_time: int | None
    intent_offset: Offset
    intent_digest: Digest
    """SHA-256 of the intent's canonical form; of the raw bytes where there is none."""
    seq: Count
    """1, 2, ... per account; MALFORMED decisions count in a chain of their own per partition."""
    status: DecisionStatus
    quantity: Exact
    """Approved units; 0 on rejection."""
    reducing_quantity: Exact | None
    """Of the approved quantity, on rejection of the requested one: what closes, and below what opens a position."""
    opening_quantity: Exact | None
    max_quantity: Exact
    """The largest quantity that would be approved now."""
    binding_constraint: RejectReason | None
    """The check that sets max_quantity."""
    reasons: tuple[RejectReason, ...]
    """In precedence order; empty on approval."""
    warnings: tuple[Name, ...]
    checks: tuple[CheckResult, ...]
    """Those not PASS or SKIPPED, and the binding one."""
    inputs: Inputs
    clock: int
    as_of: AsOf
    limits_version: LimitsVersion | None
    rules: Count
    reservation: Reservation | Replacement | None
    throttle: Throttle | None = None
    """None where no token was taken."""
    original_seq: Count | None = None
    """On a repeated intent_id: the first decision and its answer."""
    original_status: DecisionStatus | None = None
    original_quantity: Exact | None = None
    previous_digest: Digest
    digest: Digest


class AccountStatus(StrEnum):
    """How an account stands; HALT admits reductions only."""

    NORMAL = "NORMAL"
    WARNING = "WARNING"
    HALT = "HALT"


class HaltCause(StrEnum):
    """What gives an account its status."""

    DAILY_LOSS = "DAILY_LOSS"
    DRAWDOWN_HIGH_WATER = "DRAWDOWN_HIGH_WATER"
    DRAWDOWN_SESSION = "DRAWDOWN_SESSION"
    OPERATOR = "OPERATOR"


class TradingHalt(Sealed):
    """A change of an account's status or of its causes."""

    account: Name
    seq: Count
    status: AccountStatus
    previous_status: AccountStatus
    causes: tuple[HaltCause, ...]
    drawdown: Exact | None
    """The session's loss from its peak, a fraction rounded to 6 places."""
    peak: Exact | None
    equity: Exact | None
    thresholds: dict[str, Exact]
    """The profile's, those that are set."""
    cause_offset: dict[Name, Offset]
    """Per cause the equity tick of the worst pair, for WARNING of the current one, or the operator's command."""
    clock: int
    as_of: AsOf
    decision_seq: Count
    """The account's last decision folded."""
    limits_version: LimitsVersion
    rules: Count
    actor: Name | None
    reason: Text | None
    open_orders: tuple[Name, ...]
    """Up to 50 intents whose opening part is still reserved, oldest first, so that a subscriber can pull them."""
    previous_digest: Digest
    digest: Digest


class DeadLetter(Message):
    """Bytes that are no message, or a message that no rule admits."""

    topic: Name
    partition: Count
    offset: Offset
    key: str | None
    """Base64."""
    raw: str
    """Base64 of the first 32 KiB."""
    length: Count
    sha256: Digest
    why: str
