"""The pages of the benchmarks, filled from the figures of a run between marker comments.

What stands between `<!-- begin NAME -->` and `<!-- end NAME -->` is written here and nowhere else: no number stands
in a page that no run produced. The words around them are written by hand.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import plots
from tests.benchmarks.figures import cells_of, columns
from tests.benchmarks.targets import judged

FOLDER: Final = Path("docs/benchmarks")
FIGURES: Final = FOLDER / "figures.json"
PAGE: Final = FOLDER / "README.md"
FRONT: Final = Path("README.md")

Figures = Mapping[str, Any]


def write(root: Path, figures: Figures) -> None:
    """Write the plots, the page and the front page's table.

    Args:
        root: The checkout.
        figures: What a run wrote as JSON.
    """
    plots.draw(root / FOLDER, figures["tables"])
    for place, text in pages(root, figures).items():
        (root / place).write_text(text)


def pages(root: Path, figures: Figures) -> dict[Path, str]:
    """Return the text that each page has with these figures."""
    sections = {
        "machine": _machine(figures),
        "targets": _targets(figures, links="#"),
        "plots": _plots(figures),
        "tables": "\n".join(_tables(figures)),
    }
    parts = (_machine(figures), _targets(figures, links=f"{PAGE}#"), *_beside_the_peers(figures["tables"]))
    front = {"benchmarks": "\n\n".join(parts)}
    return {
        PAGE: filled((root / PAGE).read_text(), sections),
        FRONT: filled((root / FRONT).read_text(), front),
    }


def filled(page: str, sections: Mapping[str, str]) -> str:
    """Return a page with the text between its markers replaced.

    Raises:
        ValueError: If it lacks the markers of a section.
    """
    for name, text in sections.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        head, found, rest = page.partition(begin)
        _, found_end, tail = rest.partition(end)
        if not (found and found_end):
            raise ValueError(f"there is no {begin} with an {end} after it")
        page = f"{head}{begin}\n\n{text}\n\n{end}{tail}"
    return page


def _machine(figures: Figures) -> str:
    machine = dict(figures["machine"])
    date, cores, memory = machine.pop("date"), machine.pop("cores"), machine.pop("memory_mb")
    versions = ", ".join(f"{name} {version}" for name, version in machine.items())
    tables = figures["tables"].values()
    commits = sorted({table["commit"] for table in tables if table["commit"]})
    scales = sorted({table["scale"] for table in tables})
    small = "" if scales == [1.0] else f" At scale {', '.join(f'{scale:g}' for scale in scales)}: a trial."
    seconds = sum(table["seconds"] for table in tables)
    return (
        f"{date}, {cores} cores, {memory / 1000:.0f} GB, shared by broker, workers and drivers; {versions}; code"
        f" {', '.join(commits) or 'unknown'}; {seconds / 60:.0f} minutes.{small}"
    )


def _targets(figures: Figures, *, links: str) -> str:
    rows = [
        {
            "measure": f"{each.measure} ([how]({links}{each.benchmark}))",
            "target": each.target,
            "reached": each.reached,
            "met": each.met,
        }
        for each in judged(figures["tables"])
    ]
    return _markdown(rows)


def _beside_the_peers(tables: Mapping[str, Any]) -> Iterator[str]:
    """Yield seawall's own figures above those of the peers, where all of them were measured."""
    if any(name not in tables or tables[name]["failed"] for name in ("latency", "backlog", "peers")):
        return
    latency, backlog = (tables[name]["data"]["figures"] for name in ("latency", "backlog"))
    ours = {
        "system": "**seawall**",
        "configuration": "exactly once, every check; 500 fills and 200 ticks a second beside the intents",
        "p50 ms": latency["p50 ms"],
        "p99 ms": latency["p99 ms"],
        "records/s": backlog["decisions per second"],
        "CPU us": backlog["CPU us per decision"],
    }
    yield (
        "Beside the peers, whose stage checks nothing: from the producer to the read-committed consumer at 1,000 a"
        " second; from a backlog; CPU for each record of it."
    )
    yield _markdown([ours] + [{name: row.get(name) for name in ours} for row in tables["peers"]["rows"]])


def _plots(figures: Figures) -> str:
    shown = [f"![{plot.title}]({plot.file})" for plot in plots.PLOTS if plot.has_data(figures["tables"])]
    return "\n\n".join(shown)


def _tables(figures: Figures) -> Iterator[str]:
    for name, table in figures["tables"].items():
        yield f'<a id="{name}"></a>\n\n### {table["title"]}\n'
        if table["failed"]:
            yield f"FAILED:\n\n```text\n{table['failed'].strip()}\n```\n"
            continue
        yield f"{table['how']}\n"
        yield f"{_markdown(table['rows'])}\n"
        if table["profile"]:
            yield "Where the time goes:\n"
            yield f"```text\n{_trimmed(table['profile'])}\n```\n"


def _trimmed(profile: str) -> str:
    return re.sub(r"[ \t]+$", "", profile.strip("\n"), flags=re.MULTILINE)


def _markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    names = columns(rows)
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |" for cells in cells_of(rows)]
    return "\n".join(lines)
