"""The records that make one mark enough for a first approval (RISK.md section 2)."""

from typing import Final

from models.messages import (
    EVERY,
    AccountRecord,
    Instrument,
    LimitProfile,
    ReferenceRecord,
    StrategyRecord,
    StrategyState,
)

PROFILE: Final = "default"
ACTOR: Final = "starter"
REASON: Final = "seawall topics create --starter"


def starter_records(currency: str, *, event_time: int) -> list[ReferenceRecord]:
    """Return the profile `default@1` with the default limits, and a `*` record for accounts, symbols and strategies.

    Args:
        currency: Of every account and every symbol without a record of its own.
        event_time: When the operator says so, ns.
    """
    said = {"event_time": event_time, "actor": ACTOR, "reason": REASON}
    return [
        LimitProfile.model_validate({**said, "profile_id": PROFILE, "profile_version": 1}),
        AccountRecord.model_validate({**said, "account": EVERY, "profile_id": PROFILE, "currency": currency}),
        Instrument.model_validate({**said, "symbol": EVERY, "currency": currency}),
        StrategyRecord.model_validate({**said, "strategy": EVERY, "account": EVERY, "state": StrategyState.ENABLED}),
    ]
