"""How an account comes by the limits that a program asks for, and does not lose those it has."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from pydantic import ValidationError

from models.canonical import plain, sha256
from models.folds.reference import Reference
from models.limits import Limits, SizingMethod
from models.messages import EVERY, AccountRecord, LimitProfile, ReferenceRecord
from streams.access import GateError
from streams.manager.figures import Figure, decimal_of, fraction_of

ACTOR: Final = "risk-manager"
REASON: Final = "limits given to RiskManager"

NAME_MAX: Final = 64


class LimitsInForceError(GateError):
    """The account exists under other limits, and nobody has said that they are to be replaced."""


def limits_said(
    *,
    risk_per_trade_percent: Figure | None,
    max_position_percent: Figure | None,
    sizing_method: SizingMethod | str | None,
    limits: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return what was said of limits, by the profile's field names; what is None was not said.

    `max_position_percent` is the most that one position may come to, by one order or by several: `entry_max` and
    `position_critical`.

    Args:
        risk_per_trade_percent: Of equity.
        max_position_percent: Of equity.
        sizing_method: By its name in either case, or as the enum.
        limits: Further limits by name; they win.

    Raises:
        ValueError: If a number is none, or there is no such method.
        TypeError: The same.
    """
    said: dict[str, Any] = {}
    if risk_per_trade_percent is not None:
        said["risk_per_trade"] = fraction_of(risk_per_trade_percent, "risk_per_trade_percent")
    if max_position_percent is not None:
        share = fraction_of(max_position_percent, "max_position_percent")
        said |= {"entry_max": share, "position_critical": share}
    if sizing_method is not None:
        said["sizing_method"] = _method(sizing_method)
    for name, value in (limits or {}).items():
        said[name] = decimal_of(value, name) if isinstance(value, float) else value
    if isinstance(said.get("sizing_method"), str):
        said["sizing_method"] = _method(said["sizing_method"])
    return said


def _method(name: str) -> SizingMethod:
    try:
        return SizingMethod(name.upper().replace("-", "_").replace(" ", "_"))
    except ValueError:
        raise ValueError(f"sizing_method must be one of {', '.join(SizingMethod)}, was {name!r}") from None


def enrol(
    reference: Reference,
    account: str,
    said: Mapping[str, Any],
    *,
    currency: str | None,
    known: bool,
    replace: bool,
    event_time: int,
) -> list[ReferenceRecord]:
    """Return the records that put the account under the limits asked for; none where it is under them already.

    What is not said stays as it is in force: by the account's own profile, by that of every account, by default.

    Args:
        reference: As folded now.
        account: Its name.
        said: Limits by field name.
        currency: The account's; None where a record says it.
        known: Whether the account has a history.
        replace: Whether other limits that are in force may be replaced.
        event_time: When this is said, ns.

    Raises:
        LimitsInForceError: If the account exists under other limits and `replace` is not set.
        ValueError: If the limits are invalid, naming every violation; or if no currency is known.
    """
    bound, in_force = reference.account(account), reference.profile(account)
    own = bound is not None and bound.account != EVERY
    if own and bound is not None and currency not in (None, bound.currency):
        raise ValueError(f"the currency of account {account} is {bound.currency}, was given as {currency}")
    before = _values(Limits() if in_force is None else in_force)
    after = _values(_valid({**before, **_lowered_warning(before, said), **said}))
    different = [name for name in before if after[name] != before[name]]
    if in_force is not None and not different:
        return []
    if in_force is not None and (own or known) and not replace:
        changes = ", ".join(f"{name} {_shown(before[name])} (asked for {_shown(after[name])})" for name in different)
        raise LimitsInForceError(
            f"account {account} exists under {in_force.limits_version} with {changes}: leave these arguments out to"
            " keep what is in force, or say replace_limits=True"
        )
    currency = bound.currency if currency is None and bound is not None else currency
    if currency is None:
        raise ValueError(
            f"the currency of account {account} is not known: give it, or run `seawall topics create --starter USD`"
        )
    profile_id = profile_id_of(account)
    said_now: dict[str, Any] = {"actor": ACTOR, "reason": REASON}
    known_profile = _row(reference, f"limit_profile\0{profile_id}")
    known_account = _row(reference, f"account\0{account}")
    # The profile first: until it is there, a binding to it would reject every intent.
    return [
        LimitProfile(
            **said_now,
            **after,
            event_time=max(event_time, known_profile.get("event_time", -1) + 1),
            profile_id=profile_id,
            profile_version=known_profile.get("profile_version", 0) + 1,
        ),
        AccountRecord(
            **said_now,
            event_time=max(event_time, known_account.get("event_time", -1) + 1),
            account=account,
            profile_id=profile_id,
            currency=currency,
        ),
    ]


def profile_id_of(account: str) -> str:
    """Return the profile that is the account's alone; names have 64 characters at most."""
    name = f"manager:{account}"
    return name if len(name) <= NAME_MAX else f"manager:{sha256(account.encode())[: NAME_MAX - 8]}"


def _lowered_warning(before: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the warning before `position_critical`: where it was, unless the limit comes down to below it."""
    critical = said.get("position_critical")
    return (
        {}
        if critical is None
        else {"position_warning": min(before["position_warning"], decimal_of(critical, "position_critical"))}
    )


def _valid(limits: Mapping[str, Any]) -> Limits:
    try:
        return Limits.model_validate(limits)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, each['loc'])) or 'limits'}: {each['msg']}" for each in error.errors()]
        raise ValueError("; ".join(lines)) from None


def _values(limits: Limits) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in Limits.model_fields}


def _shown(value: object) -> str:
    return plain(value) if isinstance(value, Decimal) else "off" if value is None else str(value)


def _row(reference: Reference, key: str) -> dict[str, Any]:
    """Return what `reference` has under a natural key; nothing where it has nothing."""
    record = reference.record(key)
    return {} if record is None else record.model_dump(mode="json")
