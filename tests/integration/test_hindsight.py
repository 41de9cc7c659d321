"""Explanations, exports and what-ifs of what a real worker decided on a real broker."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from tests.integration.test_cli import ORDER, Seawall, gate, line, seawall

__all__ = ["gate", "seawall"]  # fixtures


def test_what_a_worker_decided_is_explained_exported_and_asked_what_if(gate: Seawall, tmp_path: Path) -> None:
    assert gate(*ORDER, "--quantity", "50", "--intent-id", "small").returncode == 0
    assert gate(*ORDER, "--quantity", "60", "--intent-id", "large").returncode == 3
    assert gate("submit", "-", given=line("small", "50")).returncode == 3  # taken, with other content

    told = [json.loads(text) for text in gate("explain", "small", "--json").stdout.splitlines()]
    assert [each["decision"]["status"] for each in told] == ["APPROVED", "REJECTED"]
    assert all(each["reproduced"] for each in told)
    page = gate("explain", "large", "--account", "A").stdout
    assert page.startswith("REJECTED  buy 60 AAPL  SIZE_EXCEEDS_CAP")
    assert "the largest quantity that would have passed: 54, bound by SIZE_EXCEEDS_CAP" in page
    assert "comes out the same, byte for byte" in page
    nothing = gate("explain", "nothing")
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
    assert "no record of order-intents carries intent 'nothing'" in nothing.stderr

    file = tmp_path / "decisions.parquet"
    assert gate("export", "decisions", str(file)).stdout == f"3 decisions in {file}\n"
    assert pq.read_table(file)["intent_id"].to_pylist() == ["small", "large", "small"]
    assert gate("export", "halts", str(tmp_path / "halts.csv"), "--account", "A").stdout.startswith("0 halts in ")

    limits, html = tmp_path / "limits.yaml", tmp_path / "page.html"
    limits.write_text("profile_id: tight\nlimits:\n  entry_max: 0.05\n")
    made = json.loads(gate("what-if", "--limits", str(limits), "--html", str(html), "--json").stdout)
    assert [flips["count"] for flips in made["flips"]] == [1, 0, 0, 0]
    assert made["flips"][0]["examples"][0]["intent_id"] == "small"
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "other limits: entry_max 0.05" in gate("what-if", "--limits", str(limits)).stdout
