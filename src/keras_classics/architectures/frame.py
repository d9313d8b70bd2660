"""The frame: what all networks have in common stands here, once.

`Architecture` is the record of a network, `build` makes a flat Functional model of it. Weights are
no business of this layer: see `keras_classics.networks` for the constructors that load them.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import numbers
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar

import keras
from keras import KerasTensor, layers

from keras_classics.architectures.layers import channel_axis
from keras_classics.architectures.tree import BlockKind
from keras_classics.errors import ClassicsError

Activation = str | Callable[[KerasTensor], KerasTensor] | None  # as in keras.layers.Dense
Pooling = Literal["avg", "max"] | None
Shape = tuple[int | None, int | None, int | None]
P = ParamSpec("P")
Network = TypeVar("Network")
Made = TypeVar("Made")


Library = Literal["keras", "torchvision", "timm"]


# From images to feature maps: (b, h, w, c) -> those at the end of each stage, by its name; the last
# ones are what the top reads. Takes `x`, and by keyword width, depths, prefix, and the options that
# the record declares beside dropout.
Features = Callable[..., dict[str, KerasTensor]]


class Top(Protocol):
    """From the last feature maps to the classes: (b, h, w, c) -> (b, classes)."""

    def __call__(  # noqa: D102
        self, x: KerasTensor, *, width: float, prefix: str, classes: int, activation: Activation
    ) -> KerasTensor: ...


def pooled_top(
    x: KerasTensor,
    *,
    width: float,  # noqa: ARG001  the classes are not scaled
    prefix: str,
    classes: int,
    activation: Activation,
    dropout: float = 0.0,
    dropout_name: str = "avg_pool_dropout",
) -> KerasTensor:
    """Global average pooling and one dense layer: (b, h, w, c) -> (b, classes), any h and w."""
    x = layers.GlobalAveragePooling2D(name=f"{prefix}avg_pool")(x)
    if dropout:
        x = layers.Dropout(dropout, name=prefix + dropout_name)(x)
    return layers.Dense(classes, activation=activation, name=f"{prefix}predictions")(x)


@dataclass(frozen=True)
class SideHead:
    """A side classifier, which helps to train what lies below it."""

    top: Top
    after: str  # the stage whose feature maps it reads
    layers: tuple[str, ...]  # those of its layers that have weights


@dataclass(frozen=True)
class Option:
    """A rate, from 0 up to 1, that a network can be built with."""

    name: Literal["dropout", "drop_path"]  # as in `Arguments`
    default: float = 0.0


TRAITS = ("batch_norm", "residuals")  # what recipes ask for
DROPOUT = Option("dropout")  # of the top
DROP_PATH = Option("drop_path")  # of the last residual; that of the others rises linearly to it


@dataclass(frozen=True)
class Architecture:
    """The record of a network: all that is declared of it, for whoever has to know."""

    name: str  # in the catalog and as the model's default name
    title: str  # of the constructor
    paper: str  # address
    year: int
    default_size: int  # of the square input in pixels
    least_size: int  # of input_shape; below it, a feature map may vanish
    depths: tuple[int, ...]  # of its stages, as the paper has them
    features: Features
    kinds: tuple[BlockKind, ...]  # the blocks that the architecture declares
    top: Top = pooled_top
    top_layers: tuple[str, ...] = ("predictions",)  # those of the top that have weights
    # Whose weights fit one input size only: those of a top that flattens, or of the whole network.
    fixes_size: Literal["nothing", "top", "network"] = "nothing"
    input_scaling: Literal["outside", "inside"] = "outside"  # inside the graph: raw pixels go in
    side: SideHead | None = None
    options: tuple[Option, ...] = (DROPOUT,)
    traits: frozenset[str] = frozenset({"batch_norm"})  # those of `TRAITS` that it has
    # Whose layers have the same names elsewhere; "torchvision" and "timm" as far as they compute
    # the same, or are what this network is compared with for want of it.
    peers: tuple[tuple[Library, str], ...] = ()
    # The network that weights of torch are for, where they are for none of this name.
    sibling: str | None = None
    unneeded: tuple[str, ...] = ()  # layers of published files whose numbers stand in the graph
    # The model's, where keras.applications' is not the network's name; with {width} and {rows}.
    default_name: str = ""
    names_pooling: bool = False  # the one without the top; keras.applications leaves some to Keras
    # keras.applications' order of arguments, where it is not that of `Arguments`, and their names.
    positional: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()  # there -> here

    def replace(self, **changes: Any) -> Architecture:
        """A variant: this record with other values in some fields."""
        return dataclasses.replace(self, **changes)

    @property
    def mode(self) -> Literal["raw"] | None:
        """The preprocessing that the graph itself demands, whatever the weights; mostly none."""
        return "raw" if self.input_scaling == "inside" else None

    @property
    def model_name(self) -> str:
        """The name of its models, with {width} and {rows} where these are part of it."""
        return self.default_name or self.name

    def bears(self, model_name: str) -> bool:
        """Whether a model of this name is this network, unless somebody named it so."""
        pattern = re.sub(r"\\{.*?\\}", ".+", re.escape(self.model_name))
        return model_name == self.name or re.fullmatch(pattern, model_name) is not None

    def fixes(self, *, include_top: bool) -> bool:
        """Whether its weights fit one input size only."""
        return self.fixes_size == "network" or (include_top and self.fixes_size == "top")

    def peer(self, library: Library) -> str | None:
        """What the network is called in a library."""
        return dict(self.peers).get(library)


@dataclass(frozen=True)
class Arguments:
    """The arguments of every constructor: those of keras.applications, then our own.

    Args:
        include_top: Whether the classifier is part of the model.
        weights: None for random ones; "imagenet" for those of keras.applications, or where it lacks
            the network, the authors'; or the name of any published set (`classics weights` lists
            them), which is in an installed package or downloaded once; or the path of a file:
            `.weights.h5`, `.keras`, `.h5`, `.pth` or `.safetensors`.
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
        depths: Blocks of each stage, at least one; default: the paper's, which weights need.
        prefix: Put before the name of every layer, so that two networks fit into one model. Without
            one, what keras.applications leaves without a name that others could have, too (the
            input, and the pooling of some networks), has the network's name before it.
        auxiliary: Whether the side classifier, where the network has one, is a second output, which
            `without_auxiliary(model)` detaches. Published weights without one leave it random.
        taps: Without the top, names of stages: the model then gives a dict of their feature maps,
            each as the stage ends. The error for a wrong name lists them.
        dropout: Rate in the top while training; default: the network's own.
        drop_path: Rate at which the last residual is left out while training, stochastic depth;
            that of the others rises linearly to it. Default: the network's own.

    Returns:
        A flat Functional model from (b, h, w, c) to (b, classes), or to (b, h', w', c') or (b, c')
        without the top. With an input tensor, it takes the list of what that is computed from.

    Raises:
        ClassicsError: If an argument is out of its range, or the weights are not the network's
            (`keras_classics.errors.WeightsError`).
    """

    include_top: bool = True
    weights: str | None = None
    input_tensor: KerasTensor | None = None
    input_shape: Shape | None = None
    pooling: Pooling = None
    classes: int | None = 1000
    classifier_activation: Activation = "softmax"
    name: str | None = None
    _: KW_ONLY
    width: float = 1.0
    depths: Sequence[int] | None = None
    prefix: str = ""
    auxiliary: bool = False
    taps: Collection[str] = ()
    dropout: float | None = None
    drop_path: float | None = None


def taking_arguments(
    arguments: Callable[P, Arguments],
) -> Callable[[Callable[[Network, Arguments], Made]], Callable[Concatenate[Network, P], Made]]:
    """Decorator of a function of a network and `Arguments`: it takes these one by one."""

    def decorate(
        make: Callable[[Network, Arguments], Made],
    ) -> Callable[Concatenate[Network, P], Made]:
        def build(network: Network, /, *args: P.args, **kwargs: P.kwargs) -> Made:
            return make(network, arguments(*args, **kwargs))

        (first, _), own = inspect.signature(make).parameters.values(), inspect.signature(Arguments)
        signature = inspect.Signature(
            [first, *own.parameters.values()], return_annotation=keras.Model
        )
        functools.update_wrapper(build, make)
        build.__signature__ = signature  # type: ignore[attr-defined]
        build.__doc__ = f"{inspect.cleandoc(make.__doc__ or '')}\n\n{documentation()}"
        return build

    return decorate


def documentation() -> str:
    """The sections on arguments, returned model and errors, for a docstring."""
    text = inspect.cleandoc(Arguments.__doc__ or "")
    return text[text.index("Args:") :]


@taking_arguments(Arguments)
def build(architecture: Architecture, arguments: Arguments) -> keras.Model:
    """Build a network with random weights as a flat Functional model, whose input is `input_layer`.

    For weights, see `keras_classics.build`.
    """
    if arguments.weights is not None:
        raise ClassicsError("weights: loaded by `keras_classics.build`, not by the frame.")
    # Keras would count inputs without a name, and no two files would have the same bytes.
    return graph(architecture, arguments, input_name="input_layer")


def graph(architecture: Architecture, arguments: Arguments, *, input_name: str) -> keras.Model:
    """The network with random weights.

    Args:
        architecture: Its record.
        arguments: All but `weights`, which are no business of the frame.
        input_name: Of the new input, after the prefix.

    Raises:
        ClassicsError: If an argument is out of its range.
    """
    given = _checked(architecture, arguments)
    shape = input_shape_for(architecture, given.input_shape, include_top=given.include_top)
    if given.input_tensor is None:
        inputs = x = keras.Input(shape, name=f"{given.prefix}{input_name}")
    else:
        shape = _shape_of(given.input_tensor)
        what = "input_tensor of shape "
        _check_known(architecture, shape, what, include_top=given.include_top)
        x, inputs = given.input_tensor, keras.utils.get_source_inputs(given.input_tensor)

    common = {"width": given.width, "prefix": given.prefix}
    rates = {option.name: getattr(given, option.name) for option in architecture.options}
    of_top = {name: rate for name, rate in rates.items() if name == DROPOUT.name}
    of_features = {name: rate for name, rate in rates.items() if name != DROPOUT.name}
    try:
        maps = architecture.features(x, depths=given.depths, **common, **of_features)
    except ValueError as error:
        # As in keras.applications, an input tensor may be small while no feature map vanishes.
        _check_size(architecture, shape, "input_tensor of shape ", cause=error)
        raise
    x = next(reversed(maps.values()))
    classifier = {"classes": given.classes, "activation": given.classifier_activation}
    outputs: Any = x
    if given.include_top:
        outputs = architecture.top(x, **common, **classifier, **of_top)  # type: ignore[arg-type]
        if given.auxiliary and architecture.side:
            side = architecture.side
            outputs = [outputs, side.top(maps[side.after], **common, **classifier)]  # type: ignore[arg-type]
    elif given.pooling:
        pool = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}
        own = "" if given.prefix or architecture.names_pooling else f"{architecture.name}_"
        outputs = pool[given.pooling](name=f"{given.prefix}{own}{given.pooling}_pool")(x)
    elif given.taps:
        outputs = {name: maps[name] for name in _taps(architecture, given.taps, maps)}
    rows = shape[0 if channel_axis() == 3 else 1] or architecture.default_size
    own = architecture.model_name.format(width=given.width, rows=rows)
    return keras.Model(inputs, outputs, name=given.name or own)


def _taps(architecture: Architecture, taps: Collection[str], maps: Collection[str]) -> list[str]:
    """The stages that are asked for, in the order of the network."""
    if unknown := [tap for tap in taps if tap not in maps]:
        raise ClassicsError(
            f"taps={unknown[0]!r}: no stage of {architecture.title}, which has {', '.join(maps)}."
        )
    return [name for name in maps if name in taps]


def _checked(architecture: Architecture, given: Arguments) -> Arguments:
    """The arguments with Python's own numbers, which go into a saved model, and with defaults."""
    classes, width = whole(given.classes) if given.include_top else 1, given.width
    if classes is None or classes < 1:
        raise ClassicsError(f"classes={given.classes!r}: a whole number of at least 1 is needed.")
    if not _is_number(width) or width <= 0:
        raise ClassicsError(f"width={width!r}: a positive number is needed; 1.0 is the paper's.")
    if not given.include_top and given.pooling not in (None, "avg", "max"):
        raise ClassicsError(f'pooling={given.pooling!r}: None, "avg" or "max" is needed.')
    if not isinstance(given.prefix, str):
        raise ClassicsError(f'prefix={given.prefix!r}: a string is needed; "" puts nothing before.')
    if "/" in given.prefix:
        raise ClassicsError(f'prefix={given.prefix!r}: layer names cannot contain "/".')

    if given.auxiliary and architecture.side is None:
        raise ClassicsError(f"auxiliary=True: {architecture.title} has no side classifier.")
    if given.auxiliary and not given.include_top:
        raise ClassicsError(
            "auxiliary=True with include_top=False: the side classifier needs classes; "
            "use include_top=True."
        )
    if given.taps and (given.include_top or given.pooling):
        raise ClassicsError(
            f"taps={list(given.taps)}: feature maps of stages need include_top=False and "
            "pooling=None."
        )
    return dataclasses.replace(
        given,
        classes=classes,
        width=float(width),
        depths=_depths(architecture, given.depths),
        dropout=_rate(architecture, given, "dropout"),
        drop_path=_rate(architecture, given, "drop_path"),
    )


