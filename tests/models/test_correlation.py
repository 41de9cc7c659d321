"""Links, clusters and diversification (docs/risk.md section 6); the golden cases are those of section 13."""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.folds.correlation import UNKNOWN, Cluster, Correlation, Returns, clusters, diversification
from models.folds.links import FLOAT_EXACT_MAX, Member, Moments, linked_pairs, moments
from models.messages import DailyReturn

FIRST = 14_000
"""2008-05-01 as days since the epoch."""
LAST = FIRST + 29
MILLI = Decimal("0.001")


def message(symbol: str, number: int, simple_return: Decimal | str, close: str | None = None) -> DailyReturn:
    """Return the message about session `number` after FIRST."""
    return DailyReturn(
        symbol=symbol,
        session=str(np.datetime64(FIRST + number, "D")),
        simple_return=Decimal(simple_return),
        close=None if close is None else Decimal(close),
        event_time=0,
    )


def returns(series: Mapping[str, Sequence[Decimal | str | int | None]]) -> Returns:
    """Return the fold of `series`, one value per session from FIRST on, None for a missing one."""
    state = Returns()
    for symbol, values in series.items():
        for number, value in enumerate(values):
            if value is not None:
                state.fold(message(symbol, number, Decimal(value)))
    return state


def milli(*values: int | str, length: int = 30) -> list[Decimal]:
    """Return thousandths, filled up with zeros."""
    return [Decimal(value) * MILLI for value in values] + [Decimal(0)] * (length - len(values))


def sessions(values: Sequence[Decimal], first: int, last: int) -> list[Decimal | None]:
    """Return `values` from session `first` to before `last`, and None elsewhere."""
    return [value if first <= number < last else None for number, value in enumerate(values)]


def symbols(cluster: Cluster) -> list[str]:
    """Return the members' symbols in their order."""
    return [member.symbol for member in cluster.members]


def hadamard(row: int) -> list[int]:
    """Return a row of the Hadamard matrix of order 16: rows are orthogonal, and all but row 0 sum to 0."""
    return [(-1) ** (row & column).bit_count() for column in range(16)]


def market(*names: str) -> dict[str, list[Decimal]]:
    """Return series of 16 sessions that correlate pairwise at exactly 4/5: twice a factor, and once their own."""
    factor = hadamard(15)
    return {
        name: [(2 * common + own) * MILLI for common, own in zip(factor, hadamard(row), strict=True)]
        for row, name in enumerate(names, 1)
    }


# Golden cases

FAMOUS = ("SPY", "QQQ", "AAPL", "MSFT", "NVDA")


def test_golden_13_one_cluster_named_after_its_smallest_symbol() -> None:
    """All six pairwise at 0.8; the score of the five is 0.0476."""
    state = returns(market(*FAMOUS, "AMD"))
    found = state.cluster("AMD", FAMOUS, LAST - 14)
    assert found == Cluster(
        "AAPL",
        (
            Member("AMD", None, None, known=True),
            *(Member(symbol, "AMD", "0.800000", known=True) for symbol in sorted(FAMOUS)),
        ),
    )
    score = diversification(state, dict.fromkeys(FAMOUS, Decimal(16_000)), LAST - 14)
    assert score == f"{1 / 21:.6f}"
    assert round(Decimal(score), 4) == Decimal("0.0476")


GOLDEN_15 = milli(1, -1), milli(7, -7, 7, -7, 1, -1, 1, -1)


def test_golden_15_linked_at_exactly_seven_tenths() -> None:
    """One ten-millionth more in one return, and it is less."""
    x, y = GOLDEN_15
    assert returns({"X": x, "Y": y}).correlation("X", "Y", LAST) == Correlation(
        known=True, linked=True, rho="0.700000"
    )
    y = [*y[:2], y[2] + Decimal("0.0000001"), *y[3:]]
    assert returns({"X": x, "Y": y}).correlation("X", "Y", LAST) == Correlation(
        known=True, linked=False, rho="0.699998"
    )


