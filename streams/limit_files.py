"""Limit profiles as files: YAML that people write, read without a float, every violation named at once by its line.

A file holds the whole profile: a limit that it does not name is at its default. Scalars are taken as the text that
stands there, so `0.05` is exact. Durations are a number and a unit (`150 s`, `4 days`); `off` is no limit.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from importlib.resources import files
from typing import Any, Final, NamedTuple, TypeVar, get_args

import orjson
import yaml
from pydantic import BaseModel, JsonValue, ValidationError

from models.canonical import canonical_bytes, plain
from models.limits import Limits
from models.messages import Command, Instrument, LimitProfile
from streams.codec import shown, violations
from streams.config import ConfigurationError

OFF: Final = "off"
_NOTHING: Final = frozenset({OFF, "none", "null", "~", ""})
_UNITS: Final = {
    "ns": 1,
    "ms": 10**6,
    "s": 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "day": 86_400 * 10**9,
    "days": 86_400 * 10**9,
}
_DURATION: Final = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?(ns|ms|s|min|h|days?)")
_NANOSECONDS_END: Final = 2**63
_WHOLE: Final = re.compile(r"-?[0-9]{1,19}")
_AGE: Final = "_age_max"
"""How the names of durations end."""
_FIELDS: Final = ("profile_id", "limits", "instruments")
_SAID: Final[dict[str, JsonValue]] = {"event_time": 0, "actor": "file", "reason": "file"}
"""What a record needs beside what the file says, so that the rules of the wire can read it."""
_INSTRUMENT: Final = tuple(
    name for name in Instrument.model_fields if name not in {*Command.model_fields, *_SAID, "kind", "symbol"}
)

M = TypeVar("M", bound=BaseModel)


class LimitFileError(ConfigurationError):
    """A file is no limit profile. Every violation, one line each."""


class LimitFile(NamedTuple):
    """What a file says."""

    profile_id: str
    limits: Limits
    instruments: tuple[Instrument, ...]
    """Of event_time 0 and without an actor of their own."""


class Change(NamedTuple):
    """One limit or field that differs."""

    name: str
    before: str
    after: str


# --- the library


def library() -> dict[str, str]:
    """Return the starting profiles that come with the program: their texts by name."""
    folder = files("streams").joinpath("profiles")
    found = {each.name.removesuffix(".yaml"): each for each in folder.iterdir() if each.name.endswith(".yaml")}
    return {name: found[name].read_text(encoding="utf-8") for name in sorted(found)}


# --- reading


def read(text: str, name: str) -> LimitFile:
    """Return what a file says.

    Args:
        text: Its content.
        name: What violations call it.

    Raises:
        LimitFileError: With every violation, in the order of the lines.
    """
    return _Reading(name).read(text)


class _Reading:
    """The reading of one file, and what was found wrong so far."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._wrong: list[tuple[int, str]] = []

    def _complain(self, line: int, text: str) -> None:
        self._wrong.append((line, text))

    def read(self, text: str) -> LimitFile:
        top = self._mapping(self._document(text), "the file")
        for field, (line, _) in top.items():
            if field not in _FIELDS:
                self._complain(line, f"{shown(field)} is no field of a limit file{_meant(field, _FIELDS)}")
        profile_id = self._profile_id(top)
        limits = self._checked(Limits, self._values(top, "limits", Limits), {}, "limits")
        instruments = []
        for symbol, (line, node) in self._mapping_in(top, "instruments").items():
            values = self._converted(self._mapping(node, symbol), Instrument, _INSTRUMENT)
            given = {**_SAID, "symbol": symbol}
            instruments.append(self._checked(Instrument, values, given, f"instrument {shown(symbol)}", line))
        if self._wrong or limits is None or profile_id is None:
            raise LimitFileError([f"{self._name}, line {line}: {wrong}" for line, wrong in sorted(self._wrong)])
        return LimitFile(profile_id, limits, tuple(each for each in instruments if each is not None))

    def _document(self, text: str) -> yaml.Node | None:
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            what = getattr(error, "problem", None) or str(error).splitlines()[0]
            where = f"{self._name}, line {mark.line + 1}" if mark is not None else self._name
            raise LimitFileError([f"{where}: is no YAML: {what}"]) from None

    def _mapping(self, node: yaml.Node | None, what: str) -> dict[str, tuple[int, yaml.Node]]:
        """Return a node's entries, each with its line."""
        if not isinstance(node, yaml.MappingNode):
            line = 1 if node is None else node.start_mark.line + 1
            if not (isinstance(node, yaml.ScalarNode) and node.value in _NOTHING):
                self._complain(line, f"{what} must be a list of `name: value` lines")
            return {}
        found: dict[str, tuple[int, yaml.Node]] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._complain(line, f"{what} has a name that is no text")
            elif key.value in found:
                self._complain(line, f"{shown(key.value)} is given more than once")
            else:
                found[key.value] = (line, value)
        return found

    def _mapping_in(self, top: Mapping[str, tuple[int, yaml.Node]], name: str) -> dict[str, tuple[int, yaml.Node]]:
        return self._mapping(top[name][1], name) if name in top else {}

    def _profile_id(self, top: Mapping[str, tuple[int, yaml.Node]]) -> str | None:
        if "profile_id" not in top:
            self._complain(1, "profile_id is missing")
            return None
        line, node = top["profile_id"]
        given = {**_SAID, "profile_version": 1}
        said = {"profile_id": (line, node.value if isinstance(node, yaml.ScalarNode) else None)}
        profile = self._checked(LimitProfile, said, given, "the file")
        return None if profile is None else profile.profile_id

    def _values(
        self, top: Mapping[str, tuple[int, yaml.Node]], name: str, model: type[BaseModel]
    ) -> dict[str, tuple[int, JsonValue]]:
        if name not in top:
            self._complain(1, f"{name} is missing")
        return self._converted(self._mapping_in(top, name), model, tuple(model.model_fields))

    def _converted(
        self, entries: Mapping[str, tuple[int, yaml.Node]], model: type[BaseModel], known: tuple[str, ...]
    ) -> dict[str, tuple[int, JsonValue]]:
        """Return the entries as the wire has them; what cannot be is named and left out."""
        values: dict[str, tuple[int, JsonValue]] = {}
        for name, (line, node) in entries.items():
            if name not in known:
                self._complain(line, f"{shown(name)} is no field of {_kind(model)}{_meant(name, known)}")
            elif not isinstance(node, yaml.ScalarNode):
                self._complain(line, f"{name} must be one value, was {_what(node)}")
            else:
                try:
                    values[name] = (line, _wire_value(model, name, node.value))
                except ValueError as error:
                    self._complain(line, f"{name} {error}")
        return values

    def _checked(
        self,
        model: type[M],
        values: Mapping[str, tuple[int, JsonValue]],
        given: Mapping[str, JsonValue],
        what: str,
        line: int = 1,
    ) -> M | None:
        """Return the model of these values; every violation is noted at the line of its field."""
        document = {**given, **{name: value for name, (_, value) in values.items()}}
        try:
            return model.model_validate_json(orjson.dumps(document))
        except ValidationError as error:
            for field, said in violations(error):
                text = said.replace('a string such as "12.5" with', "a number such as 12.5 with")
                if field:
                    self._complain(
                        values[field][0] if field in values else line, text if field in values else f"{what}: {text}"
                    )
                else:
                    named = [values[word][0] for word in text.split() if word in values]
                    self._complain(named[0] if named else line, text)
        return None


