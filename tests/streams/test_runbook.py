"""What RUNBOOK.md names is there."""

import re
import time
from pathlib import Path

import pytest
from typer.main import get_command

from models.messages import EQUITY_TICK, Resume
from models.reasons import RejectReason
from streams.audit import Kind
from streams.cli import app
from streams.config import PREFIX, Settings
from streams.topics import Topics

ROOT = Path(__file__).parent.parent.parent
RUNBOOK = (ROOT / "RUNBOOK.md").read_text(encoding="utf-8")
SOURCES = " ".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "streams").rglob("*.py")))


def found(pattern: str) -> list[str]:
    """Return what is between backquotes and looks like `pattern`, each once; there must be some."""
    names = sorted({match[1] for match in re.finditer(rf"`({pattern})`", RUNBOOK.replace("\n", " "))})
    assert names, pattern
    return names


@pytest.mark.parametrize("name", sorted(set(re.findall(rf"{PREFIX}[A-Z_]+", RUNBOOK))))
def test_a_setting_exists(name: str) -> None:
    assert name.removeprefix(PREFIX).lower() in Settings.model_fields


@pytest.mark.parametrize("command", found(r"seawall [a-z]+[^`]*"))
def test_a_command_exists(command: str) -> None:
    words = command.split()[1:]
    known: object = get_command(app)
    while words and words[0] in getattr(known, "commands", {}):
        known = known.commands[words.pop(0)]  # type: ignore[attr-defined]  # just seen
    options = {option for parameter in known.params for option in parameter.opts}  # type: ignore[attr-defined]
    assert not hasattr(known, "commands"), f"{command} is not complete"
    assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("remedy", sorted(set(re.findall(r'next="([^"]+?)(?:, \.\.\.|\.\.\.)?"', RUNBOOK))))
def test_a_last_line_ends_as_it_says(remedy: str) -> None:
    assert " ".join(remedy.split()) in SOURCES


@pytest.mark.parametrize("reason", sorted(set(re.findall(r"\b[A-Z]+_[A-Z_]+[A-Z]\b", RUNBOOK))))
def test_a_name_in_capitals_is_a_reason_a_cause_or_a_setting(reason: str) -> None:
    others = {"DRAWDOWN_SESSION", "DRAWDOWN_HIGH_WATER", "DAILY_LOSS", "REDUCE_ONLY", "SASL_PLAINTEXT", "SASL_SSL"}
    others |= set(Kind.__members__)
    assert reason in set(RejectReason.__members__) | others or reason.startswith(PREFIX)


@pytest.mark.parametrize("topic", [spec.name for spec in Topics.declared()])
def test_every_topic_is_spoken_of(topic: str) -> None:
    assert f"`{topic}`" in RUNBOOK


def test_the_resume_can_be_sent() -> None:
    [example] = found(r'\{"kind":"resume"[^`]*')
    tick = EQUITY_TICK.validate_json(example.replace("<ns>", str(time.time_ns())))
    assert isinstance(tick, Resume)


@pytest.mark.parametrize("kind", sorted(Kind))
def test_every_kind_of_finding_is_explained(kind: Kind) -> None:
    assert re.search(rf"^\| [A-Z_, ]*\b{kind}\b[A-Z_, ]* \|", RUNBOOK, re.MULTILINE)