@pytest.mark.parametrize("scale", [1, -1, 3, -17])
@pytest.mark.parametrize("shift", ["0", "0.003", "-0.0000001"])
def test_the_edge_is_exact_at_any_scale(scale: int, shift: str) -> None:
    """Of the same two series scaled and shifted; the sign is ignored."""
    x, y = GOLDEN_15
    state = returns({"X": x, "Y": [scale * value + Decimal(shift) for value in y]})
    found = state.correlation("X", "Y", LAST)
    assert (found.linked, found.rho) == (True, "0.700000" if scale > 0 else "-0.700000")


def test_golden_16_too_few_sessions_or_no_variance_is_unknown() -> None:
    """Unknown is taken for linked, at the candidate."""
    x = milli(*hadamard(1), *hadamard(1)[:14])
    state = returns(
        {"X": x, "NEW": sessions(x, 16, 30), "OK": sessions(x, 15, 30), "FLAT": milli(*[1] * 30)},
    )
    assert state.correlation("X", "NEW", LAST) == state.correlation("FLAT", "X", LAST) == UNKNOWN
    assert state.correlation("X", "OK", LAST).known
    found = state.cluster("X", ["NEW", "FLAT", "OK"], LAST)
    assert found.members[1:] == (
        Member("OK", "X", "1.000000", known=True),
        Member("FLAT", "X", None, known=False),
        Member("NEW", "X", None, known=False),
    )


@pytest.mark.parametrize("off", [1, -1])
def test_there_is_no_negative_zero(off: int) -> None:
    """A coefficient of a few parts in a billion is written 0.000000, whatever its sign."""
    x, y = ([10**6 * value for value in hadamard(row)] for row in (1, 2))
    y[0] += off
    state = returns({name: [Decimal(v).scaleb(-7) for v in values] for name, values in {"X": x, "Y": y}.items()})
    assert state.correlation("X", "Y", FIRST).rho == "0.000000"


# Clusters


def test_breadth_first_in_symbol_order_with_the_linking_path() -> None:
    """Each member names the one it was reached from; a hedge couples like anything else."""
    a, b, c = ([hadamard(row)[n] for n in range(16)] for row in (1, 2, 3))
    series: dict[str, list[int]] = {
        "M": [3 * x + 3 * y for x, y in zip(a, b, strict=True)],  # linked with both of the next two at 0.707
        "Z": [-3 * x for x in a],
        "B": [3 * y for y in b],
        "C": [3 * y + z for y, z in zip(b, c, strict=True)],  # linked with B at 0.949, with M at 0.671
        "D": hadamard(8),
    }
    state = returns({name: milli(*values, length=16) for name, values in series.items()})
    found = state.cluster("M", set(series), FIRST + 15)
    assert found == Cluster(
        "B",
        (
            Member("M", None, None, known=True),
            Member("B", "M", "0.707107", known=True),
            Member("Z", "M", "-0.707107", known=True),
            Member("C", "B", "0.948683", known=True),
        ),
    )
    assert symbols(state.cluster("Z", set(series) - {"M"}, FIRST + 15)) == ["Z"]
    assert [symbols(cluster) for cluster in clusters(state, series, FIRST + 15)] == [["B", "C", "M", "Z"], ["D"]]


def test_only_the_candidates_unknown_neighbors_join_and_they_bring_nobody() -> None:
    """One new listing cannot weld the book together."""
    a, b = milli(*hadamard(1), *hadamard(1)[:14]), milli(*hadamard(2), *hadamard(2)[:14])
    state = returns(
        {
            "A": sessions(a, 0, 20),
            "LINKED": sessions(a, 0, 20),
            "NEW": sessions(b, 10, 30),  # 10 sessions with A
            "FRIEND": sessions(b, 0, 30),  # linked with NEW, known not to be with A
        }
    )
    day = FIRST + 20
    assert state.correlation("NEW", "FRIEND", day).linked
    assert not state.correlation("NEW", "LINKED", day).known
    book = ["FRIEND", "LINKED", "NEW"]
    assert symbols(state.cluster("A", book, day)) == ["A", "LINKED", "NEW"]
    assert symbols(state.cluster("FRIEND", [*book, "A"], day)) == ["FRIEND", "NEW"]
    assert [symbols(cluster) for cluster in clusters(state, [*book, "A"], day)] == [
        ["A", "LINKED"],
        ["FRIEND", "NEW"],
    ]


