"""Why an intent is rejected, in order of precedence."""

from enum import StrEnum
from typing import Self


class RejectReason(StrEnum):
    """One reason and the check behind it. `number` is its rank: a smaller number is named first.

    Numbers are never reused.
    """

    number: int

    def __new__(cls, value: str, number: int) -> Self:
        """Make a member that is its own name and knows its rank."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.number = number
        return member

    # Integrity: nothing passes these, not even a strict reduction.
    MALFORMED = "MALFORMED", 1
    INTENT_ID_CONFLICT = "INTENT_ID_CONFLICT", 2
    DUPLICATE_INTENT = "DUPLICATE_INTENT", 3
    EVENT_TIME_INVALID = "EVENT_TIME_INVALID", 4
    INTENT_EXPIRED = "INTENT_EXPIRED", 5
    KILL_SWITCH_ALL = "KILL_SWITCH_ALL", 6
    # Halted: only reductions pass.
    KILL_SWITCH = "KILL_SWITCH", 7
    OPERATOR_HALT = "OPERATOR_HALT", 8
    DRAWDOWN_HALT = "DRAWDOWN_HALT", 9
    DAILY_LOSS_HALT = "DAILY_LOSS_HALT", 10
    # Inputs: a decision needs to know something, and does not.
    UNKNOWN_ACCOUNT = "UNKNOWN_ACCOUNT", 11
    UNKNOWN_INSTRUMENT = "UNKNOWN_INSTRUMENT", 12
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH", 13
    NO_EQUITY = "NO_EQUITY", 14
    EQUITY_NOT_POSITIVE = "EQUITY_NOT_POSITIVE", 15
    EQUITY_UNCONFIRMED = "EQUITY_UNCONFIRMED", 16
    STALE_EQUITY = "STALE_EQUITY", 17
    PRICE_UNAVAILABLE = "PRICE_UNAVAILABLE", 18
    STALE_PRICE = "STALE_PRICE", 19
    ATR_UNAVAILABLE = "ATR_UNAVAILABLE", 20
    STALE_INTENT = "STALE_INTENT", 21
    POSITION_DRIFT = "POSITION_DRIFT", 22
    # Permission.
    RESTRICTED_SYMBOL = "RESTRICTED_SYMBOL", 23
    SHORT_SALE_BANNED = "SHORT_SALE_BANNED", 24
    REDUCE_ONLY = "REDUCE_ONLY", 25
    STRATEGY_DISABLED = "STRATEGY_DISABLED", 26
    STRATEGY_CONFLICT = "STRATEGY_CONFLICT", 27
    SELF_TRADE = "SELF_TRADE", 28
    # Throttle.
    RATE_LIMIT_ACCOUNT = "RATE_LIMIT_ACCOUNT", 29
    RATE_LIMIT_STRATEGY = "RATE_LIMIT_STRATEGY", 30
    REPEATED_ORDER = "REPEATED_ORDER", 31
    MAX_OPEN_ORDERS = "MAX_OPEN_ORDERS", 32
    # Size.
    INVALID_LOT = "INVALID_LOT", 33
    TOO_FEW_TRADES = "TOO_FEW_TRADES", 34
    NO_EDGE = "NO_EDGE", 35
    SIZE_ZERO = "SIZE_ZERO", 36
    SIZE_EXCEEDS_RISK = "SIZE_EXCEEDS_RISK", 37
    SIZE_EXCEEDS_CAP = "SIZE_EXCEEDS_CAP", 38
    MAX_ORDER_QUANTITY = "MAX_ORDER_QUANTITY", 39
    MAX_ORDER_NOTIONAL = "MAX_ORDER_NOTIONAL", 40
    PRICE_COLLAR = "PRICE_COLLAR", 41
    # Correlation, concentration, model, cash.
    CORRELATED_EXPOSURE = "CORRELATED_EXPOSURE", 42
    POSITION_CONCENTRATION = "POSITION_CONCENTRATION", 43
    SECTOR_CONCENTRATION = "SECTOR_CONCENTRATION", 44
    STRATEGY_BUDGET = "STRATEGY_BUDGET", 45
    GROSS_LEVERAGE = "GROSS_LEVERAGE", 46
    NET_LEVERAGE = "NET_LEVERAGE", 47
    RISK_MODEL_UNAVAILABLE = "RISK_MODEL_UNAVAILABLE", 48
    VAR_LIMIT = "VAR_LIMIT", 49
    CVAR_LIMIT = "CVAR_LIMIT", 50
    FACTOR_LIMIT = "FACTOR_LIMIT", 51
    BUYING_POWER = "BUYING_POWER", 52


class Flag(StrEnum):
    """A warning that is no check: something the decision rests on, or noticed, that a person should see."""

    PRICE_FALLBACK = "PRICE_FALLBACK"
    PRICE_FROM_INTENT = "PRICE_FROM_INTENT"
    RETURNS_INSUFFICIENT = "RETURNS_INSUFFICIENT"
    RESIZED = "RESIZED"
    OVERFILL = "OVERFILL"
    ORPHAN_FILL = "ORPHAN_FILL"
    STRATEGY_PROBATION = "STRATEGY_PROBATION"
