"""The gate as a risk manager object, for scripts, notebooks and programs that know no asyncio.

    with RiskManager(account_equity=100_000, risk_per_trade_percent=1, max_position_percent=10) as manager:
        check = manager.check_new_position(symbol="AAPL", current_price=185.0, atr=3.5)

Whatever it is told becomes a record, and whatever it answers comes from the topics, so all of it is audited. It needs
a broker with the topics, and a worker that runs; it decides nothing itself.
"""

import asyncio
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any, ParamSpec, Self, TypeVar

from aiokafka.errors import KafkaError

from models.canonical import SECOND_NS
from models.limits import SizingMethod
from models.messages import EVERY, Fill, PriceMark, Side
from streams.access import GateError, GateUnavailableError, no_broker
from streams.config import Settings, load
from streams.manager.account import AccountClient, PositionCheck
from streams.manager.background import Background
from streams.manager.enrolment import limits_said
from streams.manager.figures import Figure, dated_returns, decimal_of, today
from streams.report import AccountReport

P = ParamSpec("P")
T = TypeVar("T")

GRACE = 1.0
"""Seconds beyond the timeout: a check that ends in time for itself has more to say than that a broker is silent."""


class RiskManager:
    """One account of a gate. A context manager; its methods block, and threads may share it: they take turns.

    Amounts may be ints, floats, strings or Decimals: a float counts as what it is written as (0.1 is 0.1), rounded to
    twelve places. Percentages are percent: 1.0 is one percent.

    The limits become a profile of the account's own, and the equity a first mark. An account that exists keeps its
    limits: asking for others is an error, unless `replace_limits` says that they are to be replaced.

    One manager feeds an account. Of two, each repeats its own idea of the equity: the account seems to gain and lose
    what lies between, and may halt. Several may share an account where at most one has `feeds_equity`.

    Args:
        account_equity: Account currency. It counts as current at every check until `update_equity` says otherwise.
            None takes what is known of an account that exists.
        risk_per_trade_percent: Of equity, what one trade may lose: `risk_per_trade`. None leaves what is in force.
        max_position_percent: Of equity, what one position may come to, by one order or several: `entry_max` and
            `position_critical`; `position_warning` comes down with it. None leaves them as they are in force.
        sizing_method: VOLATILITY_ADJUSTED, FIXED_PERCENT, FIXED_DOLLAR, KELLY or NONE, in either case.
        limits: Further limits by name, as docs/risk.md section 4 lists them: `{"drawdown_halt": "0.15"}`.
        replace_limits: Let these limits replace those that an existing account is under.
        account: Its name.
        strategy: Who holds its positions.
        currency: The account's; None is what the starter records or the account's own say.
        settings: How to reach the broker; by default what the environment says.
        feeds_equity: Whether this manager says what the account is worth. If not, another feed marks the account, and
            price and ATR of a check travel in the intent alone.
        expiry: Seconds after which an approval that came to nothing may not be traded any more. What it reserves is
            free 60 seconds later, or at once by `release`.
        timeout: Seconds that a method waits for the gate.
        clock: Returns event time, ns since the Unix epoch; another than the wall clock is simulated time, in which no
            approval is late.

    Raises:
        LimitsInForceError: If the account exists under other limits.
        GateUnavailableError: Where no broker answers, or the topics are missing.
        ValueError: If an argument is invalid.
        TypeError: If one is no number.
    """

    def __init__(
        self,
        *,
        account_equity: Figure | None = None,
        risk_per_trade_percent: Figure | None = None,
        max_position_percent: Figure | None = None,
        sizing_method: SizingMethod | str | None = None,
        limits: Mapping[str, Any] | None = None,
        replace_limits: bool = False,
        account: str = "main",
        strategy: str = "manual",
        currency: str | None = None,
        settings: Settings | None = None,
        feeds_equity: bool = True,
        expiry: float = 60.0,
        timeout: float = 10.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        said = limits_said(
            risk_per_trade_percent=risk_per_trade_percent,
            max_position_percent=max_position_percent,
            sizing_method=sizing_method,
            limits=limits,
        )
        equity = None if account_equity is None else decimal_of(account_equity, "account_equity")
        if equity is not None and not feeds_equity:
            raise ValueError("account_equity belongs to a manager that feeds equity")
        if account == EVERY:
            raise ValueError("account must be one account, was *")
        self.settings = load() if settings is None else settings
        self._turn = asyncio.Lock()
        self._account = AccountClient(
            self.settings,
            account,
            strategy,
            feeds_equity=feeds_equity,
            expiry=round(expiry * SECOND_NS),
            timeout=timeout,
            clock=clock,
        )
        self._background = Background(f"the risk manager of account {account}")
        self._finalizer = weakref.finalize(self, self._background.close)  # also at the interpreter's end
        try:
            self._background.run(self._background.enter(self._account))
            self._run(self._open, equity, said, currency=currency, replace=replace_limits)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect. A second call does nothing; what is asked afterwards raises ClosedError."""
        self._finalizer()

    async def _open(
        self, equity: Decimal | None, said: Mapping[str, Any], *, currency: str | None, replace: bool
    ) -> None:
        account = self._account
        before = (await account.known()).drawdown
        if account.feeds_equity and equity is None:
            account.equity = before.equity if before.suspect is None else before.suspect.equity
            if account.equity is None:
                raise ValueError(f"nothing is known of account {account.name}: give account_equity")
        await account.enrol(said, currency=currency, replace=replace)
        if equity is not None:
            await account.value(equity)

    # --- the methods of a risk manager

    def check_new_position(
        self,
        symbol: str,
        current_price: Figure,
        atr: Figure | None = None,
        *,
        side: Side | str = Side.BUY,
        quantity: Figure | None = None,
        stop_distance: Figure | None = None,
        win_rate: Figure | None = None,
        payoff: Figure | None = None,
        trades: int | None = None,
        allow_resize: bool = False,
        reduce_only: bool = False,
    ) -> PositionCheck:
        """Ask whether a position may be opened (or closed, with side SELL), and how large.

        It is an order intent, a LIMIT at the current price; price and ATR travel ahead of it as a mark. An approval
        **reserves** its quantity until it is filled (`add_position`), released (`release`) or expired.

        A decision taken before the gate had read what this manager told it is asked again under a new id; an approval
        of that kind is reported CANCELED first.

        Args:
            symbol: What to trade.
            current_price: Account currency per unit.
            atr: Average true range over 14 sessions, account currency per unit. Sizing by volatility needs one.
            side: BUY or SELL.
            quantity: Units; None asks for the size that the limits allow.
            stop_distance: Replaces two ATRs, account currency per unit.
            win_rate: For KELLY: a fraction, 0.52 is 52 %.
            payoff: For KELLY: average win over average loss.
            trades: For KELLY: how many trades the two come from.
            allow_resize: Take the largest quantity that passes instead of a rejection.
            reduce_only: Reject what would open a position.

        Raises:
            DecisionTimeoutError: If no decision, or none that knows what this manager told the gate, came in time.
            ValueError: If an argument is invalid.
            TypeError: If one is no number.
        """
        mark = PriceMark(price=decimal_of(current_price, "current_price"), atr=_maybe(atr, "atr"))
        return self._run(
            self._account.check,
            symbol,
            mark,
            side=_side(side),
            quantity=_maybe(quantity, "quantity"),
            stop_distance=_maybe(stop_distance, "stop_distance"),
            win_rate=_maybe(win_rate, "win_rate"),
            payoff=_maybe(payoff, "payoff"),
            trades=trades,
            allow_resize=allow_resize,
            reduce_only=reduce_only,
        )

    def release(self, check: PositionCheck) -> None:
        """Free what an approval still reserves: the order was not sent, or is canceled.

        The manager reports it CANCELED in `fills`, as a venue would. After a rejection there is nothing to do.
        """
        if check.approved:
            self._run(self._account.cancel, check.decision)

    def add_position(
        self,
        symbol: str,
        quantity: Figure,
        price: Figure,
        *,
        side: Side | str = Side.BUY,
        fee: Figure | None = None,
    ) -> Fill:
        """Record that units were bought (or sold, with side SELL).

        It is a fact, and recorded whatever the limits say. It fills the newest open approval of this manager's
        strategy for the symbol and side; where there is none it counts as a manual trade (warning ORPHAN_FILL).

        Args:
            symbol: What was traded.
            quantity: Units, positive.
            price: Account currency per unit.
            side: BUY or SELL.
            fee: Account currency.

        Returns:
            The report as it stands in `fills`.
        """
        trade = {
            "symbol": symbol,
            "side": _side(side),
            "last_quantity": decimal_of(quantity, "quantity"),
            "last_price": decimal_of(price, "price"),
            "fee": _maybe(fee, "fee"),
        }
        return self._run(self._account.traded, trade)

    def remove_position(
        self, symbol: str, price: Figure, quantity: Figure | None = None, *, fee: Figure | None = None
    ) -> Fill:
        """Record that this strategy's position, or part of it, was closed.

        It is a fact like `add_position`. Where no open approval covers it, smaller ones end and the gate is asked for
        one first: a strict reduction, which no limit and no halt refuses. Were it refused all the same (a kill switch
        in mode ALL), the fill is recorded without one. To ask before trading, use `check_new_position` with the other
        side.

        Args:
            symbol: What was traded.
            price: Account currency per unit.
            quantity: Units, positive, at most what is held; None closes all.
            fee: Account currency.

        Returns:
            The report as it stands in `fills`.

        Raises:
            ValueError: If the strategy holds no such position.
            DecisionTimeoutError: If the gate did not answer; nothing is recorded then.
        """
        size, paid = _maybe(quantity, "quantity"), _maybe(fee, "fee")
        return self._run(self._account.closed, symbol, decimal_of(price, "price"), size, paid)

    def update_equity(
        self,
        equity: Figure,
        *,
        prices: Mapping[str, Figure] | None = None,
        cash: Figure | None = None,
        net_deposits: Figure | None = None,
    ) -> None:
        """Say what the account is worth now. A fall beyond the drawdown limit halts it.

        A jump of over 20 % is believed when it is said twice; until then openings are rejected EQUITY_UNCONFIRMED.
        The manager itself never repeats it.

        Args:
            equity: Account currency.
            prices: Of symbols held, account currency per unit. A symbol without a price of the last 150 s counts at
                its last close or fill, and 10 % more.
            cash: Account currency. None: unchanged.
            net_deposits: All deposits less all withdrawals, ever. Without it a withdrawal is a loss. None: unchanged.
        """
        self._must_feed("update_equity")
        marks = {
            symbol: PriceMark(price=decimal_of(price, f"the price of {symbol}"))
            for symbol, price in (prices or {}).items()
        }
        self._run(
            self._account.value,
            decimal_of(equity, "equity"),
            marks=marks,
            cash=_maybe(cash, "cash"),
            net_deposits=_maybe(net_deposits, "net_deposits"),
        )

    def update_returns(self, symbol: str, returns: Any) -> int:  # noqa: ANN401  # numbers, lists, arrays, Series
        """Say what a symbol returned; correlations rest on the last 30 sessions. What is said last of a date counts.

        Args:
            symbol: Whose returns they are, in every account of the gate.
            returns: Today's return as one number; or a dict or pandas Series from dates to returns; or a list or
                array, oldest first, taken as those of consecutive weekdays up to today. Fractions: 0.01 is a gain of
                1 %. A NaN is left out.

        Returns:
            How many were written.
        """
        return self._run(self._account.returned, symbol, dated_returns(returns, today(self._account.clock())))

    def is_trading_halted(self) -> bool:
        """Tell whether openings are stopped: a drawdown, a daily loss, an operator's halt or a kill switch.

        Reductions pass even then, but for a kill switch in mode ALL. It reads the topics and needs no worker, and
        knows all that this manager has said before.
        """
        return self._run(self._account.halted)

    def get_risk_report(self) -> AccountReport:
        """Return positions, exposures, heat, losses, open orders and limits with their headroom, up to now."""
        return self._run(self._account.report)

    def reset_daily(self, equity: Figure | None = None, *, clear_halts: bool = True) -> bool:
        """Open today's session (UTC): its drawdown starts from here, and the last session's halts end.

        High-water halts and an operator's stay. A session opens once: a second call on one date is a plain mark, so
        that a script in a loop clears no halt.

        Args:
            equity: Account currency; None is what was last said.
            clear_halts: Whether the halts end; if not, only the peak starts again.

        Returns:
            Whether a session was opened; False where today's was open already.

        Raises:
            UnconfirmedEquityError: If the equity last said awaits being said again, and none is given.
        """
        self._must_feed("reset_daily")
        return self._run(self._account.open_session, _maybe(equity, "equity"), clear_halts=clear_halts)

    # --- the way into the background

    def _run(self, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._background.run(self._in_turn(work, *args, **kwargs))

    async def _in_turn(self, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._turn:
            try:
                async with asyncio.timeout(self._account.timeout + GRACE):
                    return await work(*args, **kwargs)
            except GateError:
                raise
            except (KafkaError, TimeoutError) as error:
                raise GateUnavailableError(
                    f"{no_broker(self.settings, error)}; what was being sent may still arrive: look at"
                    " get_risk_report() before you say it again"
                ) from error

    def _must_feed(self, method: str) -> None:
        if not self._account.feeds_equity:
            raise ValueError(f"{method} belongs to a manager that feeds equity: another feed marks this account")


def _side(side: Side | str) -> Side:
    try:
        return Side(side.upper())
    except ValueError:
        raise ValueError(f"side must be BUY or SELL, was {side!r}") from None


def _maybe(value: Figure | None, name: str) -> Decimal | None:
    return None if value is None else decimal_of(value, name)