def test_a_symbol_without_returns_is_unknown_to_all() -> None:
    """As candidate it has everybody for a leaf; in the book it is everybody's."""
    state = returns({"X": GOLDEN_15[0]})
    assert symbols(state.cluster("NONE", ["X", "NONE", "OTHER"], LAST)) == ["NONE", "OTHER", "X"]
    assert state.cluster("X", ["NONE"], LAST).name == "NONE"
    assert Returns().cluster("X", [], LAST) == Cluster("X", (Member("X", None, None, known=True),))
    assert (clusters(Returns(), [], LAST), Returns().correlation("X", "Y", LAST)) == ((), UNKNOWN)


@pytest.mark.parametrize(("days_behind", "known"), [(-10, True), (0, True), (5, True), (6, False), (400, False)])
def test_a_pair_is_known_while_its_newest_common_session_is_recent(*, days_behind: int, known: bool) -> None:
    """Five days at most behind the account's clock; the other's later sessions do not count."""
    x, y = GOLDEN_15
    state = returns({"X": x, "Y": sessions(y, 0, 20)})
    day = FIRST + 19 + days_behind
    assert state.correlation("X", "Y", day).known is known
    assert state.cluster("X", ["Y"], day).members[1].known is known
    assert len(clusters(state, ["X", "Y"], day)) == (1 if known else 2)


def test_the_window_is_the_last_thirty_dates_of_any_symbol() -> None:
    """A thirty-first date pushes the first out, whosever it is."""
    x, y = milli(9, 0, 0, 1, -1), milli(9, 1, -1)
    state = returns({"X": x, "Y": y})
    assert state.correlation("X", "Y", LAST).linked
    state.fold(message("OTHER", 30, "0.01"))
    assert not state.correlation("X", "Y", LAST).linked
    assert state.correlation("X", "Y", LAST).known


# The fold


@pytest.mark.parametrize(
    ("simple_return", "scaled"),
    [
        ("0.00000005", 0),
        ("0.00000015", 2),
        ("-0.00000005", 0),
        ("-0.00000015", -2),
        ("0.000000050001", 1),
        ("10", 10**8),
        ("-1", -(10**7)),
    ],
)
def test_returns_are_rounded_half_even(simple_return: str, scaled: int) -> None:
    """To units of 1e-7."""
    state = Returns()
    state.fold(message("X", 0, simple_return))
    assert state.row("X") == [[FIRST, scaled, None]]


def test_the_latest_offset_wins_and_an_equal_one_changes_nothing() -> None:
    """A correction replaces the whole record, its close included."""
    state = Returns()
    state.fold(message("X", 0, "0.01", "10"))
    state.fold(message("X", 1, "0.01", "11"))
    assert state.close("X") == (Decimal(11), FIRST + 1)
    state.dirty.clear()
    state.fold(message("X", 1, "0.01", "11.00"))
    assert state.dirty == set()
    state.fold(message("X", 1, "0.02"))
    assert (state.close("X"), state.dirty) == ((Decimal(10), FIRST), {"X"})
    state.fold(message("X", 0, "0.01", "9.5"))
    assert state.close("X") == (Decimal("9.5"), FIRST)
    assert state.row("X") == [[FIRST, 100_000, "9.5"], [FIRST + 1, 200_000, None]]
    assert (state.close("Y"), state.row("Y")) == (None, None)


def test_the_newest_250_dates_are_kept() -> None:
    """An older one is dropped when it grows old and when it comes late; a symbol with no other is forgotten."""
    state = Returns()
    state.fold(message("GONE", 0, "0.01", "5"))
    for number in range(250):
        state.fold(message("X", number, "0.01"))
    assert state.close("GONE") == (Decimal(5), FIRST)
    state.dirty.clear()
    state.fold(message("Y", 250, "0.01"))
    assert (state.close("GONE"), state.row("GONE")) == (None, None)
    assert state.dirty == {"GONE", "X", "Y"}
    before = rows(state, ["X", "Y"])
    state.fold(message("LATE", 0, "0.01"))
    assert (state.row("LATE"), rows(state, ["X", "Y"])) == (None, before)


