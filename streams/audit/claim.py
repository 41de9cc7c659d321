"""What a decision says of itself: all that it takes to decide again, read without decoding the whole of it.

Most decisions come out as they were recorded, and of those nothing else is ever asked. Nothing is taken on trust:
where a record is not sealed as seawall seals it, it is decoded in full before anything is made of it.
"""

from typing import Final, NamedTuple

import orjson

from models.canonical import sha256
from models.decisions import RiskDecision

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
        before, found, after = (value or b"").partition(b'"digest":"%b",' % digest.encode())
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
