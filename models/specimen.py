"""What the tables hold after a few records that are always the same.

Whoever keeps rows must not read those that another program wrote in another way, or on other rules. So the rows of
this specimen stand for all: what changes in how a row is spelled, in its fields or in what a fold makes of a record,
changes them.
"""

from typing import Any, Final

from pydantic import JsonValue

from models.canonical import DAY_NS, SECOND_NS, canonical_bytes, sha256
from models.folds.rows import Rows
from models.messages import EQUITY_TICK, REFERENCE, DailyReturn, Fill, OrderIntent
from models.refusal import Refused
from models.state import Shared, State

_NOON: Final = 20_000 * DAY_NS + DAY_NS // 2  # 2024-10-04
_LATER: Final = _NOON + 8 * DAY_NS
_BY: Final = {"actor": "operator", "reason": "specimen"}

_REFERENCE: Final[tuple[dict[str, Any], ...]] = (
    {"kind": "limit_profile", "profile_id": "default", "profile_version": 1},
    {"kind": "account", "account": "*", "profile_id": "default", "currency": "USD"},
    {"kind": "instrument", "symbol": "S", "sector": "tech", "currency": "USD"},
    {"kind": "restricted", "symbol": "T", "account": "A", "active": True},
    {"kind": "kill_switch", "scope": "SYMBOL", "target": "T", "mode": "ALL", "engaged": True},
    {"kind": "strategy", "strategy": "*", "account": "*", "state": "ENABLED"},
    {"kind": "drift", "account": "A", "symbol": "T", "flagged": True},
    {"kind": "operator_keys", "keys": {}},
)
_RETURNS: Final[tuple[dict[str, Any], ...]] = (
    {"symbol": "S", "session": "2024-10-03", "simple_return": "0.01", "close": "99.5"},
    {"symbol": "T", "session": "2024-10-03", "simple_return": "-0.02"},
)
_TICKS: Final[tuple[dict[str, Any], ...]] = (
    {
        "kind": "session_open",
        "session": "2024-10-04",
        "equity": "100000",
        "cash": "90000",
        "buying_power": "80000",
        "net_deposits": "1000",
        "marks": {"S": {"price": "100", "atr": "1.5"}, "T": {"price": "7"}},
        "actor": "operator",
    },
    {"kind": "mark", "equity": "99000", "net_deposits": "2000"},
    {"kind": "resume", **_BY},
    {"kind": "mark", "equity": "98000.5"},
    {"kind": "halt", **_BY},
    {"kind": "statement", "positions": {"S": "3"}, "fills_through": _NOON, "adjustments": {"S": "2"}, **_BY},
    {"kind": "mark", "equity": "1", "net_deposits": "3000"},
)
_ORDER: Final = {"account": "A", "intent_id": "i", "strategy": "momentum", "symbol": "S", "side": "BUY"}
_FILLS: Final[tuple[dict[str, Any], ...]] = (
    {"execution_id": "1", "execution_type": "TRADE", "last_quantity": "10", "last_price": "100.25"},
    {"execution_id": "2", "execution_type": "TRADE", "last_quantity": "5", "last_price": "101"},
    {"execution_id": "3", "execution_type": "BUSTED", "execution_reference_id": "2"},
    {"execution_id": "4", "execution_type": "REPLACED", "order_quantity": "20"},
    {"execution_id": "5", "execution_type": "CANCELED", "event_time": _LATER},
    {"execution_id": "6", "execution_type": "TRADE", "last_quantity": "3", "last_price": "9", "event_time": _LATER},
    {
        "execution_id": "7",
        "execution_type": "CORRECTED",
        "execution_reference_id": "6",
        "last_quantity": "4",
        "last_price": "9.5",
        "event_time": _LATER,
    },
)
_INTENT: Final = {**_ORDER, "quantity": "2", "order_type": "LIMIT", "limit_price": "100"}
_INTENTS: Final[tuple[dict[str, str], ...]] = ({}, {"intent_id": "j", "replaces": "i"})


def specimen() -> dict[str, JsonValue]:
    """Return every row of the specimen, by table and key, and what names the state."""
    state = State(_shared())
    _decide(state)  # on nothing but marks yet, so that it is approved
    for offset, fields in enumerate(_FILLS):
        raw = canonical_bytes({**_ORDER, "event_time": _NOON, "venue": "V", **fields})
        fill = Fill.model_validate_json(raw)
        state.fold_fill(fill, offset=offset, time=fill.event_time, raw=raw)
    account = state.accounts["A"]
    return {
        "drawdown": _rows(account.drawdown),
        "heatmap": _rows(account.book),
        "ledger": _rows(account.ledger),
        "correlation": _rows(state.shared.returns),
        "reference": _rows(state.shared.reference),
        "state": state.vector(),
    }


def _shared() -> Shared:
    shared = Shared()
    for offset, fields in enumerate(_REFERENCE):
        record = REFERENCE.validate_json(canonical_bytes({"event_time": _NOON, **_BY, **fields}))
        shared.fold_reference(record, offset=offset, time=_NOON)
    for offset, fields in enumerate(_RETURNS):
        daily_return = DailyReturn.model_validate_json(canonical_bytes({"event_time": _NOON, **fields}))
        shared.fold_return(daily_return, offset=offset, time=_NOON)
    return shared


def _decide(state: State) -> None:
    """Fold the ticks, the decisions between them and the halts that follow from them."""
    for offset, fields in enumerate(_TICKS):
        time = _NOON + offset * SECOND_NS
        tick = EQUITY_TICK.validate_json(canonical_bytes({"account": "A", "event_time": time, **fields}))
        state.fold_tick(tick, offset=offset, time=time)
        halt = state.evaluate("A")
        if halt is not None:
            state.fold_halt(halt)
        if offset == 0:
            intents = ({"event_time": time, **_INTENT, **own} for own in _INTENTS)
            messages: tuple[OrderIntent | Refused, ...] = (
                *(OrderIntent.model_validate_json(canonical_bytes(intent)) for intent in intents),
                Refused("no JSON"),
            )
            for number, message in enumerate(messages):
                state.fold_decision(state.decide(message, offset=number, time=time, raw_digest=lambda: sha256(b"")))


def _rows(table: Rows) -> JsonValue:
    return {key: table.row(key) for key in sorted(table.dirty)}