def rows(state: Returns, names: Iterable[str]) -> dict[str, Any]:
    """Return the rows as JSON gives them back."""
    return {name: orjson.loads(orjson.dumps(state.row(name))) for name in names if state.row(name) is not None}


@pytest.mark.parametrize("seed", range(3))
def test_what_is_kept_depends_on_no_order_but_that_of_offsets(seed: int) -> None:
    """The fold equals its definition over the whole topic, in any order of different symbols and sessions."""
    chance = random.Random(seed)
    topic = [
        message(
            chance.choice("ABC"),
            chance.randrange(270),
            Decimal(chance.randrange(-9, 9)) / 100,
            chance.choice([None, "7"]),
        )
        for _ in range(900)
    ]
    dates = sorted({m.session for m in topic})[-250:]
    latest = {(m.symbol, m.session): m for m in topic if m.session in dates}

    state = Returns()
    for m in topic:
        state.fold(m)
    for symbol in "ABC":
        kept = sorted((m.session, m) for (name, _), m in latest.items() if name == symbol)
        assert state.row(symbol) == [
            [
                int(np.datetime64(session, "D").astype(int)),
                int(m.simple_return * 10**7),
                None if m.close is None else "7",
            ]
            for session, m in kept
        ]

    shuffled = list(latest.values())
    chance.shuffle(shuffled)
    other = Returns()
    for m in shuffled:
        other.fold(m)
    assert rows(other, "ABC") == rows(state, "ABC")


# Oracles


def brute_force(x: Sequence[int | None], y: Sequence[int | None]) -> tuple[Fraction, int] | None:
    """Return rho squared and its sign from the textbook definition in fractions; None where unknown."""
    both = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
    if len(both) < 15:
        return None
    mean_x = Fraction(sum(a for a, _ in both), len(both))
    mean_y = Fraction(sum(b for _, b in both), len(both))
    covariance = sum(((a - mean_x) * (b - mean_y) for a, b in both), Fraction(0))
    variances = sum(((a - mean_x) ** 2 for a, _ in both), Fraction(0)) * sum(
        ((b - mean_y) ** 2 for _, b in both), Fraction(0)
    )
    if variances == 0:
        return None
    return covariance**2 / variances, 1 if covariance > 0 else -1 if covariance < 0 else 0


def series(limit: int) -> st.SearchStrategy[list[int | None]]:
    """Return 30 scaled returns, some missing, most of few values so that ties and edges occur."""
    values = st.one_of(st.integers(-3, 3), st.integers(-3, 3), st.integers(max(-limit, -(10**7)), limit), st.none())
    return st.lists(values, min_size=30, max_size=30)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([10, 10**7, FLOAT_EXACT_MAX, 10**8]).flatmap(
        lambda n: st.lists(series(n), min_size=3, max_size=3)
    )
)
def test_links_agree_with_fractions(table: list[list[int | None]]) -> None:
    """Float64 may settle most pairs, but every one as exact arithmetic would, for the largest returns too."""
    names = "ABC"
    state = returns(
        {
            name: [None if v is None else Decimal(v).scaleb(-7) for v in values]
            for name, values in zip(names, table, strict=True)
        }
    )
    state.fold(message("DATES", 0, "0"))
    for number in range(30):
        state.fold(message("DATES", number, "0"))
    for (a, x), (b, y) in combinations(zip(names, table, strict=True), 2):
        found, oracle = state.correlation(a, b, FIRST), brute_force(x, y)
        if oracle is None:
            assert found == UNKNOWN
            continue
        square, sign = oracle
        assert found.linked is (square >= Fraction(49, 100))
        assert found.rho is not None
        assert abs(float(found.rho) - sign * math.sqrt(square)) <= 5.1e-7
        assert state.correlation(b, a, FIRST) == found


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([10, FLOAT_EXACT_MAX, 10**8]), st.randoms(use_true_random=False))
def test_moments_are_exact(largest: int, chance: random.Random) -> None:
    """Also where every return is the largest there is, so that float64 would round."""
    table = [[chance.choice([0, chance.randint(-(10**7), largest), largest]) for _ in range(30)] for _ in range(3)]
    present = [[chance.choice([0, 1, 1]) for _ in range(30)] for _ in range(3)]
    values = np.array(table, np.int64) * np.array(present, np.int64)
    found = moments(values, np.array(present), values[:2], np.array(present)[:2])
    for row in range(3):
        for column in range(2):
            both = [
                (x, y)
                for x, y, here, there in zip(table[row], table[column], present[row], present[column], strict=True)
                if here and there
            ]
            n, sx, sy = len(both), sum(x for x, _ in both), sum(y for _, y in both)
            assert [int(part[row, column]) for part in found] == [
                n,
                n * sum(x * y for x, y in both) - sx * sy,
                n * sum(x * x for x, _ in both) - sx * sx,
                n * sum(y * y for _, y in both) - sy * sy,
            ]


