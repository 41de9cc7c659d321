"""NautilusTrader's RiskEngine, called in process: prints the CPU microseconds of one check of a new order.

`python nautilus.py ORDERS`. They are limit orders of a cash account with a limit on each order's notional: the engine
looks at price, quantity, notional and balance, where for a margin account it leaves after the first two. Making the
orders is not counted.
"""

import gc
import json
import sys
import time
from importlib.metadata import version

from nautilus_trader.cache.cache import Cache  # type: ignore[import-not-found]  # in an environment of its own
from nautilus_trader.common.component import MessageBus, TestClock  # type: ignore[import-not-found]
from nautilus_trader.common.factories import OrderFactory  # type: ignore[import-not-found]
from nautilus_trader.core.uuid import UUID4  # type: ignore[import-not-found]
from nautilus_trader.execution.messages import SubmitOrder  # type: ignore[import-not-found]
from nautilus_trader.model.enums import OrderSide  # type: ignore[import-not-found]
from nautilus_trader.model.identifiers import (  # type: ignore[import-not-found]
    AccountId,
    StrategyId,
    TraderId,
)
from nautilus_trader.model.objects import Price, Quantity  # type: ignore[import-not-found]
from nautilus_trader.portfolio.portfolio import Portfolio  # type: ignore[import-not-found]
from nautilus_trader.risk.config import RiskEngineConfig  # type: ignore[import-not-found]
from nautilus_trader.risk.engine import RiskEngine  # type: ignore[import-not-found]
from nautilus_trader.test_kit.providers import TestInstrumentProvider  # type: ignore[import-not-found]
from nautilus_trader.test_kit.stubs.events import TestEventStubs  # type: ignore[import-not-found]
from nautilus_trader.test_kit.stubs.execution import AccountFactory  # type: ignore[import-not-found]

TRADER, STRATEGY = TraderId("TRADER-001"), StrategyId("S-001")
EQUITY = TestInstrumentProvider.equity("AAPL", "XNAS")


def submissions(count: int) -> list[SubmitOrder]:
    """Return so many orders of ids of their own."""
    orders = OrderFactory(TRADER, STRATEGY, TestClock())
    return [
        SubmitOrder(
            trader_id=TRADER,
            strategy_id=STRATEGY,
            order=orders.limit(EQUITY.id, OrderSide.BUY, Quantity.from_int(5), Price.from_str("100.00")),
            command_id=UUID4(),
            ts_init=0,
        )
        for _ in range(count)
    ]


def main() -> None:
    """Check the orders, and count those that passed."""
    count = int(sys.argv[1])
    clock = TestClock()
    bus, cache = MessageBus(TRADER, clock), Cache()
    cache.add_instrument(EQUITY)
    cache.add_account(AccountFactory.create(TestEventStubs.cash_account_state(AccountId("XNAS-001"))))
    config = RiskEngineConfig(
        max_order_submit_rate=f"{count + 1}/00:00:01", max_notional_per_order={str(EQUITY.id): 100_000}
    )
    engine = RiskEngine(Portfolio(bus, cache, clock), bus, cache, clock, config)
    passed: list[SubmitOrder] = []
    denied: list[object] = []
    bus.register("ExecEngine.execute", passed.append)
    bus.register("ExecEngine.process", denied.append)
    commands = submissions(count)
    gc.collect()
    begun = time.thread_time()
    for command in commands:
        engine.execute(command)
    seconds = time.thread_time() - begun
    assert len(passed) == count, f"{len(denied)} denied: {denied[:1]}"
    sys.stdout.write(json.dumps({"us": seconds / count * 1e6, "version": version("nautilus_trader")}))


if __name__ == "__main__":
    main()
