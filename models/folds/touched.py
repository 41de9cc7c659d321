"""What changed in an account's tables since what is derived from them was last brought up to date."""

MOST = 1000
"""Changes that are told apart; beyond it everything is derived afresh. So what nobody asks about takes no memory."""


class Touched:
    """Symbols and orders that a fold may have changed. Serves caches only, and is not persisted."""

    __slots__ = ("marks", "orders", "symbols", "whole")

    def __init__(self) -> None:
        self.whole = True
        """Nothing is told apart: all must be derived."""
        self.symbols: set[str] = set()
        """With another position or adjustment."""
        self.marks: set[str] = set()
        """Symbols with another mark."""
        self.orders: set[tuple[str, str | None]] = set()
        """Symbols and intent ids with another approval, or with other reports; no id for executions of no order."""

    def symbol(self, symbol: str) -> None:
        """Note that a symbol's position or adjustment changed."""
        if not self.whole:
            self.symbols.add(symbol)

    def mark(self, symbol: str) -> None:
        """Note that a symbol's mark changed."""
        if not self.whole:
            self.marks.add(symbol)

    def order(self, symbol: str, intent_id: str | None) -> None:
        """Note that an order's approval or its reports changed."""
        if not self.whole:
            self.orders.add((symbol, intent_id))
            if len(self.orders) > MOST:
                self.forget()
                self.whole = True

    def forget(self) -> None:
        """Begin again: all that was noted is dealt with."""
        self.whole = False
        self.symbols.clear()
        self.marks.clear()
        self.orders.clear()
