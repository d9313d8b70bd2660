"""Tuning: which learning rate, size, width and strength of augmentation suit these images?"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from keras_classics.host.interrupts import Interrupts, handled
from keras_classics.host.staging import Staging, check_outside, free_name, staging, taken
from keras_classics.training import tuning_files
from keras_classics.training.batch_size import with_batch_size
from keras_classics.training.begun import Run
from keras_classics.training.config import TrainConfig
from keras_classics.training.events import Checked, EpochEnd, Event, Features, Step
from keras_classics.training.fitting import Fitting, feed, fit
from keras_classics.training.head_search import (
    SHARE,
    Candidate,
    Clock,
    HeadTrial,
    best_head,
    candidates,
    too_long,
    try_head,
)
from keras_classics.training.images import Images
from keras_classics.training.judging import hardware
from keras_classics.training.recipe import Monitor
from keras_classics.training.record import Record
from keras_classics.training.release import released
from keras_classics.training.run import resume as resume_run
from keras_classics.training.run import train
from keras_classics.training.search_space import Ranges, Settings, Space, space_of
from keras_classics.training.shelf import Shelf
from keras_classics.training.task import Task, computing, task_of
from keras_classics.training.trials import (
    FOUND,
    Status,
    Trial,
    best_of,
    check_optuna,
    importances,
    open_study,
    sampler,
    trials_of,
)
from keras_classics.training.tuned import Tuned

if TYPE_CHECKING:
    import optuna

RUN = "run"  # the final one, in the folder of the tuning
MARGIN = 1.15  # a run takes longer than the trial did: checkpoints, statistics, other work
FINISH = 10.0  # seconds of a run for judging, baselines and report


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
    """The images are there; the search begins."""

    source: str
    classes: int
    train: int  # images in each part
    val: int
    test: int
    skipped: int
    monitor: Monitor
    seconds: float  # of the budget that are left
    heads: int  # networks and sizes that are tried by their heads first


@dataclass(frozen=True)
class HeadTried:
    """With trained weights: a network and a size were tried by the head alone, or not begun."""

    trial: HeadTrial
    best: bool  # so far


@dataclass(frozen=True)
class TrialsBegin:
    """The trials begin."""

    network: str
    space: Space
    epochs: int  # of a trial
    done: int  # trials of earlier processes


@dataclass(frozen=True)
class TrialBegin:
    """A trial begins."""

    number: int  # from 0
    settings: Settings
    left: float  # seconds of the budget
    reserved: float  # of these, for the final run


@dataclass(frozen=True)
class TrialEnd:
    """A trial is over."""

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


class _Stop(Exception):  # noqa: N818  nothing went wrong
    """Raised by a trial's listener to end it."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


