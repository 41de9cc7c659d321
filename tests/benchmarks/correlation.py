"""What the correlation of all symbols costs when a return has changed, and what a decision then pays of it."""

import gc
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from statistics import median
from typing import Final

from models.canonical import day_of
from models.folds.correlation import Returns, clusters
from streams.records import Topic
from tests.benchmarks import inputs
from tests.benchmarks.figures import TRIAL, Table, say
from tests.benchmarks.inside import Inside
from tests.benchmarks.market import LONG, OPEN_ORDERS, SESSIONS, Market, Sent

NAME: Final = "correlation"
UNIVERSES: Final = (10, 500, 2_000)
TIMES: Final = 7


def measure(scale: float) -> Table:
    """Measure at each number of symbols."""
    times = max(3, round(TIMES * min(1.0, scale)))
    table = Table(
        NAME,
        "Correlation of all symbols, CPU ms",
        f"{SESSIONS} sessions, exact integers; the middle of {times}. refresh: after one return has changed, until"
        " every symbol is compared with every other and all groups of linked ones are found, the coefficient of each"
        " link that holds them together included. session: all symbols have a return of a new session, folding"
        " them included. fold: one return from its message, us. decision after: the first decision after a return has"
        " changed, of an account with 20 positions, beside one when none has, us.",
    )
    for symbols in UNIVERSES if scale >= TRIAL else UNIVERSES[:2]:
        market = Market(inputs.NOON, accounts=1, symbols=symbols, limits=dict(LONG), sells=False)
        row: dict[str, float] = {"symbols": symbols}
        row["refresh ms"] = median(_refresh(market) for _ in range(times)) * 1e3
        row["session ms"] = median(_session(market) for _ in range(times)) * 1e3
        row["fold us"] = _fold(market) * 1e6
        row |= _decisions(market, times)
        table.rows.append(row)
        say(str(row))
        if symbols == 500:
            table.data["figures"] = {"refresh ms": row["refresh ms"]}
    return table


def _known(market: Market) -> Returns:
    returns = Returns()
    for each in market.returns():
        returns.fold(each)
    _compare(returns, market)
    return returns


def _compare(returns: Returns, market: Market) -> None:
    """Find the groups of all symbols, for which every one is compared with every other."""
    assert clusters(returns, market.symbols, day_of(market.begin))


def _spent(work: Callable[[], object]) -> float:
    gc.collect()
    started = time.process_time()  # also what numpy's threads took
    work()
    return time.process_time() - started


def _refresh(market: Market) -> float:
    returns = _known(market)
    session = (market.today - timedelta(days=1)).isoformat()
    returns.fold(market.one_return(market.symbols[0], 1, session, 1))
    return _spent(lambda: _compare(returns, market))


def _session(market: Market) -> float:
    returns = _known(market)
    today = market.today.isoformat()
    session = [market.one_return(symbol, place, today, 1) for place, symbol in enumerate(market.symbols)]

    def work() -> None:
        for each in session:
            returns.fold(each)
        _compare(returns, market)

    return _spent(work)


def _fold(market: Market) -> float:
    returns, messages = Returns(), list(market.returns())

    def work() -> None:
        for each in messages:
            returns.fold(each)

    return _spent(work) / len(messages)


def _decisions(market: Market, times: int) -> dict[str, float]:
    inside = Inside(market)
    session = (market.today - timedelta(days=1)).isoformat()
    records = inside.records(Topic.ORDER_INTENTS, market.backlog(OPEN_ORDERS + 2 * times))
    for record in records[:OPEN_ORDERS]:
        inside.decide(record)
    quiet, changed = [], []
    for turn in range(times):
        before, after = records[OPEN_ORDERS + 2 * turn :][:2]
        quiet.append(_spent(partial(inside.decide, before)))
        value = market.one_return(market.symbols[0], turn + 1, session, turn).model_dump_json().encode()
        [news] = inside.records(Topic.DAILY_RETURNS, [Sent(market.symbols[0], value)])
        assert not inside.shared.fold(news).dead_letters
        changed.append(_spent(partial(inside.decide, after)))
    return {"decision us": median(quiet) * 1e6, "decision after us": median(changed) * 1e6}