def test_integers_settle_what_float64_cannot_tell_apart() -> None:
    """One part in 7e16 below the edge, on it and above it; and a pair that is not known is not linked."""
    covariance = np.array([[7 * 10**16 + off for off in (-1, 0, 1, 1)], [-7 * 10**16 + off for off in (-1, 0, 1, 1)]])
    variance = np.full_like(covariance, 10**17)
    known = np.array([[True, True, True, False]] * 2)
    found = linked_pairs(Moments(variance, covariance, variance, variance), known)
    assert found.tolist() == [[False, True, True, False], [True, True, False, False]]


def random_table(seed: int, names: Sequence[str], days: int) -> dict[str, list[Decimal | None]]:
    """Return series with a common factor and gaps."""
    chance = random.Random(seed)
    factor = [chance.gauss(0, 0.02) for _ in range(days)]
    return {
        name: [
            None if chance.random() < gaps else Decimal(round((load * f + chance.gauss(0, 0.01)) * 10**7)).scaleb(-7)
            for f in factor
        ]
        for name in names
        for load, gaps in [(chance.choice([0, 0.5, 1, -1]), chance.choice([0, 0, 0.1, 0.4]))]
    }


@pytest.mark.parametrize("seed", range(4))
def test_coefficients_agree_with_pandas(seed: int) -> None:
    """Pairwise over the common sessions, at least 15 of them."""
    names = [f"S{number:02d}" for number in range(40)]
    table = random_table(seed, names, 40)
    state = returns(table)
    frame = pd.DataFrame(
        {name: [np.nan if v is None else float(v) for v in values] for name, values in table.items()}
    )
    oracle = frame.iloc[-30:].corr(min_periods=15).to_numpy()
    for (row, a), (column, b) in combinations(enumerate(names), 2):
        found, expected = state.correlation(a, b, FIRST), float(oracle[row, column])
        assert found.known is not math.isnan(expected)
        if found.rho is not None:
            assert float(found.rho) == pytest.approx(expected, abs=1e-6)
            assert found.linked is (abs(expected) >= 0.7)


@pytest.mark.parametrize("seed", range(4))
def test_clusters_are_the_connected_components(seed: int) -> None:
    """By union-find over the links; and each member's parent came before it and is linked with it."""
    names = [f"S{number:02d}" for number in range(40)]
    state, day = returns(random_table(seed, names, 40)), FIRST + 40
    chance = random.Random(seed)
    book = chance.sample(names, 25)
    root = {name: name for name in book}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for a, b in combinations(book, 2):
        if state.correlation(a, b, day).linked:
            root[find(a)] = find(b)
    components = {frozenset(b for b in book if find(b) == find(a)) for a in book}
    assert {frozenset(symbols(cluster)) for cluster in clusters(state, book, day)} == components
    assert [cluster.name for cluster in clusters(state, book, day)] == sorted(min(c) for c in components)

    for candidate in book:
        found = state.cluster(candidate, book, day)
        known = [member for member in found.members if member.known]
        leaves = [member.symbol for member in found.members if not member.known]
        component = next(c for c in components if candidate in c)
        assert {member.symbol for member in known} == component
        assert found.members == (*known, *(Member(leaf, candidate, None, known=False) for leaf in leaves))
        assert leaves == sorted(
            b for b in book if b not in component and not state.correlation(candidate, b, day).known
        )
        assert found.name == min(symbols(found))
        for number, member in enumerate(known[1:], 1):
            parent = next(m.symbol for m in known[:number] if state.correlation(m.symbol, member.symbol, day).linked)
            assert (member.parent, member.rho) == (parent, state.correlation(parent, member.symbol, day).rho)


