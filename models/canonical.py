"""Canonical numbers, canonical bytes and digests.

Two programs that hold the same decision must hold the same bytes, or neither a digest nor a replay proves anything.
So numbers are exact decimals in one spelling, and JSON is written in one order.
"""

import decimal
import functools
import hashlib
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import ParamSpec, TypeVar

import orjson
from pydantic import BaseModel

P = ParamSpec("P")
R = TypeVar("R")

GENESIS_DIGEST = "0" * 64
"""`previous_digest` of the first message of a chain."""

DAY_NS = 86_400_000_000_000
SECOND_NS = 1_000_000_000

CONTEXT = decimal.Context(
    prec=120,
    rounding=decimal.ROUND_HALF_EVEN,
    Emin=-999_999,
    Emax=999_999,
    traps=[
        decimal.Inexact,  # a rounded product would be a different limit
        decimal.FloatOperation,  # a float that slips in is a bug, not a number
        decimal.InvalidOperation,
        decimal.DivisionByZero,
        decimal.Overflow,
    ],
)
"""Exact arithmetic: 120 digits hold the product of any five wire numbers, and whatever does not fit is trapped."""


def exact(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` under `CONTEXT`, whatever the caller's decimal context is."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        outer = decimal.getcontext()
        decimal.setcontext(CONTEXT)  # itself: `localcontext` makes a copy each time, at three times the cost
        try:
            return function(*args, **kwargs)
        finally:
            decimal.setcontext(outer)

    return wrapped


def plain(number: Decimal) -> str:
    """Return the canonical spelling: plain notation, no trailing zeros, no "-0"."""
    text = str(number)
    if "E" in text or "e" in text:  # the letter is the caller's context's
        text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def floor_to(number: Decimal, step: Decimal) -> Decimal:
    """Return the largest multiple of `step` not above `number`; zero where `number` is not positive."""
    return number // step * step if number > 0 else Decimal(0)


def ratio(numerator: Decimal, denominator: Decimal, places: int = 6) -> Decimal | None:
    """Return numerator / denominator rounded half-even, for reports; None where the denominator is not positive.

    The quotient is taken in integers, so it needs no inexact decimal operation. Never compare it with a limit.
    """
    if denominator <= 0:
        return None
    top, bottom = numerator.as_integer_ratio(), denominator.as_integer_ratio()
    return _quotient(top[0] * bottom[1], top[1] * bottom[0], places)


def _quotient(numerator: int, denominator: int, places: int) -> Decimal:
    """Return numerator / denominator (denominator positive) rounded half-even to `places`."""
    quotient, rest = divmod(numerator * 10**places, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and quotient % 2):
        quotient += 1
    return Decimal(quotient).scaleb(-places, CONTEXT)


def rounded(number: float | Fraction, places: int = 6) -> Decimal:
    """Return a finite float or a fraction as a decimal, rounded once, half-even, to `places`."""
    return _quotient(*number.as_integer_ratio(), places)


def ceil_ratio(numerator: Decimal, denominator: Decimal, places: int) -> Decimal:
    """Return numerator / denominator rounded up to `places`. Both must be positive."""
    top, bottom = numerator.as_integer_ratio(), denominator.as_integer_ratio()
    quotient = -(-(top[0] * bottom[1] * 10**places) // (top[1] * bottom[0]))
    return Decimal(quotient).scaleb(-places, CONTEXT)


def day_of(time: int) -> int:
    """Return the UTC date of `time` (ns since the epoch) as days since 1970-01-01."""
    return time // DAY_NS


def _encode(value: object) -> object:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, BaseModel):
        return value.__dict__
    raise TypeError(f"{type(value).__name__} has no canonical form")


def canonical_bytes(value: object) -> bytes:
    """Return canonical JSON: keys sorted, no spaces, decimals as canonical strings, nulls present, UTF-8.

    Args:
        value: A message, or what messages are made of. Floats have no canonical form here and must not occur.
    """
    return orjson.dumps(
        value.__dict__ if isinstance(value, BaseModel) else value,
        default=_encode,
        option=orjson.OPT_SORT_KEYS,
    )


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


_UNSEALED = b',"digest":"%b"' % GENESIS_DIGEST.encode()


def seal(fields: dict[str, object]) -> bytes:
    """Add `digest` to the fields of a message of a chain, and return the message's canonical bytes.

    The same bytes serve both: they are written with a digest of the same length in its place, and without it they are
    what it is taken over.

    Args:
        fields: All but `digest`. One of them sorts before it.
    """
    fields["digest"] = GENESIS_DIGEST
    before, place, after = canonical_bytes(fields).partition(_UNSEALED)
    assert place  # no other key is spelled so, and in a value the quotes would be escaped
    fields["digest"] = digest = sha256(before + after)
    return b'%b,"digest":"%b"%b' % (before, digest.encode(), after)


def chained(message: BaseModel) -> bytes:
    """Return canonical bytes of everything in `message` but its `digest`: what that digest is taken over."""
    return canonical_bytes({name: value for name, value in message.__dict__.items() if name != "digest"})
