"""What an audit says: what it found, what it counted, and what a difference may come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, NamedTuple

import orjson

MISSING: Final = object()
FINDINGS_KEPT: Final = 1000
"""Of each partition; the rest is counted. One changed fill can make every later decision differ."""


class Kind(StrEnum):
    """What a finding is about."""

    DIFFERS = "DIFFERS"
    """A decision, halt or dead letter comes out otherwise."""
    MISSING = "MISSING"
    """A decision, halt or dead letter is not there."""
    INVENTED = "INVENTED"
    """A decision, halt or dead letter that nothing calls for."""
    CHAIN = "CHAIN"
    """A digest does not fit its content, or does not continue its account's chain."""
    NO_MESSAGE = "NO_MESSAGE"
    """A record of an output topic that seawall did not write."""
    NOT_COVERED = "NOT_COVERED"
    """A decision or halt by rules, or of a schema, that this version does not have."""
    DELETED = "DELETED"
    """Records are gone from the middle of a topic, or a decision rests on one that is not there."""
    ABORTED = "ABORTED"
    """A decision answers, or rests on, a record whose transaction was aborted."""
    FOREIGN = "FOREIGN"
    """The topics are not those of one gate."""
    OWNER = "OWNER"
    """A record's header says that an older owner wrote after a newer one."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as the topics say it must be."""

    place: str
    """The record, as topic/partition@offset."""
    what: str
    field: str | None = None
    """Of a record that differs: the first field that does, as a path."""
    recorded: str | None = None
    """The field's value in the topic, as JSON."""
    reproduced: str | None = None
    """The value that comes out."""
    as_of: Mapping[str, int] | None = None
    """The offsets at which it comes out."""
    kind: Kind = Kind.DIFFERS
    cause: str | None = None
    """What could cause it."""

    def __str__(self) -> str:
        text = f"{self.place}: {self.what}"
        if self.field is not None:
            text += f": {self.field} is {self.recorded}, comes out as {self.reproduced}"
        if self.as_of is not None:
            text += " at " + ", ".join(f"{name} {offset}" for name, offset in self.as_of.items())
        if self.cause is not None:
            text += f" ({self.cause})"
        return text


class Covered(NamedTuple):
    """What an audit read of one topic partition."""

    topic: str
    partition: int
    start: int
    """The first offset."""
    end: int
    """The offset after the last record."""
    records: int
    digest: str
    """SHA-256 over offset, time, key and value of each record, in their order."""


@dataclass
class Verdict:
    """What an audit found."""

    decisions: int = 0
    """Those that were taken again, or should have been."""
    reproduced: int = 0
    diverged: int = 0
    """Decisions that come out differently."""
    not_covered: int = 0
    """Decisions by rules or of a schema that this version does not have."""
    passed: int = 0
    """Decisions that were folded, their chain verified, and not taken again: before `since`, or of other accounts."""
    halts: int = 0
    halts_reproduced: int = 0
    dead_letters: int = 0
    undecided: int = 0
    """Intents at the end of the topic that have no decision yet."""
    unjudged: int = 0
    """Input records after the last decision or halt; what they call for may still be on its way."""
    aborted: int = 0
    """Records of input topics whose transaction was aborted: nobody may have acted on them."""
    more: int = 0
    """Findings beyond those that were kept."""
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a reader should know and is no fault."""

    @property
    def clean(self) -> bool:
        """Whether everything that could be judged is as it must be."""
        return not self.findings and not self.more

    @property
    def summary(self) -> str:
        """The verdict in one line."""
        text = (
            f"audit: {self.decisions} decisions, {self.reproduced} reproduced byte for byte, {self.diverged} diverged"
        )
        return text if not self.not_covered else f"{text}, {self.not_covered} not covered"

    def find(self, finding: Finding) -> None:
        """Add a finding."""
        if len(self.findings) < FINDINGS_KEPT:
            self.findings.append(finding)
        else:
            self.more += 1

    def add(self, other: "Verdict") -> None:
        """Take in what was found elsewhere."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


def first_difference(
    recorded: Any,  # noqa: ANN401  # JSON
    reproduced: Any,  # noqa: ANN401  # JSON
    order: tuple[str, ...] = (),
) -> tuple[str, str, str]:
    """Return where two JSON values first differ: the path, and both values there as JSON.

    Args:
        recorded: One value.
        reproduced: The other.
        order: In which the fields of the outermost object are compared.
    """
    if isinstance(recorded, dict) and isinstance(reproduced, dict):
        names = dict.fromkeys((*order, *sorted({*recorded, *reproduced})))
        pairs = [(name, recorded.get(name, MISSING), reproduced.get(name, MISSING)) for name in names]
    elif isinstance(recorded, list) and isinstance(reproduced, list):
        length = max(len(recorded), len(reproduced))
        both = (value + [MISSING] * (length - len(value)) for value in (recorded, reproduced))
        pairs = [(str(index), *pair) for index, pair in enumerate(zip(*both, strict=True))]
    else:
        return "", _json(recorded), _json(reproduced)
    for name, left, right in pairs:
        if left != right:
            path, found, out = first_difference(left, right)
            return (f"{name}.{path}" if path else name), found, out
    return "", "the same value in other bytes", _json(reproduced)


def _json(value: Any) -> str:  # noqa: ANN401  # JSON
    return "nothing" if value is MISSING else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


_CAUSES: Final = {
    "intent_digest": "the intent was changed after it was decided, or the topics are not those of one gate",
    "seq": "a decision or halt before it was removed, inserted or changed",
    "previous_digest": "the record before it in its chain was changed, removed or inserted",
    "limits_version": "reference was changed, or the record names other limits than were in force",
    "rules": "another version of seawall took it",
}


def likely_cause(path: str, *, sealed: bool) -> str:
    """Return what could make a record come out differently.

    Args:
        path: The first field that differs.
        sealed: Whether the record's digest fits its content.
    """
    if not sealed:
        return "it was changed after it was sealed: its digest does not fit its content"
    known = _CAUSES.get(path.partition(".")[0])
    if known is not None:
        return known
    return (
        "its digest fits its content, so it was sealed so: by a forger, or by a program other than its rules say; or"
        " a record at or below its as_of was changed, added or removed in fills, equity-ticks, daily-returns,"
        " reference or order-intents"
    )
