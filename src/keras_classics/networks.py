"""The constructors: same names, arguments and defaults as in keras.applications, and a few more.

Change the import and existing code goes on working:

    from keras_classics import ResNet50  # was: from keras.applications import ResNet50
"""

from __future__ import annotations

from typing import Protocol

import keras
from keras import KerasTensor

from keras_classics.architectures import catalog, frame, inception_v3, resnet, vgg
from keras_classics.architectures.frame import Activation, Architecture, Pooling, Shape
from keras_classics.weights.requests import check_request, load_requested


def build(
    network: str | Architecture,
    *,
    include_top: bool = True,
    weights: str | None = None,
    input_tensor: KerasTensor | None = None,
    input_shape: Shape | None = None,
    pooling: Pooling = None,
    classes: int | None = 1000,
    classifier_activation: Activation = "softmax",
    name: str | None = None,
    width: float = 1.0,
    prefix: str = "",
    auxiliary: bool = False,
) -> keras.Model:
    """Build any network of the catalog by its name, or one from a record of your own.

    Args:
        network: A name such as "resnet50_d", see `keras_classics.CATALOG`, or a record.
        include_top: Whether the classifier is part of the model.
        weights: None for random ones; "imagenet" for those of keras.applications, or the name of
            any published set (`classics weights` lists them): downloaded once; or the path of a
            file: `.weights.h5`, `.keras`, `.h5`, `.pth` or `.safetensors`.
        input_tensor: Where the network begins, in the place of a new input.
        input_shape: Height, width, channels (channels first if Keras is so configured); None for
            any height or width, where the top allows it. Default: the paper's size with the top,
            any size without, 3 channels. With an input tensor it is checked, and changes nothing.
            Weights for 3 channels are adapted to 1 or 4.
        pooling: Without the top, global pooling of the last feature maps: "avg", "max" or None.
        classes: Number of classes of the top; without it, anything.
        classifier_activation: Of the top; None gives logits.
        name: The model's; default: the network's.
        width: Multiplies the number of filters of every layer; 1.0 is the paper.
        prefix: Put before the name of every layer, so that two networks fit into one model. Without
            one, what keras.applications leaves without a name that others could have, too (the
            input, and the pooling of VGG16 and Inception V3), has the network's name before it.
        auxiliary: Whether Inception V3's side classifier is a second output, which
            `without_auxiliary(model)` detaches. Published weights without one leave it random.

    Returns:
        A flat Functional model from (b, h, w, c) to (b, classes), or to (b, h', w', c') or (b, c')
        without the top. With an input tensor, it takes the list of what that is computed from.

    Raises:
        ClassicsError: If an argument is out of its range, or the weights are not the network's
            (`keras_classics.errors.WeightsError`).
    """
    architecture = catalog.find(network) if isinstance(network, str) else network
    check_request(
        architecture,
        weights,
        include_top=include_top,
        classes=classes,
        activation=classifier_activation,
        width=width,
    )
    model = frame.build(
        architecture,
        include_top=include_top,
        input_tensor=input_tensor,
        input_shape=input_shape,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        name=name,
        width=width,
        prefix=prefix,
        auxiliary=auxiliary,
        input_name="input_layer" if prefix else f"{architecture.name}_input_layer",
    )
    if weights is not None:
        load_requested(
            model,
            architecture,
            weights,
            include_top=include_top,
            auxiliary=auxiliary,
            prefix=prefix,
            upstream=_upstream(input_tensor),
        )
    return model


def _upstream(input_tensor: KerasTensor | None) -> frozenset[str]:
    """The names of the layers before the network."""
    if input_tensor is None:
        return frozenset()
    before = keras.Model(keras.utils.get_source_inputs(input_tensor), input_tensor)
    return frozenset(layer.name for layer in before.layers)


class Constructor(Protocol):
    """The signature of a constructor: that of keras.applications, then our own arguments."""

    def __call__(  # noqa: D102
        self,
        include_top: bool = True,
        weights: str | None = ...,
        input_tensor: KerasTensor | None = None,
        input_shape: Shape | None = None,
        pooling: Pooling = None,
        classes: int | None = 1000,
        classifier_activation: Activation = "softmax",
        name: str = ...,
        *,
        width: float = 1.0,
        prefix: str = "",
        auxiliary: bool = False,
    ) -> keras.Model: ...


def _constructor(architecture: Architecture, default_weights: str | None) -> Constructor:
    """The constructor of a network."""

    def construct(
        include_top: bool = True,
        weights: str | None = default_weights,
        input_tensor: KerasTensor | None = None,
        input_shape: Shape | None = None,
        pooling: Pooling = None,
        classes: int | None = 1000,
        classifier_activation: Activation = "softmax",
        name: str = architecture.name,
        *,
        width: float = 1.0,
        prefix: str = "",
        auxiliary: bool = False,
    ) -> keras.Model:
        return build(
            architecture,
            include_top=include_top,
            weights=weights,
            input_tensor=input_tensor,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            name=name,
            width=width,
            prefix=prefix,
            auxiliary=auxiliary,
        )

    construct.__name__ = construct.__qualname__ = architecture.title
    construct.__doc__ = (
        f"{architecture.title}, {architecture.paper}.\n\n"
        "Arguments, returned model and errors as in `keras_classics.build`."
    )
    return construct


ResNet50 = _constructor(resnet.RESNET50, "imagenet")
ResNet50V1_5 = _constructor(resnet.RESNET50_V1_5, None)  # more than one set is published
ResNet50D = _constructor(resnet.RESNET50_D, None)
InceptionV3 = _constructor(inception_v3.INCEPTION_V3, "imagenet")
InceptionV3Torch = _constructor(inception_v3.INCEPTION_V3_TORCH, None)


def VGG16(
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: KerasTensor | None = None,
    input_shape: Shape | None = None,
    pooling: Pooling = None,
    classes: int | None = 1000,
    classifier_activation: Activation = "softmax",
    name: str = "vgg16",
    *,
    width: float = 1.0,
    prefix: str = "",
    dropout: float = 0.0,
) -> keras.Model:
    """VGG16, https://arxiv.org/abs/1409.1556; arguments, model and errors as in `build`.

    `dropout` is the rate behind fc1 and fc2: 0.5 in the paper, none in Keras.
    """
    return _constructor(vgg.with_dropout(dropout), "imagenet")(
        include_top,
        weights,
        input_tensor,
        input_shape,
        pooling,
        classes,
        classifier_activation,
        name,
        width=width,
        prefix=prefix,
    )
