"""The command `seawall`. Each subcommand is a module; this one puts them together and words every error."""

import logging
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from streams.cli import (
    audit,
    demo,
    explain,
    export,
    halts,
    keys,
    limits,
    publish,
    report,
    strategy,
    submit,
    switches,
    topics,
    watch,
    what_if,
    worker,
)
from streams.cli.status import BAD, INTERRUPTED, complain

app = typer.Typer(
    name="seawall",
    help="A pre-trade risk gate on Apache Kafka: order intents in, reproducible decisions and halts out.",
    epilog="Settings come from the environment: SEAWALL_BOOTSTRAP_SERVERS names the broker (127.0.0.1:9092).",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("worker")(worker.worker)
app.add_typer(topics.app, name="topics")
app.command("submit")(submit.submit)
app.command("publish")(publish.publish)
app.add_typer(watch.app, name="watch")
app.command("report")(report.report)
app.command("explain")(explain.explain)
app.command("what-if")(what_if.what_if)
app.add_typer(export.app, name="export")
app.command("audit")(audit.audit)
OPERATORS = "Commands of operators, each recorded with actor and reason"
app.command("halt", rich_help_panel=OPERATORS)(halts.halt)
app.command("resume", rich_help_panel=OPERATORS)(halts.resume)
app.command("session-open", rich_help_panel=OPERATORS)(halts.session_open)
app.command("kill", rich_help_panel=OPERATORS)(switches.kill)
app.command("unkill", rich_help_panel=OPERATORS)(switches.unkill)
app.command("restrict", rich_help_panel=OPERATORS)(switches.restrict)
app.command("allow", rich_help_panel=OPERATORS)(switches.allow)
app.add_typer(strategy.app, name="strategy", rich_help_panel=OPERATORS)
app.add_typer(limits.app, name="limits", rich_help_panel=OPERATORS)
app.add_typer(keys.app, name="keys", rich_help_panel=OPERATORS)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    *,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an unexpected error came from.", hidden=True)
    ] = False,
) -> None:
    del traceback  # `run` looks for it
    if context.invoked_subcommand != "worker":
        # The libraries would tell of every connection that fails; the command's own one line is enough.
        logging.disable(logging.CRITICAL)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit status.

    Args:
        arguments: Those after the program's name; by default the process's own.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.exit(run(arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status: every error is one line, never a traceback."""
    from streams.config import ConfigurationError
    from streams.topics import TopicsError

    command = typer.main.get_command(app)
    try:
        status = command.main(args=list(arguments), prog_name="seawall", standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "seawall"
        return complain(f"{error.format_message().rstrip('.')}: see `{path} --help`")
    except (ConfigurationError, TopicsError) as error:
        return complain(*error.violations)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_gone()
    except Exception as error:  # noqa: BLE001  # the last line of defence against tracebacks
        return _unexpected(error, arguments)
    return int(status or 0)


def _unexpected(error: Exception, arguments: Sequence[str]) -> int:
    from streams.access import GateError

    if isinstance(error, GateError):
        return complain(str(error))
    if "--traceback" in arguments:
        raise error
    text = " ".join(str(error).split())
    named = f"{type(error).__name__}: {text}" if text else type(error).__name__
    again = " ".join(("seawall --traceback", *arguments))
    return complain(f"{named}: this is a defect, please report it with the output of `{again}`", status=BAD)


def _reader_gone() -> int:
    """End quietly where whoever read our output has gone, as in `seawall watch decisions | head`."""
    import os

    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    return 0
