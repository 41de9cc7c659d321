"""A folder that stands on its own for a third party, and the proof that the topics still hold what it covers.

`write` makes one from an audit; `verify` reads the topics again and compares: every covered record by the digest over
all of them, every chain head. `heads` reads the heads alone, for keeping where the log's owner cannot write.
"""

import hashlib
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from models.canonical import GENESIS_DIGEST, chained, sha256
from models.decisions import RULES, RiskDecision, TradingHalt
from streams.access import find_gate
from streams.audit.anchors import Anchored, Head, header_of
from streams.audit.broker import AuditError, Log, Plan, plan
from streams.audit.judgement import Scope
from streams.audit.run import Progress, Result, naming_errors
from streams.audit.verdict import Covered, Finding, Kind, Verdict
from streams.audit.watch import Fingerprint
from streams.codec import LedgerError, decode_decision, decode_halt
from streams.config import Settings
from streams.records import Record, Topic, TopicPartition

VERDICT: Final = "verdict.json"
COVERAGE: Final = "coverage.json"
HEADS: Final = "heads.jsonl"
STATEMENT: Final = "STATEMENT.txt"
SUMS: Final = "SHA256SUMS"
_REPORT_EVERY: Final = 1000

_UNCLEAN: Final = """\
THE AUDIT WAS NOT CLEAN: {findings} findings stand in {verdict}. What follows holds but for what they name.
"""
_PROVES: Final = """\
What this folder proves, and what it does not

{summary}.
{unclean}Scope: {scope}.

It proves, to whoever runs `seawall audit` or `seawall audit --verify` with it against the same topics:
- that each decision judged is what rules 1 to {rules} of seawall {version} answer to its intent, given the fills,
  equity ticks, daily returns and reference records up to the offsets that the decision names: byte for byte;
- that each record of order-intents covered has exactly one decision, and that no change of an account's status that
  the rules call for lacks its halt;
- that every decision and halt continues its account's chain of digests, up to the heads in {heads};
- that the topics hold the same records as when this folder was made, as long as --verify says so.

It does not prove:
- that the inputs are true. A producer can lie before the log: a fill that never was, an equity that is wrong;
- that the log was not rewritten as a whole before this folder was made. Whoever owns the brokers can write every
  topic anew, with chains that fit. Heads that were kept elsewhere show it: see `seawall audit --heads`;
- that this folder was not rewritten. Keep the SHA-256 of {sums} where whoever could do that cannot write;
- when things happened, beyond the broker's clock;
- anything of records outside the scope, or after the offsets in {coverage}.
"""


