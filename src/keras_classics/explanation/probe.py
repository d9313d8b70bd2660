"""A probe in a network: what any layer gives, what it would be without a branch, and gradients."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.architectures.catalog import block_tree
from keras_classics.architectures.frame import whole
from keras_classics.architectures.tree import Block
from keras_classics.errors import ClassicsError, nearest
from keras_classics.explanation import program
from keras_classics.explanation.program import Key, Step, Tensor
from keras_classics.explanation.tapes import tape
from keras_classics.forward import filled, size_for

Array = npt.NDArray[np.float32]
Classes = int | Sequence[int] | npt.NDArray[np.integer[Any]] | None

BATCH_SIZE = 16  # images at a time, at which a network's layers are busy and memory is not


@dataclass(frozen=True)
class Cut:
    """An operand of a merging layer that counts for nothing: `Cut("conv2_block1_add", 0)`.

    It is replaced by zeros and, where operands are multiplied, as by a squeeze-and-excite gate, by
    ones.
    """

    layer: str
    operand: int  # in the order in which the layer reads them, from 0


@dataclass(frozen=True)
class Outputs:
    """What a network gave."""

    probabilities: Array  # (b, classes); of scores alone their softmax
    scores: Array  # (b, classes): logits, before the activation of the last layer
    taps: dict[str, Array]  # by the names asked for; images (b, h, w, c), channels last


@dataclass(frozen=True)
class Gradients:
    """What a network gave, and how a score changes with it."""

    taps: dict[str, Array]  # by the names asked for, channels last
    gradients: dict[str, Array]  # of the explained scores, in the shapes of the taps
    scores: Array  # (b, classes) of all classes
    classes: npt.NDArray[np.int64]  # (b,), which score was explained


class Probe:
    """Runs a flat Functional or Sequential model of any layers, on any backend, in inference mode.

    Wherever the name of a layer is asked for, that of a block may be given and means its end; the
    input is a layer, too, by the name in `input`. Images are arrays as the network reads them
    (b, h, w, c), preprocessed, channels last also where the model has channels first. A score is
    the number before the softmax: gradients of a probability vanish where the network is sure.
    Of a model with several outputs the first is explained.

    Attributes:
        model: the model, which is never changed.
        tree: its blocks.
        input: name of the input layer.
        classes: their number; None for a model that does not end with a row of scores.
    """

    def __init__(
        self, model: keras.Model, *, calibrate: Callable[[Array], Array] | None = None
    ) -> None:
        """A probe in a model.

        Args:
            model: From images (b, h, w, c), or channels first, to a row of class scores.
            calibrate: What is done to its probabilities (b, classes), such as
                `Calibration.apply`; scores stay as they are.

        Raises:
            ClassicsError: If the model is not built, not a graph of layers, holds another model, or
                reads anything but one batch of images.
        """
        self._program = program.program_of(model)
        self._values: list[tuple[Any, Tensor]] = []  # in the place of the weights
        self._calibrate = calibrate
        self.model = model
        self.tree: Block = block_tree(model)
        images = self._program.images
        self.input = next(name for name, key in self._program.made_by.items() if key == images)
        shape = tuple(model.outputs[0].shape)
        self.classes: int | None = shape[-1] if len(shape) == 2 else None
        self._channels_first = "channels_first" in (
            getattr(layer, "data_format", "") for layer in model.layers
        )

    @cached_property
    def blocks(self) -> dict[str, Block]:
        """All blocks by name, outer before inner."""
        return {block.name: block for block in self.tree.walk() if block is not self.tree}

    @cached_property
    def ends(self) -> tuple[str, ...]:
        """The outermost blocks with feature maps, in order: where to look first.

        A block that is called as one of its layers, as MobileNetV2's `Conv_1`, by its last layer.
        """
        names = (
            block.name if self.layer(block.name) == block.end else block.end
            for block in self.tree.blocks
        )
        return tuple(name for name in names if self.is_map(name))

    def with_weights(self, values: Mapping[str, npt.NDArray[Any]]) -> Probe:
        """The same network with other weights, by their paths; the model keeps its own."""
        other = Probe.__new__(Probe)
        other.__dict__.update(self.__dict__)
        other._values = [
            (weight, keras.ops.convert_to_tensor(values[weight.path], weight.dtype))
            for weight in self.model.weights
            if weight.path in values
        ]
        return other

    def layer(self, name: str) -> str:
        """The layer that a name means: a layer's own, or the end of a block.

        Raises:
            ClassicsError: If there is neither; the message suggests the nearest name.
        """
        if name in self._program.made_by:
            return name
        if name in self.blocks:
            return self.blocks[name].end
        known = [*self.blocks, *self._program.made_by]
        raise ClassicsError(
            f"{name!r}: no block or layer of {self.model.name!r}{nearest(name, known)}"
        )

    def is_map(self, name: str) -> bool:
        """Whether a layer, or a block's end, gives feature maps (b, h, w, c)."""
        return len(self.model.get_layer(self.layer(name)).output.shape) == 4

    def image_shape(self, size: int | None = None) -> tuple[int, int, int]:
        """Height, width and channels of the images; `size` where the network leaves sides open.

        Raises:
            ClassicsError: If it leaves them open and there is no size of at least 1.
        """
        shape: tuple[Any, ...] = tuple(self.model.inputs[0].shape[1:])
        if self._channels_first:
            shape = (*shape[1:], shape[0])
        if None in shape[:2] and (whole(size) or 0) < 1:
            raise ClassicsError(
                f"size={size!r}: {self.model.name!r} takes any height and width; a whole number of "
                "pixels is needed."
            )
        height, width, channels = (side or size or 0 for side in shape)
        return height, width, channels

    def sides(self, name: str) -> tuple[int | None, int | None]:
        """Height and width of a layer's feature maps; None where the network leaves them open."""
        shape = tuple(self.model.get_layer(self.map_layer(name)).output.shape)
        height, width = shape[2:] if self._channels_first else shape[1:3]
        return height, width

    def channels(self, name: str) -> int:
        """How many feature maps a layer gives."""
        shape = tuple(self.model.get_layer(self.map_layer(name)).output.shape)
        return int(shape[1 if self._channels_first else 3])

    def map_layer(self, name: str) -> str:
        """The layer that a name means, which must give feature maps.

        Raises:
            ClassicsError: If it does not, or there is none.
        """
        if not self.is_map(name):
            shape = tuple(self.model.get_layer(self.layer(name)).output.shape[1:])
            raise ClassicsError(
                f"{name!r}: gives {shape}, no feature maps; name a block or layer before it"
                + (f", such as {self.ends[-1]!r}." if self.ends else ".")
            )
        return self.layer(name)

    def run(
        self,
        images: npt.NDArray[Any],
        taps: Sequence[str] = (),
        cuts: Sequence[Cut] = (),
        *,
        batch_size: int = BATCH_SIZE,
    ) -> Outputs:
        """Run the network and look into it.

        Args:
            images: (b, h, w, c), as the network reads them.
            taps: Layers or blocks, also inside branches, whose outputs are wanted.
            cuts: What counts for nothing.
            batch_size: Images that go through the network at a time.

        Raises:
            ClassicsError: If a name is not known, a cut not one of a layer with several operands,
                or the images have another shape than the network's.
        """
        keys = {name: self._program.made_by[self.layer(name)] for name in taps}
        cut = [self._cut(each) for each in cuts]
        keep = {self._program.scores, self._program.output, *keys.values()}
        steps = self._program.plan(keep)
        parts: list[dict[Key, Array]] = []
        for batch, n in _batches(self._checked(images), batch_size):
            with self._weights(), _without_gradients():
                known = {self._program.images: self._to_tensor(batch)}
                values = program.run(steps, known, keep=keep, cuts=cut)
                parts.append({key: _to_array(value)[:n] for key, value in values.items()})
        whole = {key: np.concatenate([part[key] for part in parts]) for key in keep}
        scores, output = whole[self._program.scores], whole[self._program.output]
        if self.classes is not None and self._program.scores == self._program.output:
            output = _probabilities(output)
        return Outputs(
            probabilities=self._calibrate(output) if self._calibrate else output,
            scores=scores,
            taps={name: self._channels_last(whole[key]) for name, key in keys.items()},
        )

    def gradients(
        self,
        images: npt.NDArray[Any],
        taps: Sequence[str],
        classes: Classes = None,
        *,
        batch_size: int = BATCH_SIZE,
    ) -> Gradients:
        """Gradients of a class's score with respect to any layers, from one backward pass.

        Args:
            images: (b, h, w, c), as the network reads them.
            taps: Layers or blocks; `input` for the images themselves.
            classes: One for all images, or one for each; None for each image's most probable one.
            batch_size: Images that go through the network at a time.

        Raises:
            ClassicsError: As `run`; if a class is out of range, or a layer has no part in the
                scores.
        """
        images = self._checked(images)
        chosen = self._classes(classes, len(images))
        target = self._program.scores
        keys = {name: self._tap(name, target, "the scores") for name in taps}
        steps = self._program.plan([target])

        def weights(of: Tensor, first: int, n: int) -> npt.NDArray[np.float32]:
            scores = _to_array(of)
            index = scores.argmax(axis=-1)
            wanted = chosen[first : first + n]
            index[:n] = np.where(wanted < 0, index[:n], wanted)
            return _one_hot(index, scores.shape[-1])

        parts = self._differentiate(
            images, steps, target, keys.values(), weights=weights, batch_size=batch_size
        )
        scores = parts[target][0]
        return Gradients(
            taps={name: self._channels_last(parts[key][0]) for name, key in keys.items()},
            gradients={name: self._channels_last(parts[key][1]) for name, key in keys.items()},
            scores=scores,
            classes=self.chosen(classes, scores),
        )

    def chosen(self, classes: Classes, scores: Array) -> npt.NDArray[np.int64]:
        """The class of each image that is explained: those given, or the most probable ones.

        Raises:
            ClassicsError: If one is out of range.
        """
        given = self._classes(classes, len(scores))
        return np.asarray(np.where(given < 0, scores.argmax(axis=-1), given), np.int64)

    def channel_gradients(
        self, images: npt.NDArray[Any], layer: str, channels: int | Sequence[int]
    ) -> tuple[Array, Array]:
        """How the mean of a channel of a layer changes with the image.

        Only what lies before the layer is run.

        Args:
            images: (b, h, w, c), as the network reads them.
            layer: Or a block.
            channels: One for all images, or one for each.

        Returns:
            The means (b,) and their gradients (b, h, w, c).

        Raises:
            ClassicsError: If the layer is not known or a channel out of range.
        """
        images = self._checked(images)
        name = self.map_layer(layer)
        source = self._program.made_by[name]
        self._tap(self.input, source, repr(layer))
        shape = self.model.get_layer(name).output.shape
        axis = 1 if self._channels_first else 3
        chosen = _whole_numbers(channels, len(images), shape[axis], "channel", repr(layer))
        target: Key = ("mean", source)
        sides = tuple(i for i in (1, 2, 3) if i != axis)

        def mean(operands: Sequence[Tensor]) -> list[Tensor]:
            return [keras.ops.mean(keras.ops.cast(operands[0], "float32"), axis=sides)]

        steps = [*self._program.plan([source]), Step("mean", (source,), (target,), mean)]

        def weights(of: Tensor, first: int, n: int) -> npt.NDArray[np.float32]:
            index = np.zeros(of.shape[0], int)
            index[:n] = chosen[first : first + n]
            return _one_hot(index, shape[axis])

        key = self._program.images
        parts = self._differentiate(
            images, steps, target, [key], weights=weights, batch_size=BATCH_SIZE
        )
        means = parts[target][0][np.arange(len(images)), chosen]
        return means, self._channels_last(parts[key][1])

    def _differentiate(
        self,
        images: Array,
        steps: Sequence[Step],
        target: Key,
        keys: Iterable[Key],
        *,
        weights: Callable[[Tensor, int, int], Array],
        batch_size: int,
    ) -> dict[Key, tuple[Array, Array]]:
        """Values and gradients of what is asked for, and the values of the target.

        `weights` says what of the target is differentiated: from its values, the first image of a
        batch and how many of its images count, to an array of its shape.
        """
        wanted = list(dict.fromkeys(keys))
        parts: dict[Key, list[tuple[Array, Array]]] = {key: [] for key in [*wanted, target]}
        first = 0
        for batch, n in _batches(images, batch_size):
            with self._weights():
                pixels = self._to_tensor(batch)
                recorder = tape(self._program.images, pixels, wanted, target)
                keep = {*wanted, target}
                known = {self._program.images: pixels}
                values = program.run(steps, known, keep=keep, apply=recorder.apply)

                def scaled(of: Tensor, first: int = first, n: int = n) -> Tensor:
                    return keras.ops.convert_to_tensor(weights(of, first, n), of.dtype)

                found = recorder.gradients(target, scaled, wanted)
            for key, gradient in zip(wanted, found, strict=True):
                parts[key].append((_to_array(values[key])[:n], _to_array(gradient)[:n]))
            if target not in wanted:
                value = _to_array(values[target])[:n]
                parts[target].append((value, value))
            first += n
        return {
            key: (np.concatenate([v for v, _ in pairs]), np.concatenate([g for _, g in pairs]))
            for key, pairs in parts.items()
        }

    def _weights(self) -> AbstractContextManager[Any]:
        """Within it, the model computes with this probe's weights."""
        if not self._values:
            return nullcontext()
        scope: AbstractContextManager[Any] = keras.StatelessScope(state_mapping=self._values)
        return scope

    def _tap(self, name: str, target: Key, what: str) -> Key:
        """The key of a layer that has a part in the target."""
        key = self._program.made_by[self.layer(name)]
        if not self._program.leads(key, target):
            raise ClassicsError(f"{name!r}: has no part in {what}, so that there is no gradient.")
        return key

    def _cut(self, cut: Cut) -> tuple[Step, int]:
        layer = self.layer(cut.layer)
        step = self._program.calls.get(layer)
        operands = len(step.sources) if step else 0
        if step is None or operands < 2:
            raise ClassicsError(
                f"cut={cut.layer!r}: reads {operands} tensors; a layer that merges several is "
                "needed, such as Add or Concatenate."
            )
        _whole_numbers(cut.operand, 1, operands, "operand", repr(cut.layer))
        return step, int(cut.operand)

    def _classes(self, classes: Classes, n: int) -> npt.NDArray[np.int64]:
        """A class for each image; -1 for its most probable one."""
        if self.classes is None:
            raise ClassicsError(
                f"model {self.model.name!r} gives {tuple(self.model.outputs[0].shape)}, no class "
                "scores; build it with include_top=True."
            )
        if classes is None:
            return np.full(n, -1, np.int64)
        return _whole_numbers(classes, n, self.classes, "class", repr(self.model.name))

    def _checked(self, given: npt.NDArray[Any]) -> Array:
        """Images as float32 of the network's shape.

        Raises:
            ClassicsError: If they are none.
        """
        images: npt.NDArray[Any] = np.asarray(given)
        shape = tuple(self.model.inputs[0].shape[1:])
        wanted = (*shape[1:], shape[0]) if self._channels_first else shape
        if (
            images.ndim != 4
            or not len(images)
            or images.dtype.kind not in "fiu"
            or any(w not in (None, n) for w, n in zip(wanted, images.shape[1:], strict=True))
        ):
            raise ClassicsError(
                f"images of shape {images.shape} ({images.dtype}): numbers of shape "
                f"(n, {', '.join('any' if w is None else str(w) for w in wanted)}) are needed."
            )
        if images.dtype.kind != "f" and "float" in str(self.model.inputs[0].dtype):
            raise ClassicsError(
                f"images: {images.dtype} numbers, as of pixels; {self.model.name!r} reads floats, "
                "which keras_classics.weights.preprocess.preprocess makes of them."
            )
        read = np.array(images, np.float32)
        if not np.isfinite(read).all():
            raise ClassicsError("images: not all numbers are finite.")
        return read

    def _to_tensor(self, images: Array) -> Tensor:
        ours = np.moveaxis(images, -1, 1) if self._channels_first else images
        return keras.ops.convert_to_tensor(np.ascontiguousarray(ours))

    def _channels_last(self, value: Array) -> Array:
        if self._channels_first and value.ndim == 4:
            return np.ascontiguousarray(np.moveaxis(value, 1, -1))
        return value


