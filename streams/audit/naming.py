"""What an audit finds, put into words: what is otherwise, where it first shows, and what could cause it."""

from collections.abc import Awaitable, Callable

import orjson

from models.canonical import canonical_bytes, chained, sha256
from models.decisions import AsOf, RiskDecision, TradingHalt
from models.folds.ledger import Chain
from streams.audit.verdict import Finding, Kind, Verdict, first_difference, likely_cause
from streams.audit.watch import Absence
from streams.records import Record, Topic
from streams.replay import INPUTS


class Naming:
    """Names what is found, in the verdict.

    Args:
        verdict: What is found is added to it.
        absent: Tells what stands at offsets of an input that no reader sees; without it nothing is said of that.
    """

    def __init__(self, verdict: Verdict, absent: Callable[[Topic, int, int], Awaitable[Absence]] | None) -> None:
        self._verdict = verdict
        self._absent = absent

    def find(
        self, place: str, what: str, as_of: AsOf | None = None, *, kind: Kind = Kind.DIFFERS, cause: str | None = None
    ) -> None:
        """Add a finding."""
        offsets = None if as_of is None else as_of.model_dump()
        self._verdict.find(Finding(place, what, as_of=offsets, kind=kind, cause=cause))

    def goes_back(self, record: Record) -> None:
        """Name a decision that knew less than the one before it."""
        self.find(
            record.place,
            "its as_of goes back behind the decision or halt before it",
            cause="decisions were swapped, or the record was changed",
        )

    def not_covered(self, record: Record, rules: int) -> None:
        """Name a decision or halt by rules that this version does not have."""
        self.find(
            record.place,
            f"was decided by rules {rules}, which this version does not have: not covered",
            kind=Kind.NOT_COVERED,
            cause="a newer version of seawall took it: audit with that one",
        )

    def undecided(self, intent: Record, later: Record) -> None:
        """Name an intent that was passed over."""
        self.find(
            intent.place,
            f"has no decision; the next one, {later.place}, is of a later record",
            kind=Kind.MISSING,
            cause="its decision was removed, or never published",
        )

    async def unasked(self, record: Record, intent_offset: int) -> None:
        """Name a decision on an intent that is not there, or was decided before."""
        kind, there = await self._at(Topic.ORDER_INTENTS, intent_offset)
        self.find(
            record.place,
            f"decides order-intents offset {intent_offset}, which was decided before or never sent{there}",
            kind=kind or Kind.INVENTED,
            cause="the decision was inserted or repeated, or the intent is gone" if kind is None else None,
        )

    def missing_halt(self, record: Record, owed: TradingHalt) -> None:
        """Name a change of status that no halt tells of."""
        self.find(
            record.place,
            f"{owed.account} changed to {owed.status} and no halt event says so",
            owed.as_of,
            kind=Kind.MISSING,
            cause="the halt was removed or changed, or an equity tick was",
        )

    def broken_chain(self, record: Record, seq: int, chain: Chain) -> None:
        """Name a decision or halt that does not continue its chain."""
        self.find(
            record.place,
            f"does not continue its chain: seq {seq} comes after {chain.seq}",
            kind=Kind.CHAIN,
            cause="a record before it in its chain was changed, removed or inserted",
        )

    async def rests_on_nothing(self, record: Record, known: AsOf, found: AsOf) -> bool:
        """Name an `as_of` at which the topics have no record; tell whether it is one."""
        for topic, name in INPUTS.items():
            offset, there_is = getattr(known, name), getattr(found, name)
            if offset != there_is:
                kind, there = await self._at(topic, offset)
                finding = Finding(
                    record.place,
                    f"rests on {topic} offset {offset}, where there is no record{there}",
                    f"as_of.{name}",
                    str(offset),
                    str(there_is),
                    known.model_dump(),
                    kind or Kind.DELETED,
                    "the record was deleted, or the decision changed" if kind is None else None,
                )
                self._verdict.find(finding)
                return True
        return False

    async def _at(self, topic: Topic, offset: int) -> tuple[Kind | None, str]:
        """Return what stands at an offset that has no record, for a finding."""
        if self._absent is None:
            return None, ""
        absence = await self._absent(topic, offset, offset + 1)
        if absence.aborted:
            return Kind.ABORTED, ": its transaction was aborted"
        if absence.markers:
            return Kind.INVENTED, ": a marker of a transaction stands there"
        if absence.deleted:
            return Kind.DELETED, ": it was deleted"
        return None, ""

    def same(
        self, record: Record, recorded: RiskDecision | TradingHalt, reproduced: RiskDecision | TradingHalt
    ) -> bool:
        """Compare a record with what comes out; a difference is named."""
        key = key_of(reproduced)
        if record.key != key:
            self.find(record.place, f"its key must be {key!r}, was {record.key!r}", cause="the record was changed")
            return False
        expected = canonical_bytes(reproduced)
        if record.value == expected:
            return True
        path, found, out = first_difference(
            orjson.loads(record.value or b"null"), orjson.loads(expected), tuple(type(recorded).model_fields)
        )
        cause = likely_cause(path, sealed=sha256(chained(recorded)) == recorded.digest)
        as_of = recorded.as_of.model_dump()
        self._verdict.find(Finding(record.place, "differs", path, found, out, as_of, Kind.DIFFERS, cause))
        return False


def key_of(message: RiskDecision | TradingHalt) -> bytes | None:
    """Return the key that a decision's or halt's record must have."""
    return None if message.account is None else message.account.encode()