def prepare(folder: Path) -> None:
    """Make the folder.

    Raises:
        AuditError: If there is something in it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        full = any(folder.iterdir())
    except OSError as error:
        raise AuditError(f"{folder} cannot be made: {error.strerror}") from error
    if full:
        raise AuditError(f"{folder} is not empty: evidence is written once, name another folder")


def write(folder: Path, result: Result, scope: Scope, anchored: Anchored | None) -> None:
    """Put the parts together, with a digest of each.

    Args:
        folder: Where the partitions' shares are already.
        result: What came of the audit.
        scope: What was judged.
        anchored: What was gone on from.
    """
    verdict, found = result.verdict, result.plan
    document = {
        "clean": verdict.clean,
        **asdict(verdict),
        "scope": scope._asdict(),
        "partitions": found.layout.partitions,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "software": {"seawall": version("seawall"), "python": sys.version.split()[0], "rules": RULES},
        "from_anchor": None if anchored is None else {"folder": anchored.folder.name, "sums_sha256": anchored.digest},
    }
    coverage = {
        "topics": {
            topic.value: {"name": found.layout.names[topic], "id": topic_id}
            for topic, topic_id in found.topic_ids.items()
        },
        "covered": [each._asdict() for each in result.covered],
    }
    (folder / VERDICT).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    (folder / COVERAGE).write_bytes(orjson.dumps(coverage, option=orjson.OPT_INDENT_2))
    with (folder / HEADS).open("wb") as heads:
        for share in sorted(folder.glob("heads-*.jsonl"), key=lambda path: int(path.stem.partition("-")[2])):
            heads.write(share.read_bytes())
            share.unlink()
    unclean = _UNCLEAN.format(findings=len(verdict.findings) + verdict.more, verdict=VERDICT)
    text = _PROVES.format(
        summary=verdict.summary.removeprefix("audit: "),
        unclean="" if verdict.clean else unclean,
        scope=described(scope, anchored),
        rules=RULES,
        version=version("seawall"),
        heads=HEADS,
        sums=SUMS,
        coverage=COVERAGE,
    )
    (folder / STATEMENT).write_text(text, encoding="utf-8")
    lines = [f"{file_digest(path)}  {path.name}\n" for path in sorted(folder.iterdir()) if path.name != SUMS]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def described(scope: Scope, anchored: Anchored | None) -> str:
    """Return in words what was judged, and what that leaves open."""
    parts = [
        "every decision and halt" if scope.account is None else f"decisions and halts of account {scope.account}"
    ]
    if scope.since is not None:
        parts.append(f"published at {_time(scope.since)} or after; what came before was folded as it is recorded")
    if scope.until is not None:
        parts.append(f"published before {_time(scope.until)}")
    if scope.account is not None:
        parts.append("the others of its partition were folded, their chains verified, and not decided again")
    if anchored is not None:
        parts.append(f"gone on from the state in {anchored.folder.name}, which is trusted as it is")
    return ", ".join(parts)


def _time(time: int) -> str:
    return datetime.fromtimestamp(time / 10**9, UTC).isoformat(timespec="seconds")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def anchored_before(folder: Path, since: int, partitions: int) -> Anchored | None:
    """Return the newest evidence folder, `folder` or one in it, that ends before a time and can be gone on from.

    Only folders with a clean verdict on every account count, whose files are as their digests say.

    Raises:
        AuditError: If there is no such folder as `folder`.
    """
    if not folder.is_dir():
        raise AuditError(f"{folder} is no folder")
    found: list[tuple[int, Path]] = []
    for path in (folder, *(each for each in sorted(folder.iterdir()) if each.is_dir())):
        if not (path / VERDICT).is_file() or list(damage(path)):
            continue
        document = orjson.loads((path / VERDICT).read_bytes())
        if not document["clean"] or document["scope"]["account"] is not None or document["partitions"] != partitions:
            continue
        headers = [header_of(path, number) for number in range(partitions)]
        if all(header is not None and header["time"] < since for header in headers):
            found.append((max(header["time"] for header in headers if header is not None), path))
    if not found:
        return None
    _, newest = max(found)
    return Anchored(newest, file_digest(newest / SUMS))


def damage(folder: Path) -> Iterable[Finding]:
    """Yield how the files of an evidence folder differ from its list of digests.

    Raises:
        AuditError: If it has no list.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise AuditError(f"{folder} is no evidence folder: {SUMS} cannot be read") from error
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    present = {path.name for path in folder.iterdir() if path.name != SUMS}
    for name in sorted(listed.keys() | present):
        if name not in present:
            yield Finding(name, "is missing from the folder", kind=Kind.MISSING)
        elif name not in listed:
            yield Finding(name, "is not in the folder's list of digests", kind=Kind.INVENTED)
        elif file_digest(folder / name) != listed[name]:
            yield Finding(
                name, "differs from its digest", kind=Kind.DIFFERS, cause="it was changed after it was made"
            )


class Verified(NamedTuple):
    """What came of comparing the topics with an evidence folder, or with heads that were kept."""

    records: int
    heads: int
    findings: list[Finding]

    @property
    def clean(self) -> bool:
        """Whether everything is as it was."""
        return not self.findings

    @property
    def summary(self) -> str:
        """The result in one line."""
        state = "as they were" if self.clean else f"{len(self.findings)} findings"
        return f"verify: {self.records} records read, {self.heads} chain heads compared: {state}"


async def verify(
    settings: Settings, path: Path, report: Callable[[Progress], object] = lambda _progress: None
) -> Verified:
    """Compare the topics with an evidence folder, or with a file of heads.

    Raises:
        AuditError: If it is neither.
        GateUnavailableError: If there is no broker, or no topics.
    """
    claim = _claim(path)
    with naming_errors(settings):
        found = await plan(settings, await find_gate(settings))
        async with Log(settings, found) as log:
            return await _compare(log, found, claim, report)


class _Claim(NamedTuple):
    """What the topics are compared with."""

    coverage: Mapping[str, Any] | None
    kept: dict[tuple[str | None, int, str], Head]
    findings: list[Finding]
    """What is wrong with it already."""


def _claim(path: Path) -> _Claim:
    if not path.is_dir():
        return _Claim(None, _kept(path), [])
    findings = list(damage(path))
    if not _loaded(path / VERDICT)["clean"]:
        findings.append(Finding(VERDICT, "says itself that the audit was not clean"))
    return _Claim(_loaded(path / COVERAGE), _kept(path / HEADS), findings)


def _loaded(path: Path) -> Any:  # noqa: ANN401  # JSON
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise AuditError(f"{path} cannot be read: {error}") from error