@dataclass
class _Watch:
    """Listens to a running trial: notes its figures in the study, and ends it where that is due."""

    trial: optuna.Trial
    monitor: Monitor
    epochs: int  # of a complete trial
    clock: Clock
    tell: Callable[[Event], None]  # everything, first
    is_short: Callable[[float | None], bool]  # of time, by the seconds of all epochs, if known

    def __post_init__(self) -> None:
        self.began = self.clock()
        self.setup: float | None = None  # seconds until the first step was done
        self.steps = 1.0  # of all, for each one after the first that was done
        self.found: dict[str, Any] = {"epochs": 0, "value": None, "full": None}
        self.note("killed")  # which it is if nothing else is noted

    def note(self, status: Status, **found: Any) -> dict[str, Any]:
        """Write down what is known of the trial."""
        self.found |= {**found, "status": status, "seconds": self.clock() - self.began}
        self.trial.set_user_attr(FOUND, self.found)
        return self.found

    def __call__(self, event: Event) -> None:
        """Hear of one event."""
        self.tell(event)
        if isinstance(event, Step):
            if self.setup is None:
                self.setup = self.clock() - self.began
            self.steps = (event.total - 1) / max(event.done - 1, 1)
            if event.done < event.total and self.is_short(self.found["full"]):
                raise _Stop("out of time")
        elif isinstance(event, EpochEnd):
            value, setup = float(getattr(event, self.monitor)), self.setup or 0.0
            if event.best:
                self.found |= {"value": value, "loss": event.val_loss, "best_epoch": event.epoch}
            full = setup + self.steps * (self.clock() - self.began - setup)
            self.note("killed", epochs=event.epoch, full=full)
            self.trial.report(value, event.epoch)
            if event.epoch < self.epochs and self.trial.should_prune():
                raise _Stop("pruned")


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
    _check_seconds(config.seconds)
    if config.trials is not None and config.trials < 1:
        raise ClassicsError(f"trials={config.trials}: at least 1 is needed.")
    ranges = config.ranges
    ranges.check()
    end = clock() + config.seconds
    fixed = {
        name: values[0]
        for name in ("learning_rate", "size", "width")
        if len(values := getattr(ranges, name)) == 1
    }
    base = dataclasses.replace(config.base, out=None, **fixed)
    tell: TuneListener = listener or (lambda _: None)
    task = task_of(base, tell)
    plan = candidates(task, ranges, config.networks)
    if len(plan) < 2 and not (task.fine_tunes and space_of(task, ranges).varied):
        raise ClassicsError(
            "every setting is fixed: nothing is left to tune; leave one out."
            if task.fine_tunes
            else "unfreeze='none': without fine-tuning, network and size are all that is tuned; "
            "give several, or leave --unfreeze out."
        )
    out = config.out or free_name(Path("runs"), f"{base.data_name}-{task.architecture.name}-tuned")
    if base.folder is not None:
        check_outside(out, base.folder)
    with handled() as interrupts, staging(out) as stage:
        task = with_batch_size(task)
        config = dataclasses.replace(config, base=task.config)
        record = Record.of(task, task.policy(), "optuna")
        search = _Search(config, task, record, stage, interrupts, tell, clock, end, plan)
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
            images or the backend have changed since the run started; the folder stays as it is.
        NothingLearntError: On Ctrl-C before anything more is found.
    """
    check_optuna()
    if seconds is not None:
        _check_seconds(seconds)
    began = clock()
    values = tuning_files.read_record(folder)
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
        raise tuning_files.corrupt(folder) from error
    tell: TuneListener = listener or (lambda _: None)
    record.check_here()
    task = task_of(record.placed(), tell)
    record.check_images(task)
    config = TuneConfig(task.config, budget, trials, ranges=ranges)
    stage = Staging(folder, folder.resolve(), kept=True)
    end = None if seconds is None else began + seconds
    with handled() as interrupts, taken(stage.folder):
        search = _Search(config, task, record, stage, interrupts, tell, clock, end, plan, heads)
        if not (final / RUN_RECORD).is_file():
            search.look_at_data()
        return search.search_and_train()


@dataclass
class _Search:
    """One process that tunes."""

    config: TuneConfig
    task: Task
    record: Record
    stage: Staging
    interrupts: Interrupts
    tell: TuneListener
    clock: Clock
    end: float | None  # of the clock; None for what an earlier process left of the budget
    plan: tuple[Candidate, ...]  # tried by their heads
    heads: list[HeadTrial] = dataclasses.field(default_factory=list)  # what came of them
    data: Images | None = None

    def __post_init__(self) -> None:
        self.began = self.clock()
        self.space = space_of(self.task, self.config.ranges)
        self.shelf = Shelf(self.stage.folder)
        self.monitor = self.task.recipe.selection.monitor
        self.epochs = self.task.recipe.epochs  # of a trial, unless it ends early

    @property
    def left(self) -> float:
        """Seconds of the budget; below 0 when it is over."""
        return (math.inf if self.end is None else self.end) - self.clock()

    @property
    def best_head(self) -> HeadTrial | None:
        """Of those that were tried so far."""
        return best_head(self.heads, self.monitor)

    def look_at_data(self) -> None:
        """Decode the images in the recipe's own size.

        Raises:
            DataError: If trials could not be compared on them.
        """
        self.data = self.shelf.images(self.task.changed(self.space.config(self.space.default)))
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
        done = {head.candidate for head in self.heads}
        plan = [each for each in self.plan if each not in done]
        spent = sum(head.seconds for head in self.heads if head.judged)
        if plan:
            self._begin(spent, heads=len(plan))
            self._try_heads(plan)
        if best := self.best_head:
            self.task = best.candidate.task(self.task)
            sizes = (best.candidate.size,)
            self.space = space_of(self.task, dataclasses.replace(self.config.ranges, size=sizes))
            self.epochs = self.task.recipe.epochs
        with open_study(
            self.stage.folder, self.space, monitor=self.monitor, epochs=self.epochs
        ) as study:
            if not plan:
                trials = trials_of(study, self.space)
                self._begin(spent + sum(trial.seconds for trial in trials), heads=0)
            interrupted = False
            if self.data is not None and self.task.fine_tunes and self.space.varied:
                interrupted = self._search(study)
            self.shelf = Shelf(self.stage.folder)  # the run decodes its own
            tuned = self._write(study, interrupted=interrupted)
            if interrupted:
                return tuned
            self.stage.kept = True
            return self._write(study, run=self._final(tuned))

    def _begin(self, spent: float, *, heads: int) -> None:
        """The search begins: set the end of the budget, and tell.

        Args:
            spent: Seconds of the budget, by earlier processes.
            heads: That are tried first.
        """
        if self.end is None:
            self.end = self.began + self.config.seconds - spent
        if self.data is not None:
            self.tell(
                TuneBegin(
                    source=self.data.source,
                    classes=len(self.data.listing.classes),
                    **self.data.counts,
                    skipped=len(self.data.skipped),
                    monitor=self.monitor,
                    seconds=self.left,
                    heads=heads,
                )
            )

    def _try_heads(self, plan: Sequence[Candidate]) -> None:
        """Try all candidates that fit.

        Raises:
            NothingLearntError: On Ctrl-C.
        """
        try:
            for each in plan:
                self._try_head(each)
                self.interrupts.check()
        except KeyboardInterrupt:
            found = any(head.judged for head in self.heads)
            raise self._nothing("interrupted while heads were tried", found=found) from None

    def _try_head(self, candidate: Candidate) -> None:
        """Try one, unless it would take too long; the first one, whatever it takes."""
        seconds = too_long(candidate, self.heads, self._left_for_heads())
        if seconds is not None:
            trial = HeadTrial(candidate, "too long", seconds=seconds)
        else:
            policy, config = self.record.policy, self.task.config
            with released(), self.interrupts.allowed(), computing(policy, config):
                trial = try_head(candidate, self.task, self.shelf, clock=self.clock)
        self.heads.append(trial)
        self.tell(HeadTried(trial, best=self.best_head is trial))
        self.stage.kept = self.stage.kept or trial.judged
        self.write_record()

    def _left_for_heads(self) -> float:
        """Seconds; where nothing is fine-tuned, all but those of the final run."""
        if not self.task.fine_tunes:
            return self.left - self._reserve(0.0)
        others = sum(head.seconds for head in self.heads[1:] if head.judged)
        return SHARE * self.config.seconds - others

    def _nothing(self, what: str, *, found: bool) -> NothingLearntError:
        """What is told where there is no outcome yet."""
        resume = f"resume with `classics tune --resume {self.stage.out}`."
        kept = found or self.stage.kept
        return NothingLearntError(
            f"{what}: {resume if kept else 'nothing was found, nothing saved.'}"
        )

    def _search(self, study: optuna.Study) -> bool:
        """Trial after trial, until time or trials are used up; whether Ctrl-C ended them.

        Raises:
            NothingLearntError: On Ctrl-C before a trial was over.
        """

        def after(study: optuna.Study, found: optuna.trial.FrozenTrial) -> None:
            trials = trials_of(study, self.space)
            best = best_of(trials, self.monitor)
            self.tell(TrialEnd(trials[-1], best=best is not None and best.number == found.number))
            self.stage.kept = True
            self._write(study, over=False)
            self.interrupts.check()
            study.sampler = sampler(study, self.space, self.task.config.seed)
            if not self._another(trials):
                study.stop()

        trials = trials_of(study, self.space)
        title = self.task.architecture.title
        self.tell(TrialsBegin(title, self.space, self.epochs, done=len(trials)))
        study.sampler = sampler(study, self.space, self.task.config.seed)
        try:
            if self._another(trials):
                study.optimize(lambda trial: self._try(study, trial), callbacks=[after])
            self.interrupts.check()
        except KeyboardInterrupt:
            if not best_of(trials_of(study, self.space), self.monitor):
                raise self._nothing("interrupted before a trial was over", found=False) from None
            return True
        return False

    def _another(self, trials: tuple[Trial, ...]) -> bool:
        """Whether another trial may begin: it and the final run must fit, by the fastest one."""
        counted = [trial for trial in trials if trial.status not in {"interrupted", "killed"}]
        if self.config.trials is not None and len(counted) >= self.config.trials:
            return False
        fastest = min((trial.full for trial in counted if trial.full is not None), default=0.0)
        return self.left > fastest + self._reserved(trials)

    def _reserved(self, trials: tuple[Trial, ...]) -> float:
        """Seconds for the final run with the best settings so far."""
        best = best_of(trials, self.monitor)
        return self._reserve(best.full if best else None)

    def _reserve(self, full: float | None) -> float:
        """Seconds for the final run, from those of a trial; it computes features anew."""
        head = self.best_head.seconds if self.best_head else 0.0
        return head + (0.0 if full is None else MARGIN * full + FINISH)

    def _try(self, study: optuna.Study, trial: optuna.Trial) -> float:
        """Run one trial: the objective of Optuna's study."""
        from optuna import TrialPruned

        known = trials_of(study, self.space)
        reserved = self._reserved(known)
        settings = self.space.suggest(trial)

        def is_short(full: float | None) -> bool:
            return self.left <= max(reserved, self._reserve(full))

        self.tell(TrialBegin(trial.number, settings, left=self.left, reserved=reserved))
        watch = _Watch(trial, self.monitor, self.epochs, self.clock, self.tell, is_short)
        status: Status = "complete"
        try:
            with released():
                fitting = self._fit(settings, watch)
            if fitting.interrupted:
                raise KeyboardInterrupt
            if fitting.diverged:
                status = "diverged"
        except _Stop as stop:
            status = stop.status
        except DivergedError:
            status = "diverged"
        except (NothingLearntError, KeyboardInterrupt):
            watch.note("interrupted")
            self.tell(TrialEnd(trials_of(study, self.space)[-1], best=False))
            study.enqueue_trial(trial.params)
            raise KeyboardInterrupt from None
        except Exception as error:
            if not out_of_memory(error):
                raise
            status = "no memory"
        finally:
            self.interrupts.at_once = False
        value = watch.note(status)["value"]
        if status != "complete":
            raise TrialPruned  # the sampler learns from these, too
        return float(value)

    def _fit(self, settings: Settings, tell: Callable[[Event], None]) -> Fitting:
        """Train with some settings, and look at the validation part only; nothing is kept."""
        task = dataclasses.replace(self.task.changed(self.space.config(settings)), tell=tell)
        with self.interrupts.allowed(), computing(self.record.policy, task.config):
            network = task.network()
            data = self.shelf.images(task)
            if task.origin is not None:
                self.shelf.head(task, network, data, told=lambda *at: tell(Features(*at)))
            batches = feed(network, task.recipe, data, seed=task.config.seed)
            return fit(network, task.recipe, batches, tell=tell, interrupts=self.interrupts)

    def _final(self, tuned: Tuned) -> Run:
        """Train with the best settings, and judge."""
        place = self.stage.folder / RUN
        head = tuned.head.seconds if tuned.head else 0.0
        seconds = tuned.best.full if tuned.best else None
        if seconds is not None or not self.task.fine_tunes:
            seconds = (seconds or 0.0) + head
        epochs = self.epochs if self.task.fine_tunes else 0
        title = self.task.architecture.title
        self.tell(FinalBegin(title, tuned.settings, seconds, self.left, epochs))
        config = dataclasses.replace(tuned.config, out=place)
        if self.task.origin is not None and (seconds or math.inf) > self.left:
            # Fewer epochs of fine-tuning; at the least the head, for which there must be time.
            least = 2 * head + 3 * FINISH
            config = dataclasses.replace(config, minutes=max(self.left, least) / 60)
        try:
            if (place / RUN_RECORD).is_file():
                return resume_run(place, self.tell)
            return train(config, self.tell)
        except NothingLearntError:
            raise self._nothing("interrupted in the final run", found=True) from None

    def write_record(self, **found: Any) -> None:
        """Write what another process needs to go on, and what was found so far."""
        content = {
            **dataclasses.asdict(self.record),
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
        self,
        study: optuna.Study,
        *,
        over: bool = True,
        run: Run | None = None,
        interrupted: bool = False,
    ) -> Tuned:
        """Write all files anew, from what the study knows."""
        folder, out = self.stage.folder, self.stage.out
        val = len(self.data.part("val")) if self.data else 0
        if run is not None and run.artefact.parent == folder:
            run = dataclasses.replace(run, artefact=out / RUN)
        if run is not None and not val:
            val = int(run.classifier.card.data["images"]["val"])
        tuned = Tuned(
            folder=out,
            space=self.space,
            trials=trials_of(study, self.space),
            monitor=self.monitor,
            val_images=val,
            importances=importances(study) if over else {},
            run=run,
            interrupted=run.interrupted if run else interrupted,
            moved=self._moved(run),
            heads=tuple(self.heads),
        )
        tuning_files.write(folder, tuned, self.task.architecture.name)
        self.write_record(**{k: v for k, v in tuned.to_dict().items() if k != "folder"})
        return tuned

    def _moved(self, run: Run | None) -> int:
        """Images that the run had in another part: near copies can differ with the size."""
        if run is None or self.data is None or run.classifier.splits is None:
            return 0
        trials = {item.name: item.split for item in self.data.listing.items}
        splits = run.classifier.splits
        return sum(trials.get(name, split) != split for name, split in splits.items())


def _check_seconds(seconds: float) -> None:
    if not 0 < seconds < math.inf:
        raise ClassicsError(f"minutes={seconds / 60:g}: above 0 is needed.")
