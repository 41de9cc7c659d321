"""What the reference records say: profiles, accounts, instruments, switches, strategies, flags."""

from __future__ import annotations

from collections.abc import Iterable

from tests.oracle.history import SECOND, Entry, Wire

EVERY = "*"

DEFAULTS: Wire = {
    "drawdown_warning": "0.05",
    "drawdown_halt": "0.10",
    "high_water_warning": None,
    "high_water_halt": None,
    "daily_loss_halt": None,
    "equity_age_max": 150 * SECOND,
    "mark_age_max": 150 * SECOND,
    "atr_age_max": 4 * 86_400 * SECOND,
    "intent_age_max": 30 * SECOND,
    "require_mark": False,
    "sizing_method": "VOLATILITY_ADJUSTED",
    "risk_per_trade": "0.01",
    "atr_multiple": "2.0",
    "fixed_percent": "0.05",
    "fixed_dollar": None,
    "kelly_fraction": "0.25",
    "kelly_trades_min": 30,
    "shorts_allowed": False,
    "account_rate": 10,
    "account_burst": 20,
    "strategy_rate": 5,
    "strategy_burst": 10,
    "repeat_max": 5,
    "open_orders_max": 50,
    "entry_max": "0.10",
    "order_quantity_max": "100000",
    "order_notional_max": "1000000",
    "collar_away": "0.05",
    "collar_passive": "0.20",
    "cluster_warning": "0.30",
    "cluster_critical": "0.50",
    "position_warning": "0.20",
    "position_critical": "0.30",
    "sector_warning": "0.40",
    "sector_critical": "0.60",
    "gross_max": "1.0",
    "net_max": "1.0",
    "margin_multiplier": "1",
}

KEYS = {
    "limit_profile": ("profile_id",),
    "account": ("account",),
    "instrument": ("symbol",),
    "restricted": ("symbol", "account"),
    "kill_switch": ("scope", "target"),
    "strategy": ("strategy", "account"),
    "drift": ("account", "symbol"),
}


class Rulebook:
    """The newest record of each natural key."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        newest: dict[tuple[str, ...], Entry] = {}
        for entry in entries:
            body = entry.body
            key = (body["kind"], *(body.get(name) or "" for name in KEYS[body["kind"]]))
            last = newest.get(key)
            if last is not None and entry.event_time <= last.event_time:
                continue
            profile = last is not None and body["kind"] == "limit_profile"
            if last is None or not profile or body["profile_version"] > last.body["profile_version"]:
                newest[key] = entry
        self.records = {key: entry.body for key, entry in newest.items()}

    def find(self, kind: str, *names: str) -> Wire | None:
        """Return the record of a key."""
        return self.records.get((kind, *names))

    def account(self, name: str) -> Wire | None:
        """Return an account's record or the one for all."""
        return self.find("account", name) or self.find("account", EVERY)

    def limits(self, account: str) -> Wire | None:
        """Return the profile an account is bound to, defaults filled."""
        record = self.account(account)
        profile = None if record is None else self.find("limit_profile", record["profile_id"])
        return None if profile is None else DEFAULTS | profile

    def instrument(self, symbol: str) -> Wire | None:
        """Return a symbol's record or the one for all, defaults filled."""
        record = self.find("instrument", symbol) or self.find("instrument", EVERY)
        defaults = {"sector": None, "lot": "1", "multiplier": "1", "shortable": True}
        return None if record is None else defaults | record

    def strategy(self, strategy: str, account: str) -> Wire | None:
        """Return a strategy's record in an account, or the nearest for all."""
        for key in ((strategy, account), (strategy, EVERY), (EVERY, account), (EVERY, EVERY)):
            record = self.find("strategy", *key)
            if record is not None:
                return record
        return None

    def restricted(self, symbol: str, account: str) -> bool:
        """Whether a symbol is on the list for all accounts or for this one."""
        records = (self.find("restricted", symbol, ""), self.find("restricted", symbol, account))
        return any(record is not None and record["active"] for record in records)

    def drifted(self, account: str, symbol: str) -> bool:
        """Whether a symbol's position is known to be off."""
        for key in ((account, symbol), (account, EVERY), (EVERY, symbol), (EVERY, EVERY)):
            record = self.find("drift", *key)
            if record is not None:
                return bool(record["flagged"])
        return False

    def switches(self, account: str, strategy: str, symbol: str) -> set[str]:
        """Return the modes of the kill switches that match."""
        keys = (("GLOBAL", ""), ("ACCOUNT", account), ("STRATEGY", strategy), ("SYMBOL", symbol))
        records = [self.find("kill_switch", *key) for key in keys]
        return {record["mode"] for record in records if record is not None and record["engaged"]}