def _kept(path: Path) -> dict[tuple[str | None, int, str], Head]:
    try:
        heads = [Head(**orjson.loads(line)) for line in path.read_bytes().splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise AuditError(f"{path} holds no chain heads: {error}") from error
    return {(head.account, head.partition, head.chain): head for head in heads}


async def _compare(log: Log, found: Plan, claim: _Claim, report: Callable[[Progress], object]) -> Verified:
    coverage, kept, findings = claim
    covered = [Covered(**each) for each in coverage["covered"]] if coverage else _whole(found)
    if coverage:
        findings += _other_topics(coverage["topics"], found)
    total = sum(each.end for each in covered)
    records, unseen = 0, dict(kept)
    for each in covered:
        place = TopicPartition(Topic(each.topic), each.partition)
        fingerprint = Fingerprint(each.start)
        # A chain may have ended before what is covered began.
        start = 0 if place.topic in _CHAINS else each.start
        async for record in _between(log, place, start, each.end):
            records += 1
            if record.offset >= each.start:
                fingerprint.add([record])
            if place.topic in _CHAINS:
                findings += _head_at(record, unseen)
            if records % _REPORT_EVERY == 0:
                report(Progress(records, total))
        if coverage and (fingerprint.records, fingerprint.digest) != (each.records, each.digest):
            findings.append(_changed(place, each, fingerprint, found))
    findings += [
        Finding(
            f"{head.chain} of {head.account or 'no account'}",
            f"seq {head.seq} with digest {head.digest} is not in the topics",
            kind=Kind.MISSING,
            cause="the topics were cut, rewritten, or are another gate's",
        )
        for head in unseen.values()
    ]
    return Verified(records, len(kept), findings)


_CHAINS: Final = {Topic.RISK_DECISIONS: "decisions", Topic.TRADING_HALTS: "halts"}


def _whole(found: Plan) -> list[Covered]:
    return [
        Covered(place.topic.value, place.partition, bounds.beginning, bounds.end, 0, "")
        for place, bounds in sorted(found.bounds.items())
        if place.topic in _CHAINS
    ]


async def _between(log: Log, place: TopicPartition, start: int, end: int) -> AsyncGenerator[Record]:
    batches = log.records(place, start)
    try:
        async for records in batches:
            for record in records:
                if record.offset >= end:
                    return
                yield record
    finally:
        await batches.aclose()


def _other_topics(then: Mapping[str, Any], found: Plan) -> Iterable[Finding]:
    for topic, now in found.topic_ids.items():
        was = then[topic.value]["id"]
        if was is not None and was != now:
            yield Finding(
                topic.value,
                f"is another topic: its id is {now}, was {was}",
                kind=Kind.FOREIGN,
                cause="it was deleted and created again, or is on another cluster",
            )


def _changed(place: TopicPartition, covered: Covered, now: Fingerprint, found: Plan) -> Finding:
    bounds = found.bounds[place]
    where = f"{place}@{covered.start}..{covered.end - 1}"
    if bounds.beginning > covered.start:
        return Finding(where, f"begins at offset {bounds.beginning} now", kind=Kind.DELETED, cause="retention cut it")
    if now.records != covered.records:
        return Finding(where, f"holds {now.records} records, held {covered.records}", kind=Kind.DELETED)
    return Finding(where, "holds other records than it did", cause="at least one was changed, or its time was")


def _head_at(record: Record, unseen: dict[tuple[str | None, int, str], Head]) -> Iterable[Finding]:
    """Compare a record with the head kept of its chain, if it is that link."""
    try:
        fields = orjson.loads(record.value or b"")
        key = (fields["account"], record.partition, _CHAINS[record.topic])
        seq, digest = fields["seq"], fields["digest"]
    except (KeyError, TypeError, ValueError):
        yield Finding(record.place, "is no decision or halt", kind=Kind.NO_MESSAGE)
        return
    head = unseen.get(key)
    if head is None or head.seq != seq:
        return
    del unseen[key]
    if head.digest != digest:
        yield Finding(record.place, "is another link than was kept", "digest", digest, head.digest, kind=Kind.CHAIN)


async def heads(settings: Settings, verdict: Verdict) -> list[Head]:
    """Return the last link of every chain, each chain verified from its beginning; what breaks goes into the verdict.

    Raises:
        GateUnavailableError: If there is no broker, or no topics.
    """
    last: dict[tuple[str | None, int, str], Head] = {}
    with naming_errors(settings):
        found = await plan(settings, await find_gate(settings))
        async with Log(settings, found) as log:
            for each in _whole(found):
                place = TopicPartition(Topic(each.topic), each.partition)
                async for record in _between(log, place, 0, each.end):
                    _link(record, last, verdict)
    return [last[key] for key in sorted(last, key=lambda key: (key[1], key[0] or "", key[2]))]


def _link(record: Record, last: dict[tuple[str | None, int, str], Head], verdict: Verdict) -> None:
    try:
        message: RiskDecision | TradingHalt = (
            decode_decision(record) if record.topic is Topic.RISK_DECISIONS else decode_halt(record)
        )
    except LedgerError as error:
        verdict.find(Finding(record.place, str(error), kind=Kind.NO_MESSAGE))
        return
    chain = _CHAINS[record.topic]
    key = (message.account, record.partition, chain)
    before = last.get(key, Head(message.account, record.partition, chain, 0, GENESIS_DIGEST))
    fits = sha256(chained(message)) == message.digest
    if not fits or (message.seq, message.previous_digest) != (before.seq + 1, before.digest):
        verdict.find(Finding(record.place, f"does not continue its chain after seq {before.seq}", kind=Kind.CHAIN))
    last[key] = Head(message.account, record.partition, chain, message.seq, message.digest)
    verdict.passed += isinstance(message, RiskDecision)
