"""The network at the beginning of a run, with random weights or trained ones."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from keras_classics.architectures.catalog import block_tree
from keras_classics.architectures.frame import Architecture, with_channels
from keras_classics.data.preprocess import Mode
from keras_classics.networks import build
from keras_classics.training.config import DEFAULT_WIDTH, TrainConfig
from keras_classics.training.origin import Origin
from keras_classics.weights.loading import load_weights


@dataclass(frozen=True)
class StartingNetwork:
    """A network ready to be trained: its outputs are logits until training is over."""

    model: keras.Model
    width: float
    mode: Mode
    began_with: str | None


def start_network(
    config: TrainConfig,
    architecture: Architecture,
    size: int,
    classes: int,
    origin: Origin | None = None,
) -> StartingNetwork:
    """The network with logits as outputs, with random weights or with those of its origin."""
    width = origin.width if origin else config.width
    width = DEFAULT_WIDTH if width is None else width
    model = build(
        architecture,
        input_shape=with_channels((size, size), 3),
        classes=classes,
        classifier_activation=None,
        width=width,
    )
    if origin is None:
        _draw_weights(model, config.seed)
        return StartingNetwork(model, width, config.preprocessing or "tf", None)
    load_weights(model, origin.file(), architecture=architecture, keep=architecture.top_layers)
    mode = config.preprocessing or origin.mode
    return StartingNetwork(model, width, mode, f"{origin.name}, a new top")


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
