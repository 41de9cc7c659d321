"""Over two hundred kinds of bytes that are no message, each with a name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from streams.records import Topic

ACCOUNT = "bad-bytes"
NOW = 1_700_000_000_000_000_000


class Kind(NamedTuple):
    """One kind of bad record."""

    name: str
    topic: Topic
    key: bytes | None
    value: bytes | None


GOOD: dict[str, tuple[Topic, dict[str, Any]]] = {
    "intent": (
        Topic.ORDER_INTENTS,
        {
            "intent_id": "i",
            "account": ACCOUNT,
            "strategy": "s",
            "symbol": "AAPL",
            "side": "BUY",
            "quantity": "1",
            "order_type": "LIMIT",
            "limit_price": "100",
            "event_time": NOW,
        },
    ),
    "fill": (
        Topic.FILLS,
        {
            "execution_id": "e",
            "account": ACCOUNT,
            "symbol": "AAPL",
            "side": "BUY",
            "execution_type": "TRADE",
            "last_quantity": "1",
            "last_price": "100",
            "event_time": NOW,
        },
    ),
    "mark": (
        Topic.EQUITY_TICKS,
        {
            "kind": "mark",
            "account": ACCOUNT,
            "equity": "100000",
            "event_time": NOW,
            "marks": {"AAPL": {"price": "100"}},
        },
    ),
    "session_open": (
        Topic.EQUITY_TICKS,
        {
            "kind": "session_open",
            "account": ACCOUNT,
            "equity": "100000",
            "event_time": NOW,
            "session": "2023-11-14",
            "actor": "operator",
        },
    ),
    "resume": (
        Topic.EQUITY_TICKS,
        {"kind": "resume", "account": ACCOUNT, "event_time": NOW, "actor": "operator", "reason": "test"},
    ),
    "return": (
        Topic.DAILY_RETURNS,
        {"symbol": "AAPL", "session": "2023-11-13", "simple_return": "0.01", "event_time": NOW},
    ),
    "limit_profile": (
        Topic.REFERENCE,
        {
            "kind": "limit_profile",
            "profile_id": "bad",
            "profile_version": 1,
            "event_time": NOW,
            "actor": "operator",
            "reason": "test",
        },
    ),
    "kill_switch": (
        Topic.REFERENCE,
        {
            "kind": "kill_switch",
            "scope": "ACCOUNT",
            "target": ACCOUNT,
            "mode": "ALL",
            "engaged": True,
            "event_time": NOW,
            "actor": "operator",
            "reason": "test",
        },
    ),
}
"""A good message of each sort; every bad one differs from one of these in one way."""

NOT_JSON: dict[str, bytes | None] = {
    "no value": None,
    "empty": b"",
    "a space": b" ",
    "zeros": bytes(16),
    "latin-1": '{"symbol":"é"}'.encode("latin-1"),
    "utf-16": '{"a":1}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "cut off": b'{"intent_id":"i"',
    "two documents": b"{}{}",
    "trailing comma": b'{"version":1,}',
    "single quotes": b"{'version':1}",
    "a comment": b"{}//",
    "a number": b"1",
    "a string": b'"text"',
    "null": b"null",
    "a list": b"[]",
    "an empty object": b"{}",
    "NaN": b"NaN",
    "deep lists": b"[" * 5000 + b"]" * 5000,
    "deep objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "lone surrogate": b'{"symbol":"\\ud800"}',
    "over 64 KiB": b'{"reason":"' + b"x" * 70_000 + b'"}',
    "utf-32": "{}".encode("utf-32"),
    "XML": b"<intent/>",
    "a pickle": b"\x80\x04\x95",
    "900 kB of space": b"{" + b" " * 900_000 + b"}",
    "avro": b"\x00\x00\x00\x00\x01\x02",
}

BAD_DECIMALS: dict[str, Any] = {
    "a float": 1.5,
    "an integer": 1,
    "NaN": "NaN",
    "Infinity": "Infinity",
    "an exponent": "1e3",
    "a plus": "+1",
    "a leading zero": "01",
    "no whole part": ".5",
    "no fraction after the point": "1.",
    "thirteen whole digits": "1" * 13,
    "thirteen decimals": "0." + "1" * 13,
    "a space": " 1",
    "a newline": "1\n",
    "a comma": "1,5",
    "digits of another script": "\u0661",
    "empty": "",
    "true": True,
    "a list": ["1"],
}

BAD_NAMES: dict[str, Any] = {
    "empty": "",
    "65 characters": "x" * 65,
    "a newline": "a\nb",
    "NUL": "a\0",
    "not ASCII": "Ä",
    "a number": 7,
    "null": None,
    "an object": {},
}

BAD_TIMES: dict[str, Any] = {
    "a string": "2023-11-14",
    "a float": 1.7e18,
    "negative": -1,
    "past 64 bits": 2**63,
    "huge": 10**40,
    "null": None,
    "true": True,
}

OF_ITS_OWN: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("intent", "quantity zero", {"quantity": "0"}),
    ("intent", "negative quantity", {"quantity": "-1"}),
    ("intent", "negative price", {"limit_price": "-100"}),
    ("intent", "LIMIT without price", {"limit_price": None}),
    ("intent", "MARKET with limit_price", {"order_type": "MARKET"}),
    ("intent", "another order type", {"order_type": "STOP"}),
    ("intent", "lower case side", {"side": "buy"}),
    ("intent", "SELL_SHORT", {"side": "SELL_SHORT"}),
    ("intent", "win_rate over one", {"win_rate": "1.1"}),
    ("intent", "payoff zero", {"payoff": "0"}),
    ("intent", "negative trades", {"trades": -1}),
    ("intent", "trades as text", {"trades": "30"}),
    ("intent", "allow_resize as text", {"allow_resize": "true"}),
    ("intent", "allow_resize as number", {"allow_resize": 1}),
    ("intent", "expires in six days", {"expires_at": NOW + 6 * 86_400 * 10**9}),
    ("intent", "replaces", {"replaces": ""}),
    ("intent", "an unknown field", {"urgent": True}),
    ("intent", "a bypass flag", {"bypass_risk": True}),
    ("intent", "a decision of its own", {"status": "APPROVED"}),
    ("intent", "version 2", {"version": 2}),
    ("intent", "version true", {"version": True}),
    ("intent", "version 1.0", {"version": 1.0}),
    ("intent", "version as text", {"version": "1"}),
    ("fill", "no quantity", {"last_quantity": None}),
    ("fill", "no price", {"last_price": None}),
    ("fill", "quantity zero", {"last_quantity": "0"}),
    ("fill", "negative price", {"last_price": "-1"}),
    ("fill", "negative fee", {"fee": "-0.5"}),
    ("fill", "negative leaves", {"leaves_quantity": "-1"}),
    ("fill", "unknown execution type", {"execution_type": "STOPPED"}),
    ("fill", "bust without reference", {"execution_type": "BUSTED"}),
    ("fill", "correction without reference", {"execution_type": "CORRECTED"}),
    ("fill", "replacement without total", {"execution_type": "REPLACED"}),
    ("fill", "version 2", {"version": 2}),
    ("mark", "no equity", {"equity": None}),
    ("mark", "unknown kind", {"kind": "guess"}),
    ("mark", "no kind", {"kind": None}),
    ("mark", "a statement", {"kind": "statement", "positions": {}}),
    ("mark", "marks as a list", {"marks": []}),
    ("mark", "501 marks", {"marks": {f"S{number}": {"price": "1"} for number in range(501)}}),
    ("mark", "mark without price", {"marks": {"AAPL": {"atr": "1"}}}),
    ("mark", "mark with negative price", {"marks": {"AAPL": {"price": "-1"}}}),
    ("mark", "mark with float price", {"marks": {"AAPL": {"price": 100.0}}}),
    ("mark", "mark with ATR zero", {"marks": {"AAPL": {"price": "1", "atr": "0"}}}),
    ("mark", "price from after the tick", {"marks": {"AAPL": {"price": "1", "price_time": NOW + 1}}}),
    ("mark", "ATR from after the tick", {"marks": {"AAPL": {"price": "1", "atr": "1", "atr_time": NOW + 1}}}),
    ("mark", "fills_through after the tick", {"fills_through": NOW + 1}),
    ("mark", "negative buying power", {"buying_power": "-1"}),
    ("session_open", "no session", {"session": None}),
    ("session_open", "no such day", {"session": "2023-02-30"}),
    ("session_open", "another date format", {"session": "14.11.2023"}),
    ("session_open", "a week", {"session": "2023-W46-2"}),
    ("session_open", "no actor", {"actor": None}),
    ("session_open", "an unknown field", {"force": True}),
    ("resume", "no reason", {"reason": None}),
    ("resume", "empty reason", {"reason": ""}),
    ("resume", "an unknown field", {"until": NOW}),
    ("return", "below minus one", {"simple_return": "-1.01"}),
    ("return", "above ten", {"simple_return": "10.1"}),
    ("return", "no such day", {"session": "2023-02-29"}),
    ("return", "a session to come", {"session": "2999-01-01"}),
    ("return", "close zero", {"close": "0"}),
    ("limit_profile", "version zero", {"profile_version": 0}),
    ("limit_profile", "version as text", {"profile_version": "1"}),
    ("limit_profile", "warning above critical", {"position_warning": "0.9"}),
    ("limit_profile", "negative limit", {"gross_max": "-1"}),
    ("limit_profile", "halt at zero", {"drawdown_halt": "0"}),
    ("limit_profile", "halt over one", {"drawdown_halt": "1.5"}),
    ("limit_profile", "kelly over a half", {"kelly_fraction": "0.51"}),
    ("limit_profile", "fixed dollar without dollars", {"sizing_method": "FIXED_DOLLAR"}),
    ("limit_profile", "unknown method", {"sizing_method": "MARTINGALE"}),
    ("limit_profile", "a limit switched off", {"position_critical": None}),
    ("limit_profile", "a limit of no rule", {"vega_max": "0.05"}),
    ("limit_profile", "a rate that does not divide a second", {"account_rate": 3}),
    ("limit_profile", "a negative burst", {"account_burst": -1}),
    ("limit_profile", "a misspelled limit", {"positon_critical": "0.1"}),
    ("limit_profile", "no reason", {"reason": None}),
    ("kill_switch", "unknown scope", {"scope": "SECTOR"}),
    ("kill_switch", "unknown mode", {"mode": "SOME"}),
    ("kill_switch", "target of GLOBAL", {"scope": "GLOBAL"}),
    ("kill_switch", "no target", {"target": None}),
    ("kill_switch", "engaged as text", {"engaged": "yes"}),
    ("kill_switch", "unknown kind", {"kind": "drift"}),
)

DECIMAL_FIELDS = (("intent", "quantity"), ("fill", "last_price"), ("mark", "equity"), ("return", "simple_return"))
NAME_FIELDS = (("intent", "symbol"), ("fill", "execution_id"), ("kill_switch", "actor"))
TIMED = ("intent", "fill", "mark", "return", "limit_profile")


def key_of(sort: str) -> bytes:
    """Return the key that a good message of this sort has."""
    return b"AAPL" if sort == "return" else ACCOUNT.encode()


def _changed(sort: str, name: str, changes: dict[str, Any]) -> Kind:
    topic, good = GOOD[sort]
    fields = {field: value for field, value in (good | changes).items() if value is not None or field not in good}
    # A field changed to None is left out where it was; 40 digits need json, not orjson.
    value = orjson.dumps({field: "@" if _huge(value) else value for field, value in fields.items()})
    for huge in filter(_huge, fields.values()):
        value = value.replace(b'"@"', str(huge).encode())
    return Kind(f"{sort}: {name}", topic, key_of(sort), value)


def _huge(value: object) -> bool:
    return isinstance(value, int) and value >= 2**64


def kinds() -> Iterator[Kind]:  # noqa: C901  # a flat list of loops
    """Yield every kind once."""
    for sort in ("intent", "fill", "mark", "return", "limit_profile"):
        for name, value in NOT_JSON.items():
            yield Kind(f"{sort}: {name}", GOOD[sort][0], key_of(sort), value)
    for sort, field in DECIMAL_FIELDS:
        for name, bad in BAD_DECIMALS.items():
            yield _changed(sort, f"{field} with {name}", {field: bad})
    for sort, field in NAME_FIELDS:
        for name, bad in BAD_NAMES.items():
            yield _changed(sort, f"{field} with {name}", {field: bad})
    for sort in TIMED:
        for name, bad in BAD_TIMES.items():
            yield _changed(sort, f"event_time {name}", {"event_time": bad})
    for sort, name, changes in OF_ITS_OWN:
        yield _changed(sort, name, changes)
    for sort in ("intent", "fill", "mark"):
        topic, good = GOOD[sort]
        yield Kind(f"{sort}: no key", topic, None, orjson.dumps(good))
        yield Kind(f"{sort}: another account's key", topic, b"other", orjson.dumps(good))
        yield Kind(f"{sort}: a key that is no text", topic, b"\xff\xfe", orjson.dumps(good))
        twice = orjson.dumps(good)[:-1] + b',"symbol":"MSFT","account":"other"}'
        yield Kind(f"{sort}: a field given twice", topic, ACCOUNT.encode(), twice)
    yield Kind("return: another symbol's key", Topic.DAILY_RETURNS, b"MSFT", orjson.dumps(GOOD["return"][1]))
