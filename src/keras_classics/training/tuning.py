"""Tuning: which learning rate, size, width and strength of augmentation suit these images?"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from keras_classics.classifier.card import CARD
from keras_classics.classifier.card import RECORD as RUN_RECORD
from keras_classics.data.check.run import quick_check
from keras_classics.errors import (
    ClassicsError,
    DataError,
    DivergedError,
    NothingLearntError,
    out_of_memory,
)
from keras_classics.evaluation.metrics import interval
from keras_classics.host.interrupts import Interrupts, handled
from keras_classics.host.staging import Staging, check_outside, free_name, staging, taken
from keras_classics.training import tuning_files
from keras_classics.training.batch_size import with_batch_size
from keras_classics.training.begun import Run
from keras_classics.training.budget import Budget, Clock, expected, reserve
from keras_classics.training.config import TrainConfig
from keras_classics.training.events import Checked, EpochEnd, Event, Features, Step
from keras_classics.training.fitting import Fitting, feed, fit
from keras_classics.training.head_search import (
    SHARE,
    Candidate,
    HeadTrial,
    best_head,
    candidates,
    too_long,
    try_head,
)
from keras_classics.training.images import Images
from keras_classics.training.judging import command, hardware
from keras_classics.training.recipe import Monitor
from keras_classics.training.record import Record
from keras_classics.training.release import released
from keras_classics.training.run import resume as resume_run
from keras_classics.training.run import train
from keras_classics.training.search_space import Ranges, Settings, Space, space_of
from keras_classics.training.shelf import Shelf
from keras_classics.training.task import Task, computing, task_of
from keras_classics.training.trials import (
    NEVER_RUN,
    Status,
    Study,
    Trial,
    best_of,
    check_optuna,
    open_study,
    rank,
)

RUN = "run"  # the final one, in the folder of the tuning
DRAWS = 5  # in a row that are not begun, after which no more is drawn
NOTED_EVERY = 10.0  # seconds: of the time spent, a kill forgets no more, and an epoch


@dataclass(frozen=True)
class TuneConfig:
    """What to tune, and for how long."""

    base: TrainConfig  # the run whose settings are varied; its `out` is not used
    seconds: float  # in all, the final run among them
    trials: int | None = None  # at most
    ranges: Ranges = dataclasses.field(default_factory=Ranges)
    out: Path | None = None  # runs/<data>-<network>-tuned, numbered
    networks: tuple[str, ...] = ()  # with trained weights; none for those that are at hand


@dataclass(frozen=True)
class TuneBegin:
    """The images are there; the first trial begins."""

    source: str
    classes: int
    train: int  # images in each part
    val: int
    test: int
    skipped: int
    network: str
    space: Space
    epochs: int  # of a trial
    seconds: float  # of the budget that are left
    done: int  # trials of earlier processes
    heads: int = 0  # networks and sizes that are tried by their heads first


@dataclass(frozen=True)
class HeadTried:
    """With trained weights: a network and a size were tried by the head alone, or not begun."""

    trial: HeadTrial
    best: bool  # so far


@dataclass(frozen=True)
class TrialsBegin:
    """With trained weights: the heads are tried; trials of the best network and size begin."""

    network: str
    space: Space
    epochs: int  # of a trial


@dataclass(frozen=True)
class TrialBegin:
    """A trial begins."""

    number: int  # from 0
    settings: Settings
    seconds: float | None  # that it will take, unless it is pruned; None: not known yet
    left: float  # seconds of the budget
    reserved: float  # of these, for the final run


@dataclass(frozen=True)
class TrialEnd:
    """A trial is over, or was not begun."""

    trial: Trial
    best: bool  # so far


@dataclass(frozen=True)
class FinalBegin:
    """The final run begins."""

    network: str
    settings: Settings
    seconds: float | None  # that it will take; None: not known
    left: float  # seconds of the budget; may be too few
    epochs: int  # 0: the head alone is fitted


TuneEvent = Event | TuneBegin | HeadTried | TrialsBegin | TrialBegin | TrialEnd | FinalBegin
TuneListener = Callable[[TuneEvent], None]


@dataclass(frozen=True)
class Tuned:
    """What came of a tuning."""

    folder: Path
    space: Space
    trials: tuple[Trial, ...]
    best: Trial | None  # None where no trial ended an epoch: the recipe's own settings then
    monitor: Monitor
    val_images: int  # that the trials were compared on
    importances: dict[str, float]
    run: Run | None  # None if it was interrupted before
    interrupted: bool
    moved: int  # images that the final run had in another part than the trials
    heads: tuple[HeadTrial, ...] = ()  # of trained weights, with which the tuning began
    fine_tunes: bool = True  # whether there are trials at all

    @property
    def head(self) -> HeadTrial | None:
        """The best of the heads, whose network and size the trials have."""
        return best_head(self.heads, self.monitor)

    @property
    def first(self) -> Trial | None:
        """The trial of the recipe's own settings, or of those nearest to them."""
        own = [trial for trial in self.trials if trial.settings == self.space.default]
        return next((trial for trial in own if trial.judged), None)

    @property
    def settings(self) -> Settings:
        """The best ones."""
        return self.best.settings if self.best else self.space.default

    @property
    def config(self) -> TrainConfig:
        """A run with them."""
        return self.space.config(self.settings)

    @property
    def ran(self) -> tuple[Trial, ...]:
        """The trials that were begun."""
        return tuple(trial for trial in self.trials if trial.status not in NEVER_RUN)

    @property
    def ranked(self) -> list[Trial]:
        """The trials whose figures count, the best first."""
        judged = [trial for trial in self.trials if trial.judged]
        return sorted(judged, key=lambda trial: rank(trial, self.monitor), reverse=True)

    @property
    def command(self) -> str:
        """That repeats the final run."""
        return command(self.config)

    def remarks(self) -> list[str]:
        """What to make of the figures."""
        best, first = self.best, self.first
        judged = sum(head.judged for head in self.heads)
        if best is None and not self.fine_tunes:
            return [_luckiest(f"{judged} heads")] if judged > 1 else []
        if best is None:
            return ["no trial ended an epoch in this time: the run has the recipe's own settings"]
        said = []
        if best.settings == self.space.own:
            said.append("nothing was better than the recipe's own settings on the validation part")
        elif first is not None and first.settings == self.space.own:
            said.append(
                f"validation: {self._figure(best)}, with the recipe's own settings "
                f"{self._figure(first)}, on {self.val_images:,} images"
            )
        if len(self.ranked) > 1:
            said.append(_luckiest(f"{len(self.ranked)} trials"))
        if self.moved:
            said.append(
                f"{self.moved} images were in another part in the final run than in the trials, as "
                "near copies look different in other sizes"
            )
        return said

    def _figure(self, trial: Trial) -> str:
        if trial.value is None:
            return "-"
        if self.monitor == "val_loss":
            return f"loss {trial.value:.3f}"
        if self.monitor == "val_f1":
            return f"F1 {trial.value:.1%}"
        low, high = interval(trial.value, self.val_images)
        return f"{trial.value:.1%} ({low:.1%} to {high:.1%})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        judgement = self.run.judgement if self.run else None
        return {
            "folder": str(self.folder),
            "monitor": self.monitor,
            "best": dataclasses.asdict(self.best) if self.best else None,
            "recipes_own": dataclasses.asdict(self.first) if self.first else None,
            "command": self.command,
            "heads": [dataclasses.asdict(head) for head in self.heads],
            "trials": [dataclasses.asdict(trial) for trial in self.trials],
            "importances": self.importances,
            "validation_images": self.val_images,
            "moved_images": self.moved,
            "interrupted": self.interrupted,
            "artefact": str(self.run.artefact) if self.run else None,
            "held_out": judgement.to_dict() if judgement else None,
        }