def _rate(architecture: Architecture, given: Arguments, name: str) -> float | None:
    """The rate of an option, the network's own by default."""
    rate = getattr(given, name)
    own = {option.name: option.default for option in architecture.options}
    if name not in own:
        if rate:
            what = "no residuals to drop" if name == DROP_PATH.name else "no dropout"
            raise ClassicsError(f"{name}={rate!r}: {architecture.title} has {what}.")
        return None
    if rate is None:
        return own[name]
    if not _is_number(rate) or not 0.0 <= rate < 1.0:
        raise ClassicsError(f"{name}={rate!r}: a rate from 0 up to, not including, 1 is needed.")
    return float(rate)


def _depths(architecture: Architecture, depths: Sequence[int] | None) -> tuple[int, ...]:
    """How many blocks each stage has."""
    if depths is None:
        return architecture.depths
    numbers = [whole(depth) for depth in depths] if isinstance(depths, Iterable) else []
    found = tuple(n for n in numbers if n is not None and n >= 1)
    if len(found) != len(numbers) or len(found) != len(architecture.depths):
        raise ClassicsError(
            f"depths={depths!r}: {architecture.title} needs {len(architecture.depths)} whole "
            f"numbers of at least 1; the paper's are {architecture.depths}."
        )
    return found


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number, numpy's included."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def input_shape_for(
    architecture: Architecture, input_shape: Shape | None, *, include_top: bool
) -> Shape:
    """Check the shape of a new input, or give the default one.

    Raises:
        ClassicsError: If the shape is not one of three whole numbers, or smaller than the
            architecture's least size, or unknown where the top needs a fixed size.
    """
    if input_shape is None:
        fixed = include_top or architecture.fixes(include_top=False)
        side = architecture.default_size if fixed else None
        return with_channels((side, side), 3)
    input_shape = _three(input_shape)
    _check_size(architecture, input_shape, "input_shape=")
    _check_known(architecture, input_shape, "input_shape=", include_top=include_top)
    return input_shape


