"""`seawall audit` without a broker: its times, its lines, evidence folders, processes that are lost."""

import multiprocessing
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from streams import cli
from streams.access import Layout
from streams.audit import AuditError, Covered, Finding, Kind, Scope, Verdict
from streams.audit.broker import Plan
from streams.audit.evidence import SUMS, damage, file_digest, prepare, write
from streams.audit.run import Result, Share, _heard, jobs_for
from streams.cli.audit import _time, describe
from streams.cli.status import BAD
from streams.reader import Bounds
from streams.records import Names, Topic, TopicPartition
from streams.topics import Topics

LAYOUT = Layout(Names(Topics.declared()), 4)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1790000000000000000", 1_790_000_000 * 10**9),
        ("2026-09-21T14:13:20Z", 1_790_000_000 * 10**9),
        ("2026-09-21 14:13:20.000001", 1_790_000_000 * 10**9 + 1000),
        ("2026-09-21T16:13:20+02:00", 1_790_000_000 * 10**9),
        ("1970-01-02", 86_400 * 10**9),
    ],
)
def test_times(text: str, time: int) -> None:
    assert _time(text, "--from") == time


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "yesterday"), "--from must be a time such as 2026-11-01T14:30:00Z"),
        (("--heads", "--account", "A"), "--account does not go together with --heads"),
        (("--verify", "x", "--to", "2026-01-01"), "--to does not go together with --verify"),
        (("--anchors", "x"), "--anchors needs --from"),
    ],
)
def test_options_that_do_not_go_together(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["audit", *arguments]) == BAD
    assert said in capsys.readouterr().err


def test_everything_that_was_left_out_is_said() -> None:
    verdict = Verdict(decisions=3, reproduced=1, diverged=1, not_covered=1, passed=7, aborted=2, more=5)
    verdict.notes.append("gone on from the state in there")
    verdict.findings.append(Finding("risk-decisions/0@4", "differs", "seq", "3", "2", {"fills": 1}, cause="because"))
    lines = "\n".join([verdict.summary, *describe(verdict)])
    assert "1 diverged, 1 not covered" in lines
    assert "7 decisions outside the scope: chains verified, not taken again" in lines
    assert "2 input records were aborted" in lines
    assert "note: gone on from" in lines
    assert "DIFFERS  risk-decisions/0@4: differs: seq is 3, comes out as 2 at fills 1 (because)" in lines
    assert "and 5 findings more" in lines


def evidence(folder: Path, verdict: Verdict) -> None:
    prepare(folder)
    (folder / "heads-1.jsonl").write_text("one\n", encoding="utf-8")
    (folder / "heads-10.jsonl").write_text("ten\n", encoding="utf-8")
    (folder / "heads-2.jsonl").write_text("two\n", encoding="utf-8")
    covered = [Covered("fills", 0, 0, 3, 3, "0" * 64)]
    write(folder, Result(verdict, covered, Plan(LAYOUT, {}, {Topic.FILLS: "an-id"})), Scope(account="A"), None)


def test_an_evidence_folder_lists_itself(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    evidence(folder, Verdict(decisions=2, reproduced=2))
    assert list(damage(folder)) == []
    assert (folder / "heads.jsonl").read_text(encoding="utf-8") == "one\ntwo\nten\n"
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    assert listed == {path.name: file_digest(path) for path in folder.iterdir() if path.name != SUMS}
    coverage = orjson.loads((folder / "coverage.json").read_bytes())
    assert coverage["topics"] == {"fills": {"name": "fills", "id": "an-id"}}
    statement = (folder / "STATEMENT.txt").read_text(encoding="utf-8")
    assert "NOT CLEAN" not in statement
    assert "decisions and halts of account A" in statement
    assert not re.search(r"[{}]", statement)
    with pytest.raises(AuditError, match="is not empty"):
        prepare(folder)


def test_evidence_of_an_audit_that_is_not_clean_says_so_first(tmp_path: Path) -> None:
    verdict = Verdict(decisions=2, reproduced=1, diverged=1, findings=[Finding("here", "differs")], more=3)
    evidence(tmp_path / "evidence", verdict)
    lines = (tmp_path / "evidence" / "STATEMENT.txt").read_text(encoding="utf-8").splitlines()
    assert lines[3].startswith("THE AUDIT WAS NOT CLEAN: 4 findings")


def test_a_changed_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    evidence(folder, Verdict())
    (folder / "verdict.json").write_bytes(b"{}")
    (folder / "coverage.json").unlink()
    (folder / "more").touch()
    found = {(finding.place, finding.kind) for finding in damage(folder)}
    assert found == {("verdict.json", Kind.DIFFERS), ("coverage.json", Kind.MISSING), ("more", Kind.INVENTED)}
    with pytest.raises(AuditError, match="is no evidence folder"):
        list(damage(tmp_path))


def test_a_process_that_is_lost_or_fails_ends_the_audit() -> None:
    meter: Any = None
    ours, theirs = multiprocessing.Pipe()
    for said, error, text in (
        (AuditError("no broker"), AuditError, "no broker"),
        ("Traceback: a defect", RuntimeError, "auditing partition 3:\nTraceback: a defect"),
    ):
        theirs.send(said)
        with pytest.raises(error, match=text):
            _heard(ours, 3, meter)
    theirs.send(Share(Verdict(decisions=1), []))
    share = _heard(ours, 3, meter)
    assert share is not None
    assert share.verdict.decisions == 1
    theirs.close()
    with pytest.raises(AuditError, match="the process that audited partition 3 was killed"):
        _heard(ours, 3, meter)


@pytest.mark.parametrize(("end", "partitions", "most"), [(5000, 8, 1), (5001, 1, 1), (5001, 64, 64)])
def test_a_short_log_is_not_worth_processes(end: int, partitions: int, most: int) -> None:
    bounds = {
        TopicPartition(Topic.RISK_DECISIONS, 0): Bounds(0, end),
        TopicPartition(Topic.FILLS, 0): Bounds(0, 10**9),
    }
    assert 1 <= jobs_for(Plan(LAYOUT, bounds, {}), partitions) <= most