def _luckiest(which: str) -> str:
    return (
        f"the best of {which} is partly luck: expect less on new images, and trust the held-out "
        "figures"
    )


class _Stop(Exception):  # noqa: N818  nothing went wrong
    """Raised by a trial's listener to end it."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


def tune(
    config: TuneConfig, listener: TuneListener | None = None, *, clock: Clock = time.monotonic
) -> Tuned:
    """Try settings on the validation part, train with the best ones, judge that run once.

    With trained weights, networks and sizes are tried by their heads first, and the trials have the
    best of them. The first trial has the recipe's own settings. All trials have the same images in
    the same parts, the same seed and the same epochs. The held-out part is looked at by the final
    run alone.

    Args:
        config: What to tune, and for how long.
        listener: Told what goes on.
        clock: Seconds since some moment.

    Returns:
        The trials and the final run. On Ctrl-C after the first trial, what was found is kept, and
        `resume_tuning` resumes.

    Raises:
        ClassicsError: If the data, the arguments, the weights or the place cannot be used, or
            Optuna is not installed; nothing is left behind then.
        NothingLearntError: On Ctrl-C before a trial is over.
    """
    check_optuna()
    _check(config)
    ranges, base = config.ranges, dataclasses.replace(config.base, out=None)
    fixed = {
        name: values[0]
        for name in ("learning_rate", "size", "width")
        if len(values := getattr(ranges, name)) == 1
    }
    base = dataclasses.replace(base, **fixed)
    tell: TuneListener = listener or (lambda _: None)
    task = task_of(base, tell)
    plan = candidates(task, ranges, config.networks, _space)
    space = _space(task, ranges)
    _check_anything_left(task, space, plan)
    out = config.out or free_name(Path("runs"), f"{base.data_name}-{task.architecture.name}-tuned")
    if base.folder is not None:
        check_outside(out, base.folder)
    with handled() as interrupts, staging(out) as stage:
        task = with_batch_size(task)
        if task.config is not base:
            space = _space(task, ranges)
        config = dataclasses.replace(config, base=task.config)
        record = Record.of(task, task.policy(), "optuna")
        search = _Search(config, task, space, record, stage, interrupts, tell, clock, plan)
        search.look_at_data()
        search.write_record()
        stage.publish()
        with taken(stage.folder):
            tuned = search.search_and_train()
        stage.kept = True
        return tuned


def resume_tuning(
    folder: Path,
    listener: TuneListener | None = None,
    *,
    seconds: float | None = None,
    clock: Clock = time.monotonic,
) -> Tuned:
    """Go on with a tuning that was interrupted, killed or lost its power.

    Args:
        folder: Of the tuning, as `tune` made it.
        listener: Told what goes on.
        seconds: From now on; None for what is left of the budget.
        clock: Seconds since some moment.

    Raises:
        ClassicsError: If it is not the folder of a tuning, is finished, goes on elsewhere, or the
            images or the backend are not those that it began with; the folder stays as it is.
        NothingLearntError: On Ctrl-C before anything more is found.
    """
    check_optuna()
    values = tuning_files.read_record(folder)
    path = folder / tuning_files.RECORD
    final = folder / RUN
    if (final / CARD).is_file() and not (final / RUN_RECORD).is_file():
        raise ClassicsError(f"{folder}: is finished; its artefact is {final}.")
    try:
        record = Record.from_dict(values)
        ranges = TypeAdapter(Ranges).validate_json(json.dumps(values["ranges"]))
        budget, trials = float(values["seconds"]), values["most_trials"]
        plan = TypeAdapter(tuple[Candidate, ...]).validate_python(values.get("plan", ()))
        heads = TypeAdapter(list[HeadTrial]).validate_python(values.get("heads", []))
    except (KeyError, TypeError, ValueError) as error:
        raise ClassicsError(f"{path}: not the record of a tuning or corrupt.") from error
    if seconds is not None:
        _check_seconds(seconds)
    tell: TuneListener = listener or (lambda _: None)
    record.check_here()
    task = task_of(record.placed(), tell)
    record.check_images(task)
    config = TuneConfig(task.config, budget, trials, ranges=ranges)
    stage = Staging(folder, folder.resolve(), kept=True)
    with handled() as interrupts, taken(stage.folder):
        space = _space(task, ranges)
        search = _Search(
            config, task, space, record, stage, interrupts, tell, clock, plan, heads, seconds
        )
        if not (final / RUN_RECORD).is_file():
            search.look_at_data()
        return search.search_and_train()


@dataclass
class _Search:
    """One process that tunes."""

    config: TuneConfig
    task: Task
    space: Space
    record: Record
    stage: Staging
    interrupts: Interrupts
    tell: TuneListener
    clock: Clock
    plan: tuple[Candidate, ...]  # tried by their heads
    heads: list[HeadTrial] = dataclasses.field(default_factory=list)  # what came of them
    more: float | None = None  # seconds, where a later process is given others
    data: Images | None = None

    def __post_init__(self) -> None:
        self.shelf = Shelf(self.stage.folder)
        self.budget = Budget(self.config.seconds, spent=0.0, clock=self.clock)
        self.begun = False  # and told

    @property
    def monitor(self) -> Monitor:
        """What decides."""
        return self.task.recipe.selection.monitor

    @property
    def epochs(self) -> int:
        """Of a trial, unless it ends early."""
        return self.task.recipe.epochs

    def look_at_data(self) -> None:
        """Decode the images in the recipe's own size.

        Raises:
            DataError: If trials could not be compared on them.
        """
        self.data = self.shelf.images(self._task(self.space.default))
        if not len(self.data.part("val")):
            raise DataError(
                f"{self.data.source}: there are too few images for a validation part, on which "
                "settings are compared; add some to each class."
            )
        if self.task.config.folder is not None:
            balance = self.task.recipe.balance
            found = quick_check(self.data.listing, copies=self.data.copies, balance=balance)
            self.tell(Checked(found))

    def search_and_train(self) -> Tuned:
        """All the trials, and the final run."""
        self.interrupts.at_once = False  # from here on there is something to lose
        self.shelf.scratch = self.stage.folder  # which is in its place now
        before = sum(head.seconds for head in self.heads if head.judged)
        total = self.config.seconds if self.more is None else before + self.more
        self.budget = Budget(total, spent=before, clock=self.clock)
        tried = self._try_heads()
        with open_study(
            self.stage.folder,
            self.space,
            monitor=self.monitor,
            epochs=self.epochs,
            seed=self.task.config.seed,
        ) as study:
            study.go_on()
            if tried:
                study.spent = self.budget.spent
            else:
                spent = max(study.spent, before)
                total = spent + self.more if self.more is not None else self.config.seconds
                self.budget = Budget(total, spent=spent, clock=self.clock)
            interrupted = False
            if self.data is not None and self._trials_wanted:
                self._tell_begin(study)
                if self.heads:
                    title = self.task.architecture.title
                    self.tell(TrialsBegin(title, self.space, self.epochs))
                try:
                    self._search(study)
                    self.interrupts.check()
                except KeyboardInterrupt:
                    interrupted = True
                if interrupted and not best_of(study.trials(), self.monitor):
                    raise self._nothing("interrupted before a trial was over", found=False)
                self.stage.kept = True
            self.shelf.tidy()
            self.shelf = Shelf(self.stage.folder)  # the run decodes its own
            tuned = self._write(study, run=None, interrupted=interrupted, last=True)
            if interrupted:
                return tuned
            run = self._final(tuned)
            study.spent = self.budget.spent
            return self._write(study, run=run, interrupted=run.interrupted, last=True)

    @property
    def _trials_wanted(self) -> bool:
        return self.task.fine_tunes and bool(self.space.varied)

    def _try_heads(self) -> bool:
        """Try all candidates that fit, and take the best network and size; whether one was tried.

        Raises:
            NothingLearntError: On Ctrl-C.
        """
        done = {head.candidate for head in self.heads}
        left = [each for each in self.plan if each not in done] if self.data is not None else []
        if left:
            self._tell_begin(None)
        try:
            for each in left:
                self._try_head(each)
                self.interrupts.check()
        except KeyboardInterrupt:
            found = any(head.judged for head in self.heads)
            raise self._nothing("interrupted while heads were tried", found=found) from None
        best = best_head(self.heads, self.monitor)
        if best is not None:
            self.task = best.candidate.task(self.task)
            sizes = (best.candidate.size,)
            self.space = _space(self.task, dataclasses.replace(self.config.ranges, size=sizes))
        return bool(left)

    def _try_head(self, candidate: Candidate) -> None:
        """Try one, unless it would take too long; the first one, whatever it takes."""
        longest = None
        if self.heads:
            longest = self._left_for_heads()
        seconds = None if longest is None else too_long(candidate, self.heads, longest)
        if seconds is not None:
            trial = HeadTrial(candidate, "too long", seconds=seconds)
        else:
            policy, config = self.record.policy, self.task.config
            with released(), self.interrupts.allowed(), computing(policy, config):
                trial = try_head(
                    candidate, self.task, self.shelf, clock=self.clock, longest=longest
                )
        self.heads.append(trial)
        best = best_head(self.heads, self.monitor)
        self.tell(HeadTried(trial, best=best is trial))
        self.stage.kept = self.stage.kept or trial.judged
        self.write_record()

    def _left_for_heads(self) -> float:
        """Seconds; where nothing is fine-tuned, all but those of the final run."""
        if not self.task.fine_tunes:
            return self.budget.left - self._reserve(0.0)
        others = sum(head.seconds for head in self.heads[1:] if head.judged)
        return SHARE * self.budget.seconds - others

    def _nothing(self, what: str, *, found: bool) -> NothingLearntError:
        """What is told where there is no outcome yet."""
        go_on = f"resume with `classics tune --resume {self.stage.out}`."
        return NothingLearntError(
            f"{what}: {go_on if found or self.stage.kept else 'nothing was found, nothing saved.'}"
        )

    def _search(self, study: Study) -> None:
        """Trial after trial, until time or trials are used up."""
        unused = 0
        while unused < DRAWS and self._another(study):
            optuna_trial, settings = study.begin()
            trials = study.trials()
            seconds = expected(settings, trials, self.epochs)
            status = self._why_not(settings, trials, seconds)
            if status:
                trial = Trial(optuna_trial.number, settings, status)
                study.end(optuna_trial, trial)
                self.tell(TrialEnd(trial, best=False))
                unused += 1
                continue
            unused = 0
            self.tell(
                TrialBegin(
                    optuna_trial.number,
                    settings,
                    seconds,
                    left=self.budget.left,
                    reserved=self._reserved(trials),
                )
            )
            trial = self._try(study, optuna_trial, settings)
            study.end(optuna_trial, trial)
            study.spent = self.budget.spent
            best = best_of(study.trials(), self.monitor)
            self.tell(TrialEnd(trial, best=best is not None and best.number == trial.number))
            if trial.status == "interrupted":
                raise KeyboardInterrupt
            self.stage.kept = True
            self._write(study, run=None, interrupted=False)

    def _another(self, study: Study) -> bool:
        """Whether there is anything to begin another trial with."""
        trials = study.trials()
        ran = [t for t in trials if t.status not in {"interrupted", "killed", *NEVER_RUN}]
        if self.config.trials is not None and len(ran) >= self.config.trials:
            return False
        return self.budget.left > self._reserved(trials)

    def _reserved(self, trials: tuple[Trial, ...]) -> float:
        """Seconds for the final run, as far as is known what it will take."""
        return self._reserve(expected(self._best(trials).settings, trials, self.epochs))

    def _reserve(self, seconds: float | None) -> float:
        """Seconds for the final run, from those of a trial; it computes features anew."""
        best = best_head(self.heads, self.monitor)
        return reserve(seconds) + (best.seconds if best else 0.0)

    def _best(self, trials: tuple[Trial, ...]) -> Trial:
        found = best_of(trials, self.monitor)
        return found or Trial(-1, self.space.default, "complete")

    def _why_not(
        self, settings: Settings, trials: tuple[Trial, ...], seconds: float | None
    ) -> Status | None:
        """Why a trial is not begun; None if it is."""
        if any(t.settings == settings and t.judged for t in trials):
            return "repeat"
        if seconds is None:
            return None
        needed = seconds + max(self._reserve(seconds), self._reserved(trials))
        return "too long" if needed > self.budget.left else None

    def _try(self, study: Study, optuna_trial: Any, settings: Settings) -> Trial:
        """Run one trial."""
        began = self.clock()
        found: dict[str, Any] = {"epochs": 0, "setup": 0.0}
        known = study.trials()

        def tell(event: Event) -> None:
            self.tell(event)
            match event:
                case Step():
                    found["setup"] = found["setup"] or self.clock() - began
                    last = event.done == event.total
                    if self.budget.left <= needed() and not last:
                        raise _Stop("out of time")
                case EpochEnd():
                    value = float(getattr(event, self.monitor))
                    found["epochs"] = event.epoch
                    if event.best:
                        found.update(value=value, loss=event.val_loss, best_epoch=event.epoch)
                    if self.budget.spent > study.spent + NOTED_EVERY:
                        study.spent = self.budget.spent
                    optuna_trial.report(value, event.epoch)
                    if event.epoch < self.epochs and optuna_trial.should_prune():
                        raise _Stop("pruned")

        def needed() -> float:
            """Seconds that must be left for the final run, with these settings or the best ones."""
            now = Trial(-1, settings, "complete", **found, seconds=self.clock() - began)
            own = expected(settings, known or (now,), self.epochs)
            return max(self._reserve(own), self._reserved(known))

        status: Status = "complete"
        try:
            with released():
                fitting = self._fit(settings, tell)
            if fitting.diverged:
                status = "diverged"
            if fitting.interrupted:
                status = "interrupted"
        except _Stop as stop:
            status = stop.status
        except DivergedError:
            status = "diverged"
        except (NothingLearntError, KeyboardInterrupt):
            status = "interrupted"
        except Exception as error:
            if not out_of_memory(error):
                raise
            status = "no memory"
        finally:
            self.interrupts.at_once = False
        return Trial(optuna_trial.number, settings, status, **found, seconds=self.clock() - began)

    def _fit(self, settings: Settings, tell: Callable[[Event], None]) -> Fitting:
        """Train with some settings, and look at the validation part only; nothing is kept."""
        task = dataclasses.replace(self._task(settings), tell=tell)
        with self.interrupts.allowed(), computing(self.record.policy, task.config):
            network = task.network()
            data = self.shelf.images(task)
            if task.origin is not None:
                self.shelf.head(task, network, data, told=lambda *at: tell(Features(*at)))
            batches = feed(network, task.recipe, data, seed=task.config.seed)
            return fit(network, task.recipe, batches, tell=tell, interrupts=self.interrupts)

    def _task(self, settings: Settings) -> Task:
        return self.task.changed(self.space.config(settings))

    def _final(self, tuned: Tuned) -> Run:
        """Train with the best settings, and judge."""
        place = self.stage.folder / RUN
        seconds = expected(tuned.settings, tuned.trials, self.epochs)
        if tuned.head and (seconds is not None or not tuned.fine_tunes):
            seconds = (seconds or 0.0) + tuned.head.seconds
        epochs = self.epochs if self.task.fine_tunes else 0
        title = self.task.architecture.title
        self.tell(FinalBegin(title, tuned.settings, seconds, self.budget.left, epochs))
        try:
            if (place / RUN_RECORD).is_file():
                return resume_run(place, self.tell)
            return train(dataclasses.replace(tuned.config, out=place), self.tell)
        except NothingLearntError:
            raise NothingLearntError(
                "interrupted in the final run: resume with `classics tune --resume "
                f"{self.stage.out}`."
            ) from None

    def _tell_begin(self, study: Study | None) -> None:
        """Once: before the heads, where some are to be tried."""
        data = self.data
        if data is None or (study and self.begun):
            return
        self.begun = True
        self.tell(
            TuneBegin(
                source=data.source,
                classes=len(data.listing.classes),
                **data.counts,
                skipped=len(data.skipped),
                network=self.task.architecture.title,
                space=self.space,
                epochs=self.epochs,
                seconds=self.budget.left,
                done=len(study.trials()) if study else 0,
                heads=len(self.plan) - len(self.heads),
            )
        )

    def write_record(self, **found: Any) -> None:
        """Write what another process needs to go on, and what was found so far."""
        record = dataclasses.asdict(self.record)
        content = {
            **record,
            "ranges": dataclasses.asdict(self.config.ranges),
            "space": self.space.to_dict(),
            "seconds": self.config.seconds,
            "most_trials": self.config.trials,
            "plan": [dataclasses.asdict(candidate) for candidate in self.plan],
            "heads": [dataclasses.asdict(head) for head in self.heads],
            "hardware": hardware(),
            **found,
        }
        tuning_files.write_record(self.stage.folder, content)

    def _write(
        self, study: Study, *, run: Run | None, interrupted: bool, last: bool = False
    ) -> Tuned:
        """Write all files anew, from what the study knows."""
        trials = study.trials()
        folder, out = self.stage.folder, self.stage.out
        val = len(self.data.part("val")) if self.data else 0
        if run is not None and run.artefact.parent == folder:
            run = dataclasses.replace(run, artefact=out / RUN)
        if run is not None and not val:
            val = int(run.classifier.card.data["images"]["val"])
        tuned = Tuned(
            folder=out,
            space=self.space,
            trials=trials,
            best=best_of(trials, self.monitor),
            monitor=self.monitor,
            val_images=val,
            importances=study.importances() if last else {},
            run=run,
            interrupted=interrupted,
            moved=self._moved(run),
            heads=tuple(self.heads),
            fine_tunes=self.task.fine_tunes,
        )
        tuning_files.write_trials(folder, trials, self.monitor)
        tuning_files.write_heads(folder, tuned.heads, self.monitor)
        if tuned.best is not None:
            about = f"found by classics tune: trial {tuned.best.number + 1} of {len(tuned.ran)}"
            if self.heads:
                about += f", for {self.task.architecture.name}"
            tuning_files.write_recipe(folder, self.space, tuned.settings, about)
        if last:
            tuning_files.write_picture(folder, trials, self.space, self.monitor, tuned.importances)
        found = tuned.to_dict()
        del found["folder"]
        self.write_record(**found)
        return tuned

    def _moved(self, run: Run | None) -> int:
        """Images that the run had in another part: near copies can differ with the size."""
        if run is None or self.data is None or run.classifier.splits is None:
            return 0
        trials = {item.name: item.split for item in self.data.listing.items}
        splits = run.classifier.splits
        return sum(trials.get(name, split) != split for name, split in splits.items())


def _check(config: TuneConfig) -> None:
    """Refuse what cannot be, before anything is looked for or read."""
    _check_seconds(config.seconds)
    if config.trials is not None and config.trials < 1:
        raise ClassicsError(f"trials={config.trials}: at least 1 is needed.")
    config.ranges.check()


def _check_seconds(seconds: float) -> None:
    if not 0 < seconds < math.inf:
        raise ClassicsError(f"minutes={seconds / 60:g}: above 0 is needed.")


def _check_anything_left(task: Task, space: Space, plan: tuple[Candidate, ...]) -> None:
    if len(plan) > 1 or (task.fine_tunes and space.varied):
        return
    if not task.fine_tunes:
        raise ClassicsError(
            "unfreeze='none': without fine-tuning, network and size are all that is tuned; give "
            "several, or leave --unfreeze out."
        )
    raise ClassicsError("every setting is fixed: nothing is left to tune; leave one out.")


def _space(task: Task, ranges: Ranges) -> Space:
    return space_of(
        task.config,
        ranges,
        recipe=task.recipe,
        architecture=task.architecture,
        origin=task.origin,
    )
