"""Canonical numbers and bytes, exact arithmetic, and the seal of a chain's messages."""

import decimal
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.canonical import CONTEXT, GENESIS_DIGEST, canonical_bytes, chained, exact, plain, sha256
from models.decisions import CheckResult, Outcome, RiskDecision
from models.reasons import RejectReason
from tests.models.world import World

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=None)


@given(NUMBERS)
def test_a_number_is_spelled_plainly(number: Decimal) -> None:
    text = plain(number)
    assert Decimal(text) == number
    assert text == text.strip("+").replace("E", "").replace("e", "")
    assert text != "-0"
    assert "." not in text or not text.endswith(("0", "."))


@given(NUMBERS)
def test_the_spelling_does_not_depend_on_the_context(number: Decimal) -> None:
    spelled = plain(number)
    with decimal.localcontext(decimal.Context(prec=1, capitals=0)):
        assert plain(number) == spelled


def test_exact_arithmetic_ends_with_its_function() -> None:
    outer = decimal.getcontext()

    @exact
    def inner() -> Decimal:
        assert decimal.getcontext() is CONTEXT
        return exact(lambda: Decimal(1) / 4)()

    @exact
    def inexact() -> Decimal:
        return Decimal(1) / 3

    assert inner() == Decimal("0.25")
    assert decimal.getcontext() is outer
    with pytest.raises(decimal.Inexact):
        inexact()
    assert decimal.getcontext() is outer


def _decision() -> RiskDecision:
    world = World()
    world.mark("S")
    return world.decide(world.intent())


def test_a_sealed_message_has_the_bytes_of_its_fields() -> None:
    fields = {name: value for name, value in _decision().__dict__.items() if name != "digest"}
    # A text that looks like the place of the digest is no such place.
    detail = f',"digest":"{GENESIS_DIGEST}"'
    fields["checks"] = (CheckResult(name=RejectReason.STALE_EQUITY, outcome=Outcome.FAIL, detail=detail),)
    sealed, plainly = RiskDecision.of(dict(fields)), RiskDecision.model_construct(**fields, digest="")
    assert sealed.digest == sha256(chained(plainly)) == sha256(chained(sealed))
    assert sealed.encoded() == canonical_bytes(sealed)
    assert sealed.encoded() == canonical_bytes(RiskDecision.model_construct(**fields, digest=sealed.digest))
    assert RiskDecision.model_validate_json(sealed.encoded()) == sealed


def test_a_changed_copy_is_encoded_anew() -> None:
    sealed = RiskDecision.of({name: value for name, value in _decision().__dict__.items() if name != "digest"})
    copy = sealed.model_copy(update={"seq": sealed.seq + 1})
    assert copy.encoded() == canonical_bytes(copy) != sealed.encoded()
