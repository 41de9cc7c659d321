"""The command line without a broker: usage, exit statuses, and errors of one line."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
import typer

from models.decisions import DecisionStatus, RiskDecision
from models.reasons import RejectReason
from streams import cli
from streams.audit import Finding, Verdict
from streams.cli import submit
from streams.cli.audit import describe
from streams.cli.status import APPROVED, BAD, INTERRUPTED, REJECTED, SILENT, worst
from streams.report import UnknownAccountError
from streams.report import describe as describe_account
from streams.text import amount, check_line, decision_lines, duration, halt_line, order, when
from tests.streams.played import played

NOBODY = "127.0.0.1:1"
"""An address where nothing listens."""
ORDER = ("--account", "A", "--strategy", "s", "--symbol", "X", "--side", "BUY")


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAWALL_BOOTSTRAP_SERVERS", NOBODY)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line of an error; nothing else may have been said."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("seawall: ")
    return captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit", *ORDER),
        ("audit",),
        ("report", "A"),
        ("explain", "an-id"),
        ("export", "halts", "halts.csv"),
        ("watch", "decisions"),
        ("watch", "halts", "--json"),
        ("topics", "check"),
        ("topics", "create"),
        ("worker",),
        ("halt", "A", "--reason", "r"),
        ("resume", "A", "--reason", "r"),
        ("session-open", "A", "--equity", "1", "--reason", "r"),
        ("kill", "GLOBAL", "--reason", "r"),
        ("unkill", "GLOBAL", "--reason", "r"),
        ("restrict", "X", "--reason", "r"),
        ("allow", "X", "--reason", "r"),
        ("strategy", "disable", "s", "--reason", "r"),
        ("strategy", "list"),
        ("limits", "show"),
        ("keys", "list"),
        ("keys", "set", "--none", "--reason", "r"),
    ],
    ids=" ".join,
)
def test_no_broker_is_one_line_that_says_what_to_do(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == BAD
    said = one_line(capsys)
    assert NOBODY in said
    assert "SEAWALL_BOOTSTRAP_SERVERS" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bogus",), "see `seawall --help`"),
        (("submit", "--bogus"), "see `seawall submit --help`"),
        (("submit", "--quantity"), "requires an argument"),
        (("submit", "--timeout", "0", *ORDER), "--timeout"),
        (("submit",), "needs --account, --strategy, --symbol, --side"),
        (("submit", "--account", "A", "file"), "not both"),
        (("submit", *ORDER[:-1], "HOLD"), "side must be BUY or SELL, was 'HOLD'"),
        (("submit", *ORDER, "--quantity", "1.5e3"), "quantity must be a string such as"),
        (("submit", *ORDER, "--quantity", "-3"), "quantity must be positive, was -3"),
        (("submit", "/no/such/file"), "cannot read /no/such/file: No such file or directory"),
        (("watch", "nothing"), "see `seawall watch --help`"),
        (("report",), "see `seawall report --help`"),
        (("demo", "--act", "1929"), "--act must be 2008, 2020 or all, was 1929"),
        (("topics", "create", "--partitions", "0"), "--partitions"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_usage_is_status_2(arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == BAD
    assert said in one_line(capsys)


def test_bad_settings_are_named_one_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEAWALL_BOOTSTRAP_SERVERS", "nowhere")
    monkeypatch.setenv("SEAWALL_PARTITIONS", "many")
    assert cli.run(["audit"]) == BAD
    assert capsys.readouterr().err.count("\n") == 2


def test_without_arguments_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == APPROVED
    assert "Usage: seawall" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        *("demo", "worker", "topics", "submit", "publish", "watch", "report", "audit", "topics create"),
        *("explain", "export", "what-if"),
        *("halt", "resume", "session-open", "kill", "unkill", "restrict", "allow"),
        *("strategy", "strategy enable", "strategy probation", "strategy disable", "strategy list"),
        *("limits", "limits show", "limits diff", "limits set", "keys", "keys generate", "keys list", "keys set"),
    ],
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*command.split(), "--help"]) == APPROVED
    assert f"Usage: seawall {command}" in capsys.readouterr().out


def test_a_defect_is_one_line_and_shows_itself_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr("streams.config.load", fail)
    assert cli.run(["audit"]) == BAD
    assert "ZeroDivisionError: a b: this is a defect, please report it" in one_line(capsys)
    with pytest.raises(ZeroDivisionError):
        cli.run(["--traceback", "audit"])


def test_ctrl_c_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("streams.config.load", interrupt)
    assert cli.run(["audit"]) == INTERRUPTED


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (set(), APPROVED),
        ({APPROVED}, APPROVED),
        ({APPROVED, REJECTED}, REJECTED),
        ({APPROVED, REJECTED, BAD}, BAD),
        ({APPROVED, REJECTED, BAD, SILENT}, SILENT),
    ],
)
def test_the_worst_of_several_counts(statuses: set[int], expected: int) -> None:
    assert worst(statuses) == expected


def test_a_file_with_a_bad_line_is_not_sent_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = json.dumps(
        {
            "intent_id": "i",
            "account": "A",
            "strategy": "s",
            "symbol": "X",
            "side": "BUY",
            "order_type": "MARKET",
        }
    )
    file = tmp_path / "intents"
    file.write_text(f"{good}\n\n{{}}\nnot JSON\n[1]\n")
    with pytest.raises(typer.Exit) as left:
        submit._from_file(str(file))
    assert left.value.exit_code == BAD
    said = capsys.readouterr().err.splitlines()
    assert [line.split(", ", 1)[1][:6] for line in said[:3]] == ["line 3", "line 4", "line 5"]
    assert said[3] == f"seawall: nothing of {file} was sent"
    file.write_text(good)
    (line,) = submit._from_file(str(file))
    assert line.intent is not None
    assert line.intent.event_time > 1_700_000_000 * 10**9  # the present, since the line does not say


def find(status: DecisionStatus, reason: RejectReason | None = None) -> RiskDecision:
    return next(
        one
        for one in played().gate.decisions
        if one.status is status and (reason is None or one.reasons[0] is reason)
    )


def test_a_decision_reads_like_a_sentence() -> None:
    rejected = find(DecisionStatus.REJECTED, RejectReason.SECTOR_CONCENTRATION)
    lines = [line.plain for line in decision_lines(rejected)]
    assert lines[0].startswith(f"REJECTED  {rejected.side} ".lower().replace("rejected", "REJECTED"))
    assert any(line.startswith("  SECTOR_CONCENTRATION ") and " > " in line for line in lines)
    assert lines[-1].startswith("  the largest quantity that would pass now: ")
    malformed = find(DecisionStatus.REJECTED, RejectReason.MALFORMED)
    assert "a record that is no intent" in decision_lines(malformed)[0].plain
    approved = find(DecisionStatus.APPROVED)
    assert order(approved) == f"buy {amount(approved.quantity)} {approved.symbol}"
    repeated = find(DecisionStatus.REJECTED, RejectReason.DUPLICATE_INTENT)
    assert decision_lines(repeated)[1].plain.startswith("  decided before: ")
    for decision in played().gate.decisions:
        assert all(check_line(check) for check in decision.checks)


def test_a_halt_reads_like_a_sentence() -> None:
    line = halt_line(played().gate.all_halts[0]).plain
    assert line.startswith("HALT     banks      was NORMAL  DAILY_LOSS, DRAWDOWN_SESSION  12.67 % below its peak")


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0 ms"), (1_500_000, "1.5 ms"), (10**9, "1 s"), (150 * 10**9, "2.5 min"), (90_000 * 10**9, "1 d")],
)
def test_durations_have_the_unit_that_fits(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


def test_amounts_and_times() -> None:
    assert amount(Decimal("1234567.891")) == "1,234,567.89"
    assert amount(Decimal(100)) == "100"
    assert amount(Decimal("0.00012"), 12) == "0.00012"
    assert amount(None) == "-"
    assert when(None) == "-"
    assert when(1_222_700_000 * 10**9) == "2008-09-29 14:53:20"
    assert when(2**63 - 1) == "2262-04-11 23:47:16"


def test_an_audit_that_found_much_shows_some_of_it() -> None:
    verdict = Verdict(decisions=30, reproduced=5, diverged=25, undecided=2, unjudged=1)
    verdict.findings = [Finding(f"risk-decisions/0@{number}", "differs", "status", "1", "2") for number in range(25)]
    lines = describe(verdict)
    assert len([line for line in lines if "status is 1, comes out as 2" in line]) == 20
    assert lines[-1] == "  and 5 findings more; --json has them all"
    assert "2 intents not decided yet" in lines[1]
    assert not verdict.clean


def test_a_report_says_what_the_next_decision_would_rest_on() -> None:
    state = played().gate.replica.state
    report = describe_account(state, "banks")
    assert report.equity == played().markets[-1].desks["banks"].cash
    assert report.limits_version == "banks@1"
    assert report.status == played().gate.halts["banks"].status
    assert {loss.measure for loss in report.losses} == {"session", "high water", "daily loss"}
    assert {one.limit for one in report.headrooms} == {
        "position",
        "sector",
        "cluster",
        "gross leverage",
        "net leverage",
    }
    assert all(one.headroom == one.maximum - one.value for one in report.headrooms)
    with pytest.raises(UnknownAccountError, match="nothing is known of account nobody"):
        describe_account(state, "nobody")
