"""Limit profiles as files: what they may say, what is said of wrong ones, and the library."""

from decimal import Decimal
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from models.canonical import DAY_NS, SECOND_NS, canonical_bytes
from models.limits import Limits, SizingMethod
from models.messages import Instrument, LimitProfile
from streams.limit_files import (
    Change,
    LimitFile,
    LimitFileError,
    changes,
    instrument_changes,
    library,
    read,
    records,
    text_of,
    value_text,
)

SAID: dict[str, Any] = {"event_time": 7, "actor": "jo", "reason": "test"}


def violations(text: str) -> list[str]:
    with pytest.raises(LimitFileError) as caught:
        read(text, "f")
    return list(caught.value.violations)


def test_the_library_loads() -> None:
    assert set(library()) == {"defaults", "retail", "market-neutral", "crypto"}
    for name, text in library().items():
        said = read(text, name)
        assert said.profile_id == ("default" if name == "defaults" else name)
        assert bool(changes(None, said.limits)) == (name != "defaults")
        # Every limit says why, on a line before it or before the lines that it goes with.
        assert text.count("#") > 10


def test_defaults_yaml_names_every_limit_at_its_default() -> None:
    text = library()["defaults"]
    said, document = read(text, "defaults").limits, yaml.safe_load(text)
    assert list(document["limits"]) == list(Limits.model_fields)
    for name in Limits.model_fields:
        assert getattr(said, name) == getattr(Limits(), name), name


def test_crypto_trades_in_fractions() -> None:
    instruments = {each.symbol: each for each in read(library()["crypto"], "crypto").instruments}
    assert instruments["BTC-USD"].lot == Decimal("0.00001")
    assert not any(each.shortable for each in instruments.values())


def test_every_violation_is_said_at_once_with_its_line() -> None:
    text = """\
profile_id: ""
bogus: 1
limits:
  drawdown_warning: 0.2
  drawdown_warning: 0.3
  drawdwn_halt: 0.1
  equity_age_max: 150
  account_rate: 3
  shorts_allowed: yes
  sizing_method: FIXED_DOLLAR
  gross_max: [1, 2]
  position_critical: 1e-2
  entry_max: 5%
  repeat_max: many
  order_quantity_max: off
instruments:
  X: { lot: 0, curency: USD }
"""
    number = "must be a number such as 12.5 with at most 12 digits either side of the point"
    assert violations(text) == [
        "f, line 1: profile_id must be 1 to 64 printable ASCII characters, was ''",
        "f, line 2: 'bogus' is no field of a limit file",
        "f, line 4: drawdown_warning must not be above drawdown_halt: 0.2 > 0.10",
        "f, line 5: 'drawdown_warning' is given more than once",
        "f, line 6: 'drawdwn_halt' is no field of a limit profile: did you mean drawdown_halt?",
        "f, line 7: equity_age_max must be a duration such as 150 s, 5 min or 4 days, was '150'",
        "f, line 8: account_rate must divide 10^9, was 3",
        "f, line 9: shorts_allowed must be true or false, was 'yes'",
        "f, line 10: sizing_method FIXED_DOLLAR needs fixed_dollar",
        "f, line 11: gross_max must be one value, was a list",
        f"f, line 12: position_critical {number}, was '1e-2'",
        f"f, line 13: entry_max {number}, was '5%'",
        "f, line 14: repeat_max must be a whole number, was 'many'",
        f"f, line 15: order_quantity_max {number}, was 'off'",
        "f, line 17: 'curency' is no field of an instrument: did you mean currency?",
        "f, line 17: instrument 'X': currency is missing",
        "f, line 17: lot must be positive, was 0",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "f, line 1: is no YAML: expected the node content, but found '<stream end>'"),
        ("\x00", "f: is no YAML: unacceptable character #x0000: special characters are not allowed"),
        ("- x", "f, line 1: the file must be a list of `name: value` lines"),
        ("", "f, line 1: profile_id is missing"),
        ("profile_id: p", "f, line 1: limits is missing"),
        ("profile_id: p\nlimits: 3", "f, line 2: limits must be a list of `name: value` lines"),
        ("profile_id: {a: b}\nlimits: {}", "f, line 1: profile_id must be a string, was null"),
        ("profile_id: p\nlimits: {? [a] : b}", "f, line 2: limits has a name that is no text"),
        ("profile_id: p\n---\nprofile_id: q", "f, line 2: is no YAML: but found another document"),
    ],
)
def test_what_is_no_limit_file(text: str, said: str) -> None:
    assert said in violations(text)


