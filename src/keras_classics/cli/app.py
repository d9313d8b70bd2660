"""The application: its commands, and what becomes of errors."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import Annotated

import click
import typer

from keras_classics import __version__
from keras_classics.cli import evaluate, networks, predict, summary, train
from keras_classics.errors import ClassicsError

USER_ERROR = 2
INTERRUPTED = 128 + signal.SIGINT

app = typer.Typer(
    name="classics",
    help="The landmark convolutional networks, exact and readable: look, train, judge, predict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(predict.predict)
app.command()(networks.networks)
app.command()(summary.summary)


def _show_version(wanted: bool) -> None:
    if wanted:
        click.echo(f"keras-classics {__version__}")
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of errors.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Options that go before the command."""


def run(arguments: list[str]) -> int:  # noqa: PLR0911  a return for each kind of ending
    """Run one command and give the exit code: 0, 2 for what the user can mend, 130 for Ctrl-C."""
    debug = "--debug" in arguments
    try:
        result = app(arguments, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except ClassicsError as error:
        return _fail(str(error), USER_ERROR, debug=debug)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted.", INTERRUPTED, debug=debug)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # a bug: told in a line all the same
        message = " ".join(str(error).split())[:300]
        return _fail(
            f"{type(error).__name__}: {message} (this is a bug; --debug shows where)",
            1,
            debug=debug,
        )
    return result if isinstance(result, int) else 0


def _fail(message: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    return code
