"""The limits of a profile, their defaults, and what makes a set of limits invalid."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from models.canonical import DAY_NS, SECOND_NS
from models.wire import Fraction, Nanoseconds, NonNegative, Positive


def _at_most_half(value: Decimal) -> Decimal:
    if value > Decimal("0.5"):
        raise ValueError(f"must be at most 0.5, was {value}")
    return value


def _positive_fraction(value: Decimal) -> Decimal:
    if value == 0:
        raise ValueError("must be positive, was 0")
    return value


def _divides_a_second(value: int) -> int:
    if SECOND_NS % value:
        raise ValueError(f"must divide 10^9, was {value}")
    return value


Rate = Annotated[int, Field(ge=1, le=SECOND_NS), AfterValidator(_divides_a_second)]
"""Per second; a whole number of nanoseconds lies between two."""
Burst = Annotated[int, Field(ge=1, lt=2**31)]
Amount = Annotated[int, Field(ge=0, lt=2**31)]

Share = Annotated[Fraction, AfterValidator(_positive_fraction)]
"""A positive fraction, at most 1: of equity at risk or lost."""


class SizingMethod(StrEnum):
    """How the gate sizes an opening."""

    NONE = "NONE"
    VOLATILITY_ADJUSTED = "VOLATILITY_ADJUSTED"
    FIXED_PERCENT = "FIXED_PERCENT"
    FIXED_DOLLAR = "FIXED_DOLLAR"
    KELLY = "KELLY"


def _line(error: ErrorDetails) -> InitErrorDetails:
    kind = PydanticCustomError(error["type"], error["msg"], error.get("ctx"))
    return InitErrorDetails(type=kind, loc=error["loc"], input=error["input"])


class Limits(BaseModel):
    """Every limit of a profile. Fractions are of equity, times are ns, money is account currency; None is off."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    drawdown_warning: Share = Decimal("0.05")
    drawdown_halt: Share = Decimal("0.10")
    high_water_warning: Share | None = None
    high_water_halt: Share | None = None
    daily_loss_halt: Share | None = None

    equity_age_max: Nanoseconds = 150 * SECOND_NS
    mark_age_max: Nanoseconds = 150 * SECOND_NS
    atr_age_max: Nanoseconds = 4 * DAY_NS
    """Counted in UTC dates, like every age in days."""
    intent_age_max: Nanoseconds = 30 * SECOND_NS
    require_mark: bool = False

    sizing_method: SizingMethod = SizingMethod.VOLATILITY_ADJUSTED
    risk_per_trade: Fraction = Decimal("0.01")
    atr_multiple: Positive = Decimal("2.0")
    fixed_percent: Fraction = Decimal("0.05")
    fixed_dollar: Positive | None = None
    kelly_fraction: Annotated[Fraction, AfterValidator(_at_most_half)] = Decimal("0.25")
    kelly_trades_min: Amount = 30

    shorts_allowed: bool = False

    account_rate: Rate = 10
    """Openings per second that an account's token bucket gains."""
    account_burst: Burst = 20
    """Openings that a full bucket admits at once."""
    strategy_rate: Rate = 5
    strategy_burst: Burst = 10
    repeat_max: Amount = 5
    """Like approvals within ten seconds."""
    open_orders_max: Amount = 50

    entry_max: NonNegative = Decimal("0.10")
    order_quantity_max: Positive = Decimal(100_000)
    order_notional_max: Positive = Decimal(1_000_000)
    collar_away: NonNegative = Decimal("0.05")
    """How far past the market an order may be priced, a fraction of the market's price."""
    collar_passive: NonNegative = Decimal("0.20")
    """How far behind it."""

    cluster_warning: NonNegative = Decimal("0.30")
    cluster_critical: NonNegative = Decimal("0.50")
    position_warning: NonNegative = Decimal("0.20")
    position_critical: NonNegative = Decimal("0.30")
    sector_warning: NonNegative = Decimal("0.40")
    sector_critical: NonNegative = Decimal("0.60")
    gross_max: NonNegative = Decimal("1.0")
    net_max: NonNegative = Decimal("1.0")
    margin_multiplier: Positive = Decimal(1)

    var_max: NonNegative | None = None
    """The largest one-day loss at 99 %, a fraction of equity."""
    cvar_max: NonNegative | None = None
    """The mean one-day loss beyond 97.5 %, a fraction of equity."""
    beta_max: NonNegative | None = None
    """Dollar beta to the market, a fraction of equity."""
    factor_max: NonNegative | None = None
    """Dollar loading on any one sector, a fraction of equity."""

    @model_validator(mode="wrap")
    @classmethod
    def _report_every_violation(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Check the coherence of what can be read even where single values are wrong: whoever mends sees it all."""
        try:
            return handler(data)
        except ValidationError as error:
            found = error.errors(include_url=False)
            wrong = {each["loc"][0] for each in found if each["loc"]}
            if not wrong or not isinstance(data, dict):
                raise
            sound = {name: value for name, value in data.items() if name in Limits.model_fields and name not in wrong}
            lines = [_line(each) for each in found]
            try:
                Limits.model_validate(sound, strict=False)
            except ValidationError as incoherent:
                lines += [_line(each) for each in incoherent.errors(include_url=False)]
            raise ValidationError.from_exception_data(error.title, lines) from None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        pairs = (
            ("drawdown_warning", "drawdown_halt"),
            ("high_water_warning", "high_water_halt"),
            ("cluster_warning", "cluster_critical"),
            ("position_warning", "position_critical"),
            ("sector_warning", "sector_critical"),
        )
        violations = []
        for lower, upper in pairs:
            warning, critical = getattr(self, lower), getattr(self, upper)
            if warning is not None and critical is not None and warning > critical:
                violations.append(f"{lower} must not be above {upper}: {warning} > {critical}")
        if self.sizing_method is SizingMethod.FIXED_DOLLAR and self.fixed_dollar is None:
            violations.append("sizing_method FIXED_DOLLAR needs fixed_dollar")
        if violations:
            raise ValueError("; ".join(violations))
        return self
