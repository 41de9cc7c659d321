"""What random worlds are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.oracle.history import DAY, SECOND

START = 20_000 * DAY + DAY // 2
SESSIONS = 30
HOUR = 3_600 * SECOND
MINUTE = 60 * SECOND

ACTS = ("kill", "kill", "restricted", "drift", "strategy", "strategy", "profile", "instrument")
LAGS = (0,) * 20 + (-SECOND, -30 * SECOND, -30 * SECOND - 1, -HOUR, 5 * SECOND, 5 * SECOND + 1)
STRATEGIES = ("momentum", "carry", "value")
SYMBOLS = ("AA", "BB", "CC", "DD", "EE", "FF")
SECTORS = ("tech", "energy", None)
PRICES = ("100", "50", "185", "2", "33.33", "0.5")
LOTS = ("1", "1", "1", "0.1", "10", "0.5", "3")
MULTIPLIERS = ("1", "1", "1", "100", "0.5")

LIMITS: dict[str, Sequence[Any]] = {
    "drawdown_warning": ("0.05", "0.02"),
    "drawdown_halt": ("0.10", "0.2", "0.07"),
    "high_water_warning": ("0.08",),
    "high_water_halt": ("0.15", "0.1"),
    "daily_loss_halt": ("0.06", "0.03"),
    "equity_age_max": (150 * SECOND, 20 * SECOND, HOUR),
    "mark_age_max": (150 * SECOND, 20 * SECOND, HOUR),
    "atr_age_max": (DAY, HOUR),
    "intent_age_max": (30 * SECOND, 5 * SECOND, 2 * HOUR),
    "require_mark": (True,),
    "risk_per_trade": ("0.01", "0.002", "0.05"),
    "atr_multiple": ("2", "1.5", "3"),
    "fixed_percent": ("0.05", "0.2", "0.001"),
    "kelly_fraction": ("0.25", "0.5"),
    "kelly_trades_min": (30, 10),
    "account_rate": (10, 1, 2),
    "account_burst": (20, 1, 3, 5),
    "strategy_rate": (5, 1, 8),
    "strategy_burst": (10, 1, 2, 4),
    "repeat_max": (1, 2, 5),
    "open_orders_max": (1, 3, 5, 50),
    "entry_max": ("0.10", "0.5", "2", "0.03"),
    "order_quantity_max": ("100", "250.5", "40"),
    "order_notional_max": ("10000", "25000", "3000"),
    "collar_away": ("0.05", "0.5", "0"),
    "collar_passive": ("0.2", "0.9"),
    "cluster_warning": ("0.1", "0.3"),
    "cluster_critical": ("0.4", "0.8", "0.5"),
    "position_warning": ("0.1", "0.15"),
    "position_critical": ("0.25", "0.6", "0.2"),
    "sector_warning": ("0.2", "0.1"),
    "sector_critical": ("0.3", "0.9", "0.4"),
    "gross_max": ("0.5", "2", "1"),
    "net_max": ("0.4", "1.5", "1"),
    "margin_multiplier": ("2", "4", "0.5"),
}
METHODS = ("VOLATILITY_ADJUSTED",) * 4 + ("FIXED_PERCENT", "FIXED_DOLLAR", "KELLY", "KELLY", "NONE", "NONE")
