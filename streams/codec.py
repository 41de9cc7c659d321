"""Bytes to messages and back. Reading is total: whatever the bytes are, they give a message or the reason why not.

The texts of refusals are our own, word for word: a library's wording changes from version to version, and a text
that stands in the log must come out the same when the log is read again.
"""

import base64
import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeVar

import orjson
from aiokafka.partitioner import murmur2
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from models.canonical import canonical_bytes, sha256
from models.decisions import DeadLetter, RiskDecision, TradingHalt
from models.messages import (
    EQUITY_TICK,
    REFERENCE,
    DailyReturn,
    EquityTick,
    Fill,
    OperatorKeys,
    OrderIntent,
    ReferenceRecord,
)
from models.refusal import Refused
from streams.operations import OperatorError
from streams.records import Outgoing, Record, Topic

RECORD_BYTES_MAX: Final = 64 * 1024
"""A record whose key and value are together longer than this is no message."""
DEAD_LETTER_RAW_MAX: Final = 32 * 1024
DEAD_LETTER_KEY_MAX: Final = 1024
"""Longer keys are cut, or a dead letter could be too large to publish."""

_WHY_MAX: Final = 400
_SHOWN_MAX: Final = 60
_ERRORS_SHOWN: Final = 3
_BITS_SHOWN: Final = 128

_TEXTS: Final = {
    "missing": "is missing",
    "extra_forbidden": "is no field of this message",
    "string_type": "must be a string",
    "string_pattern_mismatch": "must be 1 to 64 printable ASCII characters",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "too_long": "must have at most {max_length} entries",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "union_tag_not_found": "must have a field kind",
    "union_tag_invalid": "must have a kind out of {expected_tags}",
    "json_invalid": "must be JSON that is not nested too deeply",
    # Texts of the models themselves.
    "number": "{message}",
    "positive": "{message}",
    "non_negative": "{message}",
    "fraction": "{message}",
    "session": "{message}",
    "exact": "{message}",
    "value_error": "{error}",
}
_UNIONS: Final = frozenset({Topic.EQUITY_TICKS, Topic.REFERENCE})
_VALUE_IN_TEXT: Final = frozenset(
    {"missing", "union_tag_not_found", "positive", "non_negative", "fraction", "value_error", "json_invalid"}
)

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class LedgerError(OperatorError):
    """A record of a topic that only seawall writes is not what seawall writes."""

    def __init__(self, text: str) -> None:
        super().__init__(text, remedy="find out who writes there; RUNBOOK.md says how to go on")


class Codec:
    """Reads the input topics. A message's key must be its account (symbol), and its partition that key's.

    Args:
        partitions: N, the number of partitions of each account topic.
    """

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        # One hash costs as much as the rest of the decoding; accounts come again and again.
        self._partition_of = lru_cache(maxsize=1 << 16)(self._hashed)

    def _hashed(self, key: bytes) -> int:
        return (int(murmur2(key)) & 0x7FFFFFFF) % self.partitions

    def partition_of(self, account: str) -> int:
        """Return the partition of an account, as the Java client's default partitioner chooses it."""
        return self._partition_of(account.encode())

    def order_intent(self, record: Record) -> OrderIntent | Refused:
        """Return the message in a record of `order-intents`."""
        return self._read(record, OrderIntent.model_validate_json, "account")

    def fill(self, record: Record) -> Fill | Refused:
        """Return the message in a record of `fills`."""
        return self._read(record, Fill.model_validate_json, "account")

    def equity_tick(self, record: Record) -> EquityTick | Refused:
        """Return the message in a record of `equity-ticks`."""
        return self._read(record, EQUITY_TICK.validate_json, "account")

    def daily_return(self, record: Record) -> DailyReturn | Refused:
        """Return the message in a record of `daily-returns`."""
        return self._read(record, DailyReturn.model_validate_json, "symbol")

    def reference(self, record: Record) -> ReferenceRecord | Refused:
        """Return the message in a record of `reference`, whose key may be anything."""
        return self._read(record, REFERENCE.validate_json, None)

    def _read(self, record: Record, parse: Callable[[bytes], T], key_field: str | None) -> T | Refused:
        try:
            message = parse(_checked(record))
        except ValidationError as error:
            return Refused(_bounded(_described(error, record)))
        except _NotJsonError as error:
            return Refused(_bounded(str(error)))
        # Operator keys belong to a partition, and to no account.
        if key_field is not None and not isinstance(message, OperatorKeys):
            why = self._misplaced(record, key_field, getattr(message, key_field))
            if why is not None:
                return Refused(_bounded(why))
        return message

    def _misplaced(self, record: Record, field: str, name: str) -> str | None:
        if record.key != name.encode():
            return f"the key must be the {field}, {shown(name)}, was {shown(record.key)}"
        if field != "account":
            return None
        home = self._partition_of(record.key)
        if home == record.partition:
            return None
        return (
            f"key {shown(name)} belongs on partition {home} of {self.partitions}, was on {record.partition}:"
            " the producer must use the Java client's murmur2 partitioner"
        )


class _NotJsonError(ValueError):
    """The value is no JSON."""


def _checked(record: Record) -> bytes:
    """Return the record's value if it is one JSON document that no two readers understand differently."""
    value = record.value
    if value is None:
        raise _NotJsonError("the record has no value")
    length = len(value) + len(record.key or b"")
    if length > RECORD_BYTES_MAX:
        raise _NotJsonError(f"the record must have at most {RECORD_BYTES_MAX} bytes, had {length}")
    document = _document(value)
    if isinstance(document, dict) and type(document.get("version", 1)) is not int:
        # pydantic takes true and 1.0 for the literal 1.
        raise _NotJsonError(f"version must be 1, was {shown(document['version'])}")
    return value


