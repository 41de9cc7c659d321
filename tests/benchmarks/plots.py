"""Plots of what a run measured, as SVG: the same figures give the same bytes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

Tables = Mapping[str, Mapping[str, Any]]
Curve = Sequence[Sequence[float]]
"""Pairs of x and y."""

SIZE: Final = (9.0, 5.0)
LATENCY_SIZE: Final = (11.0, 7.5)
SWEEP_SIZE: Final = (11.0, 6.5)
SWEEP_COLUMNS: Final = 3
BEYOND: Final = 0.9999
"""Quantiles are drawn up to here."""


class Plot(NamedTuple):
    """One picture."""

    file: str
    title: str
    curves: Callable[[Tables], Mapping[str, Curve]]
    draw: Callable[[Any, Mapping[str, Curve]], None]

    def has_data(self, tables: Tables) -> bool:
        """Tell whether there is anything to be drawn."""
        return bool(self.curves(tables))


def draw(folder: Path, tables: Tables) -> None:
    """Draw every plot that there are figures for, and remove the others."""
    import matplotlib as mpl  # noqa: PLC0415  # the pages are filled and tested without it

    mpl.use("svg")
    from matplotlib.figure import Figure  # noqa: PLC0415  # see above

    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "seawall", "svg.fonttype": "none", "font.size": 9}):
        for plot in PLOTS:
            curves = plot.curves(tables)
            if not curves:
                (folder / plot.file).unlink(missing_ok=True)
                continue
            figure = Figure(figsize=SIZE, layout="constrained")
            plot.draw(figure, curves)
            figure.suptitle(plot.title)
            figure.savefig(folder / plot.file, metadata={"Date": None, "Creator": None})


def _latencies(tables: Tables) -> dict[str, Curve]:
    """Return the distributions of the gate, the bare loop beside it, and the peers: shares below 1, and ms."""
    curves: dict[str, Curve] = dict(_data(tables, "latency").get("quantiles", {}))
    for each in _data(tables, "peers").get("latency", ()):
        shares = [percent / 100 for percent in each["percent"]]
        curves[f"{each['system']}, {each['configuration']}"] = list(zip(shares, each["ms"], strict=True))
    return curves


def _throughputs(tables: Tables) -> dict[str, Curve]:
    """Return records a second by records in a transaction."""
    curves: dict[str, Curve] = dict(_data(tables, "batches").get("curves", {}))
    swept = _data(tables, "peers").get("throughput by records per transaction", ())
    if swept:
        curves["bare aiokafka transactions"] = [
            (each["records per transaction"], each["records/s"]) for each in swept
        ]
    return curves


def _curves(name: str) -> Callable[[Tables], Mapping[str, Curve]]:
    return lambda tables: _data(tables, name).get("curves", {})


def _data(tables: Tables, name: str) -> Mapping[str, Any]:
    data: Mapping[str, Any] = tables[name]["data"] if name in tables else {}
    return data


def _latency(figure: Any, curves: Mapping[str, Curve]) -> None:
    figure.set_size_inches(*LATENCY_SIZE)
    axes = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        shown = [(1 / (1 - share), value) for share, value in curve if share <= BEYOND]
        dashed, color = divmod(number, 10)  # there are ten colors
        style = {"color": f"C{color}", "linestyle": "--" if dashed else "-", "linewidth": 1.2 if number else 3}
        axes.plot(*zip(*shown, strict=True), label=name, **style)  # the gate comes first
    axes.set(xscale="log", yscale="log", xlabel="of all answers, so many come sooner", ylabel="ms")
    shares = (0.5, 0.9, 0.99, 0.999)
    axes.set_xticks([1 / (1 - share) for share in shares], [f"{share * 100:g} %" for share in shares])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", fontsize=6, ncols=2)


def _throughput(figure: Any, curves: Mapping[str, Curve]) -> None:
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(*zip(*sorted(map(tuple, curve)), strict=True), marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="records in a transaction", ylabel="records a second")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)


def _cost(figure: Any, curves: Mapping[str, Curve]) -> None:
    figure.set_size_inches(*SWEEP_SIZE)
    rows = -(-len(curves) // SWEEP_COLUMNS)
    for place, (name, curve) in enumerate(curves.items()):
        axes = figure.add_subplot(rows, SWEEP_COLUMNS, place + 1)
        axes.plot(*zip(*curve, strict=True), marker="o")
        axes.set_xscale("symlog")
        axes.set(xlabel=name, ylabel="CPU us for a decision", ylim=(0, 1.1 * max(cost for _, cost in curve)))
        axes.grid(alpha=0.3)


def _memory(figure: Any, curves: Mapping[str, Curve]) -> None:
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(*zip(*curve, strict=True), label=name)
    axes.set(xlabel="decisions taken of those that waited", ylabel="MB in the worker's memory", ylim=(0, None))
    axes.grid(alpha=0.3)


PLOTS: Final = (
    Plot(
        "latency.svg",
        "From the producer to the read-committed consumer, 1,000 records a second",
        _latencies,
        _latency,
    ),
    Plot(
        "throughput.svg",
        "Throughput from a backlog against the size of a transaction",
        _throughputs,
        _throughput,
    ),
    Plot("cost.svg", "How the cost of a decision grows", _curves("growth"), _cost),
    Plot(
        "memory.svg",
        "Memory while a backlog is worked off",
        _curves("backpressure"),
        _memory,
    ),
)
