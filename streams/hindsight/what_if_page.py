"""A what-if as one page of HTML that needs nothing else: tables, and charts drawn inline.

It follows the reader's light or dark setting, prints, and says in words and numbers whatever it shows in color.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from html import escape
from typing import Final, NamedTuple

from models.decisions import DecisionStatus
from streams.hindsight.tally import Point
from streams.hindsight.what_if import AccountOutcome, Flips, WhatIf
from streams.text import amount, day, when

WIDTH: Final = 640
HEIGHT: Final = 220
LEFT, RIGHT, TOP, BOTTOM = 78, 10, 10, 26
TICKS: Final = 4
ROW: Final = 26

STYLE: Final = """
:root { color-scheme: light dark; --paper: #ffffff; --card: #f5f6f8; --ink: #1b2430; --soft: #55606e; --line: #cfd5dc;
  --was: #5a6b80; --would: #b4450f; --saved: #0b6e66; --cost: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161c; --card: #1b212a; --ink: #e8ecf1; --soft: #a7b1bd;
  --line: #3a434f; --was: #9db0c6; --would: #ff9d5c; --saved: #4fd1c5; --cost: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0 0 .3rem; } p { margin: .3rem 0; max-width: 46rem; } .soft { color: var(--soft); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child, td.words, th.words { text-align: left; } thead th { color: var(--soft);
  font-weight: 600; } .saved { color: var(--saved); } .cost { color: var(--cost); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .9rem; background: var(--card); border-radius: .5rem; break-inside: avoid; }
