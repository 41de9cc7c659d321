"""The price ladder: a fresh mark, else the latest close or the account's last fill, ten percent higher."""

from decimal import Decimal
from typing import NamedTuple

from models.canonical import DAY_NS, day_of
from models.decisions import Source
from models.folds.book import Book
from models.folds.correlation import Returns
from models.folds.drawdown import Drawdown
from models.reasons import RejectReason

FALLBACK_DAYS = 5
FALLBACK_MARKUP = Decimal("1.10")
"""A price that is not fresh is taken ten percent higher."""


class Quote(NamedTuple):
    """A price the ladder allows."""

    price: Decimal
    source: Source
    time: int
    """When the price was, ns; of a close, the start of its session's UTC date."""


class Prices:
    """What one account knows of prices at one clock.

    Args:
        drawdown: Has the marks.
        book: Has the fills.
        returns: Has the closes.
        clock: The account's, ns.
        mark_age_max: How old a mark may be, ns; None where no mark is good enough.
    """

    __slots__ = ("_book", "_marks", "_returns", "clock", "day", "mark_age_max")

    def __init__(
        self, drawdown: Drawdown, book: Book, returns: Returns, *, clock: int, mark_age_max: int | None
    ) -> None:
        self._marks = drawdown.marks
        self._book = book
        self._returns = returns
        self.clock = clock
        self.day = day_of(clock)
        self.mark_age_max = mark_age_max

    def mark(self, symbol: str) -> Quote | None:
        """Return the symbol's mark where it is fresh."""
        mark = self._marks.get(symbol)
        if mark is None or self.mark_age_max is None or self.clock - mark.price_time > self.mark_age_max:
            return None
        return Quote(mark.price, Source.MARK, mark.price_time)

    def holds_until(self, mark: Quote) -> int:
        """Return the first clock at which a mark that is fresh now will not be, ns."""
        assert self.mark_age_max is not None  # else it were not fresh
        return mark.time + self.mark_age_max + 1

    def close(self, symbol: str) -> Quote | None:
        """Return the latest close of the last five days."""
        close = self._returns.close(symbol)
        if close is None or self.day - close[1] > FALLBACK_DAYS:
            return None
        return Quote(close[0], Source.LAST_CLOSE, close[1] * DAY_NS)

    def last_fill(self, symbol: str) -> Quote | None:
        """Return the account's last fill price of the last five days."""
        last = self._book.last_execution(symbol)
        if last is None or self.day - day_of(last.event_time) > FALLBACK_DAYS:
            return None
        return Quote(last.price, Source.LAST_FILL, last.event_time)

    def fallback(self, symbol: str) -> Quote | None:
        """Return the latest close, else the last fill price, ten percent higher."""
        quote = self.close(symbol) or self.last_fill(symbol)
        return quote and quote._replace(price=quote.price * FALLBACK_MARKUP)

    def missing(self, symbol: str) -> RejectReason:
        """Name what is wrong with a symbol that the ladder gives no price: never seen, or only too old."""
        seen = (
            symbol in self._marks
            or self._returns.close(symbol) is not None
            or self._book.last_execution(symbol) is not None
            or symbol in self._book.positions
        )
        return RejectReason.STALE_PRICE if seen else RejectReason.PRICE_UNAVAILABLE
