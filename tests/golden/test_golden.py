"""What was decided stays decided: the rules of each golden log still come to the same bytes."""

import base64
import gzip
from pathlib import Path

import orjson
import pytest

from models.canonical import canonical_bytes, chained, sha256
from streams.codec import decode_decision
from streams.records import Record, Topic
from tests.streams.audited import Log, audited

LOGS = sorted(Path(__file__).parent.glob("*.jsonl.gz"))


def read(path: Path) -> Log:
    """Return a log of one partition; values that are no text stand in base64."""
    log: Log = {topic: [] for topic in Topic}
    with gzip.open(path) as lines:
        for line in lines:
            fields = orjson.loads(line)
            text = fields.get("value")
            value = base64.b64decode(fields["base64"]) if "base64" in fields else text and text.encode()
            key = None if fields["key"] is None else fields["key"].encode()
            topic = Topic(fields["topic"])
            log[topic].append(Record(topic, 0, fields["offset"], fields["time"], key, value))
    return log


@pytest.fixture(params=LOGS, ids=lambda path: path.name.removesuffix(".jsonl.gz"))
def log(request: pytest.FixtureRequest) -> Log:
    return read(request.param)


def test_a_golden_log_audits_clean(log: Log) -> None:
    verdict = audited(log)
    assert not verdict.findings
    assert verdict.reproduced == verdict.decisions == len(log[Topic.ORDER_INTENTS])
    assert verdict.halts_reproduced == verdict.halts == len(log[Topic.TRADING_HALTS])


def test_a_golden_log_with_one_quantity_changed_does_not(log: Log) -> None:
    """The forger even mends the digest of what was changed."""
    decisions = log[Topic.RISK_DECISIONS]
    number, forged = next(
        (number, decision)
        for number, record in enumerate(decisions)
        if (decision := decode_decision(record)).reservation is not None
    )
    forged = forged.model_copy(update={"quantity": forged.quantity + 1})
    forged = forged.model_copy(update={"digest": sha256(chained(forged))})
    decisions[number] = decisions[number]._replace(value=canonical_bytes(forged))
    finding = audited(log).findings[0]
    assert (finding.place, finding.field) == (decisions[number].place, "quantity")
