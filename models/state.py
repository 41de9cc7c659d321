"""The state of one partition: the folds gathered, and the two questions asked of them.

Every table is a fold of one topic, so the offsets folded name one state. `decide` and `evaluate` are pure; what
they return is folded when it has become a record of its own, live and in recovery alike.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson
from pydantic import JsonValue

from models.authority import EQUITY_TICKS, Verifier, refuse_all, succeed, unauthorized
from models.canonical import canonical_bytes, day_of, exact, ratio
from models.decisions import RULES, AsOf, RiskDecision, TradingHalt, built
from models.folds.correlation import Returns
from models.folds.drawdown import Assessment
from models.folds.ledger import Chain
from models.folds.reference import Reference
from models.gate import Recorded, decide, decide_malformed
from models.messages import (
    FUTURE_TOLERANCE,
    DailyReturn,
    EquityTick,
    Fill,
    LimitProfile,
    OperatorHalt,
    OperatorKeys,
    OrderIntent,
    ReferenceRecord,
)
from models.portfolio import Account, Portfolio
from models.refusal import Refusal, Refused
from models.risk.models import RiskModels
from models.wire import session_day

OPEN_ORDERS_SHOWN = 50


class Accounts(Protocol):
    """Where a partition keeps its accounts."""

    def __getitem__(self, name: str) -> Account:
        """Return the account; a fresh one where nothing is known of it."""
        ...


class AccountsInMemory(dict[str, Account]):
    """Accounts that live only as long as the process."""

    def __missing__(self, name: str) -> Account:
        """Add an account of which nothing is known."""
        account = self[name] = Account.fresh()
        return account


class Shared:
    """What every partition of a worker sees: the folds of `daily-returns` and of `reference`."""

    def __init__(self, returns: Returns | None = None, reference: Reference | None = None) -> None:
        self.returns = Returns() if returns is None else returns
        self.reference = Reference() if reference is None else reference
        self.models = RiskModels(self.returns, self.reference)
        self.daily_returns_offset = -1
        """Last offset folded, -1 for none."""
        self.reference_offset = -1

    @exact
    def fold_return(self, message: DailyReturn | Refused, *, offset: int, time: int) -> Refusal | None:
        """Take one record of `daily-returns` in.

        Args:
            message: The message, or why the bytes are none.
            offset: The record's offset.
            time: The record's own time, ns.

        Returns:
            The dead letter owed, if any.
        """
        self.daily_returns_offset = offset
        if isinstance(message, Refused):
            return Refusal(offset, message.why)
        if message.event_time > time + FUTURE_TOLERANCE:
            return Refusal(offset, _future(message.event_time, time))
        if session_day(message.session) > day_of(time) + 1:
            return Refusal(offset, f"session must not be after the day after its record's, was {message.session}")
        self.returns.fold(message)
        return None

    @exact
    def fold_reference(
        self, message: ReferenceRecord | Refused, *, offset: int, time: int, verify: Verifier = refuse_all
    ) -> Refusal | None:
        """Take one record of `reference` in, like `fold_return`; `verify` verifies its signature."""
        self.reference_offset = offset
        if isinstance(message, Refused):
            return Refusal(offset, message.why)
        return self.reference.fold(message, offset=offset, time=time, verify=verify)


class State:
    """One partition's accounts, and how far each topic is folded."""

    def __init__(self, shared: Shared, accounts: Accounts | None = None) -> None:
        self.shared = shared
        self.accounts: Accounts = AccountsInMemory() if accounts is None else accounts
        self.changed: set[str] = set()
        """Accounts with rows that changed since the owner last cleared this set."""
        self.fills_offset = -1
        self.equity_ticks_offset = -1
        self.intents_offset = -1
        """The last intent decided."""
        self.chain = Chain()
        """MALFORMED decisions: they belong to no account."""
        self.operator_keys: OperatorKeys | None = None
        """Those in force in the partition's `equity-ticks`."""

    # --- folding

    @exact
    def fold_fill(self, message: Fill | Refused, *, offset: int, time: int, raw: bytes | None) -> tuple[Refusal, ...]:
        """Take one record of `fills` in; a fill from the future applies with its record's time.

        Args:
            message: The message, or why the bytes are none.
            offset: The record's offset.
            time: The record's own time, ns.
            raw: Its bytes, kept with a bust or correction that may yet become a dead letter.

        Returns:
            The dead letters owed.
        """
        self.fills_offset = offset
        if isinstance(message, Refused):
            return (Refusal(offset, message.why),)
        event_time = time if message.event_time > time + FUTURE_TOLERANCE else message.event_time
        self.changed.add(message.account)
        return self.accounts[message.account].book.fold(message, offset=offset, event_time=event_time, raw=raw)

    @exact
    def fold_tick(
        self, message: EquityTick | Refused, *, offset: int, time: int, verify: Verifier = refuse_all
    ) -> tuple[Refusal, ...]:
        """Take one record of `equity-ticks` in, like `fold_fill`; `verify` verifies its signature."""
        self.equity_ticks_offset = offset
        if isinstance(message, Refused):
            return (Refusal(offset, message.why),)
        why = unauthorized(message, self.operator_keys, topic=EQUITY_TICKS, verify=verify)
        if why is not None:
            return (Refusal(offset, why, unauthorized=True),)
        if isinstance(message, OperatorKeys):
            self.operator_keys = succeed(self.operator_keys, message, time)
            return ()
        event_time = message.event_time
        if event_time > time + FUTURE_TOLERANCE:
            if not isinstance(message, OperatorHalt):
                return (Refusal(offset, _future(event_time, time)),)
            event_time = time  # a halt always applies, even by a clock that runs ahead
        self.changed.add(message.account)
        self.accounts[message.account].drawdown.fold(message, offset=offset, event_time=event_time)
        return ()

    def fold_decision(self, decision: RiskDecision) -> None:
        """Take one of the partition's decisions in."""
        self.intents_offset = decision.intent_offset
        if decision.account is None:
            self.chain = Chain(decision.seq, decision.digest)
            return
        self.changed.add(decision.account)
        self.accounts[decision.account].ledger.fold_decision(decision)

    def fold_halt(self, halt: TradingHalt) -> None:
        """Take one of the partition's halts in."""
        self.changed.add(halt.account)
        self.accounts[halt.account].ledger.fold_halt(halt)

    # --- asking

    @property
    def as_of(self) -> AsOf:
        """What is folded now."""
        return built(
            AsOf,
            {
                "fills": self.fills_offset,
                "equity_ticks": self.equity_ticks_offset,
                "daily_returns": self.shared.daily_returns_offset,
                "reference": self.shared.reference_offset,
            },
        )

    def portfolio(self, account: str, clock: int | None = None) -> Portfolio:
        """Return an account at a clock, ns; by default its own. Call it, and what it returns, under `exact`."""
        columns, shared = self.accounts[account], self.shared
        return Portfolio(
            columns,
            name=account,
            clock=columns.clock if clock is None else clock,
            reference=shared.reference,
            returns=shared.returns,
            models=shared.models,
        )

    @exact
    def decide(
        self,
        message: OrderIntent | Refused,
        *,
        offset: int,
        time: int,
        raw_digest: Callable[[], str],
        rules: int = RULES,
    ) -> RiskDecision:
        """Answer one record of `order-intents`. Pure: fold the answer with `fold_decision`.

        Args:
            message: The intent, or why the bytes are none.
            offset: The record's offset.
            time: The record's own time, ns.
            raw_digest: Returns the SHA-256 of the record's bytes; asked only where they are no intent.
            rules: The version of the rules to decide by.
        """
        recorded = Recorded(offset, time)
        if isinstance(message, Refused) or (rules == 1 and "replaces" in message.model_fields_set):
            return decide_malformed(raw_digest(), recorded, chain=self.chain, as_of=self.as_of, rules=rules)
        return decide(
            message,
            recorded,
            account=self.accounts[message.account],
            reference=self.shared.reference,
            returns=self.shared.returns,
            models=self.shared.models,
            as_of=self.as_of,
            rules=rules,
        )

    @exact
    def evaluate(self, account: str, *, rules: int = RULES) -> TradingHalt | None:
        """Return the halt owed where the account's status or its causes changed.

        Pure: fold the halt with `fold_halt`. Call it after each record of the account is folded.

        Args:
            account: Its name.
            rules: The version of the rules to evaluate by.
        """
        limits = self.shared.reference.profile(account)
        if limits is None:
            return None
        columns = self.accounts[account]
        assessment = columns.standing.assessment(limits)
        if (assessment.status, assessment.causes) == (columns.ledger.status, columns.ledger.causes):
            return None
        return self._halt(account, columns, limits, assessment, rules)

    def _halt(
        self, account: str, columns: Account, limits: LimitProfile, assessment: Assessment, rules: int
    ) -> TradingHalt:
        drawdown, ledger = columns.drawdown, columns.ledger
        equity = drawdown.equity
        peak = None if equity is None else drawdown.session.peak
        command = drawdown.operator_halt or drawdown.last_resume
        if command is not None and command.offset not in (
            *assessment.cause_offset.values(),
            self.equity_ticks_offset,
        ):
            command = None  # an old command, not what brought this change
        open_orders = self.portfolio(account).open_orders
        opening = [approval for approval, _ in open_orders.values() if approval.opening_quantity]
        opening.sort(key=lambda approval: approval.seq)
        fields: dict[str, Any] = {
            "version": 1,
            "account": account,
            "seq": ledger.halts.seq + 1,
            "status": assessment.status,
            "previous_status": ledger.status,
            "causes": assessment.causes,
            "drawdown": None if equity is None or peak is None else ratio(peak - equity, peak),
            "peak": peak,
            "equity": equity,
            "thresholds": {
                name: threshold
                for name in (
                    "drawdown_warning",
                    "drawdown_halt",
                    "high_water_warning",
                    "high_water_halt",
                    "daily_loss_halt",
                )
                if (threshold := getattr(limits, name)) is not None
            },
            "cause_offset": {cause.value: offset for cause, offset in assessment.cause_offset.items()},
            "clock": columns.clock,
            "as_of": self.as_of,
            "decision_seq": ledger.decisions.seq,
            "limits_version": limits.limits_version,
            "rules": rules,
            "actor": None if command is None else command.actor,
            "reason": None if command is None else command.reason,
            "open_orders": tuple(approval.intent_id for approval in opening[:OPEN_ORDERS_SHOWN]),
            "previous_digest": ledger.halts.digest,
        }
        return TradingHalt.of(fields)

    # --- the checkpoint's vector row

    def vector(self) -> JsonValue:
        """Return how far each topic is folded, and what belongs to the partition itself: its chain and its keys."""
        keys = self.operator_keys
        return {
            "fills": self.fills_offset,
            "equity_ticks": self.equity_ticks_offset,
            "intents": self.intents_offset,
            "chain_seq": self.chain.seq,
            "chain_digest": self.chain.digest,
            "operator_keys": None if keys is None else orjson.loads(canonical_bytes(keys)),
        }

    def restore(self, vector: Mapping[str, Any]) -> None:
        """Set what `vector` returned."""
        self.fills_offset = vector["fills"]
        self.equity_ticks_offset = vector["equity_ticks"]
        self.intents_offset = vector["intents"]
        self.chain = Chain(vector["chain_seq"], vector["chain_digest"])
        keys = vector["operator_keys"]
        self.operator_keys = None if keys is None else OperatorKeys.model_validate(keys)


def _future(event_time: int, time: int) -> str:
    return f"event_time must be at most 5 s after its record's time, was {event_time - time} ns after"