def _whole_numbers(given: Any, n: int, below: int, what: str, whose: str) -> npt.NDArray[np.int64]:
    """One whole number for each of n images, all within a range."""
    one = isinstance(given, numbers.Integral)
    values = np.full(n, int(given), np.int64) if one else np.asarray(given)
    if values.shape != (n,) or values.dtype.kind not in "iu" or isinstance(given, bool):
        raise ClassicsError(f"{what}={given!r}: a whole number is needed, or one for each image.")
    if wrong := [int(value) for value in values if not 0 <= value < below]:
        raise ClassicsError(f"{what} {wrong[0]}: {whose} has {below}, from 0 to {below - 1}.")
    return values.astype(np.int64)


def _one_hot(index: npt.NDArray[Any], n: int) -> Array:
    """Rows of zeros with a one at an index."""
    return np.asarray(np.arange(n) == index[:, None], np.float32)


def _batches(images: Array, batch_size: int) -> Iterator[tuple[Array, int]]:
    """Batches of few sizes and how many images of each count: JAX compiles for every new size."""
    if batch_size < 1:
        raise ClassicsError(f"batch_size={batch_size}: at least 1 is needed.")
    size = size_for(len(images), batch_size)
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        yield filled(batch, size), len(batch)


def _to_array(value: Tensor) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(value), np.float32)


def _probabilities(output: Array) -> Array:
    """Of logits the softmax, of a single one the sigmoid; of what is probabilities, these.

    A layer of one's own may end with a softmax that nobody else sees. Each row is told by itself:
    what is said of an image does not depend on its neighbours.
    """
    if output.shape[-1] == 1:
        return np.asarray(1 / (1 + np.exp(-output)), np.float32)
    is_done = (output >= 0).all(axis=-1) & np.isclose(output.sum(axis=-1), 1, atol=1e-2)
    powers = np.exp(output - output.max(axis=-1, keepdims=True))
    softmax = powers / powers.sum(axis=-1, keepdims=True)
    return np.asarray(np.where(is_done[..., None], output, softmax), np.float32)


def _without_gradients() -> AbstractContextManager[Any]:
    """Within it, torch keeps nothing for a backward pass; the others do not anyway."""
    if keras.backend.backend() != "torch":
        return nullcontext()
    import torch

    context: AbstractContextManager[Any] = torch.no_grad()
    return context
