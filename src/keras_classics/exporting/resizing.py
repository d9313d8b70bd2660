"""The resize rules of `data.fit` as a graph, for models that take pictures of any size.

Resizing is a product `rows @ image @ columns` with matrices of weights, each made in the graph from
the height or width of the picture that comes. Roundings are those of OpenCV and Pillow, so that the
pixels are those of `fit_image`, but for one grey level where a sum is so near a half that the order
of its terms decides; tests/exporting/test_resizing.py says how often.

All is float32, and all lengths and positions in it are whole numbers, exact below 2**24: pictures
may have sides of up to 24,000 pixels. Wide matrices make it slower than OpenCV on large pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import keras
import PIL
from keras import ops

from keras_classics.data.fit import AS_GOOD, CentralCrop, Fit, Interpolation

Tensor = Any  # of the backend; whole numbers may be Python's
Sizes = tuple[int, int]

_LINEAR_UNIT = 2048.0  # OpenCV's weights of linear interpolation have 11 bits
# Pillow rounds between its two passes; since version 13, tall images are resized vertically first.
_TALL_VERTICALLY_FIRST = int(PIL.__version__.split(".")[0]) >= 13


class Resize(keras.layers.Layer):  # type: ignore[misc]
    """A picture to the size of a network: (1, h, w, 3) -> (1, *size, 3), float32 grey levels."""

    def __init__(self, size: Sizes, fit: Fit | CentralCrop, **kwargs: Any) -> None:
        """A layer for one of the rules of `data.fit.fit_image`."""
        super().__init__(dtype="float32", **kwargs)
        self.size = size
        self.fit = fit

    def call(self, images: Tensor) -> Tensor:
        """The picture resized."""
        image = ops.transpose(ops.cast(images[0], "float32"), (2, 0, 1))
        if isinstance(self.fit, CentralCrop):
            resized = _central_crop(image, self.size, self.fit)
        else:
            resized = {"crop": _crop, "pad": _pad, "stretch": _stretch}[self.fit](image, self.size)
        return ops.expand_dims(ops.transpose(resized, (1, 2, 0)), 0)

    def compute_output_shape(self, _: Any) -> tuple[int, int, int, int]:
        """As the class says."""
        return (1, *self.size, 3)


@dataclass(frozen=True)
class _Axis:
    """Rows or columns: from `source` pixels to the part from `first` on of `target` pixels."""

    inputs: Tensor  # (1, n), positions of the pixels there are; from 0 to `source` those in use
    source: Tensor
    target: Tensor
    count: int  # of the part
    first: Tensor = 0.0

    @property
    def outputs(self) -> Tensor:
        """Positions of the pixels wanted, (count, 1)."""
        return ops.expand_dims(_positions(self.count), 1) + self.first

    def nearest(self) -> tuple[Tensor, Tensor]:
        """The pixel before each wanted one, (count, 1), and how far from it that one lies."""
        # The middle of a pixel lies half a pixel behind its beginning, in both images.
        position = (2 * self.outputs + 1) * self.source - self.target
        before = _quotient(position, 2 * self.target)
        return before, (position - before * 2 * self.target) / (2 * self.target)


def _positions(count: Tensor) -> Tensor:
    """0, 1, ... as float32."""
    return ops.cast(ops.arange(count, dtype="int32"), "float32")


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    """Whole numbers divided, rounded down; half of one keeps away from what division may lose."""
    return ops.floor((a + 0.5) / b)


def _nearest_even(a: Tensor, b: Tensor) -> Tensor:
    """Whole numbers divided, rounded as Python's `round` does it."""
    down = _quotient(a, b)
    twice = 2 * (a - down * b)
    odd = down - 2 * _quotient(down, 2.0)
    up = ops.logical_or(twice > b, ops.logical_and(ops.equal(twice, b), ops.equal(odd, 1.0)))
    return down + ops.cast(up, "float32")


def _axes(image: Tensor, size: Sizes) -> tuple[_Axis, _Axis]:
    """Rows and columns of an image (3, h, w), all of them to the whole size."""
    _, *sides = ops.shape(image)
    rows, columns = (ops.expand_dims(_positions(side), 0) for side in sides)
    return (
        _Axis(rows, rows[0, -1] + 1, float(size[0]), size[0]),
        _Axis(columns, columns[0, -1] + 1, float(size[1]), size[1]),
    )


def _along(image: Tensor, weights: Tensor) -> Tensor:
    """The rows of an image weighted: (3, h, w) and (n, w) -> (3, n, h), which is turned over."""
    columns = ops.expand_dims(ops.transpose(weights), 0)  # LiteRT takes no product of 3 and 2 axes
    return ops.transpose(ops.matmul(image, columns), (0, 2, 1))


# The rules


