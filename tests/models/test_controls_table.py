"""docs/controls.md lists every reason and every limit, and names tests that exist."""

import re
from pathlib import Path

from models.limits import Limits
from models.reasons import RejectReason

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "controls.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\| \d.*\|$", TABLE, re.MULTILINE)
]


def test_every_reason_has_its_row() -> None:
    assert [(int(row[0]), row[1]) for row in ROWS] == [(reason.number, reason.value) for reason in RejectReason]


def test_every_limit_stands_in_a_row() -> None:
    assert set(re.findall(r"`(\w+)`", " ".join(row[2] for row in ROWS))) >= set(Limits.model_fields)


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", TABLE)
    assert len(named) > len(ROWS)
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"