figure.bars { max-width: 46rem; margin: 1.2rem 0; }
figcaption { color: var(--soft); font-size: .9rem; } svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; } .grid { stroke: var(--line); }
.line-was, .line-would { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.line-was { stroke: var(--was); stroke-dasharray: 5 3; } .line-would { stroke: var(--would); }
.bar-saved { fill: var(--saved); } .bar-cost { fill: var(--cost); } svg text.label { fill: var(--ink); }
.key { display: inline-block; width: 1.6rem; border-top: 2.5px solid var(--would); vertical-align: middle; }
.key.was { border-top: 2.5px dashed var(--was); }
"""


def render(made: WhatIf) -> str:
    """Return the page."""
    return "".join(_page(made))


def _page(made: WhatIf) -> Iterator[str]:
    changed = ", ".join(f"{name} {value}" for name, value in made.limits.items()) or "no other limits"
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>What if: {escape(changed)}</title><style>{STYLE}</style></head><body><main>"
    yield f"<h1>What if: {escape(changed)}</h1>"
    yield f'<p class="soft">{escape(headline(made))}</p>'
    yield "<h2>What it would have saved, and what it would have cost</h2>"
    yield f"<p>{escape(verdict(made))}</p>"
    yield _answer_table(made.accounts)
    yield from _bars(made.accounts)
    yield "<h2>Equity</h2>"
    yield '<p class="soft"><span class="key was"></span> as it was &#160; <span class="key"></span> as it would have'
    yield " been. Times without a mark are left out of the axis.</p>"
    yield '<div class="charts">'
    for account in made.accounts:
        if len(account.path) > 1:
            yield _equity_chart(account)
    yield "</div><h2>Both worlds</h2>"
    yield _worlds_table(made.accounts)
    yield "<h2>Rejections by reason</h2>"
    yield _table(
        "An intent may have several reasons.",
        ("reason", "was", "would be", "change"),
        ((each.reason, str(each.was), str(each.would), f"{each.would - each.was:+}") for each in made.reasons),
    )
    yield "<h2>Answers that change</h2>"
    for flips in made.flips:
        yield from _flips(flips)
    yield "<h2>How to read this</h2>"
    for text in caveats(made):
        yield f"<p>{escape(text)}</p>"
    yield "</main></body></html>\n"


# --- words that the terminal shows too


def headline(made: WhatIf) -> str:
    """Return what was replayed, in a line."""
    first, last = (None if time is None else day(time) for time in (made.first, made.last))
    span = {
        (True, True): "all of history",
        (True, False): f"history until {last}",
        (False, True): f"history since {first}",
    }.get((first is None, last is None), f"{first} to {last}")
    treated = "scaled" if made.fills == "scale" else "dropped"
    return f"{span}: {made.decisions} decisions; fills of orders of another size {treated}"


def verdict(made: WhatIf) -> str:
    """Return the sums over all accounts, in a sentence."""
    saved, cost = (sum((getattr(each, name) for each in made.accounts), Decimal(0)) for name in ("saved", "cost"))
    if not any(flips.count for flips in made.flips):
        return "Not one answer would have been another."
    net = saved - cost
    end = "gained" if net >= 0 else "lost"
    return (
        f"Over all accounts it would have saved {amount(saved, 0)} and cost {amount(cost, 0)}:"
        f" {amount(abs(net), 0)} {end} on balance."
    )


def caveats(made: WhatIf) -> Iterator[str]:
    """Yield what must be known to read the numbers."""
    yield (
        "Saved and cost are sums over episodes: times during which both worlds held different amounts of a symbol."
        " An episode by which the other world ends up richer counts as saved, one by which it ends up poorer as cost."
    )
    yield (
        "Programs are assumed to have sent the same intents. Exits close what is held, at most; fills follow the new"
        " answers at the prices of history; nothing moves the market."
    )
    if made.never_filled:
        yield (
            f"{made.never_filled} intents that were rejected would have been approved. What they would have come to"
            " is not known: they are taken as never filled."
        )


def way_line(flips: Flips) -> str:
    """Return one way of changing with its count."""
    return f"{flips.way}: {flips.count}"


# --- tables


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[int] = ()) -> str:
    def cell(kind: str, number: int, text: str) -> str:
        scope = ' scope="col"' if kind == "th" else ""
        left = ' class="words"' if number in words else ""
        return f"<{kind}{scope}{left}>{escape(text)}</{kind}>"

    head = "".join(cell("th", number, text) for number, text in enumerate(heads))
    body = "".join(f"<tr>{''.join(cell('td', number, text) for number, text in enumerate(row))}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _answer_table(accounts: Sequence[AccountOutcome]) -> str:
    return _table(
        "Account currency.",
        ("account", "saved", "cost", "on balance", "episodes", "largest"),
        (
            (
                each.account,
                amount(each.saved, 0),
                amount(each.cost, 0),
                f"{each.net:+,.0f}",
                str(each.episodes),
                "; ".join(f"{one.symbol} {one.result:+,.0f} from {day(one.first)}" for one in each.largest[:2]),
            )
            for each in accounts
        ),
        words=(5,),
    )


def _worlds_table(accounts: Sequence[AccountOutcome]) -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for each in accounts:
            for name, world in (("was", each.was), ("would be", each.would)):
                yield (
                    each.account if name == "was" else "",
                    name,
                    str(world.approved),
                    str(world.rejected),
                    str(world.halts),
                    amount(world.exposure, 0),
                    f"{world.exposure_share * 100:.1f} %",
                    f"{world.drawdown * 100:.2f} %",
                    amount(world.profit, 0),
                )

    heads = ("account", "", "approved", "rejected", "halts", "peak exposure", "of equity", "drawdown", "profit")
    return _table("Peaks of the whole span; account currency.", heads, rows(), words=(1,))


def _flips(flips: Flips) -> Iterator[str]:
    if not flips.count:
        return
    yield _table(
        f"{way_line(flips)}{', for example' if flips.count > len(flips.examples) else ''}",
        ("intent", "account", "at", "order", "was", "would be", "reasons of the rejection"),
        (
            (
                each.intent_id,
                each.account,
                when(each.clock),
                f"{each.side.lower()} {each.symbol}",
                _answer(each.was),
                _answer(each.would),
                ", ".join(each.reasons),
            )
            for each in flips.examples
        ),
        words=(1, 2, 3, 6),
    )


def _answer(quantity: Decimal) -> str:
    return amount(quantity, 12) if quantity else str(DecisionStatus.REJECTED)


# --- charts


def _svg(height: int, title: str, description: str, body: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(f"{title}. {description}")}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{body}</svg>"
    )


def _bars(accounts: Sequence[AccountOutcome]) -> Iterator[str]:
    """Yield saved and cost of each account, as bars from one zero."""
    accounts = [each for each in accounts if each.episodes]
    largest = max((max(each.saved, each.cost) for each in accounts), default=Decimal(0))
    if not largest:
        return
    label, figures = 110, 90
    scale = (WIDTH - label - figures) / float(largest)
    body = []
    for number, each in enumerate(accounts):
        for line, (kind, value) in enumerate((("saved", each.saved), ("cost", each.cost))):
            y = number * ROW * 2 + line * (ROW - 6) + 8
            width = float(value) * scale
            body.append(f'<rect class="bar-{kind}" x="{label}" y="{y}" width="{width:.1f}" height="{ROW - 10}"/>')
            body.append(f'<text x="{label + width + 5:.1f}" y="{y + 12}">{kind} {amount(value, 0)}</text>')
        middle = number * ROW * 2 + ROW + 6
        name = escape(each.account if len(each.account) <= 16 else f"{each.account[:15]}…")  # noqa: PLR2004
        body.append(f'<text class="label" x="{label - 8}" y="{middle}" text-anchor="end">{name}</text>')
    words = "; ".join(
        f"{each.account} saved {amount(each.saved, 0)}, cost {amount(each.cost, 0)}" for each in accounts
    )
    yield '<figure class="bars">'
    yield _svg(len(accounts) * ROW * 2 + 8, "Saved and cost by account", words, "".join(body))
    yield "</figure>"


class _Scale(NamedTuple):
    """From values to the height of a chart."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def y(self, value: float) -> float:
        return TOP + (self.high - value) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def scale_of(values: Sequence[float]) -> _Scale:
    """Return a scale over all values, between round numbers."""
    low, high = min(values), max(values)
    span = (high - low) or max(abs(high), 1.0)
    raw = span / TICKS
    power = 10 ** math.floor(math.log10(raw))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    last += first == last
    return _Scale(first * step, last * step, tuple(number * step for number in range(first, last + 1)))


def _equity_chart(account: AccountOutcome) -> str:
    path = account.path
    scale = scale_of([float(value) for point in path for value in (point.was, point.would)])
    across = (WIDTH - LEFT - RIGHT) / (len(path) - 1)
    body = []
    for tick in scale.ticks:
        y = scale.y(tick)
        body.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,.0f}</text>')
    for number in range(TICKS):
        index = round(number * (len(path) - 1) / (TICKS - 1))
        anchor = "start" if number == 0 else "end" if number == TICKS - 1 else "middle"
        x = LEFT + index * across
        body.append(f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{day(path[index].time)}</text>')
    for kind in ("was", "would"):
        points = " ".join(
            f"{LEFT + index * across:.1f},{scale.y(float(getattr(point, kind))):.1f}"
            for index, point in enumerate(path)
        )
        body.append(f'<polyline class="line-{kind}" points="{points}"/>')
    title = f"Equity of {account.account}"
    figure = _svg(HEIGHT, title, _in_words(path), "".join(body))
    caption = f"net {account.net:+,.0f}; drawdown {account.was.drawdown * 100:.1f} %"
    caption += f", would have been {account.would.drawdown * 100:.1f} %"
    return f"<figure><h3>{escape(account.account)}</h3>{figure}<figcaption>{escape(caption)}</figcaption></figure>"


def _in_words(path: Sequence[Point]) -> str:
    first, last = path[0], path[-1]
    lowest = {name: min(getattr(point, name) for point in path) for name in ("was", "would")}
    return (
        f"From {amount(first.was, 0)} on {day(first.time)} to {amount(last.was, 0)} on {day(last.time)}, lowest"
        f" {amount(lowest['was'], 0)}; it would have been {amount(last.would, 0)} in the end, lowest"
        f" {amount(lowest['would'], 0)}"
    )
