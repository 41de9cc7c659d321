"""Exports of the demo's log, read back: nothing is lost, nothing is rounded."""

import asyncio
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.canonical import DAY_NS, canonical_bytes, plain
from models.messages import Statement
from streams import cli
from streams.hindsight import export
from streams.hindsight.export import ExportError, iso, position_rows, write
from streams.hindsight.spans import Span, span_of
from streams.publisher import destination
from streams.records import Record, Topic
from tests.streams.in_process_gate import NOW
from tests.streams.pasts import MemoryPast, gathered
from tests.streams.played import played

PLAYED = MemoryPast(played().gate.log)
AUTUMN = span_of("2008-09-01", "2008-11-30")


def exported(what: str, path: Path, past: MemoryPast = PLAYED, **selection: Any) -> int:
    return asyncio.run(write(past, what, path, **selection))


def csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_decisions_come_back_from_csv_as_they_were_decided(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    decided = played().gate.decisions
    assert exported("decisions", path) == len(decided)
    read = csv(path)
    assert list(read.columns) == list(export.DECISION_COLUMNS)
    assert [Decimal(text) for text in read["quantity"]] == [each.quantity for each in decided]
    assert list(read["quantity"]) == [plain(each.quantity) for each in decided]
    assert [text.split() for text in read["reasons"]] == [list(each.reasons) for each in decided]
    assert list(read["digest"]) == [each.digest for each in decided]
    times = pd.to_datetime(read["clock"].replace("", None)).astype("int64")
    asked = [(time, each.clock) for time, each in zip(times, decided, strict=True) if each.account is not None]
    assert all(time == clock for time, clock in asked)
    assert set(read["clock"][[each.account is None for each in decided]]) == {""}
    checks = [orjson.loads(text) for text in read["checks"]]
    assert canonical_bytes(checks) == canonical_bytes([each.checks for each in decided])


def test_decisions_come_back_from_parquet_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "ROW_GROUP", 300)
    path = tmp_path / "decisions.parquet"
    decided = played().gate.decisions
    assert exported("decisions", path) == len(decided)
    assert pq.ParquetFile(path).num_row_groups == len(decided) // 300 + 1
    read = pq.read_table(path)
    assert read.schema.field("equity").type == pa.decimal128(38, 12)
    assert read.schema.field("clock").type == pa.timestamp("ns", tz="UTC")
    for name in ("quantity", "max_quantity", "limit_price", "opening_quantity"):
        assert read[name].to_pylist() == [getattr(each, name) for each in decided]
    equities = [None if each.inputs.equity is None else each.inputs.equity.value for each in decided]
    assert read["equity"].to_pylist() == equities
    assert read["reasons"].to_pylist() == [list(each.reasons) for each in decided]
    frame = pd.read_parquet(path)
    assert (frame["status"] == "APPROVED").sum() == sum(each.status == "APPROVED" for each in decided)


def test_halts_come_back(tmp_path: Path) -> None:
    for name in ("halts.csv", "halts.parquet"):
        assert exported("halts", tmp_path / name) == len(played().gate.all_halts)
    read = pq.read_table(tmp_path / "halts.parquet")
    for name in ("status", "equity", "peak", "drawdown", "seq"):
        assert read[name].to_pylist() == [getattr(each, name) for each in played().gate.all_halts]
    assert read["drawdown_halt"].to_pylist() == [
        each.thresholds.get("drawdown_halt") for each in played().gate.all_halts
    ]
    assert list(csv(tmp_path / "halts.csv")["causes"]) == [" ".join(each.causes) for each in played().gate.all_halts]


def test_the_last_row_of_a_position_is_what_is_held(tmp_path: Path) -> None:
    exported("positions", tmp_path / "positions.parquet")
    read = pd.read_parquet(tmp_path / "positions.parquet")
    held: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(dict)
    for names, rows in read.groupby(["account", "symbol", "strategy"]):
        account, symbol, strategy = map(str, names)
        last = rows.iloc[-1]
        assert sum(rows["change"]) == last["position"]
        if last["position"]:
            held[account, symbol][strategy] = last["position"]
    accounts = played().gate.replica.state.accounts
    folded = {
        (name, symbol): dict(strategies)
        for name in played().gate.halts
        for symbol, strategies in accounts[name].book.positions.items()
    }
    assert {key: value for key, value in held.items() if key[0] in played().gate.halts} == folded
    assert len(read) > 300


