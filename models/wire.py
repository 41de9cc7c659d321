"""The vocabulary of the wire: exact numbers, names, times, and the two kinds of message."""

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from models.canonical import plain

_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,11})(\.[0-9]{1,12})?")
_EXACT = re.compile(r"-?[0-9]{1,160}(\.[0-9]{1,160})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EPOCH = date(1970, 1, 1).toordinal()
_ZERO = Decimal(0)
_ONE = Decimal(1)


def _number(value: object) -> Decimal:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return Decimal(value)
    if isinstance(value, Decimal) and _NUMBER.fullmatch(plain(value)):  # from code, never from JSON
        return Decimal(plain(value))
    raise PydanticCustomError(
        "number", 'must be a string such as "12.5" with at most 12 digits either side of the point'
    )


def _positive(value: object) -> Decimal:
    number = _number(value)
    if number <= _ZERO:
        raise PydanticCustomError("positive", "must be positive, was {value}", {"value": plain(number)})
    return number


def _non_negative(value: object) -> Decimal:
    number = _number(value)
    if number < _ZERO:
        raise PydanticCustomError("non_negative", "must not be negative, was {value}", {"value": plain(number)})
    return number


def _fraction(value: object) -> Decimal:
    number = _number(value)
    if not _ZERO <= number <= _ONE:
        raise PydanticCustomError("fraction", "must lie from 0 to 1, was {value}", {"value": plain(number)})
    return number


def _session(value: object) -> str:
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            return date.fromisoformat(value).isoformat()
    except ValueError:
        pass
    raise PydanticCustomError("session", "must be a date such as 2008-10-10")


def _exact(value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if not isinstance(value, str) or not _EXACT.fullmatch(value):
        raise PydanticCustomError("exact", 'must be a string such as "12.5"')
    return Decimal(value)


_SCHEMA = WithJsonSchema({"type": "string", "pattern": f"^{_NUMBER.pattern}$"})
_PLAIN = PlainSerializer(plain, return_type=str, when_used="json")

Number = Annotated[Decimal, PlainValidator(_number), _PLAIN, _SCHEMA]
"""An exact decimal of any sign; on the wire a JSON string."""
Positive = Annotated[Decimal, PlainValidator(_positive), _PLAIN, _SCHEMA]
NonNegative = Annotated[Decimal, PlainValidator(_non_negative), _PLAIN, _SCHEMA]
Fraction = Annotated[Decimal, PlainValidator(_fraction), _PLAIN, _SCHEMA]
"""A decimal from 0 to 1."""
Exact = Annotated[Decimal, PlainValidator(_exact), _PLAIN, WithJsonSchema({"type": "string"})]
"""What the gate computed: exact, and therefore with as many digits as the product needs."""
Name = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,64}$")]
"""An id or a name: 1 to 64 printable ASCII characters."""
Text = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
"""What a person wrote for another person."""
Nanoseconds = Annotated[int, Field(ge=0, lt=2**63)]
"""Event time, ns since the Unix epoch, UTC; or a duration in ns."""
Session = Annotated[str, PlainValidator(_session), WithJsonSchema({"type": "string", "format": "date"})]
"""A session date, ISO 8601."""
Offset = Annotated[int, Field(ge=-1)]
"""A Kafka offset; -1 where nothing has been folded."""
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
PublicKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""An Ed25519 public key, 32 bytes in lower-case hexadecimal."""
Signature = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
"""An Ed25519 signature, 64 bytes in lower-case hexadecimal."""


def session_day(session: str) -> int:
    """Return a session date as days since 1970-01-01."""
    return date.fromisoformat(session).toordinal() - _EPOCH


class Message(BaseModel):
    """A command or a record of ours: frozen, strict, and closed, because an unknown field may be a limit."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    version: Literal[1] = 1


class Fact(Message):
    """What the world reports: unknown fields are ignored, since a venue may say more than we asked."""

    model_config = ConfigDict(extra="ignore")