@pytest.mark.parametrize("text", ["150 s", "150s", "2.5 min", "150000 ms", "150000000000 ns"])
def test_durations(text: str) -> None:
    assert read(f"profile_id: p\nlimits:\n  equity_age_max: {text}", "f").limits.equity_age_max == 150 * SECOND_NS


@pytest.mark.parametrize(
    "text",
    ["1", "0.5 ns", "-1 s", "1 week", "1 s 1 s", "s", "1e3 s", "off", "106752 days", "9999999999999999999 days"],
)
def test_what_is_no_duration(text: str) -> None:
    assert "must be a duration" in violations(f"profile_id: p\nlimits:\n  mark_age_max: {text}")[0]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(4 * DAY_NS, "4 days"), (DAY_NS, "1 day"), (150 * SECOND_NS, "150 s"), (120 * SECOND_NS, "2 min"), (1, "1 ns")],
)
def test_durations_are_shown_in_the_largest_unit_that_leaves_them_whole(nanoseconds: int, text: str) -> None:
    assert value_text("atr_age_max", nanoseconds) == text
    assert read(f"profile_id: p\nlimits:\n  atr_age_max: {text}", "f").limits.atr_age_max == nanoseconds


fraction = st.integers(1, 10**12).map(lambda number: Decimal(number).scaleb(-12))
age = st.integers(0, 2**63 - 1)
limit_sets = st.builds(
    Limits,
    drawdown_warning=st.integers(1, 5 * 10**11).map(lambda number: Decimal(number).scaleb(-12)),
    drawdown_halt=st.just(Decimal("0.5")),
    daily_loss_halt=st.none() | fraction,
    equity_age_max=age,
    atr_age_max=age,
    require_mark=st.booleans(),
    sizing_method=st.sampled_from([method for method in SizingMethod if method is not SizingMethod.FIXED_DOLLAR]),
    account_rate=st.sampled_from([1, 2, 8, 10**9]),
    repeat_max=st.integers(0, 2**31 - 1),
    gross_max=st.integers(0, 10**18).map(lambda number: Decimal(number).scaleb(-12)),
    var_max=st.none() | fraction,
)


@given(limit_sets, st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=64))
def test_what_is_shown_can_be_set_again(limits: Limits, profile_id: str) -> None:
    fields = orjson.loads(canonical_bytes(limits))
    document = {**SAID, **fields, "profile_id": profile_id, "profile_version": 3, "reason": "a\nlimits: # b"}
    profile = LimitProfile.model_validate_json(orjson.dumps(document))
    assert read(text_of(profile), "f") == LimitFile(profile_id, limits, ())


def test_records_are_made_for_what_differs_and_numbered_on() -> None:
    file = read(
        "profile_id: p\nlimits: {gross_max: 0.5}\ninstruments:\n  X: {currency: USD}\n  Y: {currency: USD, lot: 0.1}",
        "f",
    )
    first = records(file, None, {}, SAID)
    assert [each.kind for each in first] == ["instrument", "instrument", "limit_profile"]
    profile = first[-1]
    assert isinstance(profile, LimitProfile)
    assert (profile.limits_version, profile.gross_max, profile.actor) == ("p@1", Decimal("0.5"), "jo")
    known = {each.symbol: each for each in first if isinstance(each, Instrument)}
    assert records(file, profile, known, SAID) == []
    other = read("profile_id: p\nlimits: {gross_max: 0.6}\ninstruments:\n  Y: {currency: USD, lot: 0.01}", "f")
    instrument, second = records(other, profile, known, SAID)
    assert isinstance(instrument, Instrument)
    assert isinstance(second, LimitProfile)
    assert (instrument.symbol, second.limits_version) == ("Y", "p@2")
    assert changes(profile, other.limits) == [Change("gross_max", "0.5", "0.6")]
    assert instrument_changes(known["Y"], instrument) == [Change("lot", "0.1", "0.01")]
    assert Change("currency", "-", "USD") in instrument_changes(None, instrument)