def _check_known(architecture: Architecture, shape: Shape, what: str, *, include_top: bool) -> None:
    """Refuse a shape that leaves open what a weight depends on."""
    channels = shape[channel_axis() - 1]
    if channels is None or channels < 1:
        raise ClassicsError(f"{what}{shape}: the number of channels must be known.")
    if architecture.fixes(include_top=include_top) and None in _sides(shape):
        by_top = architecture.fixes_size == "top"
        whose = f"the dense top of {architecture.title}" if by_top else architecture.title
        instead = ", or build with include_top=False" if by_top else ""
        raise ClassicsError(
            f"{what}{shape}: {whose} needs a known height and width; give them{instead}."
        )


def _check_size(
    architecture: Architecture, shape: Shape, what: str, cause: Exception | None = None
) -> None:
    """Refuse a shape that is smaller than the least size."""
    title, least = architecture.title, architecture.least_size
    if any(side is not None and side < least for side in _sides(shape)):
        raise ClassicsError(
            f"{what}{shape}: {title} needs at least {least} x {least} pixels."
        ) from cause


def _sides(shape: Shape) -> tuple[int | None, ...]:
    return tuple(n for axis, n in enumerate(shape, start=1) if axis != channel_axis())


def _shape_of(input_tensor: Any) -> Shape:
    """Height, width and channels of a tensor where a network can begin."""
    if not keras.utils.is_keras_tensor(input_tensor):
        raise ClassicsError(
            f"input_tensor of type {type(input_tensor).__name__}: a Keras tensor is needed, "
            "such as keras.Input(...) or the output of a layer."
        )
    return _three(input_tensor.shape[1:])


def _three(input_shape: Any) -> Shape:
    """The shape in Python's own numbers, whether a tuple or a list, of numpy's or not."""
    sides = tuple(input_shape) if isinstance(input_shape, Iterable) else ()
    if len(sides) != 3 or any(n is not None and whole(n) is None for n in sides):
        raise ClassicsError(
            f"input_shape={input_shape!r}: three whole numbers (or None) are needed."
        )
    return (whole(sides[0]), whole(sides[1]), whole(sides[2]))


def whole(value: Any) -> int | None:
    """A whole number, numpy's included, as an int; None for anything else and for a bool."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        return None
    return int(value)


def with_channels(sides: tuple[int | None, int | None], channels: int) -> Shape:
    """Height and width joined with the channels in the order that Keras is configured for."""
    return (channels, *sides) if channel_axis() == 1 else (*sides, channels)
