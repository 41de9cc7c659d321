"""The pages of the benchmarks hold what the figures say, and nothing else between their markers."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.benchmarks import page
from tests.benchmarks.targets import TARGETS, judged

ROOT = Path(__file__).parents[2]


def figures() -> Any:
    return orjson.loads((ROOT / page.FIGURES).read_bytes())


@pytest.mark.parametrize("place", [page.PAGE, page.FRONT])
def test_a_page_is_what_its_figures_make_of_it(place: Path) -> None:
    """Whoever changes a number by hand, or figures without their page, is found out."""
    assert (ROOT / place).read_text() == page.pages(ROOT, figures())[place]


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="begin targets"):
        page.filled("# A page\n<!-- end targets -->\n", {"targets": "figures"})


def test_text_around_the_markers_stays() -> None:
    before = "above\n<!-- begin a -->\nold\n<!-- end a -->\nbelow\n"
    assert page.filled(before, {"a": "new"}) == "above\n<!-- begin a -->\n\nnew\n\n<!-- end a -->\nbelow\n"


def _table(**figures: float) -> dict[str, Any]:
    return {"data": {"figures": figures}}


def test_a_target_is_met_only_where_every_figure_is() -> None:
    [first, *_] = judged({"latency": _table(**{"p50 over the bare loop": 1.3, "p99 over the bare loop": 1.5})})
    assert first.met == "yes"
    [first, *_] = judged({"latency": _table(**{"p50 over the bare loop": 1.3, "p99 over the bare loop": 1.51})})
    assert first.met == "no"


def test_what_was_not_run_or_failed_is_never_met() -> None:
    assert {each.met for each in judged({})} == {"not run"}
    assert {each.met for each in judged({target.benchmark: _table() for target in TARGETS})} == {"failed"}
