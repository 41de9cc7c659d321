"""What returns and instruments say of risk, computed once for as long as neither changes."""

from collections.abc import Iterable

from models.correlation import Returns
from models.reference import SECTOR_UNKNOWN, Reference
from models.risk.factors import FactorModel, factor_model
from models.risk.tail import TailModel, common_history

TAIL_MODELS_KEPT = 256
"""Accounts hold different symbols, and one model of a hundred of them takes 200 kB."""


class RiskModels:
    """A cache over two tables. What it returns is a function of them alone.

    Args:
        returns: The fold of `daily-returns`.
        reference: The fold of `reference`: sectors and proxies.
    """

    def __init__(self, returns: Returns, reference: Reference) -> None:
        self._returns = returns
        self._reference = reference
        self._versions = (-1, -1)
        self._tails: dict[tuple[str, ...], TailModel | tuple[str, ...]] = {}
        self._factors: FactorModel | None = None

    def _renew(self) -> None:
        versions = (self._returns.version, self._reference.version)
        if versions != self._versions:
            self._versions = versions
            self._tails.clear()
            self._factors = None

    def tail(self, symbols: Iterable[str]) -> TailModel | tuple[str, ...]:
        """Return the tail model of some symbols, in any order.

        Returns:
            Where there are too few sessions for one: the symbols that lack them, none where only common ones do.
        """
        self._renew()
        key = tuple(sorted(symbols))
        model = self._tails.pop(key, None)
        if model is None:
            proxies = {symbol: proxy for symbol in key if (proxy := self._proxy(symbol)) is not None}
            history = common_history(self._returns, key, proxies)
            model = TailModel(history) if history.sufficient else history.short
        self._tails[key] = model  # the newest last
        if len(self._tails) > TAIL_MODELS_KEPT:
            del self._tails[next(iter(self._tails))]
        return model

    def factors(self) -> FactorModel:
        """Return the model of the market and the sectors."""
        self._renew()
        if self._factors is None:
            symbols = {*self._returns.sessions, *self._reference.instruments()}
            sectors = {symbol: self._sector(symbol) for symbol in symbols}
            proxies = {symbol: proxy for symbol in symbols if (proxy := self._proxy(symbol)) is not None}
            self._factors = factor_model(self._returns, sectors, proxies)
        return self._factors

    def _proxy(self, symbol: str) -> str | None:
        instrument = self._reference.instrument(symbol)
        return None if instrument is None else instrument.proxy

    def _sector(self, symbol: str) -> str:
        instrument = self._reference.instrument(symbol)
        return SECTOR_UNKNOWN if instrument is None or instrument.sector is None else instrument.sector
