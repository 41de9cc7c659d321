"""Keys to sign with, the same in every run."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.canonical import canonical_bytes
from models.messages import Command, OperatorKeys
from streams.records import Topic
from streams.signatures import Signer

SIGNERS = {
    name: Signer(name, Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))
    for number, name in enumerate(("k1", "k2", "k3"), 1)
}


def keys(*names: str, at: int) -> OperatorKeys:
    """Return a record that lists these keys."""
    listed: dict[str, Any] = {name: SIGNERS[name].public_key for name in names}
    return OperatorKeys(event_time=at, actor="jo", reason="test", keys=listed)


def signed(message: Command, topic: Topic, by: str | None) -> bytes:
    """Return the message's bytes, signed by a key or not at all."""
    return canonical_bytes(message if by is None else SIGNERS[by].sign(message, topic))
