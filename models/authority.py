"""Who may command: the operator keys in force in a topic, and the signatures that they ask for.

Each topic carries its own keys, so that its fold needs no other topic. Whether a signature is one is asked of a
function that is given: this room knows no cryptography, and without such a function no signature is valid.
"""

from collections.abc import Callable

from pydantic import BaseModel

from models.canonical import canonical_bytes
from models.messages import Command, OperatorKeys, Statement

Verifier = Callable[[str, str, bytes], bool]
"""Tells whether a signature (hexadecimal, the second argument) over bytes is that of a public key (the first)."""

EQUITY_TICKS = "equity-ticks"
REFERENCE = "reference"


def refuse_all(public_key: str, signature: str, signed: bytes) -> bool:
    """Believe no signature: what holds where nobody can verify one."""
    del public_key, signature, signed
    return False


def needs_signature(message: BaseModel) -> bool:
    """Tell whether a message is a command. Marks, and statements without adjustments, are facts."""
    if isinstance(message, Statement):
        return message.adjustments is not None
    return isinstance(message, Command)


def signed_bytes(message: Command, topic: str) -> bytes:
    """Return what a signature is taken over: the topic's name, a line feed, the canonical JSON of what was said.

    Of the message as it was read these are the fields that it carries, `signed_by` among them, all but `signature`.
    Defaults are left out: a later version knows more of them, and must find old signatures as valid as they were.

    Args:
        message: The command, read from its bytes.
        topic: Where it belongs, as topics.yaml names it: the other topic's signature is not valid here.
    """
    said = message.model_dump(exclude_unset=True, exclude={"signature"})
    return topic.encode() + b"\n" + canonical_bytes(said)


def unauthorized(message: BaseModel, keys: OperatorKeys | None, *, topic: str, verify: Verifier) -> str | None:
    """Return why a message may not be obeyed, None where it may.

    Args:
        message: As it was read, with its own event_time.
        keys: Those in force in its topic before it; None, or none in it, asks for no signature.
        topic: The topic's name.
        verify: Verifies signatures.
    """
    if keys is None or not keys.keys or not needs_signature(message):
        return None
    assert isinstance(message, Command)
    if message.signed_by is None:
        return "must be signed by a listed operator key, signed_by is missing"
    public_key = keys.keys.get(message.signed_by)
    if public_key is None:
        return f"must be signed by a listed operator key, {message.signed_by!r} is none"
    if message.signature is None:
        return f"must be signed by operator key {message.signed_by!r}, signature is missing"
    if not verify(public_key, message.signature, signed_bytes(message, topic)):
        return f"signature must be that of operator key {message.signed_by!r} over this very message, is not"
    return None


def succeed(known: OperatorKeys | None, record: OperatorKeys, time: int) -> OperatorKeys:
    """Return the keys in force after an authorized record: the newer ones.

    Args:
        known: Those in force before it.
        record: The record; one from the future counts from its record's time, as in `reference`.
        time: The record's own time, ns.
    """
    if record.event_time > time:
        record = record.model_copy(update={"event_time": time})
    return record if known is None or record.event_time > known.event_time else known
