"""One act, played in order: openings, cues, marks, intents and what becomes of them, fills, returns."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from models.decisions import RiskDecision, TradingHalt
from models.messages import OrderIntent
from streams.demo.market import REMARK_DELAY, Market
from streams.demo.script import Cue, Raw, Script
from streams.publisher import Message


class Stage(Protocol):
    """Where a play is put on: a gate that answers, topics that take the rest, and an audience."""

    @property
    def halts(self) -> Mapping[str, TradingHalt]:
        """The newest halt event of each account that has one, as the gate published them."""
        ...

    async def ask(self, orders: Sequence[OrderIntent | Raw]) -> list[RiskDecision]:
        """Send orders one after the other and return the decision on each, in the same order."""
        ...

    async def tell(self, records: Sequence[Message | Raw]) -> None:
        """Publish records, and return when the gate can have folded them."""
        ...

    def raise_curtain(self, market: Market) -> None:
        """Announce an act."""
        ...

    async def turn_to(self, session: int) -> None:
        """Announce a session."""
        ...

    def announce(self, text: str) -> None:
        """Announce a cue."""
        ...


async def play(market: Market, stage: Stage) -> None:
    """Play one act to its end, where every position is closed."""
    stage.raise_curtain(market)
    script = Script(market)
    first = market.tape.first
    await stage.tell(list(market.returns(range(first - market.tape.act.lead, first))))
    for session in market.sessions:
        await stage.turn_to(session)
        for cue in script.before_open(session, stage.halts):
            await _perform(cue, stage)
        if market.opens_week(session):
            await stage.tell(list(market.open_session(session)))
        for cue in script.before_marks(session):
            await _perform(cue, stage)
        await stage.tell(list(market.mark(session)))
        for cue in script.glitch(session):
            await _perform(cue, stage)
        await stage.tell(await _trade(session, market, script, stage))
        await stage.tell(list(market.mark(session, delay=REMARK_DELAY)))
        await stage.tell(list(market.returns([session])))


async def _trade(session: int, market: Market, script: Script, stage: Stage) -> list[Message]:
    """Send what is wanted at the close; returns the fills of what was approved."""
    is_last = session == market.sessions[-1]
    intents = list(market.closing(session) if is_last else market.intents(session))
    orders: list[OrderIntent | Raw] = list(intents)
    for cue in script.mischief(session, intents):
        stage.announce(cue.text)
        for record in cue.records:
            assert isinstance(record, OrderIntent | Raw), "mischief is made with orders"
            orders.append(record)
    decisions = await stage.ask(orders)
    return [report for decision in decisions for report in market.execute(decision, session)]


async def _perform(cue: Cue, stage: Stage) -> None:
    stage.announce(cue.text)
    if cue.records:
        await stage.tell(cue.records)
