"""Where a run tells its figures besides the terminal: TensorBoard and MLflow, where installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_classics import extras
from keras_classics.errors import ClassicsError, OutputError
from keras_classics.evaluation import report, saved
from keras_classics.training.events import EpochEnd, Event, Listener, Prepared

# What MLflow is told of an epoch; TensorBoard groups by what stands before the slash.
FIGURES = {
    "loss": "loss/training",
    "val_loss": "loss/validation",
    "accuracy": "accuracy/training",
    "val_accuracy": "accuracy/validation",
    "images_per_second": "speed/images_per_second",
}
FILES = (saved.HISTORY, saved.PREDICTIONS, saved.CLASSES, saved.CONFUSION, saved.METRICS)
LONGEST_VALUE = 6000  # characters that MLflow keeps of a parameter


def both(*listeners: Listener | None) -> Listener:
    """One listener that tells several; None are left out."""
    known = [listener for listener in listeners if listener]

    def tell(event: Event) -> None:
        for listener in known:
            listener(event)

    return tell


@contextmanager
def tensorboard_listener(folder: Path) -> Iterator[Listener]:
    """A listener that writes event files for TensorBoard, on every backend.

    Args:
        folder: Made if it is not there; each run needs one of its own.

    Raises:
        ClassicsError: If tensorboardX is not installed.
        OutputError: If nothing can be written into the folder.
    """
    module = extras.load("tensorboard", "tensorboardX")
    try:
        writer = module.SummaryWriter(str(folder))
    except OSError as error:
        raise OutputError(f"{folder}: cannot write: {error.strerror or error}.") from error

    def tell(event: Event) -> None:
        match event:
            case Prepared():
                rows = "\n".join(f"| {key} | {value} |" for key, value in _facts(event).items())
                writer.add_text("run", f"| | |\n|---|---|\n{rows}", 0)
            case EpochEnd():
                for name, tag in FIGURES.items():
                    writer.add_scalar(tag, getattr(event, name), event.epoch)
                writer.flush()  # so that it can be followed

    try:
        yield tell
    finally:
        writer.close()


class MLflowRun:
    """A run of MLflow that is open; a listener, which also takes what a run left."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self.run_id = client, run_id

    def __call__(self, event: Event) -> None:
        """Log the run's parameters, and each epoch's figures."""
        match event:
            case Prepared():
                self.parameters(_facts(event))
            case EpochEnd():
                for name in FIGURES:
                    value = float(getattr(event, name))
                    self._client.log_metric(self.run_id, name, value, step=event.epoch)

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Log what the run was made with."""
        for key, value in values.items():
            self._client.log_param(self.run_id, key, str(value)[:LONGEST_VALUE])

    def finish(self, artefact: Path, *, with_model: bool = True) -> None:
        """Log the held-out figures, the report and the tables, and the artefact's folder.

        Args:
            artefact: That the run wrote.
            with_model: Whether the artefact itself is copied, too.
        """
        content = saved.read_metrics(artefact)
        held_out = content.get("held_out")
        if held_out:
            low, high = held_out["accuracy_interval"]
            for name, value in (
                ("test_accuracy", held_out["accuracy"]),
                ("test_accuracy_low", low),
                ("test_accuracy_high", high),
                ("test_log_loss", held_out["log_loss"]),
                ("test_calibration_error", content["reliability"]["after"]["adaptive_ece"]),
            ):
                self._client.log_metric(self.run_id, name, float(value))
        if with_model:
            self._client.log_artifacts(self.run_id, str(artefact), artifact_path="artefact")
            return
        for name in (report.REPORT, *FILES):
            if (artefact / name).is_file():
                self._client.log_artifact(self.run_id, str(artefact / name))


@contextmanager
def mlflow_listener(
    *, experiment: str = "keras-classics", name: str | None = None, uri: str | None = None
) -> Iterator[MLflowRun]:
    """A listener that logs to MLflow; the run ends as failed where an error leaves the block.

    Args:
        experiment: Made if it is not there.
        name: Of the run; by default MLflow invents one.
        uri: Of the tracking server or store; by default that of MLFLOW_TRACKING_URI, else MLflow's
            own.

    Raises:
        ClassicsError: If MLflow is not installed, or its store cannot be used.
    """
    mlflow = extras.load("mlflow", "mlflow")
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        number = found.experiment_id if found else client.create_experiment(experiment)
        run = client.create_run(number, run_name=name).info.run_id
    except (ImportError, mlflow.exceptions.MlflowException) as error:
        reason = " ".join(str(error).split())
        raise ClassicsError(f"MLflow at {uri or 'its default store'}: {reason}") from error
    status = "FAILED"
    try:
        yield MLflowRun(client, run)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        client.set_terminated(run, status)


def _facts(event: Prepared) -> dict[str, Any]:
    """What a run is, one value a line."""
    facts = asdict(event)
    facts["skipped"] = len(event.skipped)
    return facts
