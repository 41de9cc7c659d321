"""What an account holds of a symbol: its position, and what is open on either side."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import NamedTuple

from models.folds.book import ZERO
from models.messages import Side
from models.standing.orders import Order, Together, units


class Holding(NamedTuple):
    """A symbol's signed position and the remaining buys and sells, never netted. Units."""

    symbol: str
    position: Decimal
    buying: Decimal
    selling: Decimal
    if_bought: Decimal
    """Position once every open buy is filled and no sell is."""
    if_sold: Decimal
    """Position once every open sell is filled and no buy is."""
    worst: Decimal
    """The larger side: W."""

    @classmethod
    def of(cls, symbol: str, position: Decimal = ZERO, buying: Decimal = ZERO, selling: Decimal = ZERO) -> "Holding":
        """Return a holding with what follows from its position and its open orders."""
        # One number for what is the same: there are many holdings.
        if_bought = position + buying if buying else position
        if_sold = position - selling if selling else position
        worst = max(if_bought, -if_sold)  # of which if_bought is never the smaller
        return cls(symbol, position, buying, selling, if_bought, if_sold, worst)

    def reducible(self, side: Side) -> Decimal:
        """Return what an order of this side can close: R."""
        return max(ZERO, -self.if_bought if side is Side.BUY else self.if_sold)


def holdings_of(positions: Mapping[str, Decimal], orders: Collection[Order]) -> dict[str, Holding]:
    """Return positions and open orders by symbol, sorted.

    What cancels out is not held: no price is needed for it.
    """
    sides: dict[tuple[str, Side], list[Order]] = {}
    for order in orders:
        sides.setdefault((order.approval.symbol, order.approval.side), []).append(order)
    together = {side: Together(each, units).total for side, each in sides.items()}
    holdings = (
        Holding.of(
            symbol,
            positions.get(symbol, ZERO),
            together.get((symbol, Side.BUY), ZERO),
            together.get((symbol, Side.SELL), ZERO),
        )
        for symbol in sorted({*positions, *(symbol for symbol, _ in together)})
    )
    return {holding.symbol: holding for holding in holdings if holding.worst}
