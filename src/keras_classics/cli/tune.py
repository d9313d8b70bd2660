"""`classics tune`: settings that suit a folder of images, found within a time."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from keras_classics.architectures import DEFAULT
from keras_classics.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from keras_classics.training.head_search import HeadTrial
    from keras_classics.training.search_space import Space
    from keras_classics.training.trials import Trial
    from keras_classics.training.tuned import Tuned
    from keras_classics.training.tuning import TuneEvent

BEST = "   [green]best[/]"
SHOWN = 8  # of the best trials
BESIDE_RESUME = {"resume", "minutes", "as_json"}


def tune(
    context: typer.Context,
    folder: options.Data = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Time limit in minutes, final run included.", show_default=False),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(help="Maximum number of trials.", show_default="as many as time allows"),
    ] = None,
    learning_rate: Annotated[
        list[float] | None,
        typer.Option(
            help="Learning rate. Once: fixed. Twice: lowest and highest.",
            show_default="a tenth to ten times the recipe's",
        ),
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(
            help="Height and width in pixels. Once: fixed. Several times: choices.",
            show_default="half to twice the recipe's",
        ),
    ] = None,
    width: Annotated[
        list[float] | None,
        typer.Option(
            help="Width multiplier. Once: fixed. Several times: choices.",
            show_default="half to twice the recipe's",
        ),
    ] = None,
    augmentation: Annotated[
        list[float] | None,
        typer.Option(
            help="Multiplies the recipe's amounts, 0 is none. Once: fixed. Twice: the lowest and "
            "the highest.",
            show_default="0 to 2",
        ),
    ] = None,
    group_by: options.GroupBy = None,
    root: options.Root = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="See `classics networks`. With trained weights, several times: choices.",
            show_default=f"all with trained weights available; {DEFAULT} for random weights",
        ),
    ] = None,
    recipe: options.Recipe = None,
    changes: options.Changes = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of every trial.", show_default="the recipe's")
    ] = None,
    batch_size: options.BatchSize = None,
    balance: options.Balance = None,
    monitor: Annotated[
        Literal["val_accuracy", "val_loss", "val_f1"] | None,
        typer.Option(
            help="Metric that trials and epochs are compared by.", show_default="the recipe's"
        ),
    ] = None,
    patience: options.Patience = None,
    weights: options.Weights = None,
    unfreeze: options.Unfreeze = None,
    batch_norm: options.BatchNorm = None,
    preprocessing: options.Preprocessing = None,
    fit: options.Fit = "crop",
    precision: options.Precision = "auto",
    deterministic: options.Deterministic = False,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**32 - 1, help="Random seed."),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write to.", show_default="runs/DATA-NETWORK-tuned, numbered"),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Resume a tuning that was interrupted or killed; --minutes gives it more time.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> int:
    """Find network, size, learning rate and augmentation by trials, then train with the best."""
    from keras_classics.cli.train import check_alone
    from keras_classics.errors import ClassicsError

    if resume is not None:
        check_alone(
            context, BESIDE_RESUME, "a tuning resumes with its original options", "start a new one"
        )
    elif minutes is None:
        raise ClassicsError("--minutes is missing: how long may it take in all?")
    from keras_classics.cli.backend import start

    start()
    import json

    from keras_classics.cli.terminal import console, running
    from keras_classics.training.config import TrainConfig, batch_size_of
    from keras_classics.training.search_space import Ranges
    from keras_classics.training.tuning import TuneConfig, resume_tuning
    from keras_classics.training.tuning import tune as run_tuning

    screen = console(error=as_json)
    seconds = None if minutes is None else 60 * minutes
    display = _Display(screen)
    with running(display.run.progress):
        if resume is not None:
            tuned = resume_tuning(resume, display.show, seconds=seconds)
        else:
            base = TrainConfig(
                folder=folder,
                recipe=recipe,
                changes=tuple(changes or ()),
                group_by=group_by,
                root=root,
                network=network[0] if network else None,
                epochs=epochs,
                batch_size=batch_size_of(batch_size),
                weights=weights,
                unfreeze=unfreeze,
                batch_norm=batch_norm,
                preprocessing=preprocessing,
                balance=balance,
                monitor=monitor,
                patience=patience,
                fit=fit,
                precision=precision,
                deterministic=deterministic,
                seed=seed,
            )
            ranges = Ranges(
                learning_rate=tuple(learning_rate or ()),
                size=tuple(size or ()),
                width=tuple(width or ()),
                augmentation=tuple(augmentation or ()),
            )
            networks = tuple(network or ())
            config = TuneConfig(base, 60 * (minutes or 0.0), trials, ranges, out, networks)
            tuned = run_tuning(config, display.show)
    if as_json:
        typer.echo(json.dumps(tuned.to_dict(), indent=2))
    else:
        _show(screen, tuned)
    return 130 if tuned.interrupted else 0


class _Display:
    """Shows a tuning: a line a trial, a bar for the running one, and the final run as such."""

    def __init__(self, screen: Console) -> None:
        from keras_classics.cli.train import Display

        self.screen = screen
        self.run = Display(screen)
        self.what = ""  # is running
        self.monitor = "val_accuracy"
        self.final = False

    def show(self, event: TuneEvent) -> None:
        """Show one event."""
        from rich.markup import escape

        from keras_classics.cli.train import duration
        from keras_classics.training import tuning
        from keras_classics.training.events import EpochEnd, PhaseBegin, Step

        match event:
            case tuning.TuneBegin():
                self.monitor = event.monitor
                skipped = f" ({event.skipped} cannot be read)" if event.skipped else ""
                heads = f"; first, the heads of {event.heads} pairs of network and size"
                self._line(
                    f"[bold]{escape(event.source)}[/]: {event.classes} classes, {event.train:,} "
                    f"training, {event.val:,} validation and {event.test:,} held-out images"
                    f"{skipped}"
                )
                self._line(
                    f"{duration(max(0.0, event.seconds))} in all, final run included"
                    f"{heads if event.heads else ''}"
                )
            case tuning.HeadTried():
                self._head_tried(event.trial, best=event.best)
            case tuning.TrialsBegin():
                self.run.epochs = event.epochs
                fixed = "size" not in event.space.varied
                size = f", {event.space.default.size} pixels" if fixed else ""
                self._line(
                    f"[bold]{event.network}[/]{size}, {event.epochs} epochs a trial, the recipe's "
                    f"own settings first: {_ranges(event.space)}"
                )
                if event.done:
                    self._line(f"{event.done} trials are there already")
            case tuning.TrialBegin():
                self.what = f"trial {event.number + 1}"
                left = f"{duration(max(0.0, event.left))} left"
                if event.reserved:
                    left += f", {duration(event.reserved)} of them for the final run"
                self.run.bar(f"{self.what} ({left})", 0, None)
            case tuning.TrialEnd():
                trial = event.trial
                status = "" if trial.status == "complete" else f"   {trial.status}"
                self._line(
                    f"trial {trial.number + 1:>3}   {trial.settings}   "
                    f"{_figure(trial, self.monitor) or '-'}   {trial.seconds:.0f} s{status}"
                    f"{BEST if event.best else ''}"
                )
            case tuning.FinalBegin():
                self.final = True
                head = f"the head, {event.settings.size} pixels"
                self._line(
                    f"[bold]the final run[/]: {event.network}, "
                    f"{event.settings if event.epochs else head}"
                )
                if event.seconds is not None and event.seconds > event.left:
                    self._line(
                        f"[yellow]it needs about {duration(event.seconds)} but only "
                        f"{duration(max(0.0, event.left))} are left: the time limit was too "
                        "short[/]"
                    )
            case Step() if not self.final:
                self.run.bar(
                    f"{self.what}, epoch {event.epoch}/{self.run.epochs}", event.done, event.total
                )
            case EpochEnd() | PhaseBegin() if not self.final:
                pass  # of a trial
            case _:
                self.run.show(event)

    def _head_tried(self, trial: HeadTrial, *, best: bool) -> None:
        from keras_classics.cli.train import duration

        figure, took = _figure(trial, self.monitor), f"{trial.seconds:.0f} s"
        if trial.status == "too long":
            figure, took = "not tried", f"would take about {duration(trial.seconds)}"
        elif trial.status == "no memory":
            figure = trial.status
        self._line(f"head   {trial.candidate}   {figure}   {took}{BEST if best else ''}")

    def _line(self, text: str) -> None:
        self.screen.print(text, soft_wrap=True)


def _ranges(space: Space) -> str:
    ranges = {
        "learning_rate": " to ".join(f"{value:.3g}" for value in space.learning_rate),
        "size": ", ".join(f"{value}" for value in space.size),
        "width": ", ".join(f"{value:g}" for value in space.width),
        "augmentation": " to ".join(f"{value:g}" for value in space.augmentation),
    }
    return "; ".join(f"{name.replace('_', ' ')} {ranges[name]}" for name in space.varied)


def _figure(trial: Trial | HeadTrial, monitor: str) -> str:
    if trial.value is None:
        return ""
    return f"{trial.value:.3f}" if monitor == "val_loss" else f"{trial.value:.1%}"


def _show(screen: Console, tuned: Tuned) -> None:
    """The best trials, the outcome, and what to do next."""
    from rich.markup import escape

    from keras_classics.cli.terminal import show_judgement

    if tuned.ranked:
        _show_trials(screen, tuned)
    run = tuned.run
    where = escape(shlex.quote(str(tuned.folder)))
    lines = tuned.remarks()
    if run is not None and run.judgement:
        show_judgement(screen, run.judgement, "held-out images, seen by the final run alone")
    if tuned.best is not None:
        heads = "heads.csv, " if tuned.heads else ""
        lines.append(
            f"{heads}trials.csv, best.toml, trials.svg: in [bold]{escape(str(tuned.folder))}[/]"
        )
    if tuned.interrupted:
        lines.append(f"interrupted; resume with: classics tune --resume {where}")
    elif run is not None:
        artefact = escape(shlex.quote(str(run.artefact)))
        lines.append(f"artefact: [bold]{escape(str(run.artefact))}[/]")
        lines.append(f"the same run: {escape(tuned.command)}")
        lines.append(f"next: classics predict {artefact} IMAGES")
    for line in lines:
        screen.print(line, soft_wrap=True)


def _show_trials(screen: Console, tuned: Tuned) -> None:
    from keras_classics.cli.terminal import new_table, show_table

    many = f"the best of {len(tuned.trials)} trials"
    table = new_table(
        ["trial"],
        ["learning rate", "size", "width", "augmentation", "validation", "epoch", "seconds"],
        title=many if len(tuned.trials) > 1 else "the one trial",
    )
    for trial in tuned.ranked[:SHOWN]:
        own = " (recipe)" if trial.settings == tuned.space.own else ""
        stopped = "" if trial.status == "complete" else f" ({trial.status})"
        settings = trial.settings
        table.add_row(
            f"{trial.number + 1}{own}{stopped}",
            f"{settings.learning_rate:.3g}",
            f"{settings.size}",
            f"{settings.width:g}",
            f"{settings.augmentation:g}",
            _figure(trial, tuned.monitor),
            f"{trial.best_epoch}",
            f"{trial.seconds:.0f}",
        )
    show_table(screen, table)