def test_an_adjustment_is_a_row_of_its_own() -> None:
    statement = Statement(
        account="A",
        event_time=NOW,
        positions={},
        fills_through=NOW,
        adjustments={"X": Decimal("-2.5")},
        actor="ops",
        reason="split",
    )
    topic, key = destination(statement)
    record = Record(topic, 0, 0, NOW, key, canonical_bytes(statement))
    (row,) = asyncio.run(gathered(position_rows(MemoryPast({Topic.EQUITY_TICKS: [record, record]}))))
    assert (row["change"], row["position"], row["total_position"]) == (Decimal("-2.5"),) * 3
    assert (row["execution_type"], row["strategy"]) == (export.ADJUSTMENT, None)


def test_a_selection_is_by_account_and_by_the_account_s_clock(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    count = exported("decisions", path, account="banks", span=AUTUMN)
    wanted = [each for each in played().gate.decisions if each.account == "banks" and AUTUMN.holds(each.clock)]
    assert 0 < len(wanted) == count
    assert list(csv(path)["intent_id"]) == [each.intent_id for each in wanted]
    assert exported("positions", path, account="nobody") == 0
    assert path.read_text().startswith("topic,partition,offset")


def test_a_file_is_whole_or_it_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")
    log = dict(played().gate.log)
    log[Topic.RISK_DECISIONS] = [*log[Topic.RISK_DECISIONS][:5], log[Topic.FILLS][0]]
    with pytest.raises(Exception, match="is no RiskDecision"):
        exported("decisions", path, MemoryPast(log))
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ExportError, match="cannot write"):
        exported("decisions", tmp_path / "no" / "where.csv")


def test_a_number_that_does_not_fit_stops_the_export(tmp_path: Path) -> None:
    rows: list[export.Row] = [{"a": Decimal(10) ** 30}]
    writer = export.ParquetWriter(tmp_path / "x.parquet", {"a": export.NUMBER})
    with pytest.raises(ExportError, match="a a does not fit decimal128"):
        writer.write(rows)
    with pytest.raises(ExportError, match="does not fit"):
        writer.write([{"a": Decimal("1e-13")}])
    writer.write([{"a": Decimal("12345678901234567890123456.123456789012")}])
    writer.close()
    (value,) = pq.read_table(tmp_path / "x.parquet")["a"].to_pylist()
    assert value == Decimal("12345678901234567890123456.123456789012")


def test_the_columns_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    for what, table in export.TABLES.items():
        section = page.partition(f"## {what.capitalize()}")[2].partition("\n## ")[0]
        assert section, what
        for name in table.columns:
            assert f"`{name}`" in section, f"{what}: {name}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("decisions", "x.txt"), "must end in .csv or .parquet, was x.txt"),
        (("decisions", "x.csv", "--from", "yesterday"), "--from must be a date or a time in UTC"),
        (("halts", "x.csv", "--to", "2008-13-01"), "--to must be a date or a time in UTC"),
        (("halts", "x.csv", "--from", "2009-01-01", "--to", "2008-01-01"), "--from must not be after --to"),
        (("prices", "x.csv"), "see `seawall export --help`"),
        (("decisions",), "see `seawall export decisions --help`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_usage_is_one_line(arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["export", *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_spans_are_whole_days_or_instants() -> None:
    day = span_of("2008-09-15", "2008-09-15")
    assert day.last - day.first == DAY_NS - 1
    assert iso(day.first) == "2008-09-15T00:00:00.000000000Z"
    assert iso(day.last) == "2008-09-15T23:59:59.999999999Z"
    instant = span_of("2008-09-15T21:00:05.000000001Z", "2008-09-15 21:00:05.5")
    assert (instant.first - day.first, instant.last - day.first) == (75_605_000_000_001, 75_605_500_000_000)
    assert span_of(None, None) == Span()
    assert span_of(None, None).holds(-(2**63))
