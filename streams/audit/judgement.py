"""What an audit is asked to judge, and what it says of each decision and halt."""

from enum import StrEnum
from typing import NamedTuple

from models.decisions import RiskDecision, TradingHalt
from models.state import State
from streams.records import Record


class Scope(NamedTuple):
    """What is to be judged. The partition is folded from its beginning in any case."""

    account: str | None = None
    """Only this account's decisions and halts are taken again."""
    since: int | None = None
    """Only what was published at this time or after it, ns by the broker's clock."""
    until: int | None = None
    """Nothing that was published at this time or after it is looked at."""


class Outcome(StrEnum):
    """What came of one decision or halt."""

    REPRODUCED = "REPRODUCED"
    DIVERGED = "DIVERGED"
    NOT_COVERED = "NOT_COVERED"
    PASSED = "PASSED"
    """It was folded, its chain verified, and it was not taken again."""


class Judgement(NamedTuple):
    """One decision or halt, and what came of taking it again."""

    record: Record
    message: RiskDecision | TradingHalt
    outcome: Outcome


class Begin(NamedTuple):
    """Where an audit goes on from: a state, and where the topics of decisions and halts are read on."""

    state: State
    decisions: int = 0
    halts: int = 0
    resumed: bool = False
    """Whether something came before it."""
