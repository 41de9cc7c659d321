"""Golden case 38: a damaged state file is rebuilt from the log, and never becomes a fresh state."""

import asyncio
import time
from pathlib import Path

import pytest

from models.decisions import DecisionStatus
from models.messages import EquityMark, OrderIntent, PriceMark
from streams.client import RiskGateClient
from streams.codec import Codec
from streams.config import Settings
from streams.publisher import Publisher
from streams.starter import starter_records
from streams.topics import Topics
from tests.integration.load import judge
from tests.integration.workers import worker

ACCOUNT = "halted"


def mark(equity: str) -> EquityMark:
    price = PriceMark.model_validate({"price": "100", "atr": "1"})
    return EquityMark.model_validate(
        {"account": ACCOUNT, "event_time": time.time_ns(), "equity": equity, "marks": {"AAPL": price}}
    )


async def ask(settings: Settings) -> list[str]:
    """Submit a buy at the mark; return the reasons."""
    async with RiskGateClient(settings, timeout=60) as gate:
        intent = {
            "intent_id": f"i-{time.time_ns()}",
            "account": ACCOUNT,
            "strategy": "s",
            "symbol": "AAPL",
            "side": "BUY",
            "quantity": "1",
            "order_type": "MARKET",
            "event_time": time.time_ns(),
        }
        decision = await gate.submit(OrderIntent.model_validate(intent, strict=False))
        assert (decision.status is DecisionStatus.APPROVED) == (not decision.reasons)
        return [str(reason) for reason in decision.reasons]


@pytest.mark.parametrize("damage", ["bytes", "truncated", "removed"])
def test_a_damaged_state_is_still_halted(settings: Settings, topics: Topics, tmp_path: Path, damage: str) -> None:
    async def send(*messages: EquityMark) -> None:
        async with Publisher(settings) as publisher:
            await publisher.send_all([*starter_records("USD", event_time=time.time_ns()), *messages])

    asyncio.run(send(mark("100000")))
    with worker(settings, tmp_path) as process:
        assert asyncio.run(ask(settings)) == []
        asyncio.run(send(mark("89000")))
        assert asyncio.run(ask(settings)) == ["DRAWDOWN_HALT"]
        time.sleep(2 * settings.checkpoint_interval)  # the halt is in the checkpoint
        process.kill()

        home = settings.worker_dir / f"partition-{Codec(topics.partitions).partition_of(ACCOUNT)}"
        files = [path for path in home.rglob("*") if path.is_file() and path.stat().st_size]
        assert files
        for path in files:
            if damage == "bytes":
                path.write_bytes(bytes(len(path.read_bytes())))
            elif damage == "truncated":
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            else:
                path.unlink()

        process.start()
        process.wait_ready()
        asyncio.run(send(mark("89500")))  # fresh inputs, so that nothing but the halt speaks
        assert asyncio.run(ask(settings)) == ["DRAWDOWN_HALT"]
        assert process.stop() == 0, process.output
    verdict = asyncio.run(judge(settings, topics))
    assert (verdict.decisions, verdict.halts) == (3, 1)
