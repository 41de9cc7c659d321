"""What seawall is meant to reach, beside what a run of the benchmarks reached."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tests.benchmarks.figures import text_of

Compare = Callable[[float, float], bool]


class Target(NamedTuple):
    """One row of the table of targets."""

    measure: str
    bounds: Sequence[tuple[str, Compare, float, str]]
    """Of each figure its name, how it compares with the bound, the bound and the unit."""
    benchmark: str
    """Whose figures they are; its table says how they were measured."""
    shown: Sequence[tuple[str, str]] = ()
    """Figures that are shown beside them, each with its unit."""


AT_MOST: Final[Compare] = operator.le
AT_LEAST: Final[Compare] = operator.ge
SIGNS: Final[Mapping[Compare, str]] = {AT_MOST: "at most", AT_LEAST: "at least"}

TARGETS: Final = (
    Target(
        "producer to read-committed decision, 1,000 intents, 500 fills, 200 ticks a second, 4 partitions, every"
        " check, over the bare aiokafka transaction loop in the same minute",
        (
            ("p50 over the bare loop", AT_MOST, 1.3, "times at p50"),
            ("p99 over the bare loop", AT_MOST, 1.5, "times at p99"),
        ),
        "latency",
        (
            ("p50 ms", "ms p50"),
            ("p99 ms", "ms p99"),
            ("p50 of the bare loop, ms", "ms p50 of the loop"),
            ("p99 of the bare loop, ms", "ms p99 of the loop"),
        ),
    ),
    Target(
        "decisions per second from a backlog, one worker process, every check, exactly once",
        (("decisions per second", AT_LEAST, 12_000, "/s"),),
        "backlog",
        (("CPU us per decision", "us CPU each"),),
    ),
    Target(
        "CPU per decision outside `decide`, backlog; of which encoding and digest; a typical approval",
        (
            ("CPU us outside decide", AT_MOST, 45, "us"),
            ("encoding and digest us", AT_MOST, 15, "us"),
            ("bytes of an approval", AT_MOST, 1_536, "bytes"),
        ),
        "backlog",
    ),
    Target(
        "`decide()` with the checks of the default profile, 20 positions, 10 open orders",
        (("decide us, default profile", AT_MOST, 30, "us"),),
        "answers",
    ),
    Target(
        "the same with every check: also value at risk, shortfall, beta and factors",
        (("decide us, and value at risk, shortfall, beta and factors", AT_MOST, 30, "us"),),
        "answers",
    ),
    Target(
        "correlation refresh, 500 symbols, 30 sessions, exact integers",
        (("refresh ms", AT_MOST, 25, "ms CPU"),),
        "correlation",
    ),
    Target("fold of fills, from a backlog, one worker", (("fills per second", AT_LEAST, 30_000, "/s"),), "backlog"),
    Target(
        "restart with a million decisions behind",
        (
            ("first decision s, disk kept", AT_MOST, 3, "s, disk kept"),
            ("first decision s, disk lost", AT_MOST, 3, "s, disk lost"),
        ),
        "restart",
        (("decisions behind", "decisions behind"),),
    ),
    Target(
        "client: 1,000 submissions in flight, overhead per call",
        (("overhead us of a call", AT_MOST, 100, "us CPU"),),
        "client",
    ),
    Target("audit", (("decisions per second and core", AT_LEAST, 20_000, "/s and core"),), "audit"),
)


class Judged(NamedTuple):
    """One target, and what was reached."""

    measure: str
    target: str
    reached: str
    met: str
    """yes, no, or why that is not known."""
    benchmark: str


def judged(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[Judged]:
    """Yield each target beside what a run reached.

    Args:
        tables: Of each benchmark that was run what `Table.as_json` returned.
    """
    for target in TARGETS:
        table = tables.get(target.benchmark)
        figures: Mapping[str, Any] = {} if table is None else table["data"].get("figures", {})
        wanted = "; ".join(f"{SIGNS[compare]} {text_of(bound)} {unit}" for _, compare, bound, unit in target.bounds)
        names = [name for name, *_ in target.bounds]
        if table is None or any(figures.get(name) is None for name in names):
            why = "not run" if table is None else "failed"
            yield Judged(target.measure, wanted, "", why, target.benchmark)
            continue
        reached = [f"{text_of(figures[name])} {unit}" for name, _, _, unit in target.bounds]
        reached += [f"{text_of(figures[name])} {unit}" for name, unit in target.shown if name in figures]
        met = all(compare(figures[name], bound) for name, compare, bound, _ in target.bounds)
        yield Judged(target.measure, wanted, "; ".join(reached), "yes" if met else "no", target.benchmark)
