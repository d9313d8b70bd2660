"""The application: its commands, and what becomes of errors."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer

from keras_classics import __version__
from keras_classics.cli import (
    augment,
    benchmark,
    check,
    compare,
    convert,
    draw,
    evaluate,
    explain,
    explore,
    export,
    find_rate,
    learning_curve,
    networks,
    predict,
    recipes,
    report,
    serve,
    summary,
    train,
    tune,
    verify,
    weights,
)
from keras_classics.errors import ClassicsError, NothingLearntError, out_of_memory
from keras_classics.host.streams import forget

TOO_LARGE = "not enough memory; take a smaller --size, --width or --batch-size."

app = typer.Typer(
    name="classics",
    help="The landmark convolutional networks: inspect, train, evaluate, predict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _InterruptedError(Exception):
    """Ctrl-C, in a shape that Typer lets through: it would end in silence."""


def _guarded(command: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(command)
    def guarded(*arguments: Any, **options: Any) -> object:
        try:
            return command(*arguments, **options)
        except KeyboardInterrupt:
            raise _InterruptedError from None

    return guarded


COMMANDS: tuple[Callable[..., object], ...] = (
    check.check,
    augment.augment,
    train.train,
    find_rate.find_rate,
    tune.tune,
    evaluate.evaluate,
    predict.predict,
    explain.explain,
    compare.compare,
    report.report,
    export.export,
    learning_curve.learning_curve,
    networks.networks,
    summary.summary,
    draw.draw,
    explore.explore,
    serve.serve,
    benchmark.benchmark,
    convert.convert,
    verify.verify,
)
for command in COMMANDS:
    app.command()(_guarded(command))

_weights = typer.Typer(invoke_without_command=True, help=weights.weights.__doc__)
_weights.callback()(_guarded(weights.weights))
_weights.command()(_guarded(weights.show))
_weights.command()(_guarded(weights.fetch))
app.add_typer(_weights, name="weights")

_recipes = typer.Typer(invoke_without_command=True, help=recipes.recipes.__doc__)
_recipes.callback()(_guarded(recipes.recipes))
_recipes.command()(_guarded(recipes.show))
app.add_typer(_recipes, name="recipes")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"keras-classics {__version__}")
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
    wanted = [argument for argument in arguments if argument != "--debug"]  # at any place
    if "" in wanted:  # as a path it would mean the current folder
        return _fail("an empty argument; is a variable of the shell unset?", 2, debug=debug)
    try:
        result = app(wanted or ["--help"], standalone_mode=False)
    except (ClassicsError, _InterruptedError, KeyboardInterrupt) as error:
        interrupted = not isinstance(error, ClassicsError) or isinstance(error, NothingLearntError)
        return _fail(str(error) or "interrupted.", 130 if interrupted else 2, debug=debug)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        forget(sys.stdout)
        return 0
    except OSError as error:  # the system refuses: no space, no permission, no such device
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}.", 2, debug=debug)
    except Exception as error:
        if out_of_memory(error):
            return _fail(TOO_LARGE, 2, debug=debug)
        # Typer brings its own copy of Click or takes the installed one, so the errors of parsing
        # are told by what they can do.
        if hasattr(error, "format_message"):
            message = " ".join(error.format_message().split()).rstrip(".")  # choices stand in lines
            return _fail(f"{message}. See --help.", 2, debug=debug)
        message = " ".join(str(error).split())[:300]
        bug = f"{type(error).__name__}: {message} (this is a bug; --debug shows where)"
        return _fail(bug, 1, debug=debug)
    return result if isinstance(result, int) else 0


def _fail(message: str, code: int, *, debug: bool) -> int:
    from keras_classics.errors import one_line

    if debug:
        traceback.print_exc()
    typer.echo(f"{typer.style('error:', fg='red', bold=True)} {one_line(message)}", err=True)
    return code