def _stretch(image: Tensor, size: Sizes) -> Tensor:
    return _resize(image, *_axes(image, size))


def _crop(image: Tensor, size: Sizes) -> Tensor:
    """As `data.fit` cuts, before resizing: what lies beyond has no weights."""
    rows, columns = _axes(image, size)
    wide = columns.source * size[0] > rows.source * size[1]
    height = ops.where(wide, rows.source, _nearest_even(columns.source * size[0], columns.target))
    width = ops.where(wide, _nearest_even(rows.source * size[1], rows.target), columns.source)
    return _resize(image, _cut(rows, height), _cut(columns, width))


def _cut(axis: _Axis, wanted: Tensor) -> _Axis:
    """The middle of an axis."""
    source = ops.minimum(axis.source, ops.maximum(wanted, 1.0))
    first = _quotient(axis.source - source, 2.0)
    return replace(axis, inputs=axis.inputs - first, source=source)


def _pad(image: Tensor, size: Sizes) -> Tensor:
    """As `data.fit` pads: what lies beyond the picture has no weights, so that it is black."""
    rows, columns = _axes(image, size)
    wide = columns.source * size[0] > rows.source * size[1]
    height = ops.where(wide, _nearest_even(rows.source * size[1], columns.source), rows.target)
    width = ops.where(wide, columns.target, _nearest_even(columns.source * size[0], rows.source))
    return _resize(image, _between_bars(rows, height), _between_bars(columns, width))


def _between_bars(axis: _Axis, wanted: Tensor) -> _Axis:
    """All of an axis as the middle of the pixels wanted."""
    target = ops.maximum(wanted, 1.0)
    return replace(axis, target=target, first=-_quotient(axis.count - target, 2.0))


def _central_crop(image: Tensor, size: Sizes, crop: CentralCrop) -> Tensor:
    rows, columns = _axes(image, size)
    shorter = ops.minimum(rows.source, columns.source)
    half = _quotient if crop.interpolation == "opencv-cubic" else _nearest_even

    def middle(axis: _Axis) -> _Axis:
        target = _quotient(axis.source * crop.resize, shorter)
        return replace(axis, target=target, first=half(target - axis.count, 2.0))

    rows, columns = middle(rows), middle(columns)
    if crop.interpolation == "opencv-cubic":
        image = _along(_along(image, _cubic(columns)), _cubic(rows))
        return ops.clip(ops.round(image), 0.0, 255.0)
    return _pillow(image, rows, columns, crop.interpolation)


def _resize(image: Tensor, rows: _Axis, columns: _Axis) -> Tensor:
    """As `data.fit.resize`: areas where a side shrinks by more than `AS_GOOD`, then linear."""
    limit = Fraction(AS_GOOD).limit_denominator(1000)
    shrinks = ops.logical_or(
        rows.source * limit.denominator > rows.target * limit.numerator,
        columns.source * limit.denominator > columns.target * limit.numerator,
    )
    smaller = []
    for axis in (rows, columns):
        side = ops.where(shrinks, ops.minimum(axis.source, axis.target), axis.source)
        # As many pixels as there can be, so that all sizes from here on are known.
        most = axis.count * limit.numerator // limit.denominator
        smaller.append(replace(axis, target=side, count=most, first=0.0))
    image = _area(image, *smaller)
    rows, columns = (
        replace(axis, inputs=ops.expand_dims(_positions(part.count), 0), source=part.target)
        for axis, part in zip((rows, columns), smaller, strict=True)
    )
    return _linear(image, rows, columns)


# The filters


def _area(image: Tensor, rows: _Axis, columns: _Axis) -> Tensor:
    """OpenCV's INTER_AREA for sides that do not grow: means over areas."""
    high, wide = (_quotient(axis.source, axis.target) for axis in (rows, columns))
    # Where both sides are divided by whole numbers, OpenCV sums up first and then divides.
    whole = ops.logical_and(
        ops.equal(rows.source, high * rows.target), ops.equal(columns.source, wide * columns.target)
    )
    for axis in (columns, rows):
        i, j = axis.outputs, axis.inputs
        end = ops.minimum((i + 1) * axis.source, (j + 1) * axis.target)
        overlap = ops.maximum(end - ops.maximum(i * axis.source, j * axis.target), 0.0)
        image = _along(image, overlap / ops.where(whole, axis.target, axis.source))
    image = image * ops.where(whole, 1.0 / (high * wide), 1.0)
    # It rounds a half to the even number, but in means of 2 x 2 up.
    quarters = ops.logical_and(whole, ops.logical_and(ops.equal(high, 2.0), ops.equal(wide, 2.0)))
    return ops.round(image + ops.where(quarters, 0.125, 0.0))


