"""What the world says: random messages to the input topics, sound ones and others, some of them again."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from pydantic import BaseModel

from models.authority import needs_signature
from models.canonical import canonical_bytes
from models.messages import (
    EVERY,
    AccountRecord,
    Command,
    DailyReturn,
    EquityMark,
    ExecutionType,
    Fill,
    Instrument,
    KillMode,
    KillScope,
    KillSwitch,
    LimitProfile,
    OperatorHalt,
    OrderIntent,
    OrderType,
    PriceMark,
    ReferenceRecord,
    Restricted,
    Resume,
    SessionOpen,
    Side,
    StrategyRecord,
    StrategyState,
)
from streams.records import ACCOUNT_INPUTS, Record, Topic
from tests.simulation.broker import Log
from tests.streams.signed import SIGNERS, keys, signed

ACCOUNTS: Final = ("A", "B", "C", "D")
SYMBOLS: Final = ("X", "Y")
PROFILES: Final = ("p", "q")
GARBAGE: Final = (b"", b"\xff", b"{}", b"[", b'{"equity":NaN}', None)
SECOND: Final = 1_000_000_000
HOUR: Final = 3600 * SECOND
THRESHOLDS: Final = (("0.02", "0.04"), ("0.05", "0.10"), ("0.08", "0.20"), ("0.15", "0.30"))


class Messages:
    """Writes the input topics.

    Args:
        log: Where to.
        chance: Draws what.
        happened: Counts what must happen in some run.
    """

    def __init__(self, log: Log, chance: random.Random, happened: Counter[str]) -> None:
        self._log = log
        self._chance = chance
        self._happened = happened
        self._count = 0
        self._version = 1
        self._equity = dict.fromkeys(ACCOUNTS, 100_000)
        self._deposits = dict.fromkeys(ACCOUNTS, 0)
        self._sent: list[Record] = []
        self._listed = {Topic.EQUITY_TICKS: "", Topic.REFERENCE: ""}
        """The key that signs what is meant to be obeyed; none where no keys have been written."""

    def opening(self) -> None:
        """Write what makes decisions possible."""
        for profile in PROFILES:
            self._reference(LimitProfile(**self._said(), profile_id=profile, profile_version=1))
        self._reference(AccountRecord(**self._said(), account=EVERY, profile_id="p", currency="USD"))
        self._reference(Instrument(**self._said(), symbol=EVERY, currency="USD"))
        self._reference(StrategyRecord(**self._said(), strategy=EVERY, account=EVERY, state=StrategyState.ENABLED))

    def something(self) -> None:
        """Write one record to one topic, or something that no reader sees."""
        self._log.now += self._chance.randrange(3) * SECOND
        if self._chance.random() < 0.01:
            self._log.now += self._chance.choice((HOUR, 24 * HOUR, 8 * 24 * HOUR))  # Rows grow old, and go.
        self._count += 1
        if self._chance.random() < 0.02:
            self._keys()
        topics = (*ACCOUNT_INPUTS, Topic.REFERENCE, Topic.DAILY_RETURNS)
        topic = self._chance.choices(topics, (12, 6, 12, 3, 1))[0]
        roll = self._chance.random()
        if roll < 0.05:
            self._log.skip(topic)  # a marker, or an aborted record of whoever writes there
        elif roll < 0.10:
            self._log.append(topic, self._chance.choice((b"A", None)), self._chance.choice(GARBAGE))
        elif roll < 0.2 and self._sent:
            again = self._chance.choice(self._sent)
            self._log.append(again.topic, again.key, again.value)
            self._happened["a message is sent again"] += 1
        elif topic is Topic.REFERENCE:
            self._change_reference()
        elif topic is Topic.DAILY_RETURNS:
            self._return()
        else:
            account = self._chance.choice(ACCOUNTS)
            write = {Topic.ORDER_INTENTS: self._intent, Topic.FILLS: self._fill, Topic.EQUITY_TICKS: self._tick}
            self._send(topic, account, write[topic](account))

    def _send(self, topic: Topic, key: str, message: BaseModel) -> None:
        self._sent.append(self._log.append(topic, key.encode(), self._signed(message, topic)))

    def _signed(self, message: BaseModel, topic: Topic) -> bytes:
        """Return the bytes of a message; a command is signed as it should be, or otherwise."""
        listed = self._listed.get(topic)
        if not listed or not isinstance(message, Command) or not needs_signature(message):
            return canonical_bytes(message)
        by = self._chance.choice((*(listed,) * 12, None, *SIGNERS))
        value = signed(message, topic, by)
        if self._chance.random() < 0.03:
            value = value.replace(b'"ops"', b'"eve"')
        self._happened["a command is signed as it should be"] += value == signed(message, topic, listed)
        self._happened["a command is not signed as it should be"] += value != signed(message, topic, listed)
        return value

    def _keys(self) -> None:
        """Write other keys to a topic, signed as it should be or otherwise."""
        topic, name = self._chance.choice(list(self._listed)), self._chance.choice(list(SIGNERS))
        self._log.now += SECOND
        message, before = keys(name, at=self._log.now), self._listed[topic]
        value = self._signed(message, topic)
        if not before or value == signed(message, topic, before):
            self._listed[topic] = name
            self._happened["keys are replaced"] += bool(before)
        self._log.append(topic, b"any", value)

    # --- the shared topics

    def _said(self) -> dict[str, Any]:
        self._log.now += SECOND
        return {"event_time": self._log.now, "actor": "ops", "reason": "test"}

    def _reference(self, record: ReferenceRecord) -> None:
        self._send(Topic.REFERENCE, "any", record)

    def _change_reference(self) -> None:
        """Change limits, who is bound to them, or what is allowed, while everything else goes on."""
        account, symbol = self._chance.choice(ACCOUNTS), self._chance.choice(SYMBOLS)
        match self._chance.randrange(8):
            case 0 | 1 | 2:
                self._happened["limits change"] += 1
                self._reference(self._profile())
            case 3:
                self._happened["an account changes its profile"] += 1
                profile = self._chance.choice(PROFILES)
                self._reference(AccountRecord(**self._said(), account=account, profile_id=profile, currency="USD"))
            case 4:
                active = self._chance.random() < 0.5
                self._reference(Restricted(**self._said(), symbol=symbol, account=account, active=active))
            case 5:
                state = self._chance.choice((StrategyState.ENABLED, StrategyState.ENABLED, StrategyState.DISABLED))
                self._reference(StrategyRecord(**self._said(), strategy="s", account=account, state=state))
            case _:
                self._happened["a kill switch changes"] += 1
                self._reference(self._switch(account, symbol))

    def _profile(self) -> LimitProfile:
        self._version += 1
        warning, halt = self._chance.choice(THRESHOLDS)
        return LimitProfile(
            **self._said(),
            profile_id=self._chance.choice(PROFILES),
            profile_version=self._version,
            drawdown_warning=Decimal(warning),
            drawdown_halt=Decimal(halt),
            daily_loss_halt=self._chance.choice((None, Decimal("0.06"))),
            high_water_halt=self._chance.choice((None, None, Decimal("0.40"))),
        )

    def _switch(self, account: str, symbol: str) -> KillSwitch:
        targets = {KillScope.GLOBAL: None, KillScope.ACCOUNT: account, KillScope.STRATEGY: "s"}
        scope = self._chance.choice(list(KillScope))
        return KillSwitch(
            **self._said(),
            scope=scope,
            target=targets.get(scope, symbol),
            mode=self._chance.choice(list(KillMode)),
            engaged=self._chance.random() < 0.3,
        )

    def _return(self) -> None:
        symbol = self._chance.choice(SYMBOLS)
        message = DailyReturn(
            symbol=symbol,
            session=self._date(-self._chance.randrange(30)),
            simple_return=Decimal(self._chance.randrange(-50, 50)) / 1000,
            event_time=self._log.now,
        )
        self._send(Topic.DAILY_RETURNS, symbol, message)

    def _date(self, days: int = 0) -> str:
        return (datetime.fromtimestamp(self._log.now // SECOND, UTC) + timedelta(days=days)).date().isoformat()

    # --- the account topics

    def _intent(self, account: str) -> OrderIntent:
        return OrderIntent(
            intent_id=f"i{self._count}",
            account=account,
            strategy="s",
            symbol=self._chance.choice(SYMBOLS),
            side=self._chance.choice(list(Side)),
            quantity=Decimal(self._chance.randrange(1, 60)),
            order_type=OrderType.MARKET,
            event_time=self._log.now,
        )

    def _fill(self, account: str) -> Fill:
        kinds = (ExecutionType.TRADE, ExecutionType.CANCELED, ExecutionType.BUSTED)
        return Fill(
            execution_id=f"x{self._count}",
            execution_reference_id=f"x{self._recent()}",
            intent_id=f"i{self._recent()}",
            account=account,
            symbol=self._chance.choice(SYMBOLS),
            side=self._chance.choice(list(Side)),
            execution_type=self._chance.choices(kinds, (5, 2, 1))[0],
            last_quantity=Decimal(self._chance.randrange(1, 20)),
            last_price=Decimal(100),
            event_time=self._log.now,
        )

    def _recent(self) -> int:
        return self._chance.randrange(max(1, self._count - 9), self._count + 1)

    def _tick(self, account: str) -> EquityMark | SessionOpen | Resume | OperatorHalt:
        roll = self._chance.random()
        at: dict[str, Any] = {"account": account, "event_time": self._log.now}
        if roll < 0.1:
            return Resume(**at, actor="ops", reason="test")
        if roll < 0.15:
            return OperatorHalt(**at, actor="ops", reason="test")
        if self._chance.random() < 0.05:
            self._deposits[account] += 1000
            self._equity[account] += 1000
        self._equity[account] = self._equity[account] * self._chance.randrange(90, 110) // 100
        value: dict[str, Any] = {
            "equity": Decimal(self._equity[account]),
            "net_deposits": self._chance.choice((None, Decimal(self._deposits[account]))),
            "cash": self._chance.choice((None, Decimal(50_000))),
        }
        if roll < 0.3:  # often of a session that was opened before
            return SessionOpen(**at, **value, actor="feed", session=self._date(self._chance.choice((-1, 0, 0))))
        return EquityMark(**at, **value, marks={s: PriceMark(price=Decimal(100), atr=Decimal(1)) for s in SYMBOLS})
