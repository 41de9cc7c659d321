"""Operators' commands at the shell: what they send, when they ask, what they say came of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from models.canonical import SECOND_NS
from streams.cli.status import APPROVED, BAD, REJECTED, SILENT
from streams.records import Topic
from streams.signatures import generate
from tests.streams.desks import Shell

TICKS, REFERENCE = Topic.EQUITY_TICKS, Topic.REFERENCE


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell at a gate with a worker, where account A has a mark."""
    shell = Shell(monkeypatch, capsys)
    shell.mark("100000")
    return shell


def last(shell: Shell, topic: Topic) -> dict[str, Any]:
    return shell.sent(topic)[-1]


# --- asking


ASKING = [
    "resume A",
    "kill GLOBAL --mode ALL",
    "unkill ACCOUNT K",
    "allow R",
    "strategy enable s",
    "strategy probation d",
    "session-open H --equity 90",
    "session-open NEW --equity 90",
]


@pytest.fixture
def guarded(shell: Shell) -> Shell:
    """A shell where there is something to undo."""
    assert shell.say("kill ACCOUNT K") == APPROVED
    assert shell.say("restrict R") == APPROVED
    assert shell.say("strategy disable d") == APPROVED
    shell.mark("100", account="H")
    shell.mark("89", account="H")
    assert shell.gate.halts["H"].causes == ("DRAWDOWN_SESSION",)
    return shell


@pytest.mark.parametrize("command", ASKING)
def test_what_is_dangerous_is_asked_for(guarded: Shell, command: str) -> None:
    """Nobody there: status 2. Somebody who says no: status 2. Neither sends anything."""
    before = {topic: list(records) for topic, records in guarded.gate.log.items()}
    assert guarded.say(command) == BAD
    assert "there is no terminal to ask at: add --yes" in guarded.said
    assert guarded.output == ""
    questions = guarded.answer(yes=False)
    assert guarded.say(command) == BAD
    assert guarded.said.endswith("seawall: nothing was sent\n")
    assert {topic: records for topic, records in guarded.gate.log.items() if records} == before
    guarded.answer(yes=True)
    assert questions == ["Go on?"]
    assert guarded.say(command) == APPROVED
    assert sum(map(len, guarded.gate.log.values())) > sum(map(len, before.values()))


@pytest.mark.parametrize("command", ASKING)
def test_yes_is_not_asked(guarded: Shell, command: str) -> None:
    assert guarded.say(command, "--yes", "--json") == APPROVED
    told = json.loads(guarded.output)
    assert told["wrong"] == []
    assert [each["refused"] for each in told["sent"]] == [None]