def _linear(image: Tensor, rows: _Axis, columns: _Axis) -> Tensor:
    """OpenCV's INTER_LINEAR of bytes, in whole numbers, with its losses by shifting."""
    before, first, second = _linear_weights(columns, clamp=True)
    j, last = columns.inputs, columns.source - 1
    weights = ops.where(ops.equal(j, ops.clip(before, 0.0, last)), first, 0.0)
    weights += ops.where(ops.equal(j, ops.clip(before + 1, 0.0, last)), second, 0.0)
    image = ops.floor(_along(image, weights) / 16)  # (3, columns, rows), 15 bits

    before, first, second = _linear_weights(rows, clamp=False)
    total = 2.0
    for offset, weight in ((0, first), (1, second)):
        place = ops.clip(before[:, 0] + offset, 0.0, rows.source - 1)
        pixels = ops.take(image, ops.cast(place, "int32"), axis=2)
        # weight * pixels / 2**16 rounded down; in two steps, for the product has 26 bits.
        upper = ops.floor(pixels / 128)
        lower = ops.floor(weight[:, 0] * (pixels - upper * 128) / 128)
        total += ops.floor((weight[:, 0] * upper + lower) / 512)
    return ops.transpose(ops.floor(total / 4), (0, 2, 1))


def _linear_weights(axis: _Axis, *, clamp: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The pixel before each wanted one, its weight and that of the next."""
    before, part = axis.nearest()
    part = (before + part) - before  # OpenCV has the position as a float
    if clamp:  # of columns OpenCV takes one pixel at the edges, of rows the same one twice
        inside = ops.logical_and(before >= 0, before < axis.source - 1)
        part = ops.where(inside, part, 0.0)
    shown = ops.logical_and(axis.outputs >= 0, axis.outputs < axis.target)
    first, second = (
        ops.where(shown, ops.round(each * _LINEAR_UNIT), 0.0) for each in (1 - part, part)
    )
    return before, first, second


def _cubic(axis: _Axis) -> Tensor:
    """The weights (count, source) of OpenCV's INTER_CUBIC: 4 pixels, whatever the scale.

    These are floats, as in its builds with Intel's library, which all for x86 are; others have 11
    bits, as have all for sides below 4 pixels.
    """
    a = -0.75
    before, part = axis.nearest()
    rest = 1 - part
    outer = (((part + 1) * a - 5 * a) * (part + 1) + 8 * a) * (part + 1) - 4 * a
    inner, next_inner = (((a + 2) * x - (a + 3)) * x * x + 1 for x in (part, rest))
    each = (outer, inner, next_inner, 1 - outer - inner - next_inner)
    weights = 0.0
    for offset, weight in enumerate(each, start=-1):
        place = ops.clip(before + offset, 0.0, axis.source - 1)
        weights += ops.where(ops.equal(axis.inputs, place), weight, 0.0)
    return weights


def _pillow(image: Tensor, rows: _Axis, columns: _Axis, interpolation: Interpolation) -> Tensor:
    """Pillow's filters, which are as wide as the scale where an image shrinks."""

    def horizontal_first() -> Tensor:
        return _pillow_pass(_pillow_pass(image, columns, interpolation), rows, interpolation)

    def vertical_first() -> Tensor:
        resized = _pillow_pass(ops.transpose(image, (0, 2, 1)), rows, interpolation)
        return ops.transpose(_pillow_pass(resized, columns, interpolation), (0, 2, 1))

    if not _TALL_VERTICALLY_FIRST:
        return horizontal_first()
    lost = rows.source - rows.target
    tall = ops.logical_and(lost > 0, lost > 2 * (columns.source - columns.target))
    return ops.cond(tall, vertical_first, horizontal_first)


def _pillow_pass(image: Tensor, axis: _Axis, interpolation: Interpolation) -> Tensor:
    """One of Pillow's two passes, over the rows of an image (3, h, w) -> (3, count, h)."""
    distance = ops.abs((2 * axis.inputs + 1) * axis.target - (2 * axis.outputs + 1) * axis.source)
    reach = 2 * ops.maximum(axis.source, axis.target)  # of a pixel of the smaller one of both
    if interpolation == "bilinear":
        weights = ops.maximum(reach - distance, 0.0)
    else:
        x, a = distance / reach, -0.5
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * a
        weights = ops.where(x < 1, near, ops.where(x < 2, far, 0.0))
    # Pillow's weights have 22 bits, and products 30: their upper and lower 11 bits in turn are
    # found, multiplied and added up without a rounding.
    total = ops.sum(weights, axis=1, keepdims=True)
    upper = ops.round(weights * 2048 / total)
    lower = ops.round((weights * 2048 - upper * total) * 2048 / total)
    carry = ops.floor(_along(image, lower) / 2048)
    return ops.clip(ops.floor((_along(image, upper) + carry + 1024) / 2048), 0.0, 255.0)
