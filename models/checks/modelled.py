"""The checks that ask a model: value at risk, expected shortfall, factors (docs/risk.md section 10).

What passes has no closed form, so lots are bisected, and only where the model binds tighter than every check before
it: by what the earlier ones leave.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

from pydantic import JsonValue

from models.canonical import plain, rounded
from models.checks.check import Check, tightest
from models.folds.book import ZERO
from models.messages import LimitProfile
from models.reasons import RejectReason
from models.request import Request, Size
from models.risk.factors import FactorExposure
from models.risk.tail import Tail, largest_passing

Measured = Decimal | Fraction
MARKET = "MARKET"


def risk_model_unavailable(request: Request) -> Check | None:
    """Fail where a limit needs a model and the returns do not suffice for one."""
    reason, limits = RejectReason.RISK_MODEL_UNAVAILABLE, request.limits
    if limits is None or not (asks_for_tail(limits) or asks_for_factors(limits)) or not request.amounts:
        return Check.skip(reason)
    short: set[str] = set()
    missing = False
    if asks_for_tail(limits):
        model = request.tail_model
        if isinstance(model, tuple):
            missing, short = True, {*model}
    if asks_for_factors(limits):
        short |= {*request.factor_model.unknown(request.amounts)}
    names = sorted(short)[:20]
    if not (missing or short):
        return None
    return Check(reason, failed=True, opening_max=ZERO, detail={"symbols": [*names]} if names else None)


def var_limit(request: Request, size: Size, earlier: Sequence[Check]) -> Check:
    """Fail an increase that takes the larger value at risk past its share of equity."""
    reason, limits = RejectReason.VAR_LIMIT, request.limits
    if limits is None or limits.var_max is None or (tail := request.tail) is None:
        return Check.skip(reason)

    def detail(after: Tail) -> JsonValue:
        return {
            "historical": plain(after.historical_var),
            "parametric": plain(after.parametric_var),
            "incremental": plain(after.var - tail.var),
        }

    return _tail_limit(request, size, earlier, reason, share=limits.var_max, of=lambda tail: tail.var, detail=detail)


def cvar_limit(request: Request, size: Size, earlier: Sequence[Check]) -> Check:
    """Fail an increase that takes the expected shortfall past its share of equity."""
    reason, limits = RejectReason.CVAR_LIMIT, request.limits
    if limits is None or limits.cvar_max is None or (tail := request.tail) is None:
        return Check.skip(reason)

    def detail(after: Tail) -> JsonValue:
        return {"incremental": plain(rounded(after.cvar - tail.cvar))}

    return _tail_limit(
        request, size, earlier, reason, share=limits.cvar_max, of=lambda tail: tail.cvar, detail=detail
    )


def _tail_limit(
    request: Request,
    size: Size,
    earlier: Sequence[Check],
    reason: RejectReason,
    *,
    share: Decimal,
    of: Callable[[Tail], Measured],
    detail: Callable[[Tail], JsonValue],
) -> Check:
    tail, equity = request.tail, request.portfolio.equity
    assert tail is not None
    assert equity is not None  # the tail has amounts, which need it
    limit, before = share * equity, of(tail)

    def passes(asked: Size) -> bool:
        return of(request.tail_after(asked)) <= max(before, limit)

    final = request.tail_after(size)
    value, failed = of(final), not passes(size)
    return Check(
        reason,
        failed=failed,
        value=rounded(value) if isinstance(value, Fraction) else value,
        limit=limit,
        opening_max=_largest_opening(request, earlier, passes),
        detail=detail(final) if failed else None,
    )


def factor_limit(request: Request, size: Size, earlier: Sequence[Check]) -> Check:
    """Fail an increase that takes the beta, or what is held of one sector, past its share of equity."""
    reason, limits, equity = RejectReason.FACTOR_LIMIT, request.limits, request.portfolio.equity
    if limits is None or equity is None or not asks_for_factors(limits) or (before := request.factors) is None:
        return Check.skip(reason)
    symbol, model = request.intent.symbol, request.factor_model

    def after(asked: Size) -> FactorExposure:
        more = request.amount_after(asked) - request.amounts[symbol]
        return model.add(before, symbol, more)

    def past(asked: Size) -> list[str]:
        """Return the factors that are past their limit and worse than before."""
        earlier, later = _measures(before), _measures(after(asked))
        return [
            name
            for name, amount in later.items()
            if (limit := _limit(limits, name, equity)) is not None and amount > max(limit, earlier.get(name, ZERO))
        ]

    measures, failing = _measures(after(size)), past(size)
    gated = {name: limit for name in measures if (limit := _limit(limits, name, equity)) is not None}
    # Shown is the factor with the least room, of those that fail where any does.
    shown = min(failing or gated, key=lambda name: (Fraction(gated[name]) - measures[name], name))
    return Check(
        reason,
        failed=bool(failing),
        value=rounded(Fraction(measures[shown])),
        limit=gated[shown],
        opening_max=_largest_opening(request, earlier, lambda asked: not past(asked)),
        detail={"factor": shown},
    )


def _measures(exposure: FactorExposure) -> Mapping[str, Fraction]:
    """Return the size of each factor's exposure; the market first, sectors by name."""
    return {MARKET: abs(exposure.market)} | {
        f"sector {name}": abs(amount) for name, amount in exposure.sectors.items()
    }


def _limit(limits: LimitProfile, factor: str, equity: Decimal) -> Decimal | None:
    share = limits.beta_max if factor == MARKET else limits.factor_max
    return None if share is None else share * equity


def asks_for_tail(limits: LimitProfile) -> bool:
    """Tell whether a limit asks the tail model."""
    return limits.var_max is not None or limits.cvar_max is not None


def asks_for_factors(limits: LimitProfile) -> bool:
    """Tell whether a limit asks the factor model."""
    return limits.beta_max is not None or limits.factor_max is not None


def _largest_opening(request: Request, earlier: Sequence[Check], passes: Callable[[Size], bool]) -> Decimal | None:
    """Return an opening that passes where one lot more does not; None where all that is left passes."""
    most, _ = tightest(earlier)
    if most is None or request.instrument is None:
        return None
    lot = request.instrument.lot

    def opening(lots: int) -> Size:
        return request.with_opening(lots * lot, reducing=request.reducible)

    left = int(most // lot)
    found = largest_passing(left, lambda lots: passes(opening(lots)))
    return None if found == left else found * lot
