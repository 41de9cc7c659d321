"""What a decision says of itself: all that it takes to decide again, read without decoding the whole of it.

Most decisions come out as they were recorded, and of those nothing else is ever asked. Nothing is taken on trust:
where a record is not sealed as seawall seals it, it is decoded in full before anything is made of it.
"""

from typing import Final, NamedTuple

import orjson

from models.canonical import canonical_bytes, chained, sha256
from models.decisions import RiskDecision, TradingHalt

_FIELDS: Final = RiskDecision.model_fields.keys()
_AFTER_DIGEST: Final = b'"%s":' % min(name for name in _FIELDS if name > "digest").encode()


class Offsets(NamedTuple):
    """An `as_of`."""

    fills: int
    equity_ticks: int
    daily_returns: int
    reference: int


class Claim(NamedTuple):
    """What a sealed decision says of itself."""

    account: str | None
    as_of: Offsets
    intent_offset: int
    rules: int
    seq: int
    previous_digest: str
    digest: str
    """That of the record: its bytes are those of every decision with this digest."""


def claim_of(value: bytes | None) -> Claim | None:
    """Return what a record claims, None unless it has a decision's fields and its digest is that of the others.

    The digest must stand in its place, as a field of the whole: then these bytes are the only ones with this digest.
    """
    try:
        fields = orjson.loads(value or b"")
        digest = fields["digest"]
        before, found, after = _around(value or b"", digest)
        as_of = Offsets(**fields["as_of"])
        claim = Claim(
            fields["account"],
            as_of,
            fields["intent_offset"],
            fields["rules"],
            fields["seq"],
            fields["previous_digest"],
            digest,
        )
        version = fields["version"]
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    numbers = (*as_of, claim.intent_offset, claim.rules, claim.seq, version)
    if (
        fields.keys() != _FIELDS
        or not found
        or not after.startswith(_AFTER_DIGEST)
        or sha256(before + after) != digest
        or version != 1
        or set(map(type, numbers)) != {int}
        or min(numbers) < -1
        or not isinstance(claim.account, str | None)
    ):
        return None
    return claim


def _around(value: bytes, digest: str) -> tuple[bytes, bytes, bytes]:
    """Return a message's bytes before, of and after its digest."""
    return value.partition(b'"digest":"%b",' % digest.encode())


def is_sealed(message: RiskDecision | TradingHalt, value: bytes | None) -> bool:
    """Tell whether a record holds a decision's or halt's own bytes, and its digest is that of the others."""
    if canonical_bytes(message) != value:
        return False
    before, _, after = _around(value, message.digest)
    # A detail of the message may look like its digest; then that was cut out, and it is taken apart in full.
    return sha256(before + after) == message.digest or sha256(chained(message)) == message.digest
