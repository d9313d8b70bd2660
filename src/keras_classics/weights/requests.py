"""What the argument `weights` may say: the name of a record, "imagenet", or a file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import keras

from keras_classics.architectures.frame import Architecture, Arguments
from keras_classics.errors import WeightsError
from keras_classics.host.regular import why_none
from keras_classics.weights import records
from keras_classics.weights.download import Progress, fetch
from keras_classics.weights.loading import load_weights
from keras_classics.weights.records import PublishedWeights


def record_of(weights: str | Path, architecture: Architecture) -> PublishedWeights | None:
    """The record that is asked for; None where it is a file.

    Raises:
        WeightsError: If the record is another network's, or there is neither record nor file.
    """
    if weights == "imagenet":
        return records.imagenet(architecture.name)
    if weights in records.RECORDS:
        record = records.RECORDS[str(weights)]
        if record.network != architecture.name:
            own = records.names_for(architecture.name)
            raise WeightsError(
                f"weights={weights!r}: made for {record.network}, not {architecture.name}"
                + (f", which has {', '.join(own)}." if own else ".")
            )
        return record
    if not Path(weights).is_file():
        # An empty text would stand for the current folder.
        why = why_none(Path(weights)) if str(weights) else "no such file"
        raise WeightsError(
            f"weights={str(weights)!r}: {why}; use None, 'imagenet', a name that "
            "`classics weights` lists, or a path."
        )
    return None


def check_request(architecture: Architecture, arguments: Arguments) -> None:
    """Refuse, before anything is built, a `weights` argument that cannot be served.

    Raises:
        WeightsError: With the argument, the value and what is possible.
    """
    weights, include_top = arguments.weights, arguments.include_top
    if weights is None:
        return
    activation = arguments.classifier_activation
    if include_top and keras.activations.get(activation) not in (
        keras.activations.linear,
        keras.activations.softmax,
    ):
        raise WeightsError(
            f"classifier_activation={activation!r}: loaded weights need None or 'softmax'."
        )
    record = record_of(weights, architecture)
    if record is None:
        return
    if arguments.width != 1.0:
        raise WeightsError(f'width={arguments.width}: weights="{weights}" fit width=1.0 only.')
    if arguments.depths is not None and tuple(arguments.depths) != architecture.depths:
        raise WeightsError(
            f'depths={arguments.depths}: weights="{weights}" fit {architecture.depths} only.'
        )
    if include_top and arguments.classes != len(record.class_names):
        raise WeightsError(
            f'classes={arguments.classes}: weights="{weights}" with the top have '
            f"{len(record.class_names)} classes; use include_top=False or with_classes() for "
            "classes of your own."
        )


def load_requested(
    model: keras.Model,
    architecture: Architecture,
    weights: str | Path,
    *,
    include_top: bool,
    auxiliary: bool,
    prefix: str = "",
    upstream: Collection[str] = (),
) -> None:
    """Load what the argument `weights` of a constructor asks for.

    A side classifier that the published file does not have keeps its random weights.

    Raises:
        WeightsError: If the file cannot be had, or is not the network's.
    """
    record = record_of(weights, architecture)
    path = Path(weights)
    if record:
        path = fetch(record.file_for(include_top=include_top), progress=_progress_bar())
    keep = set(upstream)
    if record and auxiliary and not record.auxiliary and architecture.side:
        keep.update(prefix + name for name in architecture.side.layers)
    load_weights(model, path, architecture=architecture, prefix=prefix, keep=keep)


def _progress_bar() -> Progress | None:
    """Keras' own progress bar, as its applications show it, unless it is switched off."""
    if not keras.config.is_interactive_logging_enabled():
        return None
    bars: dict[int | None, keras.utils.Progbar] = {}

    def show(done: int, total: int | None) -> None:
        if total not in bars:
            bars[total] = keras.utils.Progbar(total, unit_name="byte")
        bars[total].update(done)

    return show