def _document(value: bytes) -> object:
    try:
        document: object = orjson.loads(value)
        if orjson.dumps(document) == value:
            return document  # The common case, without a second look: a key given twice would have been lost.
        return _STRICT.decode(value.decode())
    except (RecursionError, orjson.JSONEncodeError):
        raise _NotJsonError("the value must be JSON that is not nested too deeply") from None
    except _RepeatedFieldError as error:
        raise _NotJsonError(f"field {shown(error.args[0])} is given more than once") from None
    except ValueError:
        raise _NotJsonError(f"the value must be JSON in UTF-8, was {shown(value)}") from None


class _RepeatedFieldError(ValueError):
    """A JSON object has a key twice; readers differ in which one they take."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise _RepeatedFieldError(name)
        fields[name] = value
    return fields


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_unique)


def _described(error: ValidationError, record: Record) -> str:
    given = orjson.loads(record.value or b"null")
    found = []
    for each in error.errors(include_url=False):
        # pydantic puts the member of a union before the field.
        path = each["loc"][1:] if record.topic in _UNIONS else each["loc"]
        # A default that could not be computed for want of another field is that field's error, not a second one.
        if each["type"] == "missing" or not path or path[0] in given:
            found.append(_text(each, path))
    texts = found[:_ERRORS_SHOWN]
    if len(found) > _ERRORS_SHOWN:
        texts.append(f"and {len(found) - _ERRORS_SHOWN} more")
    return "; ".join(texts)


def _text(error: ErrorDetails, path: tuple[int | str, ...]) -> str:
    context = {name: str(value).replace("'", "") for name, value in error.get("ctx", {}).items()}
    kind = error["type"]
    text = _TEXTS.get(kind, "is not valid").format_map({**context, "message": error["msg"]})
    if kind not in _VALUE_IN_TEXT:
        text += f", was {shown(context.get('tag', error['input']))}"
    if kind == "value_error" and not path:
        return text
    where = ".".join(str(step)[: _SHOWN_MAX + 4] for step in path)
    return f"{where or 'the message'} {text}"


def violations(error: ValidationError) -> list[tuple[str, str]]:
    """Return every violation in our own words, each with the field it is about, "" where it is about several."""
    found = []
    for each in error.errors(include_url=False):
        texts = _text(each, each["loc"]).split("; ") if not each["loc"] else [_text(each, each["loc"])]
        found += [(str(each["loc"][0]) if each["loc"] else "", text) for text in texts]
    return found


def shown(value: object) -> str:
    """Return a value from outside in printable ASCII, on one line, and short."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() if value.bit_length() > _BITS_SHOWN:
            return "a number of over 38 digits"
        case dict():
            return "an object"
        case list() | tuple():
            return "a list"
        case bytes():
            text = ascii(value[: _SHOWN_MAX + 1].decode("latin-1"))
        case _:
            text = ascii(value) if isinstance(value, str) else ascii(str(value))[1:-1]
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 3] + "..."


def _bounded(why: str) -> str:
    why = re.sub(r"[^\x20-\x7e]", "?", why)
    return why if len(why) <= _WHY_MAX else why[: _WHY_MAX - 3] + "..."


def decode_decision(record: Record) -> RiskDecision:
    """Return the decision in a record of `risk-decisions`.

    Raises:
        LedgerError: If it holds none: somebody else wrote there.
    """
    return _ours(RiskDecision, record)


def decode_halt(record: Record) -> TradingHalt:
    """Return the halt in a record of `trading-halts`.

    Raises:
        LedgerError: If it holds none: somebody else wrote there.
    """
    return _ours(TradingHalt, record)


def _ours(model: type[M], record: Record) -> M:
    try:
        return model.model_validate_json(record.value or b"")
    except ValidationError as error:
        text = _bounded(_text(first := error.errors(include_url=False)[0], first["loc"]))
        raise LedgerError(f"{record.place} is no {model.__name__} of this version of seawall: {text}") from None


def encode_decision(decision: RiskDecision, *, why: str | None = None) -> Outgoing:
    """Return the record of a decision; its key is the account, none where that is unknown.

    Args:
        decision: The decision.
        why: What was wrong with a MALFORMED intent.
    """
    key = None if decision.account is None else decision.account.encode()
    return Outgoing(Topic.RISK_DECISIONS, key, decision.encoded(), why)


def encode_halt(halt: TradingHalt) -> Outgoing:
    """Return the record of a halt."""
    return Outgoing(Topic.TRADING_HALTS, halt.account.encode(), halt.encoded())


def encode_dead_letter(record: Record, why: str, *, offset: int | None = None, raw: bytes | None = None) -> Outgoing:
    """Return the dead letter of a record.

    Args:
        record: The record that was refused, or the one whose folding showed that an earlier one must be.
        why: What was wrong, one line.
        offset: The earlier record's offset in the same partition.
        raw: Its value.
    """
    offset, raw = (record.offset, record.value) if offset is None else (offset, raw)
    raw = raw or b""
    letter = DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=offset,
        key=None if record.key is None else base64.b64encode(record.key[:DEAD_LETTER_KEY_MAX]).decode(),
        raw=base64.b64encode(raw[:DEAD_LETTER_RAW_MAX]).decode(),
        length=len(raw),
        sha256=sha256(raw),
        why=why,
    )
    key = f"{record.topic}-{record.partition}-{offset}"
    return Outgoing(Topic.DEAD_LETTERS, key.encode(), canonical_bytes(letter))