STEPS = st.lists(
    st.tuples(st.sampled_from("ABCD"), st.integers(0, 36), st.integers(-2, 2), st.booleans()), min_size=1, max_size=30
)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), STEPS)
def test_no_answer_is_kept_too_long_and_a_restart_is_invisible(
    seed: int, steps: list[tuple[str, int, int, bool]]
) -> None:
    """After every record each answer equals that of a state rebuilt from the rows written so far."""
    chance = random.Random(seed)
    x = [chance.choice(["0.01", "-0.02", "0"]) for _ in range(30)]
    y = [chance.choice([None, value, value, "0.01"]) for value in x]  # near the edge as often as not
    state = returns({"A": x, "B": y})
    stored: dict[str, Any] = {}
    for symbol, number, value, restart in steps:
        state.fold(message(symbol, number, value * MILLI, "3" if value > 0 else None))
        stored.update({key: orjson.loads(orjson.dumps(state.row(key))) for key in state.dirty})
        state.dirty.clear()
        fresh = Returns.from_rows({key: row for key, row in stored.items() if row is not None})
        day = FIRST + number
        for candidate in "ABCD":
            assert state.cluster(candidate, "ABCD", day) == fresh.cluster(candidate, "ABCD", day)
            for other in "AB":
                assert state.correlation(candidate, other, day) == fresh.correlation(candidate, other, day)
            assert (state.close(candidate), state.row(candidate)) == (fresh.close(candidate), fresh.row(candidate))
        book = {symbol: Decimal(1) for symbol in "ABCD"}
        assert diversification(state, book, day) == diversification(fresh, book, day)
        if restart:
            state = fresh


# Diversification


@pytest.mark.parametrize(
    ("exposures", "score"),
    [
        ({}, "0.000000"),
        ({"A": "5"}, "0.000000"),
        ({"A": "5", "B": "0"}, "0.000000"),
        ({"A": "5", "B": "5"}, "1.000000"),  # uncorrelated
        ({"A": "1", "B": "1", "C": "1"}, f"{(1 / ((3 + 2 * 0.707107) / 9) - 1) / 2:.6f}"),
        ({"A": "3", "C": "1"}, f"{1 / ((9 + 1 + 6 * 0.5**0.5) / 16) - 1:.6f}"),
        ({"A": "1", "NONE": "1"}, "0.000000"),  # unknown counts as 1
    ],
)
def test_diversification_by_hand(exposures: dict[str, str], score: str) -> None:
    """From the formula, with rho 0 between A and B, 0.707 between A and C, and C between both."""
    a, b = hadamard(1), hadamard(2)
    state = returns(
        {
            "A": milli(*a, length=16),
            "B": milli(*(-value for value in b), length=16),
            "C": milli(*(x + z for x, z in zip(a, hadamard(4), strict=True)), length=16),
        }
    )
    book = {name: Decimal(x) for name, x in exposures.items()}
    assert diversification(state, book, FIRST + 20) == score
    assert diversification(state, book, FIRST + 21) == "0.000000"  # the last session is too old


@pytest.mark.parametrize("seed", range(3))
def test_diversification_agrees_with_numpy(seed: int) -> None:
    """With pandas' coefficients, 1 where they are missing."""
    names = [f"S{number:02d}" for number in range(30)]
    table = random_table(seed, names, 30)
    chance = random.Random(seed)
    exposures = {name: Decimal(chance.randrange(1, 10**6)) / 100 for name in names}
    frame = pd.DataFrame(
        {name: [np.nan if v is None else float(v) for v in values] for name, values in table.items()}
    )
    rho = np.abs(frame.corr(min_periods=15).fillna(1.0).to_numpy())
    shares = np.array([float(x) for x in exposures.values()])
    shares /= shares.sum()
    oracle = (1 / (shares @ rho @ shares) - 1) / 29
    assert float(diversification(returns(table), exposures, FIRST)) == pytest.approx(oracle, abs=1e-6)
