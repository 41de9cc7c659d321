"""What returns and instruments say of risk, computed when asked for and kept for as long as it stays the same."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from models.folds.correlation import Returns
from models.folds.reference import SECTOR_UNKNOWN, Reference
from models.risk.factors import FactorModel, members_of
from models.risk.tail import History, TailModel, common_history

TAIL_MODELS_KEPT = 4096
"""Accounts hold different symbols, and ask about others."""

TAIL_CELLS_KEPT = 8_000_000
"""Symbols times sessions of all of them together: 64 MB, room for 1,500 accounts of twenty symbols."""

Versions = tuple[int, int]


class _Kept(NamedTuple):
    """A tail model, or the symbols that lack sessions for one."""

    versions: Versions
    history: History
    answer: TailModel | tuple[str, ...]


class RiskModels:
    """A cache over two tables. What it returns is a function of them alone.

    Args:
        returns: The fold of `daily-returns`.
        reference: The fold of `reference`: sectors and proxies.
    """

    def __init__(self, returns: Returns, reference: Reference) -> None:
        self._returns = returns
        self._reference = reference
        self._tails: dict[tuple[str, ...], _Kept] = {}
        self._cells = 0
        self._factors: FactorModel | None = None
        self._factors_versions = (-1, -1)
        self._members: dict[str, list[str]] = {}
        self._members_versions = (-1, -1)

    @property
    def _versions(self) -> Versions:
        return self._returns.version, self._reference.instruments_version

    def tail(self, symbols: Iterable[str]) -> TailModel | tuple[str, ...]:
        """Return the tail model of some symbols, in any order.

        Returns:
            Where there are too few sessions for one: the symbols that lack them, none where only common ones do.
        """
        key, versions = tuple(sorted(symbols)), self._versions
        kept = self._tails.pop(key, None)
        self._cells -= 0 if kept is None else kept.history.scaled.size
        if kept is None or kept.versions != versions:
            kept = self._renewed(key, versions, kept)
        self._tails[key] = kept  # the newest last
        self._cells += kept.history.scaled.size
        while len(self._tails) > TAIL_MODELS_KEPT or (self._cells > TAIL_CELLS_KEPT and len(self._tails) > 1):
            oldest = self._tails.pop(next(iter(self._tails)))
            self._cells -= oldest.history.scaled.size
        return kept.answer

    def _renewed(self, symbols: tuple[str, ...], versions: Versions, kept: _Kept | None) -> _Kept:
        proxies = {symbol: proxy for symbol in symbols if (proxy := self._proxy(symbol)) is not None}
        history = common_history(self._returns, symbols, proxies)
        # While a session's returns come in one by one, what all symbols have stays the same until the last is there.
        if kept is not None and _same(history, kept.history):
            return kept._replace(versions=versions)
        return _Kept(versions, history, TailModel(history) if history.sufficient else history.short)

    def factors(self) -> FactorModel:
        """Return the model of the market and the sectors."""
        versions = self._versions
        if self._factors is None or versions != self._factors_versions:
            self._factors = FactorModel(self._returns, self._sector, self._proxy, self._by_sector())
            self._factors_versions = versions
        return self._factors

    def _by_sector(self) -> dict[str, list[str]]:
        """Return the symbols that have returns by their sectors."""
        versions = (self._returns.symbols_version, self._reference.instruments_version)
        if versions != self._members_versions:
            self._members = members_of(self._returns.sessions, self._sector)
            self._members_versions = versions
        return self._members

    def _proxy(self, symbol: str) -> str | None:
        instrument = self._reference.instrument(symbol)
        return None if instrument is None else instrument.proxy

    def _sector(self, symbol: str) -> str:
        instrument = self._reference.instrument(symbol)
        return SECTOR_UNKNOWN if instrument is None or instrument.sector is None else instrument.sector


def _same(one: History, other: History) -> bool:
    """Tell whether two histories of the same symbols are equal."""
    return (one.dates, one.short) == (other.dates, other.short) and np.array_equal(one.scaled, other.scaled)
