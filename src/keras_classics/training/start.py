"""The network at the beginning of a run, with random weights or trained ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import keras

from keras_classics.architectures.catalog import block_tree
from keras_classics.architectures.frame import Architecture, with_channels
from keras_classics.artefact import MODEL, Card
from keras_classics.data.preprocess import Mode
from keras_classics.errors import ClassicsError, WeightsError
from keras_classics.networks import build
from keras_classics.training.config import DEFAULT_WIDTH, TrainConfig
from keras_classics.weights import records
from keras_classics.weights.loading import fetch, load_weights


@dataclass(frozen=True)
class StartingNetwork:
    """A network ready to be trained: its outputs are logits until training is over."""

    model: keras.Model
    width: float
    mode: Mode
    began_with: str | None


def start_network(
    config: TrainConfig, architecture: Architecture, size: int, classes: int
) -> StartingNetwork:
    """The network with logits as outputs, and the weights that it begins with."""
    path, mode, width, began_with = _starting_weights(config, architecture)
    model = build(
        architecture,
        input_shape=with_channels((size, size), 3),
        classes=classes,
        classifier_activation=None,
        width=width,
    )
    if path is None:
        _draw_weights(model, config.seed)
    else:
        load_weights(model, path, architecture=architecture, skip_top=True)
    return StartingNetwork(model, width, config.preprocessing or mode, began_with)


def _starting_weights(
    config: TrainConfig, architecture: Architecture
) -> tuple[Path | None, Mode, float, str | None]:
    """The file, its preprocessing, the width, and the weights in words."""
    width = config.width if config.width is not None else DEFAULT_WIDTH
    if config.weights is None:
        return None, "tf", width, None
    if config.weights == "imagenet":
        if config.width not in (None, 1.0):
            raise ClassicsError(f"width={config.width}: ImageNet weights fit width 1.0 only.")
        record = records.imagenet(architecture.name, include_top=False)
        return fetch(record), cast(Mode, record.preprocessing), 1.0, "ImageNet weights, a new top"
    path = Path(config.weights)
    if path.is_dir():
        card = Card.read(path)
        if card.network != architecture.name:
            raise WeightsError(f"{path}: holds {card.network}, not {architecture.name}.")
        if config.width not in (None, card.width):
            raise WeightsError(f"{path}: has width {card.width}, not {config.width}.")
        return path / MODEL, card.preprocessing.mode, card.width, f"{path}, a new top"
    if not path.is_file():
        raise WeightsError(
            f"weights={config.weights!r}: no such file; use imagenet, a file or an artefact."
        )
    # A published file under any name brings its own preprocessing.
    known = records.recognise(path)
    return path, cast(Mode, known.preprocessing) if known else "tf", width, f"{path}, a new top"


def _draw_weights(model: keras.Model, seed: int) -> None:
    """Random weights that keep the size of the signal through ReLUs (He et al. 2015).

    Keras' default loses half of it in every layer, which a network without batch norm cannot make
    good. The top, which no ReLU follows, keeps the default. A residual block begins as its
    shortcut: the gamma of its last batch norm is zero (Goyal et al. 2017, https://arxiv.org/abs/1706.02677).
    """
    for i, layer in enumerate(model.layers):
        if hasattr(layer, "kernel") and layer.name != "predictions":
            draw = keras.initializers.HeNormal(seed=seed * 10_000 + i)
            layer.kernel.assign(draw(layer.kernel.shape, dtype=layer.kernel.dtype))
    for block in block_tree(model).walk():
        if block.kind in ("identity_block", "convolutional_block"):
            gamma = model.get_layer(f"{block.name}_3_bn").gamma
            gamma.assign(keras.ops.zeros_like(gamma))
