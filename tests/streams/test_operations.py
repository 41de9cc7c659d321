"""The lines an operator sees."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError, ProducerFenced

from streams.operations import Libraries, OperatorError, Repeats, say


def _die(statement: str) -> subprocess.CompletedProcess[str]:
    program = f"from streams.operations import *\nfrom aiokafka.errors import *\n{statement}\nprint('alive')"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("error", "because", "remedy"),
    [
        (f"{ProducerFenced.__name__}()", "ProducerFenced", "another worker has taken over"),
        (f"{KafkaConnectionError.__name__}('x')", "KafkaConnectionError", "see whether the broker is up"),
        ("OperatorError('the disk is gone', remedy='buy another')", "the disk is gone", "buy another"),
        ("KeyError('x')", "KeyError: 'x'", "it is a defect: report it"),
        ("'three\\nlines\\nhere'", "three lines here", "restart"),
    ],
)
def test_fail_stop_ends_with_70_and_one_line(error: str, because: str, remedy: str) -> None:
    ended = _die(f"fail_stop('committing partition 3', {error})")
    assert ended.returncode == 70
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert 'stopped doing="committing partition 3"' in ended.stderr
    assert because in ended.stderr
    assert remedy in ended.stderr


def test_fail_stop_says_where_a_defect_was_met() -> None:
    ended = _die("try:\n    {}['x']\nexcept KeyError as error:\n    fail_stop('deciding order-intents/0@7', error)")
    assert "because=\"KeyError: 'x' at <string>:4\"" in ended.stderr


def test_say_is_one_line_of_fields(capfd: pytest.CaptureFixture[str]) -> None:
    say("ready", partitions="0,1", folder="two words", why='a "b"\nc', nothing="")
    line = capfd.readouterr().out
    stamp, rest = line.split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
    assert rest == """ready partitions=0,1 folder="two words" why="a 'b' c" nothing=""\n"""


def test_an_operator_error_carries_its_remedy() -> None:
    assert OperatorError("text").remedy == "restart"


def test_libraries_are_heard_once_in_a_while(capfd: pytest.CaptureFixture[str]) -> None:
    handler = Libraries(pause=1000)

    def warn(number: int) -> None:
        handler.emit(logging.LogRecord("aiokafka", logging.ERROR, "", 1, "no node %s", (number,), None))

    for number in range(3):
        warn(number)
    handler._pause = 0
    warn(3)
    first, second = capfd.readouterr().err.splitlines()
    assert first.endswith('log library=aiokafka level=error text="no node 0"')
    assert second.endswith('log library=aiokafka level=error text="no node 3" left_out=2')


def _die_at(folder: Path, doing: str) -> str:
    return _die(
        f"count_repeats(__import__('pathlib').Path({str(folder)!r}))\nfail_stop({doing!r}, KeyError('x'))"
    ).stderr


def test_the_third_end_in_a_row_at_a_record_is_named(tmp_path: Path) -> None:
    for doing in ("deciding order-intents/2@1234", "folding fills/2@7", "folding fills/2@7"):
        ended = _die_at(tmp_path, doing)
        assert "again=" not in ended
        assert "it is a defect: report it" in ended
    assert "again=" not in _die_at(tmp_path, "committing partition 2")
    for nth in ("third", "4th"):
        ended = _die_at(tmp_path, "folding fills/2@7")
        assert ended.count("\n") == 1
        assert f'again="{nth} time in a row at this record"' in ended
        assert "next=\"see 'The same record stops the worker again and again' in RUNBOOK.md\"" in ended


def test_progress_past_a_record_clears_its_count(tmp_path: Path) -> None:
    doing = "deciding order-intents/2@1234"
    assert [Repeats(tmp_path).count(doing) for _ in range(2)] == [1, 2]
    Repeats(tmp_path).forget_passed({"order-intents/2": 1234, "order-intents/1": 5000})
    Repeats(tmp_path).forget_passed({})
    assert Repeats(tmp_path).count(doing) == 3
    Repeats(tmp_path).forget_passed({"order-intents/2": 1235})
    assert list(tmp_path.iterdir()) == []
    assert Repeats(tmp_path).count(doing) == 1


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"no number", b"deciding order-intents/2@x 5", b"9"])
def test_a_damaged_count_stops_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "stopped-at").write_bytes(content)
    repeats = Repeats(tmp_path)
    repeats.forget_passed({"order-intents/2": 1})
    assert repeats.count("deciding order-intents/2@0") == 1


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    ended = _die_at(tmp_path / "missing", "deciding order-intents/2@1234")
    assert ended.count("\n") == 1
    assert 'stopped doing="deciding order-intents/2@1234"' in ended
