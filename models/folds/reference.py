"""Limits, instruments and switches: the fold of `reference`."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self, TypeVar

import orjson
from pydantic import JsonValue

from models import authority
from models.authority import Verifier, refuse_all, unauthorized
from models.canonical import canonical_bytes, sha256
from models.messages import (
    EVERY,
    REFERENCE,
    AccountRecord,
    Drift,
    Instrument,
    KillMode,
    KillScope,
    KillSwitch,
    LimitProfile,
    OperatorKeys,
    ReferenceRecord,
    Restricted,
    StrategyRecord,
    StrategyState,
)
from models.refusal import Refusal

SECTOR_UNKNOWN = "UNKNOWN"

FOUND_MAX = 100_000
"""How many lookups are remembered: those of some thousand symbols and accounts."""

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T", LimitProfile, AccountRecord, Instrument, Restricted, KillSwitch, StrategyRecord, Drift, OperatorKeys)


def _keep(found: dict[K, V], key: K, answer: V) -> None:
    if len(found) >= FOUND_MAX:
        found.clear()
    found[key] = answer


def natural_key(record: ReferenceRecord) -> str:
    """Return what a record is about: a newer record of the same key replaces it."""
    match record:
        case LimitProfile():
            parts: tuple[str, ...] = (record.profile_id,)
        case AccountRecord():
            parts = (record.account,)
        case Instrument():
            parts = (record.symbol,)
        case Restricted():
            parts = (record.symbol, record.account or EVERY)
        case KillSwitch():
            parts = (record.scope, record.target or EVERY)
        case StrategyRecord():
            parts = (record.strategy, record.account)
        case Drift():
            parts = (record.account, record.symbol)
        case OperatorKeys():
            parts = ()
    return "\0".join((record.kind, *parts))


class Bound(NamedTuple):
    """What an account is bound to."""

    limits: LimitProfile | None
    """None where no profile is."""
    limits_version: str | None
    currency: str | None
    """None where the account has no record."""


class Lane(NamedTuple):
    """What is said of one strategy's orders in one symbol and account."""

    instrument: Instrument | None
    strategy: StrategyRecord | None
    drifted: bool
    restricted: bool
    stopped: tuple[str, ...]
    """Engaged kill switches that stop everything, as `SCOPE target`."""
    reduce_only: tuple[str, ...]
    """Engaged kill switches that admit reductions."""

    def clear(self, currency: str | None) -> bool:
        """Tell whether none of this stands in an opening's way, the account's currency included."""
        return not (
            self.instrument is None
            or self.instrument.currency != currency
            or self.strategy is None
            or self.strategy.state is StrategyState.DISABLED
            or self.drifted
            or self.restricted
            or self.stopped
            or self.reduce_only
        )


