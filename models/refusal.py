"""Records that no rule admits."""

from typing import NamedTuple


class Refused(NamedTuple):
    """Bytes that are no message, and why. Takes the message's place on its way through the folds."""

    why: str


class Refusal(NamedTuple):
    """A dead letter that a fold owes."""

    offset: int
    why: str
    raw: bytes | None = None
    """The refused record, where it is an earlier one than the record just folded."""
    unauthorized: bool = False
    """A command without the signature that the topic's operator keys ask for: somebody should be told."""
