"""docs/peers.md and the tests say the same."""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from tests.peers import test_halts, test_money, test_positions, test_unknowns

DOCS = Path(__file__).parents[2] / "docs"
MODULES: tuple[ModuleType, ...] = (test_unknowns, test_positions, test_money, test_halts)


class Row(NamedTuple):
    """One line of the table of defects."""

    defect: str
    case: str
    where: str
    there: str
    here: str
    test: str


def _cells(text: str, columns: int) -> Iterator[list[str]]:
    """Yield the cells of every line of a table of so many columns, its head left out."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == columns and not re.fullmatch(r"-+", cells[0]):
            yield cells


def _rows() -> list[Row]:
    _, *rows = (Row(*cells) for cells in _cells((DOCS / "peers.md").read_text(), len(Row._fields)))
    return rows


def _tests() -> dict[str, Callable[..., None]]:
    return {
        f"{module.__name__.rsplit('.', 1)[-1]}.py::{name}": test
        for module in MODULES
        for name, test in inspect.getmembers(module, inspect.isfunction)
        if name.startswith("test_") and test.__module__ == module.__name__
    }


def test_every_module_is_looked_at() -> None:
    found = {path.stem for path in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).stem}
    assert found == {module.__name__.rsplit(".", 1)[-1] for module in MODULES}


def test_each_test_has_a_row_and_each_row_a_test() -> None:
    assert sorted(row.test.strip("`") for row in _rows()) == sorted(_tests())


def test_rows_and_docstrings_are_the_same_words() -> None:
    tests = _tests()
    for row in _rows():
        said = " ".join((inspect.getdoc(tests[row.test.strip("`")]) or "").split())
        assert said == f"{row.defect}. {row.where.replace('`', '')}: {row.there}."
        assert row.here


def test_each_project_is_one_that_was_read() -> None:
    _, *read = _cells((DOCS / "peers.md").read_text(), 3)
    for row in _rows():
        named = row.where.split(", `")[0]
        project, _, commit = named.partition(" at ")
        [(_, repository, at)] = [line for line in read if line[0] == project]
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", repository)
        assert f"commit {commit}" in at if commit else project.rsplit(" ", 1)[-1] in at
    assert {project for project, *_ in read} == {row.where.split(", `")[0].split(" at ")[0] for row in _rows()}


def test_each_golden_case_that_is_a_peers_defect_has_a_row() -> None:
    cases = (DOCS / "risk.md").read_text().split("\n## 13.")[1]
    starred = {number for number, *_ in _cells(cases, 3) if number.endswith("*")}
    assert starred
    assert {f"{row.case}*" for row in _rows() if row.case} == starred