@pytest.mark.parametrize(
    "command",
    [
        "halt A",
        "kill ACCOUNT A",
        "kill GLOBAL --mode reduce-only",
        "restrict X --account A",
        "strategy disable s",
        "strategy probation s",
        "session-open A --equity 100000",
        "session-open H --equity 90 --keep-halts",
    ],
)
def test_what_makes_things_safer_is_not_asked_for(guarded: Shell, command: str) -> None:
    assert guarded.say(command) == APPROVED


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("halt", "A"), "Missing option '--reason'"),
        (("halt", "A", "--reason", " "), "reason must not be empty"),
        (("halt", "A", "--reason", "r", "--actor", ""), "actor must be 1 to 64 printable ASCII characters"),
        (("halt", "\n", "--reason", "r"), "account must be 1 to 64 printable ASCII characters"),
        (("resume", "nobody", "--reason", "r", "--yes"), "nothing is known of account nobody"),
        (("session-open", "A", "--equity", "1e3", "--reason", "r"), "equity must be a string such as"),
        (("session-open", "A", "--equity", "1", "--session", "x", "--reason", "r"), "session must be a date such as"),
        (("kill", "BOOK", "b", "--reason", "r"), "scope must be GLOBAL, ACCOUNT, STRATEGY or SYMBOL"),
        (("kill", "ACCOUNT", "--reason", "r"), "target belongs to every scope but GLOBAL"),
        (("kill", "GLOBAL", "--mode", "SOME", "--reason", "r"), "mode must be REDUCE_ONLY or ALL, was 'SOME'"),
        (("unkill", "SYMBOL", "X", "--reason", "r", "--yes"), "kill switch SYMBOL X is not engaged"),
        (("allow", "X", "--reason", "r", "--yes"), "X is not on the restricted list of every account"),
        (("strategy", "enable", "s", "--budget", "x", "--reason", "r", "--yes"), "budget must be a string such as"),
        (("limits", "set", "/no/such/file", "--reason", "r"), "cannot read /no/such/file"),
        (("limits", "show", "nope"), "there is no profile nope"),
        (("limits", "show", "--library", "nope"), "the library has crypto, defaults, market-neutral, retail"),
        (("limits", "show", "default", "--account", "A"), "not both"),
        (("keys", "set", "--reason", "r"), "say ID=PUBLICKEYFILE for every key, or --none"),
        (("keys", "set", "jo", "--reason", "r"), "a key is ID=PUBLICKEYFILE, was jo"),
        (("keys", "set", "jo=/no/such", "--reason", "r"), "cannot read /no/such"),
        (("keys", "generate", "/no/such/folder/key"), "cannot write /no/such/folder/key"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_said_is_status_2(shell: Shell, command: tuple[str, ...], said: str) -> None:
    before = sum(map(len, shell.gate.log.values()))
    assert shell.run(*command) == BAD
    assert said in shell.said
    assert shell.said.startswith("seawall: ")
    assert sum(map(len, shell.gate.log.values())) == before


# --- accounts


def test_halt_and_resume(shell: Shell) -> None:
    assert shell.say("halt A") == APPROVED
    assert shell.output == "equity-ticks/0@1  halt A\nA  HALT  OPERATOR  (published, seq 1)\n"
    sent = last(shell, TICKS)
    assert (sent["actor"], sent["reason"]) == ("jo", "because")
    assert shell.say("halt A") == APPROVED  # said twice, it is published once
    assert "(published, seq 1)" in shell.said
    assert shell.say("resume A", "--yes") == APPROVED
    assert "resuming A: ends OPERATOR; all peaks restart at 100,000" in shell.said
    assert "A  NORMAL  (published, seq 2)" in shell.output


def test_resume_shows_what_it_ends(shell: Shell) -> None:
    shell.mark("89000")
    assert shell.say("resume A", "--yes") == APPROVED
    for part in ("DRAWDOWN_SESSION", "11,000", "11.00 %", "all peaks restart at 89,000"):
        assert part in shell.said
    assert shell.gate.halts["A"].status == "NORMAL"


def test_a_resume_that_is_too_old_says_so(shell: Shell) -> None:
    shell.mark("89000", ahead=4 * SECOND_NS)
    assert shell.say("resume A", "--yes") == REJECTED
    assert "equity-ticks/0@2 changed nothing: what halted A is later than this command" in shell.said
    assert shell.gate.halts["A"].status == "HALT"


def test_a_halt_by_a_mistyped_name_is_noticed(shell: Shell) -> None:
    assert shell.say("halt B") == APPROVED
    assert "nothing else is known of account B: is that its name?" in shell.output


def test_without_a_worker_there_is_no_answer(shell: Shell) -> None:
    shell.gate.working = False
    assert shell.say("halt A --wait 0.1") == SILENT
    assert "A  HALT  OPERATOR  (not published yet)" in shell.output
    assert "no worker has published it within 0.1 s" in shell.said
    assert shell.say("halt A --wait 0.1 --json") == SILENT
    assert json.loads(shell.output)["answered"] is False


def test_without_a_profile_there_is_no_status(shell: Shell) -> None:
    shell.gate.log[REFERENCE].clear()
    assert shell.say("halt A") == APPROVED
    assert "no limit profile is bound to A: its status is not evaluated" in shell.output


def test_session_open_opens_once(shell: Shell) -> None:
    assert shell.say("session-open A --equity 100000 --cash 5 --net-deposits 7 --session 2026-01-02") == REJECTED
    assert "opened nothing, it counts as a mark" in shell.said  # far from its own date
    assert shell.say("session-open A --equity 100000") == APPROVED
    assert shell.say("session-open A --equity 100000") == REJECTED
    assert "the latest session before it is 20" in shell.said
    assert last(shell, TICKS)["reason"] == "because"


def test_session_open_at_an_equity_that_is_not_believed_waits(shell: Shell) -> None:
    assert shell.say("session-open A --equity 50000") == REJECTED
    assert "waits: 50000 is far from the last equity" in shell.said


@pytest.mark.parametrize("command", ["halt A", "resume A --yes", "kill GLOBAL", "session-open A --equity 100000"])
def test_what_cannot_be_seen_is_no_failure_to_send(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Status 2 would say that nothing was sent."""

    async def fate(*_: object) -> None:
        raise KafkaConnectionError("gone")

    monkeypatch.setattr("streams.desk.Desk.fate", fate)
    before = sum(map(len, shell.gate.log.values()))
    assert shell.say(command) == SILENT
    assert "was sent; what came of it cannot be read: KafkaConnectionError: gone" in shell.said
    assert sum(map(len, shell.gate.log.values())) > before


# --- switches


def test_every_kill_switch_that_hides_is_named(shell: Shell) -> None:
    for command in ("kill ACCOUNT B", "kill ACCOUNT C", "unkill ACCOUNT C --yes", "kill ACCOUNT *"):
        assert shell.say(command) == APPROVED
    assert "it does not reach C (released): a record of their own hides it" in shell.said
    assert shell.say("kill ACCOUNT * --mode ALL --yes") == APPROVED
    assert "it does not reach B (REDUCE_ONLY), C (released)" in shell.said
    assert "`seawall kill GLOBAL --mode ALL`" in shell.said


def test_whom_a_switch_on_one_account_concerns_is_said_before_it_is_engaged(shell: Shell) -> None:
    assert shell.say("kill ACCOUNT A --mode ALL") == BAD
    assert "A has 0 symbols held or on order, and 0 open orders, which stay open" in shell.said
    assert shell.say("kill ACCOUNT B --mode ALL") == BAD
    assert "nothing is known of account B: is that its name?" in shell.said


def test_a_weaker_switch_in_the_place_of_a_stronger_is_asked_for(shell: Shell) -> None:
    assert shell.say("kill ACCOUNT * --mode ALL --yes") == APPROVED
    assert shell.say("kill ACCOUNT A") == BAD
    assert "ACCOUNT A is stopped in mode ALL now" in shell.said
    assert shell.say("kill ACCOUNT A --yes") == APPROVED
    assert shell.say("kill ACCOUNT A") == APPROVED
    assert "kill switch ACCOUNT *, mode ALL, does not reach A: its own comes first" in shell.said


def test_releasing_one_of_all_exempts_it(shell: Shell) -> None:
    assert shell.say("kill SYMBOL * --mode ALL --yes") == APPROVED
    assert shell.say("unkill SYMBOL X --yes") == APPROVED
    assert "releasing SYMBOL X exempts it from the switch of every symbol" in shell.said
    assert "still engaged: SYMBOL *, mode ALL, by jo: because" in shell.output
    assert (last(shell, REFERENCE)["mode"], last(shell, REFERENCE)["engaged"]) == ("ALL", False)
    assert shell.say("unkill SYMBOL * --yes") == APPROVED
    assert "no kill switch is engaged" in shell.output


def test_a_newer_record_stands(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two operators at once: the one whose command comes too late is told."""
    assert shell.say("kill GLOBAL") == APPROVED
    monkeypatch.setattr("time.time_ns", lambda: 5)
    assert shell.say("unkill GLOBAL --yes") == REJECTED
    assert "changed nothing: a newer record says otherwise" in shell.said


def test_what_still_restricts_is_named(shell: Shell) -> None:
    for command in ("restrict X", "restrict X --account A", "allow X --yes"):
        assert shell.say(command) == APPROVED
    assert "still restricted: X for A, by jo: because" in shell.output
    assert shell.say("restrict *") == APPROVED
    assert "it does not reach X: a record of their own hides it" in shell.said
    assert shell.say("allow Y --yes") == APPROVED
    assert "allowing Y exempts it from the restriction of every symbol" in shell.said


# --- strategies


def test_strategies(shell: Shell) -> None:
    assert shell.say("strategy enable s --account A --budget 0.2 --yes") == APPROVED
    assert "strategy s in A: ENABLED, budget 0.2 of equity" in shell.output
    assert shell.say("strategy disable s --account A") == APPROVED
    assert last(shell, REFERENCE)["budget"] == "0.2"  # kept, for the day when it is enabled again
    assert shell.say("strategy enable s --account A --budget none --yes") == APPROVED
    assert "its budget, 0.2 of equity, goes" in shell.said
    assert last(shell, REFERENCE)["budget"] is None
    assert shell.say("strategy disable s") == APPROVED
    assert "it does not reach s in A (ENABLED)" in shell.said
    assert shell.run("strategy", "list") == APPROVED
    assert [line.split(":")[0] for line in shell.output.splitlines()] == [
        "every strategy in every account",
        "strategy s in every account",
        "strategy s in A",
    ]
    assert shell.run("strategy", "list", "--account", "B", "--json") == APPROVED
    assert [json.loads(line)["account"] for line in shell.output.splitlines()] == ["*", "*"]


# --- limits


def test_limits_are_compared_set_and_shown(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    text = "profile_id: default\nlimits:\n  drawdown_halt: 0.2\ninstruments:\n  BTC: {currency: USD, lot: 0.01}\n"
    file.write_text(text)
    assert shell.run("limits", "diff", str(file)) == APPROVED
    difference = shell.output
    assert difference.splitlines()[:2] == ["default@1 -> default@2", "  drawdown_halt        0.1 -> 0.2"]
    assert "for every account without a record of its own" in difference
    assert "an account may halt at its next record" in difference
    assert shell.run("limits", "diff", str(file), "--json") == APPROVED
    assert json.loads(shell.output)["limits"] == {"drawdown_halt": ["0.1", "0.2"]}
    assert shell.say("limits set", str(file)) == BAD
    assert difference in shell.said
    assert shell.say("limits set", str(file), "--yes") == APPROVED
    assert [message["kind"] for message in shell.sent(REFERENCE)[-2:]] == ["instrument", "limit_profile"]
    assert shell.say("limits set", str(file)) == APPROVED
    assert shell.output == "default@2 has these limits already\n"
    assert shell.run("limits", "show", "--account", "A") == APPROVED
    assert "# default@2, set by jo: because" in shell.output
    file.write_text(shell.output)
    assert shell.run("limits", "diff", str(file)) == APPROVED
    assert shell.output == "default@2 has these limits already\n"
    file.write_text("profile_id: other\nlimits: {}\n")
    assert shell.say("limits set", str(file), "--yes") == APPROVED
    assert "for no account: none is bound to it" in shell.said
    assert shell.run("limits", "show") == APPROVED
    assert [line.split("  ")[0] for line in shell.output.splitlines()[::2]] == ["default@2", "other@1"]


def test_a_wrong_file_is_said_whole(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text("profile_id: default\nlimits:\n  drawdown_hat: 0.2\n  mark_age_max: 5\n")
    for command in (("limits", "diff", str(file)), ("limits", "set", str(file), "--reason", "r", "--yes")):
        assert shell.run(*command) == BAD
        assert [line.split(": ")[1] for line in shell.said.splitlines()] == [f"{file}, line 3", f"{file}, line 4"]


def test_the_library_can_be_read_without_a_broker(shell: Shell) -> None:
    assert shell.run("limits", "show", "--library") == APPROVED
    assert [line.split()[0] for line in shell.output.splitlines()] == [
        "crypto",
        "defaults",
        "market-neutral",
        "retail",
    ]
    assert all(len(line) <= 80 for line in shell.output.splitlines())
    assert shell.run("limits", "show", "--library", "retail") == APPROVED
    assert shell.output.startswith("# A retail account")


# --- keys


def test_only_signed_commands_are_obeyed_once_keys_are_set(shell: Shell, tmp_path: Path) -> None:
    for name in ("k1", "k2"):
        generate(tmp_path / name)
    assert shell.run("keys", "list") == APPROVED
    assert shell.output == "equity-ticks/0 and reference/0: no key, commands need no signature\n"
    assert shell.say("keys set", f"jo={tmp_path}/k1.pub") == BAD
    assert "there is no terminal to ask at" in shell.said
    assert shell.say("keys set", f"jo={tmp_path}/k1.pub", "--yes") == APPROVED
    assert "no key is set here: see that somebody holds the private key of a new one" in shell.said
    assert shell.output.endswith("in force everywhere\n")

    assert shell.say("halt A") == REJECTED
    assert "equity-ticks/0@2 was refused: must be signed by a listed operator key, signed_by is missing" in shell.said
    assert shell.say("kill GLOBAL --json") == REJECTED
    assert "signed_by is missing" in json.loads(shell.output)["sent"][0]["refused"]
    assert shell.say("keys set", f"eve={tmp_path}/k2.pub", "--yes") == BAD
    assert "equity-ticks/0 obeys only a key that it lists" in shell.said

    shell.sign_with(tmp_path / "k1", "jo")
    for command in ("halt A", "resume A --yes", "kill GLOBAL", "unkill GLOBAL --yes"):
        assert shell.say(command) == APPROVED
    assert shell.say("keys set", f"jo2={tmp_path}/k2.pub", "--yes") == APPROVED
    assert "key jo of this shell is not among them" in shell.said
    assert shell.say("halt A") == REJECTED
    shell.sign_with(tmp_path / "k2", "jo2")
    assert shell.say("halt A") == APPROVED
    assert shell.run("keys", "list", "--json") == APPROVED
    assert {name for keys in json.loads(shell.output).values() for name in keys} == {"jo2"}
    assert shell.say("keys set --none --yes") == APPROVED
    assert "whoever may write to the topics commands" in shell.said
    (tmp_path / "k2").chmod(0o644)
    assert shell.say("halt A") == BAD
    assert "must be its owner's alone" in shell.said


def test_a_rotation_that_was_interrupted_is_finished(shell: Shell, tmp_path: Path) -> None:
    """Each place is reached by a key that it lists, and one that has the keys already is left alone."""
    for name in ("k1", "k2"):
        generate(tmp_path / name)
    shell.sign_with(tmp_path / "k1", "jo")
    assert shell.say("keys set", f"jo={tmp_path}/k1.pub", "--yes") == APPROVED
    reference = list(shell.gate.log[REFERENCE])
    assert shell.say("keys set", f"kim={tmp_path}/k2.pub", "--yes") == APPROVED
    shell.gate.log[REFERENCE][:] = reference  # as if it had not come so far
    shell.sign_with(tmp_path / "k2", "kim")
    assert shell.say("keys set", f"kim={tmp_path}/k2.pub", "--yes") == BAD
    assert "reference/0 obeys only a key that it lists" in shell.said
    shell.sign_with(tmp_path / "k1", "jo")
    assert shell.say("keys set", f"jo={tmp_path}/k1.pub", f"kim={tmp_path}/k2.pub", "--yes") == REJECTED
    assert "equity-ticks/0 does not list the key that signs" in shell.said
    assert "equity-ticks/0 has other keys" in shell.said
    assert shell.say("keys set", f"kim={tmp_path}/k2.pub", "--yes") == APPROVED
    assert [line.split()[0] for line in shell.output.splitlines()] == ["reference/0@6", "in"]
    assert shell.say("keys set", f"kim={tmp_path}/k2.pub") == APPROVED
    assert shell.output == "in force everywhere already\n"


@pytest.mark.parametrize("topic", [TICKS, REFERENCE])
def test_keys_are_not_published_to_one_topic_alone(shell: Shell, tmp_path: Path, topic: Topic) -> None:
    file = tmp_path / "keys"
    file.write_text('{"kind": "operator_keys", "actor": "jo", "reason": "r", "keys": {}}')
    assert shell.run("publish", topic, str(file)) == BAD
    assert "`seawall keys` writes them" in shell.said


def test_nothing_prints_a_private_key(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "jo"
    assert shell.run("keys", "generate", str(file)) == APPROVED
    secret = file.read_text().splitlines()[1]
    said = shell.said
    shell.sign_with(file, "jo")
    for command in (
        "halt A",
        "halt A --json",
        f"keys set jo={file} --yes",
        f"keys set jo={file}.pub --yes",
        "halt A",
    ):
        shell.say(command)
        said += shell.said
    assert secret not in said
    assert secret[-20:] not in said