def _meant(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {close[0]}?" if close else ""


def _kind(model: type[BaseModel]) -> str:
    return "a limit profile" if model is Limits else "an instrument"


def _what(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "several `name: value` lines"


def _types(annotation: Any) -> set[Any]:  # noqa: ANN401  # whatever a field may be annotated with
    """Return the plain types that an annotation is made of."""
    inner = [each for each in get_args(annotation) if isinstance(each, type) or get_args(each)]
    return set().union(*map(_types, inner)) if inner else {annotation}


def _wire_value(model: type[BaseModel], name: str, text: str) -> JsonValue:
    """Return a scalar's text as the wire has the field.

    Raises:
        ValueError: If it is no duration where one is needed. All else is left to the model to refuse.
    """
    types = _types(model.model_fields[name].annotation)
    if type(None) in types and text.lower() in _NOTHING:
        return None
    if name.endswith(_AGE):
        return _duration(text)
    if bool in types and text in {"true", "false"}:
        return text == "true"
    if int in types and _WHOLE.fullmatch(text):
        return int(text)
    return text


def _duration(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is not None:
        nanoseconds = Decimal(found[1]) * _UNITS[found[2]]
        if nanoseconds == int(nanoseconds) and nanoseconds < _NANOSECONDS_END:
            return int(nanoseconds)
    raise ValueError(f"must be a duration such as 150 s, 5 min or 4 days, was {shown(text)}")


# --- writing


def value_text(name: str, value: object) -> str:
    """Return a limit, or a field of an instrument, as a file says it."""
    if value is None:
        return OFF
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, int) and name.endswith(_AGE):
        return _duration_text(value)
    return str(value)


def _duration_text(nanoseconds: int) -> str:
    for unit in ("days", "h", "min", "s", "ms"):
        number, rest = divmod(nanoseconds, _UNITS[unit])
        if number and not rest:
            return "1 day" if (number, unit) == (1, "days") else f"{number} {unit}"
    return f"{nanoseconds} ns"


def text_of(profile: LimitProfile) -> str:
    """Return a profile as a file that gives the same limits again."""
    lines = [
        f"# {profile.limits_version}, set by {profile.actor}: {' '.join(profile.reason.split())}",
        f"profile_id: {_quoted(profile.profile_id)}",
        "limits:",
    ]
    lines += [f"  {name}: {value_text(name, getattr(profile, name))}" for name in Limits.model_fields]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()  # JSON's strings are YAML's


def changes(before: Limits | None, after: Limits) -> list[Change]:
    """Return every limit that differs; where there was no profile, every one that is not at its default."""
    held = Limits() if before is None else before
    return list(_differences(held, after, tuple(Limits.model_fields)))


def instrument_changes(before: Instrument | None, after: Instrument) -> list[Change]:
    """Return every field of an instrument that differs; all of them where it is new."""
    if before is None:
        return [Change(name, "-", value_text(name, getattr(after, name))) for name in _INSTRUMENT]
    return list(_differences(before, after, _INSTRUMENT))


def _differences(before: BaseModel, after: BaseModel, names: tuple[str, ...]) -> Iterator[Change]:
    for name in names:
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield Change(name, value_text(name, old), value_text(name, new))


def records(
    file: LimitFile, held: LimitProfile | None, instruments: Mapping[str, Instrument], said: Mapping[str, Any]
) -> list[LimitProfile | Instrument]:
    """Return the records that make what a file says hold, and none for what holds already.

    Args:
        file: What the file says.
        held: The profile in force under its id.
        instruments: Those with a record of their own.
        said: event_time, actor and reason.
    """
    made: list[LimitProfile | Instrument] = [
        instrument.model_copy(update=dict(said))
        for instrument in file.instruments
        if instrument_changes(instruments.get(instrument.symbol), instrument)
    ]
    if held is None or changes(held, file.limits):
        limits = orjson.loads(canonical_bytes(file.limits))
        version = 1 if held is None else held.profile_version + 1
        fields = {**limits, **said, "profile_id": file.profile_id, "profile_version": version}
        made.append(LimitProfile.model_validate_json(orjson.dumps(fields)))
    return made
