"""Random worlds: messages that lead to the edges of every rule. The same seed gives the same world."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.oracle.book import Book
from tests.oracle.checks import Checks, Size
from tests.oracle.choices import (
    ACTS,
    HOUR,
    LAGS,
    LIMITS,
    LOTS,
    METHODS,
    MINUTE,
    MULTIPLIERS,
    PRICES,
    SECTORS,
    SESSIONS,
    START,
    STRATEGIES,
    SYMBOLS,
)
from tests.oracle.equity import walk
from tests.oracle.history import DAY, SECOND, Order, Wire, completed, day_of, exact, floor_to, iso
from tests.oracle.oracle import Oracle
from tests.oracle.question import Question


def number(value: Fraction | Decimal | str | int) -> str:
    """Return a number as the wire has it, cut to 8 places."""
    if isinstance(value, str):
        return value
    cut = int(Fraction(value) * 10**8)
    text = format(Decimal(cut).scaleb(-8).normalize(), "f")
    return "0" if text in ("-0", "0") else text


class World:
    """A run of messages, each chosen with a look at what the checker knows."""

    def __init__(self, seed: str, oracle: Oracle) -> None:
        self.random = random.Random(seed)
        self.oracle = oracle
        self.calm = self.chance(0.4)
        """Whether the world is one in which most intents are approved."""
        self.now = START + self.random.choice((0, 0, 11 * HOUR + 59 * MINUTE))
        self.offsets = dict.fromkeys(("fills", "equity-ticks", "daily-returns", "reference", "order-intents"), 0)
        self.ids = 0
        self.accounts = ["A", "A", "A", "B"] if self.random.random() < 0.3 else ["A"]
        self.symbols = SYMBOLS[: self.random.randint(1, len(SYMBOLS))]
        self.price = {s: Fraction(self.random.choice(PRICES)) for s in self.symbols}
        self.equity = {
            a: Fraction(self.random.choice(("100000", "10000", "1000000"))) for a in sorted(set(self.accounts))
        }
        self.deposits = dict.fromkeys(self.equity, Fraction(0))
        self.money = self.random.choice(("none", "cash", "cash", "power", "power", "both"))
        self.profile_version = 0
        self.sent: list[Wire] = []
        self.reports: list[Wire] = []
        self.pending: list[tuple[str, Wire, int]] = []

    # --- helpers

    def chance(self, probability: float) -> bool:
        """Whether something of a probability happens."""
        return self.random.random() < probability

    def unique(self, prefix: str) -> str:
        """Return an id that was not used before."""
        self.ids += 1
        return f"{prefix}{self.ids}"

    def emit(self, topic: str, body: Wire, time: int | None = None) -> tuple[str, Wire, int, int]:
        """Return a record: topic, body, offset, record's time."""
        offset = self.offsets[topic]
        self.offsets[topic] += 1 if self.random.random() < 0.97 else 2
        return topic, body, offset, self.now if time is None else time

    # --- the beginning

    def opening(self) -> list[tuple[str, Wire, int, int]]:
        """Return the records that a world begins with."""
        records = [self.emit("reference", self.profile())]
        if self.chance(0.96):
            bound = "p" if self.chance(0.98) else "q"
            records.append(self._reference(kind="account", account="*", profile_id=bound, currency="USD"))
        if self.chance(0.95):
            records.append(self._reference(kind="strategy", strategy="*", account="*", state="ENABLED"))
        records += [self._instrument(symbol) for symbol in self.symbols if self.chance(0.97)]
        if self.chance(0.9):
            records += self._returns()
        if self.chance(0.97):
            records += [self._tick(account, calm=True) for account in sorted(self.equity)]
        for symbol in self.symbols:
            if self.chance(0.3):
                records.append(self._manual("A", symbol))
        return records

    def profile(self) -> Wire:
        """Return the next version of the profile."""
        self.profile_version += 1
        share = self.random.choice((0, 0.05, 0.2, 0.5)) if not self.calm else 0.1
        limits: Wire = {n: self.random.choice(vs) for n, vs in LIMITS.items() if self.chance(share)}
        for name in ("cluster", "position", "sector"):
            limits.pop(f"{name}_warning", None) if f"{name}_critical" not in limits else None
            if f"{name}_critical" in limits:
                limits[f"{name}_warning"] = number(Fraction(limits[f"{name}_critical"]) / 2)
        if "drawdown_halt" in limits:
            limits["drawdown_warning"] = "0.05"
        if "high_water_halt" not in limits:
            limits.pop("high_water_warning", None)
        if self.chance(0.3):
            limits["repeat_max"] = self.random.choice((1, 2))
        if self.calm:
            limits |= {"equity_age_max": HOUR, "mark_age_max": HOUR, "drawdown_halt": "0.2"}
        limits["shorts_allowed"] = self.chance(0.9 if self.calm else 0.6)
        method = self.random.choice(METHODS)
        limits["sizing_method"] = method
        if method == "FIXED_DOLLAR":
            limits["fixed_dollar"] = self.random.choice(("2500", "100", "10000"))
        return self._command(kind="limit_profile", profile_id="p", profile_version=self.profile_version, **limits)

    def _command(self, **fields: Any) -> Wire:
        return {"event_time": self.now, "actor": "operator", "reason": "because"} | fields

    def _reference(self, **fields: Any) -> tuple[str, Wire, int, int]:
        return self.emit("reference", self._command(**fields))

    def _instrument(self, symbol: str) -> tuple[str, Wire, int, int]:
        fields: Wire = {
            "symbol": symbol,
            "lot": self.random.choice(LOTS),
            "multiplier": self.random.choice(MULTIPLIERS),
            "currency": "EUR" if self.chance(0.01) else "USD",
            "shortable": not self.chance(0.1),
        }
        sector = self.random.choice(SECTORS)
        if sector is not None:
            fields["sector"] = sector
        return self._reference(kind="instrument", **fields)

    def _returns(self) -> list[tuple[str, Wire, int, int]]:
        groups = [[self.random.randint(-300, 300) for _ in range(SESSIONS)] for _ in range(2)]
        records = []
        today = day_of(self.now)
        for symbol in self.symbols:
            group = self.random.choice(groups)
            sign = self.random.choice((1, 1, -1))
            noise = self.random.choice((0, 100, 200, 250, 300, 2000))
            first, last = self.random.choice(((0, 29), (0, 29), (0, 29), (0, 13), (0, 14), (6, 29), (5, 25)))
            for age in range(first, last + 1):
                move = sign * group[age] + (self.random.randint(-noise, noise) if noise else 0)
                if noise == 2000:
                    move = 7
                body: Wire = {
                    "symbol": symbol,
                    "session": iso(today - age),
                    "simple_return": number(Fraction(move, 10_000)),
                    "event_time": self.now,
                }
                if self.chance(0.3):
                    body["close"] = number(self.price[symbol])
                records.append(self.emit("daily-returns", body))
        return records

    # --- what happens next

    def step(self) -> list[tuple[str, Wire, int, int]]:
        """Return the next records."""
        self._wait()
        roll = self.random.random()
        account = self.random.choice(self.accounts)
        if roll < 0.52:
            return [self.emit("order-intents", self._intent(account))]
        if roll < 0.70:
            return [self._tick(account, calm=self.calm and self.chance(0.8))]
        if roll < 0.90:
            return [self._report(account)]
        if roll < 0.97 and not (self.calm and self.chance(0.8)):
            return [self._act(account)]
        return self._more_returns()

    def _wait(self) -> None:
        self.now += self.random.choice(
            (0, 0, 0, 1, 1000, SECOND // 10, SECOND // 5)
            if self.chance(0.5)
            else (SECOND, SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 30 * SECOND)
        )
        if self.chance(0.04):
            self.now += self.random.choice((150 * SECOND, 300 * SECOND, HOUR, HOUR + 1, 20 * HOUR, DAY, 4 * DAY))
        elif self.chance(0.004):
            self.now += self.random.choice((6 * DAY, 7 * DAY, 8 * DAY))

    def _tick(self, account: str, *, calm: bool = False) -> tuple[str, Wire, int, int]:
        kind = "mark"
        if not calm and self.chance(0.1 if self.calm else 0.3):
            kind = self.random.choice(("session_open", "session_open", "halt", "resume", "resume", "statement"))
        if kind == "halt":
            at = self.now + self.random.choice((0, 0, 0, 5 * SECOND, 6 * SECOND, -60 * SECOND))
            return self.emit("equity-ticks", self._command(kind="halt", account=account, actor="ann", event_time=at))
        if kind == "resume":
            at = self.now + self.random.choice((0, 0, 0, 5 * SECOND + 1, -SECOND, -60 * SECOND))
            return self.emit(
                "equity-ticks", self._command(kind="resume", account=account, actor="bob", event_time=at)
            )
        if kind == "statement":
            return self._statement(account)
        return self._valuation(account, kind, calm=calm)

    def _statement(self, account: str) -> tuple[str, Wire, int, int]:
        body: Wire = {
            "kind": "statement",
            "account": account,
            "event_time": self.now + self.random.choice((0, 0, 0, -5 * SECOND)),
            "positions": {},
            "fills_through": self.now - 60 * SECOND,
        }
        if self.chance(0.5):
            symbol = self.random.choice(self.symbols)
            units = self.random.choice(("5", "-5", "100", "-40.5"))
            body |= {"adjustments": {symbol: units}, "actor": "ann", "reason": "found"}
        return self.emit("equity-ticks", body)

    def _valuation(self, account: str, kind: str, *, calm: bool) -> tuple[str, Wire, int, int]:
        at = self.now
        body: Wire = {"kind": kind, "account": account}
        if not calm:
            self._move(account)
            if self.chance(0.1):
                at += self.random.choice((-SECOND, -60 * SECOND, 5 * SECOND, 5 * SECOND + 1, -1))
        body |= {"event_time": at, "equity": number(self.equity[account])}
        if (self.chance(0.3) or self.deposits[account] != 0) and self.chance(0.9):
            body["net_deposits"] = number(self.deposits[account])
        if kind == "session_open":
            body |= self._session()
        if self.chance(0.8) or calm:
            body |= self._funds(account)
        if self.chance(0.2):
            body["fills_through"] = at - self.random.choice((0, SECOND, 60 * SECOND))
        marks = {}
        for symbol in self.symbols:
            if self.chance(0.9):
                marks[symbol] = self._mark(symbol, at)
        body["marks"] = marks
        return self.emit("equity-ticks", body)

    def _session(self) -> Wire:
        session = iso(day_of(self.now) + self.random.choice((0, 0, 1, 2, 3, -1)))
        clears: Wire = {} if self.chance(0.7) else {"clear_halts": False}
        return {"session": session, "actor": "clerk"} | clears

    def _funds(self, account: str) -> Wire:
        funds: Wire = {}
        equity = self.equity[account]
        if self.money in ("cash", "both"):
            funds["cash"] = number(equity * self.random.choice((Fraction(1), Fraction(1, 2), Fraction(2), -1)))
        if self.money in ("power", "both"):
            funds["buying_power"] = number(max(Fraction(0), equity * self.random.choice((1, 2, Fraction(1, 5)))))
        return funds

    def _mark(self, symbol: str, at: int) -> Wire:
        if self.chance(0.3):
            self.price[symbol] *= 1 + Fraction(self.random.randint(-300, 300), 10_000)
            self.price[symbol] = Fraction(number(self.price[symbol])) if self.price[symbol] > 0 else Fraction(1)
            self.price[symbol] = max(Fraction(1, 100), round(self.price[symbol], 2))
        mark: Wire = {"price": number(self.price[symbol])}
        if self.chance(0.8):
            mark["atr"] = number(round(self.price[symbol] * self.random.choice((1, 2, 5)) / 100, 4) or "0.01")
        if self.chance(0.1):
            mark["price_time"] = at - self.random.choice((0, 1, 100 * SECOND, 150 * SECOND, DAY))
        if self.chance(0.05):
            mark["atr_time"] = at - self.random.choice((0, 1, HOUR, 4 * DAY, 4 * DAY + 1))
        return mark

    def _move(self, account: str) -> None:
        equity = self.equity[account]
        walk = self.oracle.history.account(account)
        roll = self.random.random()
        if roll < 0.55:
            equity *= 1 + Fraction(self.random.randint(-100, 100), 10_000)
        elif roll < 0.80:
            peak = self._peak(walk.ticks) or equity
            equity = peak * self.random.choice(
                (Fraction(95, 100), Fraction(90, 100), Fraction(98, 100), Fraction(94, 100), Fraction(93, 100), 1)
            ) + self.random.choice((0, 0, Fraction(1, 100), Fraction(-1, 100)))
        elif roll < 0.90:
            flow = round(equity * Fraction(self.random.randint(-40, 40), 100), 2)
            self.deposits[account] += flow
            equity += flow
        elif roll < 0.96:
            equity *= self.random.choice((Fraction(8, 10), Fraction(12, 10), Fraction(7, 10), Fraction(3, 2)))
        elif roll < 0.97:
            equity = self.random.choice((Fraction(0), Fraction(-100)))
        elif equity <= 0 or self.chance(0.5):
            equity = Fraction(100_000)
        self.equity[account] = round(equity, 2)

    def _peak(self, ticks: list[Any]) -> Fraction | None:
        found = walk(ticks)
        return found.session_peak if found.equity is not None and found.session_peak > 0 else None

    # --- orders

    def _intent(self, account: str) -> Wire:
        if self.sent and self.chance(0.06):
            return self._again()
        if self.sent and self.chance(0.08):
            return self._like()
        symbol = self.random.choice(self.symbols) if self.chance(0.98) else "ZZ"
        price = self.price.get(symbol, Fraction(100))
        side = self.random.choice(("BUY", "SELL"))
        book = Book(self.oracle.history.account(account), self.now)
        if self.chance(0.4) and book.positions[symbol] != 0:
            side = "SELL" if book.positions[symbol] > 0 else "BUY"
        body: Wire = {
            "intent_id": self.unique("i"),
            "account": account,
            "strategy": self.random.choice(STRATEGIES[: self.random.choice((1, 1, 2) if self.calm else (1, 2, 3))]),
            "symbol": symbol,
            "side": side,
            "order_type": "LIMIT",
            "event_time": self.now + self.random.choice(LAGS),
        }
        if self.chance(0.3):
            body["order_type"] = "MARKET"
        else:
            off = self.random.choice((100, 100, 100, 100, 105, 95, 80, 120))
            body["limit_price"] = number(price * off / 100 + self.random.choice((0, 0, 0, 0, Fraction(1, 100))))
        self._options(body, price)
        if self.chance(0.15):
            live = [o for o in book.open if o.symbol == symbol] or book.open
            if live:
                order = self.random.choice(live)
                body["replaces"] = order.intent_id
                if self.chance(0.9):
                    body |= {"symbol": order.symbol, "side": order.side}
        if self.chance(0.75):
            body["quantity"] = self._quantity(body, account)
        self.sent.append(body)
        return body

    def _again(self) -> Wire:
        body = dict(self.random.choice(self.sent[-8:]))
        done = {o.intent_id for o in self.oracle.history.account(body["account"]).orders if o.expires_at < self.now}
        if body["intent_id"] in done:  # An id is never used for two orders.
            body["intent_id"] = self.unique("i")
        roll = self.random.random()
        if roll < 0.3:
            body["quantity"] = number(Fraction(body.get("quantity") or 1) + 1)
        elif roll < 0.5 and body.get("quantity") and "." not in body["quantity"]:
            body["quantity"] += ".0"
        elif roll < 0.6:
            body["event_time"] = self.now
            body.pop("expires_at", None)
        return body

    def _like(self) -> Wire:
        orders = self.oracle.history.account(self.sent[-1]["account"]).orders
        ids = {o.intent_id for o in orders[-2:] if o.opening > 0}
        body = dict(next((b for b in reversed(self.sent) if b["intent_id"] in ids), self.sent[-1]))
        body |= {"intent_id": self.unique("i"), "event_time": self.now}
        body.pop("expires_at", None)
        body.pop("replaces", None)
        self.sent.append(body)
        return body

    def _options(self, body: Wire, price: Fraction) -> None:
        if self.chance(0.05 if self.calm else 0.2):
            body["reference_price"] = number(price * self.random.choice((100, 100, 105, 95, 120, 79)) / 100)
        if self.chance(0.2):
            body["atr"] = number(price / self.random.choice((100, 50, 20)))
        if self.chance(0.1):
            body["stop_distance"] = number(price / self.random.choice((100, 20, 4)))
        if self.chance(0.5):
            body |= {
                "win_rate": self.random.choice(("0.52", "0.4", "0.6", "0.5", "1", "0")),
                "payoff": self.random.choice(("1", "1.5", "2", "0.7")),
                "trades": self.random.choice((30, 100) if self.calm else (29, 30, 100, 9)),
            }
        if self.chance(0.35):
            body["allow_resize"] = True
        if self.chance(0.05):
            body["reduce_only"] = True
        if self.chance(0.2):
            body["expires_at"] = body["event_time"] + self.random.choice((0, 1, SECOND, 60 * SECOND, 5 * DAY))

    def _quantity(self, body: Wire, account: str) -> str:
        roll = self.random.random()
        q = Question(self.oracle.history, completed(body), max(self.now, self.oracle.history.account(account).clock))
        lot = q.lot
        if roll < 0.35:
            checks = Checks(q, Size(q.capacity, lot))
            bounds = [c.bound for c in checks.run() if c.bound is not None]
            top = q.capacity + floor_to(self.random.choice(sorted(bounds)[:2]) if bounds else lot, lot)
            top += self.random.choice((0, 0, lot, -lot, Fraction(1, 100)))
        elif roll < 0.55:
            top = q.capacity + self.random.choice((0, 0, lot, 10 * lot, -lot))
        else:
            value = exact("1000") * self.random.choice((1, 5, 10, 20, 30))
            unit = q.unit(body["symbol"]) or Fraction(100)
            top = floor_to(value / unit, lot) or lot
            if self.chance(0.1):
                top += lot / 2
        top = Fraction(number(min(top, Fraction(10**11))))
        return number(top if top > 0 else lot)

    # --- reports

    def _execution(self, account: str, **fields: Any) -> Wire:
        body: Wire = {
            "execution_id": self.unique("x"),
            "account": account,
            "execution_type": "TRADE",
            "event_time": self.now
            + self.random.choice((0,) * 8 + (-SECOND, -5 * SECOND, -60 * SECOND, -5 * SECOND - 1, 6 * SECOND)),
        } | fields
        if "intent_id" not in fields and self.chance(0.03):
            body["event_time"] -= self.random.choice((6 * DAY, 7 * DAY, 7 * DAY + SECOND))
        self.reports.append(body)
        return body

    def _manual(self, account: str, symbol: str) -> tuple[str, Wire, int, int]:
        units = self.random.choice((10, 50, 100, 200))
        body = self._execution(
            account,
            symbol=symbol,
            side=self.random.choice(("BUY", "BUY", "SELL")),
            last_quantity=number(min(Fraction(units), Fraction(20_000) / self.price[symbol])),
            last_price=number(self.price[symbol]),
        )
        if self.chance(0.6):
            body["strategy"] = self.random.choice(STRATEGIES[: 1 if self.calm else 3])
        if self.chance(0.5):
            body["event_time"] = self.now - 60 * SECOND
        return self.emit("fills", body)

    def _report(self, account: str) -> tuple[str, Wire, int, int]:
        roll = self.random.random()
        orders = self.oracle.history.account(account).orders
        trades = [
            r for r in self.reports if r["execution_type"] in ("TRADE", "CORRECTED") and r["account"] == account
        ]
        if roll < 0.65 and orders:
            return self._of_order(account, self.random.choice(orders[-8:]))
        if roll < 0.80 and trades:
            return self._amendment(account, self.random.choice(trades[-6:]))
        if roll < 0.86 and self.reports:
            body = dict(self.random.choice(self.reports[-6:]))
            if self.chance(0.3) and "last_quantity" in body:
                body["last_quantity"] = number(Fraction(body["last_quantity"]) + 1)
            return self.emit("fills", body)
        return self._manual(account, self.random.choice(self.symbols))

    def _of_order(self, account: str, order: Order) -> tuple[str, Wire, int, int]:
        kind = self.random.choice(
            ("TRADE",) * 8 + ("CANCELED", "CANCELED", "EXPIRED", "REJECTED", "REPLACED", "NEW", "NEW")
        )
        fields: Wire = {
            "symbol": order.symbol,
            "side": order.side,
            "intent_id": order.intent_id,
            "strategy": order.strategy,
            "execution_type": kind,
        }
        if kind == "TRADE":
            part = self.random.choice((Fraction(1), Fraction(1), Fraction(1, 2), Fraction(1, 4), Fraction(5, 4)))
            fields["last_quantity"] = number(max(order.quantity * part, Fraction(1, 100)))
            fields["last_price"] = number(self.price.get(order.symbol, Fraction(100)))
        if kind == "REPLACED":
            part = self.random.choice((Fraction(1, 2), Fraction(3, 4), Fraction(2)))
            fields["order_quantity"] = number(max(order.quantity * part, Fraction(1, 100)))
        if self.chance(0.03):
            fields["side"] = "SELL" if order.side == "BUY" else "BUY"
        if self.chance(0.02):
            fields.pop("strategy")
        return self.emit("fills", self._execution(account, **fields))

    def _amendment(self, account: str, of: Wire) -> tuple[str, Wire, int, int]:
        fields: Wire = {
            "symbol": of["symbol"],
            "side": of["side"],
            "execution_type": self.random.choice(("BUSTED", "CORRECTED", "CORRECTED")),
            "execution_reference_id": of["execution_id"],
        }
        if fields["execution_type"] == "CORRECTED":
            fields["last_quantity"] = number(
                Fraction(of["last_quantity"]) * self.random.choice((1, 2, Fraction(1, 2)))
            )
            fields["last_price"] = of["last_price"]
            if self.chance(0.5):
                fields |= {name: of[name] for name in ("intent_id", "strategy") if name in of}
        return self.emit("fills", self._execution(account, **fields))

    # --- commands

    def _act(self, account: str) -> tuple[str, Wire, int, int]:
        symbol, strategy = self.random.choice(self.symbols), self.random.choice(STRATEGIES)
        kind = self.random.choice(ACTS)
        if kind == "kill":
            scope = self.random.choice(("GLOBAL", "ACCOUNT", "STRATEGY", "SYMBOL"))
            target = {"GLOBAL": None, "ACCOUNT": account, "STRATEGY": strategy, "SYMBOL": symbol}[scope]
            fields: Wire = {} if target is None else {"target": target}
            mode = self.random.choice(("REDUCE_ONLY", "REDUCE_ONLY", "ALL"))
            at = self.now + self.random.choice((0, 0, 0, -60 * SECOND, 6 * SECOND))
            return self._reference(
                kind="kill_switch", scope=scope, mode=mode, engaged=self.chance(0.4), event_time=at, **fields
            )
        if kind == "restricted":
            fields = {"account": account} if self.chance(0.5) else {}
            return self._reference(kind="restricted", symbol=symbol, active=self.chance(0.5), **fields)
        if kind == "drift":
            where = self.random.choice((account, account, "*"))
            return self._reference(kind="drift", account=where, symbol=symbol, flagged=self.chance(0.4))
        if kind == "strategy":
            state = self.random.choice(("ENABLED", "ENABLED", "PROBATION", "PROBATION", "DISABLED"))
            fields = {"budget": self.random.choice(("0.05", "0.1", "0.3", "0"))} if self.chance(0.7) else {}
            where = self.random.choice((account, "*"))
            return self._reference(kind="strategy", strategy=strategy, account=where, state=state, **fields)
        if kind == "profile":
            return self.emit("reference", self.profile())
        return self._instrument(symbol)

    def _more_returns(self) -> list[tuple[str, Wire, int, int]]:
        records = []
        for symbol in self.symbols:
            body: Wire = {
                "symbol": symbol,
                "session": iso(day_of(self.now) + self.random.choice((0, 0, -1, 1, 2))),
                "simple_return": number(Fraction(self.random.randint(-300, 300), 10_000)),
                "event_time": self.now + self.random.choice((0, 0, 0, 6 * SECOND)),
            }
            if self.chance(0.6):
                body["close"] = number(self.price[symbol])
            records.append(self.emit("daily-returns", body))
        return records
