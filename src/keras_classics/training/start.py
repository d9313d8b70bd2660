"""The network of a run: as it begins, with random weights or trained ones, and as it is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras

from keras_classics.architectures import frame
from keras_classics.architectures.catalog import block_tree
from keras_classics.architectures.frame import Architecture, with_channels
from keras_classics.architectures.precision import numbers
from keras_classics.errors import ClassicsError
from keras_classics.training.origin import Origin
from keras_classics.training.recipe import Network, Recipe
from keras_classics.weights.loading import load_weights
from keras_classics.weights.preprocess import Mode


@dataclass(frozen=True)
class Shape:
    """What a network of a run is built for."""

    width: float
    size: int  # pixels of a side in training
    test_size: int  # and in validation and use
    classes: int


@dataclass(frozen=True)
class StartingNetwork:
    """A network ready to be trained."""

    # Its outputs are logits, those of the side classifier too where it has one; dropout and dropped
    # residuals are part of it; it may compute in half precision.
    model: keras.Model
    architecture: Architecture
    shape: Shape
    mode: Mode
    began_with: str | None  # the name of trained weights, whose head is new

    @property
    def head(self) -> keras.layers.Dense:
        """The last layer: (b, d) -> (b, classes)."""
        return self.model.get_layer(self.architecture.top_layers[-1])

    def finished(self) -> keras.Model:
        """The network that is kept, with the weights of now: probabilities, in float32, plain."""
        with numbers():
            kept = frame.build(
                self.architecture,
                input_shape=with_channels((self.shape.test_size, self.shape.test_size), 3),
                classes=self.shape.classes,
                width=self.shape.width,
            )
        for layer in kept.layers:
            if layer.weights:
                layer.set_weights(self.model.get_layer(layer.name).get_weights())
        return kept


def start_network(
    architecture: Architecture,
    shape: Shape,
    recipe: Recipe,
    *,
    seed: int,
    mode: Mode,
    origin: Origin | None = None,
) -> StartingNetwork:
    """The network with logits as outputs, with random weights or with those of its origin.

    Raises:
        ClassicsError: If the recipe asks for what the network has not, or the weights are not the
            network's.
    """
    one_size = shape.size == shape.test_size
    if not one_size and (architecture.fixes(include_top=True) or recipe.loss.auxiliary):
        raise ClassicsError(
            f"test_size={shape.test_size}: {architecture.title} is tested at the size that it is "
            f"trained at, {shape.size}"
            + (", as its side classifier fits one size." if recipe.loss.auxiliary else ".")
        )
    side = shape.size if one_size else None
    model = frame.build(
        architecture,
        input_shape=with_channels((side, side), 3),
        classes=shape.classes,
        classifier_activation=None,
        width=shape.width,
        auxiliary=recipe.loss.auxiliary > 0,
        dropout=recipe.network.dropout,
        drop_path=recipe.network.drop_path,
    )
    model = _seeded(model, seed)
    if origin is None:
        _draw_weights(model, recipe.network, seed)
        return StartingNetwork(model, architecture, shape, mode, None)
    hidden = architecture.top_layers[:-1]
    has_hidden = bool(hidden) and origin.has_top(shape.test_size)
    auxiliary = architecture.side.layers if architecture.side and recipe.loss.auxiliary else ()
    new = (*(() if has_hidden else hidden), architecture.top_layers[-1], *auxiliary)
    file = origin.file(include_top=has_hidden)
    load_weights(model, file, architecture=architecture, keep=new)
    return StartingNetwork(model, architecture, shape, mode, origin.name)


def _seeded(model: keras.Model, seed: int) -> keras.Model:
    """The model with a seed in each layer of dropout.

    Without, torch draws from numbers of its own, which are no part of the model's state.
    """
    places = {layer.name: i for i, layer in enumerate(model.layers) if _is_dropout(layer)}
    if not places:
        return model

    def copy(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if layer.name in places:
            config["seed"] = seed * 10_000 + places[layer.name]
        return layer.from_config(config)

    return keras.models.clone_model(model, clone_function=copy)


def _draw_weights(model: keras.Model, network: Network, seed: int) -> None:
    """Random weights, each layer's from a seed of its own.

    "he" keeps the size of the signal through ReLUs (He et al. 2015); "glorot", Keras' default,
    loses half of it in every layer, which a network without batch norm can hardly make good. The
    top, which no ReLU follows, is always drawn so. With `zero_gamma` a residual block begins as its
    shortcut (Goyal et al. 2017, https://arxiv.org/abs/1706.02677).
    """
    kinds = {"he": keras.initializers.HeNormal, "glorot": keras.initializers.GlorotUniform}
    for i, layer in enumerate(layer for layer in model.layers if not _is_dropout(layer)):
        if hasattr(layer, "kernel") and layer.name != "predictions":
            draw = kinds[network.initial](seed=seed * 10_000 + i)
            layer.kernel.assign(_drawn(draw, layer))
    if not network.zero_gamma:
        return
    for block in block_tree(model).walk():
        if block.declared.closing_norm:
            gamma = model.get_layer(block.name + block.declared.closing_norm).gamma
            gamma.assign(keras.ops.zeros(gamma.shape))


def _drawn(draw: keras.initializers.VarianceScaling, layer: keras.Layer) -> keras.KerasTensor:
    """Values for a layer's kernel, of the variance that what its outputs read asks for.

    Of a depthwise kernel (h, w, c, m) Keras believes that each output reads all c channels, so that
    the values come out too small: by the square root of c for "he". Each reads one.
    """
    values = draw(layer.kernel.shape, dtype=layer.kernel.dtype)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        *_, channels, multiplier = layer.kernel.shape
        # The fan that Keras takes by the right one; of both, height and width fall out.
        fan = channels if draw.mode == "fan_in" else (channels + multiplier) / (1 + multiplier)
        values *= math.sqrt(fan)
    return values


def _is_dropout(layer: keras.Layer) -> bool:
    """Whether a layer comes and goes with the recipe; the weights of the others stay the same."""
    return isinstance(layer, keras.layers.Dropout)
