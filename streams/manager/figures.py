"""Numbers as people write them, floats included, to numbers as the wire has them."""

import datetime as dt
import numbers
from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any, Final

from models.canonical import DAY_NS, exact

Figure = Decimal | float | str
"""What a person gives for an amount; numpy's scalars count as floats and ints."""

PLACES_MAX: Final = Decimal("1e-12")
"""The wire has at most twelve places."""
EPOCH: Final = dt.date(1970, 1, 1)
SATURDAY: Final = 5

_ROUNDING = Context(prec=400, rounding=ROUND_HALF_EVEN)


def decimal_of(value: object, name: str) -> Decimal:
    """Return the decimal that `value` is written as: 2.0 is 2 and 0.1 is 0.1, not the binary number beside it.

    A float is rounded half-even to twelve places, since 0.1 + 0.2 has seventeen. Exact values are taken as they are.

    Args:
        value: A Decimal, an int, a float, a string such as "12.5", or a numpy scalar.
        name: What it is, for the error.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is not finite, or a string that is no number.
    """
    if isinstance(value, bool) or not isinstance(value, (Decimal, str, numbers.Real)):
        raise TypeError(f"{name} must be a number, was {value!r}")
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError(f"{name} must be a number, was {value!r}") from None
    if not number.is_finite():
        raise ValueError(f"{name} must be finite, was {value!r}")
    if not isinstance(value, Decimal | str):
        places = number.as_tuple().exponent
        assert isinstance(places, int)  # it is finite
        if Decimal(1).scaleb(places) < PLACES_MAX:
            number = number.quantize(PLACES_MAX, context=_ROUNDING)
    return number


@exact
def fraction_of(percent: Figure, name: str) -> Decimal:
    """Return a percentage as a fraction: 1.5 is 0.015."""
    return decimal_of(percent, name).scaleb(-2)


def today(time: int) -> dt.date:
    """Return the UTC date of `time`, ns since the Unix epoch."""
    return EPOCH + dt.timedelta(days=time // DAY_NS)


def dated_returns(returns: Any, last: dt.date) -> list[tuple[str, Decimal]]:  # noqa: ANN401  # pandas and all
    """Return (ISO date, return) pairs, oldest first as given; a NaN, such as pandas puts first, is left out.

    Args:
        returns: One number, of the session `last`; or a mapping or pandas Series from dates to numbers; or a list or
            array of numbers, oldest first, taken as those of consecutive weekdays up to `last`. Fractions: 0.01 is a
            gain of 1 %.
        last: The last session, where `returns` does not say its dates itself.

    Raises:
        TypeError: If the keys are no dates, or the values no numbers.
        ValueError: If a value is infinite.
    """
    if hasattr(returns, "items"):
        pairs: Iterable[tuple[dt.date, Any]] = ((_date_of(key), value) for key, value in returns.items())
    elif isinstance(returns, str | Decimal | numbers.Real):
        pairs = [(last, returns)]
    else:
        values = list(returns)
        pairs = zip(reversed(list(_weekdays(last, len(values)))), values, strict=True)
    return [
        (date.isoformat(), decimal_of(value, f"the return of {date}"))
        for date, value in pairs
        if value == value  # noqa: PLR0124  # NaN is the one number that is not itself
    ]


def _weekdays(last: dt.date, count: int) -> Iterator[dt.date]:
    """Yield `count` weekdays from `last` backwards."""
    day = last
    while count:
        if day.weekday() < SATURDAY:
            yield day
            count -= 1
        day -= dt.timedelta(days=1)


def _date_of(key: object) -> dt.date:
    if isinstance(key, dt.datetime):  # pandas' Timestamp is one
        return key.date()
    if isinstance(key, dt.date):
        return key
    try:
        return dt.date.fromisoformat(str(key)[:10])  # an ISO date, or numpy's datetime64
    except ValueError:
        raise TypeError(f"returns must be keyed by dates, was {key!r}: or give them as a list") from None
