"""A profile's violations are named, every one, at once."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from models.canonical import canonical_bytes
from models.limits import Limits
from models.messages import REFERENCE, LimitProfile

HEAD = {
    "kind": "limit_profile",
    "profile_id": "p",
    "profile_version": 1,
    "event_time": 1,
    "actor": "operator",
    "reason": "test",
}


def violations(**limits: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        REFERENCE.validate_json(canonical_bytes(HEAD | limits))
    return str(caught.value)


def test_the_defaults_are_valid() -> None:
    profile = REFERENCE.validate_json(canonical_bytes(HEAD))
    assert isinstance(profile, LimitProfile)
    assert profile.limits_version == "p@1"
    assert {name: getattr(profile, name) for name in Limits.model_fields} == Limits().model_dump()


def test_every_violation_is_named_at_once() -> None:
    text = violations(
        gross_max="-1",
        require_mark="yes",
        positon_critical="0.3",
        position_warning="0.5",
        position_critical="0.4",
        drawdown_warning="0.2",
        sizing_method="FIXED_DOLLAR",
    )
    for name in (
        "gross_max",
        "require_mark",
        "positon_critical",
        "position_warning must not be above position_critical: 0.5 > 0.4",
        "drawdown_warning must not be above drawdown_halt: 0.2 > 0.10",
        "FIXED_DOLLAR needs fixed_dollar",
    ):
        assert name in text


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ("drawdown_warning", "drawdown_halt"),
        ("high_water_warning", "high_water_halt"),
        ("cluster_warning", "cluster_critical"),
        ("position_warning", "position_critical"),
        ("sector_warning", "sector_critical"),
    ],
)
def test_a_warning_is_at_most_its_limit(lower: str, upper: str) -> None:
    REFERENCE.validate_json(canonical_bytes(HEAD | {lower: "0.5", upper: "0.5"}))
    assert f"{lower} must not be above {upper}" in violations(**{lower: "0.51", upper: "0.5"})