class Reference:
    """The newest record of each natural key; a row each.

    Of two records with one key the one with the later event_time stands, so a re-sent old record releases nothing.
    """

    def __init__(self) -> None:
        self.dirty: set[str] = set()
        self.version = 0
        """Raised by every record that changed something; for caches, not persisted."""
        self.instruments_version = 0
        """The same of instruments alone."""
        self._records: dict[str, ReferenceRecord] = {}
        self._ahead: dict[str, dict[str, int]] = {}
        """By natural key: records from the future, digest and event_time, until that has passed."""
        self._found: dict[tuple[tuple[str, ...], ...], ReferenceRecord | None] = {}
        """What was looked up since the last change: the same few keys come with every decision."""
        self._kinds: set[str] = set()
        """Kinds of which there is a record."""
        self._instruments: dict[str, Instrument] = {}
        self._bound: dict[str, Bound] = {}
        self._lanes: dict[tuple[str, str, str], Lane] = {}

    def fold(
        self, record: ReferenceRecord, *, offset: int, time: int, verify: Verifier = refuse_all
    ) -> Refusal | None:
        """Take one record in.

        Args:
            record: The message.
            offset: Its offset in `reference`.
            time: Its record's time, ns. An event_time from the future counts as this: a kill switch set by a
                clock that runs ahead must work, and must not shut out the records after it.
            verify: Verifies signatures.

        Returns:
            A dead letter for a record without a signature that it needs, and for a limit profile whose version does
            not rise.
        """
        why = unauthorized(record, self.operator_keys, topic=authority.REFERENCE, verify=verify)
        if why is not None:
            return Refusal(offset, why, unauthorized=True)
        key = natural_key(record)
        known = self._records.get(key)
        if record.event_time > time:
            if self._is_repeat(key, record, time):
                return None
            record = record.model_copy(update={"event_time": time})
        if known is not None:
            if record.event_time <= known.event_time:
                return None
            if (
                isinstance(record, LimitProfile)
                and isinstance(known, LimitProfile)
                and record.profile_version <= known.profile_version
            ):
                return Refusal(
                    offset,
                    f"profile_version of {record.profile_id} must be above {known.profile_version}, "
                    f"was {record.profile_version}",
                )
        self._records[key] = record
        self._kinds.add(record.kind)
        self._found.clear()
        self._instruments.clear()
        self._bound.clear()
        self._lanes.clear()
        self.dirty.add(key)
        self.version += 1
        self.instruments_version += isinstance(record, Instrument)
        return None

    def _is_repeat(self, key: str, record: ReferenceRecord, time: int) -> bool:
        """Tell whether a record from the future was there before: sent again, its time would be new each time."""
        digest = sha256(canonical_bytes(record))
        ahead = {known: event_time for known, event_time in self._ahead.get(key, {}).items() if event_time > time}
        self._ahead[key] = ahead | {digest: record.event_time}
        return digest in ahead

    @property
    def operator_keys(self) -> OperatorKeys | None:
        """The keys in force in `reference`."""
        return self._first(OperatorKeys, ("operator_keys",))

    def record(self, key: str) -> ReferenceRecord | None:
        """Return the record in force of a natural key."""
        return self._records.get(key)

    def of_kind(self, kind: type[T]) -> tuple[T, ...]:
        """Return every record of one kind, by natural key."""
        return tuple(record for _, record in sorted(self._records.items()) if isinstance(record, kind))

    def account(self, account: str) -> AccountRecord | None:
        """Return the account's record, or that of every account."""
        return self._first(AccountRecord, ("account", account), ("account", EVERY))

    def profile(self, account: str) -> LimitProfile | None:
        """Return the limit profile bound to the account; None where no profile is."""
        record = self.account(account)
        return None if record is None else self._first(LimitProfile, ("limit_profile", record.profile_id))

    def bound(self, account: str) -> Bound:
        """Return what the account is bound to."""
        bound = self._bound.get(account)
        if bound is None:
            record, limits = self.account(account), self.profile(account)
            version = None if limits is None else limits.limits_version
            bound = Bound(limits, version, None if record is None else record.currency)
            _keep(self._bound, account, bound)
        return bound

    def lane(self, account: str, strategy: str, symbol: str) -> Lane:
        """Return what is said of one strategy's orders in one symbol and account."""
        key = (account, strategy, symbol)
        lane = self._lanes.get(key)
        if lane is None:
            switches = {
                mode: self.kill_switches(account=account, strategy=strategy, symbol=symbol, mode=mode)
                for mode in KillMode
            }
            lane = Lane(
                self.instrument(symbol),
                self.strategy(strategy, account),
                self.drifted(account, symbol),
                self.restricted(symbol, account),
                switches[KillMode.ALL],
                switches[KillMode.REDUCE_ONLY],
            )
            _keep(self._lanes, key, lane)
        return lane

    def instruments(self) -> list[str]:
        """Return the symbols that have a record of their own."""
        return [
            record.symbol
            for record in self._records.values()
            if isinstance(record, Instrument) and record.symbol != EVERY
        ]

    def instrument(self, symbol: str) -> Instrument | None:
        """Return the instrument's record, or that of every symbol."""
        instrument = self._instruments.get(symbol)
        if instrument is None:
            instrument = self._first(Instrument, ("instrument", symbol), ("instrument", EVERY))
            if instrument is not None:
                _keep(self._instruments, symbol, instrument)
        return instrument

    def strategy(self, strategy: str, account: str) -> StrategyRecord | None:
        """Return what is said of the strategy in the account; its own record goes before those of every one."""
        return self._first(
            StrategyRecord,
            ("strategy", strategy, account),
            ("strategy", strategy, EVERY),
            ("strategy", EVERY, account),
            ("strategy", EVERY, EVERY),
        )

    def drifted(self, account: str, symbol: str) -> bool:
        """Tell whether the account's folded position in the symbol is flagged as wrong."""
        record: Drift | None = self._first(
            Drift,
            ("drift", account, symbol),
            ("drift", account, EVERY),
            ("drift", EVERY, symbol),
            ("drift", EVERY, EVERY),
        )
        return record is not None and record.flagged

    def restricted(self, symbol: str, account: str) -> bool:
        """Tell whether the symbol is on the list of all accounts or of this one."""
        records: tuple[Restricted | None, ...] = (
            self._first(Restricted, ("restricted", symbol, EVERY), ("restricted", EVERY, EVERY)),
            self._first(Restricted, ("restricted", symbol, account), ("restricted", EVERY, account)),
        )
        return any(record is not None and record.active for record in records)

    def kill_switches(self, *, account: str, strategy: str, symbol: str, mode: KillMode) -> tuple[str, ...]:
        """Return the engaged switches of this mode that apply, as `SCOPE target`."""
        targets = (
            (KillScope.GLOBAL, EVERY),
            (KillScope.ACCOUNT, account),
            (KillScope.STRATEGY, strategy),
            (KillScope.SYMBOL, symbol),
        )
        switches: list[str] = []
        for scope, target in targets:
            record: KillSwitch | None = self._first(
                KillSwitch, ("kill_switch", scope, target), ("kill_switch", scope, EVERY)
            )
            if record is not None and record.engaged and record.mode is mode:
                switches.append(f"{scope} {target}")
        return tuple(switches)

    def _first(self, kind: type[T], *keys: tuple[str, ...]) -> T | None:
        if keys[0][0] not in self._kinds:  # as of drifts, restrictions and kill switches on most days
            return None
        if keys not in self._found:
            records = (self._records.get("\0".join(key)) for key in keys)
            _keep(self._found, keys, next((record for record in records if record is not None), None))
        record = self._found[keys]
        assert record is None or isinstance(record, kind)  # the key begins with the kind
        return record

    def row(self, key: str) -> JsonValue:
        """Return a row as models.folds.rows.Rows describes it."""
        record: JsonValue = orjson.loads(canonical_bytes(self._records[key]))
        return {"record": record, "ahead": {**self._ahead.get(key, {})}}

    @classmethod
    def from_rows(cls, rows: Mapping[str, Any]) -> Self:
        """Return the reference that had these rows."""
        reference = cls()
        for key, row in rows.items():
            record = REFERENCE.validate_json(orjson.dumps(row["record"]))
            reference._records[key] = record
            reference._kinds.add(record.kind)
            if row["ahead"]:
                reference._ahead[key] = dict(row["ahead"])
        return reference
