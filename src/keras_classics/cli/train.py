"""`classics train`: from a folder of images to an artefact."""

from __future__ import annotations

import shlex
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_classics.cli import options
from keras_classics.host.units import counted, short

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from rich.console import Console

    from keras_classics.data.check.findings import Finding
    from keras_classics.training.begun import Run
    from keras_classics.training.events import (
        BatchSizeFound,
        BatchSizeTried,
        EpochEnd,
        Estimated,
        Event,
        Features,
        HeadFitted,
        PhaseBegin,
        Prepared,
        Reading,
        Resumed,
        Step,
    )

SHOWN = 3  # paths of a finding
LONG = 600.0  # seconds; what takes longer is said before it begins


def train(
    context: typer.Context,
    folder: options.Data = None,
    group_by: options.GroupBy = None,
    root: options.Root = None,
    network: options.Network = None,
    recipe: options.Recipe = None,
    changes: options.Changes = None,
    width: options.Width = None,
    size: options.Size = None,
    epochs: Annotated[
        int | None,
        typer.Option(show_default="the recipe's: by the number of images, or 12 for quick"),
    ] = None,
    minutes: options.Minutes = None,
    batch_size: options.BatchSize = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Peak learning rate.", show_default="the recipe's"),
    ] = None,
    balance: options.Balance = None,
    monitor: options.Monitor = None,
    patience: options.Patience = None,
    weights: options.Weights = None,
    unfreeze: options.Unfreeze = None,
    batch_norm: options.BatchNorm = None,
    preprocessing: options.Preprocessing = None,
    fit: options.Fit = "crop",
    precision: options.Precision = "auto",
    deterministic: options.Deterministic = False,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write the run to.", show_default="runs/DATA-NETWORK, numbered"
        ),
    ] = None,
    checkpoint_every: Annotated[
        float,
        typer.Option(min=0, help="Seconds between checkpoints; 0 writes one every step."),
    ] = 60.0,
    tensorboard: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write event files for TensorBoard.", show_default=False),
    ] = None,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Log to MLflow at MLFLOW_TRACKING_URI.")
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Resume a run that was interrupted or killed, with its original options.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Train a network on a folder of images and evaluate it on held-out images."""
    began = time.monotonic()
    if resume is not None:
        check_alone(
            context,
            {"resume", "tensorboard", "mlflow"},
            "a run resumes with its original options",
            "start a new run",
        )
    from keras_classics.cli.backend import start

    start()
    from rich.markup import escape

    from keras_classics.cli.terminal import console, running, show_judgement
    from keras_classics.evaluation.report import REPORT
    from keras_classics.training.config import TrainConfig, batch_size_of
    from keras_classics.training.run import resume as resume_training
    from keras_classics.training.run import train as run_training
    from keras_classics.training.tracking import both, mlflow_listener, tensorboard_listener

    screen = console()
    config = TrainConfig(
        folder=folder,
        recipe=recipe,
        changes=tuple(changes or ()),
        group_by=group_by,
        root=root,
        network=network,
        width=width,
        size=size,
        epochs=epochs,
        minutes=minutes,
        batch_size=batch_size_of(batch_size),
        learning_rate=learning_rate,
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
        checkpoint_every=checkpoint_every,
        out=out,
    )
    display = Display(screen)
    with ExitStack() as told:
        board = told.enter_context(tensorboard_listener(tensorboard)) if tensorboard else None
        logged = told.enter_context(mlflow_listener()) if mlflow else None
        listener = both(display.show, board, logged)
        with running(display.progress):
            if resume is None:
                run = run_training(config, listener, began=began)
            else:
                run = resume_training(resume, listener)
        if logged and not run.interrupted:
            logged.finish(run.artefact)
    if run.moved:
        screen.print(f"[yellow]{escape(run.moved)} The run was saved elsewhere.[/]")
    if run.diverged:
        screen.print(
            f"[yellow]the loss became NaN after epoch {run.epochs}; the best epoch before it is "
            "kept. Try a lower --learning-rate.[/]"
        )
    if run.stopped:
        screen.print(f"stopped after epoch {run.epochs}: {run.stopped}")
    if run.judgement:
        show_judgement(screen, run.judgement, "held-out images")
        show_contenders(screen, run)
    where = escape(shlex.quote(str(run.artefact)))
    screen.print(f"artefact: [bold]{escape(str(run.artefact))}[/]", soft_wrap=True)
    if run.interrupted:
        if run.transfer is None:
            screen.print(
                f"interrupted: the best of {counted(run.epochs, 'epoch')} is saved but not "
                "evaluated on held-out images."
            )
        screen.print(f"to resume: classics train --resume {where}", soft_wrap=True)
        return 130
    screen.print(f"report: {escape(str(run.artefact / REPORT))}", soft_wrap=True)
    screen.print(f"next: classics predict {where} IMAGES", soft_wrap=True)
    return 0


def show_contenders(screen: Console, run: Run) -> None:
    """The head and the fine-tuned network side by side, or the best epoch; and the time."""
    took = f"{duration(run.seconds)} in all"
    if run.transfer is None:
        screen.print(f"best epoch {run.best_epoch} of {run.epochs}, {took}")
        return
    tuned = run.transfer["fine_tuned"]
    if tuned:
        from keras_classics.cli.terminal import new_table, show_table

        table = new_table([""], ["validation", "held-out images", "95 % interval", "time"])
        for name, figures in (("head", run.transfer["head"]), ("fine-tuned", tuned)):
            low, high = figures["test"]["accuracy_interval"]
            table.add_row(
                f"{name}, kept" if name == run.transfer["kept"] else name,
                f"{figures['val']['accuracy']:.1%}" if figures["val"] else "-",
                f"{figures['test']['accuracy']:.1%}",
                f"{low:.1%} to {high:.1%}",
                duration(figures["seconds"]),
            )
        show_table(screen, table)
    what = "head" if run.transfer["kept"] == "head" else "fine-tuned network"
    screen.print(f"kept the {what}: {run.transfer['why']}", soft_wrap=True)
    screen.print(took)


def check_alone(context: typer.Context, beside: Collection[str], why: str, instead: str) -> None:
    """Refuse options beside --resume, which would be without effect.

    Args:
        context: Of the command.
        beside: The parameters that may be given.
        why: Others may not.
        instead: What else can be done.

    Raises:
        ClassicsError: With the first such option.
    """
    from keras_classics.errors import ClassicsError

    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name not in beside and source is not None and source.name == "COMMANDLINE":
            given = parameter.opts[0] if parameter.opts[0].startswith("-") else name.upper()
            raise ClassicsError(f"{given} beside --resume: {why}; leave it out, or {instead}.")


class Display:
    """Shows a run: what it is, a progress bar, and a line an epoch."""

    def __init__(self, screen: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.screen = screen
        self.epochs = 0
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=screen,
            transient=True,
        )
        self.task = self.progress.add_task("scanning the data", total=None, rate="")

    def show(self, event: Event) -> None:
        """Show one event."""
        from rich.markup import escape

        from keras_classics.training.events import (
            BatchSizeFound,
            BatchSizeTried,
            Checked,
            EpochEnd,
            Estimated,
            Features,
            HeadFitted,
            NotSaved,
            PhaseBegin,
            Prepared,
            Reading,
            Resumed,
            Step,
        )

        match event:
            case Reading() | BatchSizeTried() | Features() | Step():
                self._working(event)
            case Checked(findings):
                self._checked(findings)
            case BatchSizeFound():
                self._batch_size(event)
            case Prepared():
                self._prepared(event)
            case Estimated():
                self._estimated(event)
            case HeadFitted():
                self._head_fitted(event)
            case Resumed():
                self._resumed(event)
            case NotSaved(reason):
                self.screen.print(
                    f"[yellow]no checkpoint written: {escape(reason)}; training continues[/]"
                )
            case PhaseBegin():
                self._phase_begin(event)
            case EpochEnd():
                self._epoch_end(event)

    def _working(self, event: Reading | BatchSizeTried | Features | Step) -> None:
        from keras_classics.training.events import BatchSizeTried, Features, Reading, Step

        match event:
            case Reading(done, total):
                self.bar("reading images", done, total)
            case BatchSizeTried(size, rate):
                self.bar(f"batches of {size}", 0, None, _throughput(rate))
            case Features(done, total, rate):
                self.bar("computing features", done, total, _throughput(rate))
            case Step(epoch, done, total, rate):
                self.bar(f"epoch {epoch}/{self.epochs}", done, total, _throughput(rate))

    def bar(self, what: str, done: int, total: int | None, rate: str = "") -> None:
        """Show how far the work in hand is."""
        self.progress.update(self.task, description=what, completed=done, total=total, rate=rate)

    def _checked(self, findings: Sequence[Finding]) -> None:
        from rich.markup import escape

        for finding in findings:
            where = ", ".join(finding.places[0].paths[:SHOWN])
            more = "..." if len(finding.places) > 1 or len(finding.places[0].paths) > SHOWN else ""
            self.screen.print(
                f"[yellow]{escape(finding.text)}[/] ({escape(where)}{more}): "
                f"{escape(finding.advice)}",
                soft_wrap=True,
            )
        if findings:
            self.screen.print("`classics check` lists all of them")

    def _batch_size(self, event: BatchSizeFound) -> None:
        rate = f"learning rate {event.learning_rate:g}"
        if event.learning_rate != event.own_rate:
            rate += f", scaled from {event.own_rate:g} for {event.own_size}"
        self.screen.print(f"batches of [bold]{event.batch_size}[/] found by trial; {rate}")
        self.bar("scanning the data", 0, None)

    def _prepared(self, event: Prepared) -> None:
        from rich.markup import escape

        from keras_classics.cli.terminal import show_left_out, show_skipped

        self.epochs = event.epochs
        show_skipped(self.screen, event.skipped)
        if event.ignored:
            self.screen.print(f"{event.ignored:,} files are not images of a class: ignored")
        show_left_out(self.screen, event.left_out)
        self.screen.print(
            f"[bold]{escape(event.source)}[/]: {event.classes} classes, "
            f"{event.train:,} training, {event.val:,} validation and {event.test:,} held-out images"
        )
        width = "" if event.width == 1 else f"width {event.width:g}, "
        self.screen.print(
            f"[bold]{event.network}[/], {width}{event.size} x {event.size} pixels, "
            f"{short(event.parameters)} parameters, {short(event.macs)} multiply-adds per image"
        )
        why = f" ({escape(event.why)})" if event.why else ""
        begins = (
            f"trained weights [bold]{escape(event.weights)}[/]"
            if event.weights
            else "random weights"
        )
        self.screen.print(f"starts from {begins}{why}", soft_wrap=True)
        precision = "" if event.policy == "float32" else f", {event.policy.replace('_', ' ')}"
        what = "a new head" if event.weights else ""
        if event.epochs:
            epochs = f"{counted(event.epochs, 'epoch')}, batches of {event.batch_size}{precision}"
            what = f"{what}, then {epochs}" if what else epochs
        self.screen.print(f"recipe [bold]{escape(event.recipe)}[/]: {what}")
        self.progress.reset(self.task, total=None, description="compiling the first step", rate="")

    def _estimated(self, event: Estimated) -> None:
        if event.minutes is not None or event.features + event.fine_tuning <= LONG:
            return
        parts = [f"features {duration(event.features)}"]
        faster = "fewer pixels (--size), or a faster --network"
        if event.epochs:
            parts.append(f"fine-tuning {duration(event.fine_tuning)}")
            faster = "--unfreeze none (features and head only), or --minutes 10"
        self.screen.print(
            f"[yellow]this will take a while[/]: about {', '.join(parts)}; faster: {faster}",
            soft_wrap=True,
        )

    def _head_fitted(self, event: HeadFitted) -> None:
        self.epochs = event.epochs
        accuracy = ""
        if event.accuracy is not None:
            accuracy = f" {event.accuracy:.1%} of {event.images:,} validation images,"
        line = f"[bold]head[/]:{accuracy} after {duration(event.seconds)}"
        if event.epochs:
            epochs = counted(event.epochs, "epoch")
            if event.epochs < event.wanted:
                epochs += f" (all that fit; {event.wanted} were planned)"
            about = f", about {duration(event.fine_tuning)}" if event.fine_tuning else ""
            line += f"; now fine-tuning for {epochs}{about}; Ctrl-C keeps the head"
        self.screen.print(line, soft_wrap=True)
        self.bar("evaluating the head", 0, None)

    def _resumed(self, event: Resumed) -> None:
        from rich.markup import escape

        at = f"epoch {event.epoch + 1}, step {event.step + 1}"
        self.screen.print(f"[bold]resuming[/] at {at}")
        if event.differs:
            self.screen.print(
                f"[yellow]{escape(', '.join(event.differs))}: results may differ slightly[/]"
            )

    def _phase_begin(self, event: PhaseBegin) -> None:
        from rich.markup import escape

        self.screen.print(
            f"[bold]unfreezing {escape(', '.join(event.stages))}[/] ({short(event.trained)} of "
            f"{short(event.parameters)} parameters)"
        )

    def _epoch_end(self, event: EpochEnd) -> None:
        self.screen.print(
            f"epoch {event.epoch:>3}/{self.epochs}   "
            f"train {event.loss:.3f} {event.accuracy:6.1%}   "
            f"validation {event.val_loss:.3f} {event.val_accuracy:6.1%}   "
            f"{_throughput(event.images_per_second)}{'   [green]best[/]' if event.best else ''}"
        )


def _throughput(images_per_second: float) -> str:
    return f"{images_per_second:,.0f} images/s" if images_per_second else ""


def duration(seconds: float) -> str:
    """Minutes and seconds, in words."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
