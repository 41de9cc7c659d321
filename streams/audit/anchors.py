"""A partition's share of an evidence folder: its chain heads, the limits in force, and the anchor to go on from.

An *anchor* is the state that an audit itself came to, with the offsets and the last records it rests on. Whoever goes
on from it trusts the folder that it stands in: that it was made by an audit, clean, and not changed since. The gate's
own checkpoints are no anchors: the gate wrote them, and it is the gate that is being audited.
"""

import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from models.canonical import GENESIS_DIGEST
from models.state import State
from streams.audit.accounts import StateOnDisk
from streams.audit.broker import AuditError, Log, place_of
from streams.audit.judgement import Begin
from streams.audit.partition import PartitionAudit
from streams.checkpoint import Anchor, UnusableError
from streams.records import Topic
from streams.replay import INPUTS
from streams.store import FORMAT, Row

OUTPUTS_JUDGED: Final = (Topic.RISK_DECISIONS, Topic.TRADING_HALTS)
LIMITS: Final = ("limit_profile", "account")
"""Records of `reference` that say which limits were in force."""


class Anchored(NamedTuple):
    """An evidence folder to go on from."""

    folder: Path
    digest: str
    """SHA-256 of its list of digests."""


class Head(NamedTuple):
    """The last link of one chain."""

    account: str | None
    """None for the partition's own chain, of records that are no intent."""
    partition: int
    chain: str
    """decisions or halts."""
    seq: int
    digest: str


def head_line(head: Head) -> bytes:
    """Return a head as one line of JSON."""
    return orjson.dumps(head._asdict(), option=orjson.OPT_APPEND_NEWLINE)


def anchor_path(folder: Path, partition: int) -> Path:
    """Return where a partition's anchor stands."""
    return folder / f"anchor-{partition}.jsonl.gz"


def write_heads(folder: Path, partition: int, disk: StateOnDisk, state: State) -> None:
    """Write the heads of a partition's chains."""
    with (folder / f"heads-{partition}.jsonl").open("wb") as file:
        if state.chain.digest != GENESIS_DIGEST:
            file.write(head_line(Head(None, partition, "decisions", state.chain.seq, state.chain.digest)))
        for account, chain, seq, digest in disk.heads():
            file.write(head_line(Head(account, partition, chain, seq, digest)))


def write_limits(folder: Path, disk: StateOnDisk, state: State) -> None:
    """Write the limits in force where the audit ended."""
    records = [orjson.loads(value) for key, value in disk.reference() if key.partition("\0")[0] in LIMITS]
    limits = {"reference_offset": state.shared.reference_offset, "records": records}
    (folder / "limits.json").write_bytes(orjson.dumps(limits, option=orjson.OPT_INDENT_2))


def write_anchor(folder: Path, audit: PartitionAudit, disk: StateOnDisk) -> None:
    """Write the state that a partition's audit came to."""
    state = audit.state
    last = audit.fingerprints.last
    header = {
        "partition": audit.partition,
        "format": FORMAT,
        "time": max((record.time for record in last(*OUTPUTS_JUDGED)), default=0),
        "state": state.vector(),
        "shared": {"daily_returns": state.shared.daily_returns_offset, "reference": state.shared.reference_offset},
        "next": {topic.value: audit.fingerprints.next_offset(topic) for topic in OUTPUTS_JUDGED},
        "last": {
            record.topic.value: list(Anchor.at(record.offset, record.key, record.value))
            for record in last(Topic.ORDER_INTENTS, *INPUTS, *OUTPUTS_JUDGED)
        },
    }
    with gzip.GzipFile(anchor_path(folder, audit.partition), "wb", mtime=0) as file:
        file.write(orjson.dumps(header, option=orjson.OPT_APPEND_NEWLINE))
        for row in disk.rows():
            value = (row.value or b"").decode()
            file.write(orjson.dumps([row.table, row.key.decode(), value], option=orjson.OPT_APPEND_NEWLINE))


def header_of(folder: Path, partition: int) -> Mapping[str, Any] | None:
    """Return what an anchor says of itself, None where there is none of this version's rows."""
    path = anchor_path(folder, partition)
    if not path.is_file():
        return None
    with gzip.open(path) as file:
        header: Mapping[str, Any] = orjson.loads(file.readline())
    return header if header["format"] == FORMAT else None


async def load_anchor(anchored: Anchored, partition: int, disk: StateOnDisk, log: Log) -> Begin:
    """Fill a state from an anchor, and return where the audit goes on.

    Raises:
        AuditError: If the log does not hold the records that the anchor rests on.
    """
    header = header_of(anchored.folder, partition)
    assert header is not None  # the folder was chosen for having it
    try:
        await _verify_last(header, partition, log)
    except UnusableError as error:
        raise AuditError(
            f"{anchored.folder} is of another log: {error}. Run `seawall audit --verify {anchored.folder}`"
        ) from error

    def rows() -> Iterator[Row]:
        with gzip.open(anchor_path(anchored.folder, partition)) as file:
            file.readline()
            for line in file:
                table, key, value = orjson.loads(line)
                yield Row(table, key.encode(), value.encode())

    disk.load(rows())
    state = disk.state
    state.restore(header["state"])
    state.shared.daily_returns_offset = header["shared"]["daily_returns"]
    state.shared.reference_offset = header["shared"]["reference"]
    starts = header["next"]
    return Begin(state, starts[Topic.RISK_DECISIONS], starts[Topic.TRADING_HALTS], resumed=True)


async def _verify_last(header: Mapping[str, Any], partition: int, log: Log) -> None:
    for name, (offset, digest) in header["last"].items():
        place = place_of(Topic(name), partition)
        anchor = Anchor(offset, digest)
        async for records in log.records(place, offset):
            anchor.verify(records[0])
            break
        else:
            raise UnusableError(f"{place} has no record at offset {offset}")
