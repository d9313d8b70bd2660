"""How far a map can be believed: deletion and insertion curves, and a control by random weights.

A map that is pleasing need not be right. Deletion and insertion (arXiv 1806.07421, section 4.3) ask
the network: take away the pixels in the map's order, and the class should go soon; put them back,
and it should come soon. The control (1810.03292) asks the method: with random weights, the map must
become another one, or it shows the image and not what the network knows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import keras
import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from keras_classics.architectures.frame import whole
from keras_classics.errors import ClassicsError
from keras_classics.explanation.cam import scaled
from keras_classics.explanation.probe import BATCH_SIZE, Array, Classes, Probe
from keras_classics.heat import enlarged

STEPS = 32
# Standard deviation as a part of the image's shorter side. The paper's blur, of 11 pixels at 224,
# leaves so much that a network may know the blurred image, too, and the curve says nothing.
BLUR = 0.1
CONTROLS = 3  # random networks; one alone may resemble anything by chance


@dataclass(frozen=True)
class Curve:
    """A class's probability while pixels go or come."""

    fractions: Array  # (steps + 1,) of the pixels, from 0 to 1
    probabilities: Array  # (b, steps + 1)
    areas: Array  # (b,) under each curve, by the trapezoidal rule


def deletion(
    probe: Probe,
    images: npt.NDArray[Any],
    maps: npt.NDArray[Any],
    *,
    classes: Classes = None,
    steps: int = STEPS,
    batch_size: int = BATCH_SIZE,
) -> Curve:
    """The curve while the largest pixels of the map take on the image's mean colour, in order.

    A small area is good: what the map names first was needed.

    Args:
        probe: In the network.
        images: (b, h, w, c), as the network reads them.
        maps: (b, h', w') of any size, one an image; only their order counts.
        classes: One for all images, or one for each; None for each image's most probable one.
        steps: In which all pixels go.
        batch_size: Images that go through the network at a time.

    Raises:
        ClassicsError: If steps is less than 1 or the maps do not belong to the images, or as
            `Probe.run`.
    """
    images = np.asarray(images)
    empty = np.broadcast_to(images.mean(axis=(1, 2), keepdims=True), images.shape)
    return _curve(
        probe, images, empty, images, maps, classes=classes, steps=steps, batch_size=batch_size
    )


def insertion(
    probe: Probe,
    images: npt.NDArray[Any],
    maps: npt.NDArray[Any],
    *,
    classes: Classes = None,
    steps: int = STEPS,
    batch_size: int = BATCH_SIZE,
) -> Curve:
    """The curve while the largest pixels of the map become sharp in a blurred image, in order.

    A large area is good: what the map names first is enough. Arguments and errors as `deletion`.
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4:
        probe.run(images)  # which says what is needed
    blurred = np.stack([_blurred(image) for image in images])
    return _curve(
        probe, blurred, images, images, maps, classes=classes, steps=steps, batch_size=batch_size
    )


def _blurred(image: Array) -> Array:
    """An image (h, w, c) without what makes it out."""
    soft = cv2.GaussianBlur(image, (0, 0), BLUR * min(image.shape[:2]))
    return np.asarray(soft, np.float32).reshape(image.shape)


def _curve(
    probe: Probe,
    before: npt.NDArray[Any],
    after: npt.NDArray[Any],
    images: npt.NDArray[Any],
    maps: npt.NDArray[Any],
    *,
    classes: Classes,
    steps: int,
    batch_size: int,
) -> Curve:
    """The probabilities from one image to the other, pixel after pixel in the order of the map."""
    number = whole(steps)
    if number is None or number < 1:
        raise ClassicsError(f"steps={steps!r}: a whole number of at least 1 is needed.")
    chosen = probe.chosen(classes, probe.run(images, batch_size=batch_size).scores)
    height, width = images.shape[1:3]
    maps = np.asarray(maps, np.float32)
    if maps.ndim != 3 or len(maps) != len(images):
        raise ClassicsError(
            f"maps of shape {maps.shape}: one (h, w) for each of {len(images)} images is needed."
        )
    fractions = np.linspace(0, 1, steps + 1)
    rows = []
    for first, last, heat, index in zip(
        before, after, enlarged(maps, (height, width)), chosen, strict=True
    ):
        rank = np.empty(height * width, np.int64)
        rank[np.argsort(-heat, axis=None, kind="stable")] = np.arange(height * width)
        changed = rank.reshape(height, width) < np.round(fractions * height * width)[:, None, None]
        mixed = np.where(changed[..., None], last, first)
        rows.append(probe.run(mixed, batch_size=batch_size).probabilities[:, index])
    probabilities = np.stack(rows)
    areas = np.asarray(np.trapezoid(probabilities, fractions, axis=1), np.float32)
    return Curve(fractions.astype(np.float32), probabilities, areas)


def randomised(probe: Probe, *, seed: int = 0, layers: Sequence[str] | None = None) -> Probe:
    """A probe in the same network with random weights, as before training; the model keeps its own.

    Kernels are drawn as He et al. do (1502.01852), and batch norm begins anew, too.

    Args:
        probe: In the trained network.
        seed: The same seed gives the same weights.
        layers: Whose weights are random, by name; the others keep theirs. Default: all.

    Raises:
        ClassicsError: If a layer is not known.
    """
    chosen = {probe.layer(name) for name in layers} if layers is not None else None
    values: dict[str, npt.NDArray[Any]] = {}
    for place, layer in enumerate(probe.model.layers):
        if chosen is not None and layer.name not in chosen:
            continue
        if isinstance(layer, keras.layers.Normalization):
            continue  # knows the images, and has learnt nothing
        # A generator for each layer: what it draws does not depend on which others are drawn.
        rng = np.random.default_rng([seed, place])
        for weight in layer.weights:
            values[weight.path] = _fresh(layer, weight, rng)
    return probe.with_weights(values)


def _fresh(layer: Any, weight: Any, rng: np.random.Generator) -> npt.NDArray[Any]:
    """A weight as before training."""
    shape = tuple(weight.shape)
    if not str(weight.dtype).startswith(("float", "bfloat")):
        return np.asarray(keras.ops.convert_to_numpy(weight))  # a counter or a seed
    if len(shape) > 1:
        # An output of a depthwise kernel (h, w, c, m) reads one of the c channels.
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        fan_in = int(np.prod(shape[: -2 if depthwise else -1]))
        return rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)
    ones = weight.name in {"gamma", "moving_variance", "scale"}
    return np.full(shape, float(ones), np.float32)


@dataclass(frozen=True)
class Similarity:
    """How like two maps are: 1 the same, 0 unrelated."""

    rank_correlation: float  # Spearman's, of the maps as they are
    ssim: float  # structural similarity at the size of the image, each map scaled to 0..1


@dataclass(frozen=True)
class Sanity:
    """What becomes of an image's map when the network forgets."""

    control: Array  # (h, w): the map of one network with all weights random
    full: Similarity  # of the map and such controls, the mean over several
    cascade: tuple[tuple[str, Similarity], ...]  # block by block from the top down, accumulated
    contrast: bool = True  # whether the map and a control have any; what is flat has no order

    @property
    def passed(self) -> bool | None:
        """Whether the map depends on the weights: its order is not mostly that of the controls.

        None where there is no verdict, as a map is flat.
        """
        return self.full.rank_correlation < 0.5 if self.contrast else None


def sanity(
    probe: Probe,
    images: npt.NDArray[Any],
    maps: Array,
    explain: Callable[[Probe, npt.NDArray[Any], npt.NDArray[np.int64]], Array],
    *,
    classes: Classes = None,
    controls: int = CONTROLS,
    cascade: bool = False,
    seed: int = 0,
) -> list[Sanity]:
    """The randomised-weights check of 1810.03292, section 3.1, for each image.

    Args:
        probe: In the trained network.
        images: (b, h, w, c), as the network reads them.
        maps: (b, h', w'), what the method said of the trained network.
        explain: The method: from a probe, images and classes to such maps.
        classes: One for all images, or one for each; None for each image's most probable one.
        controls: Networks with random weights, over which similarities are averaged. A control
            without any contrast, where a random network has nothing for the class, does not count
            as long as there is another.
        cascade: Whether also to go block by block from the top down, each step with all above it
            random, too.
        seed: Of the random weights.

    Raises:
        ClassicsError: If controls is less than 1, or as `Probe.run`.
    """
    if (whole(controls) or 0) < 1:
        raise ClassicsError(f"controls={controls!r}: a whole number of at least 1 is needed.")
    chosen = probe.chosen(classes, probe.run(images).scores)
    images = np.asarray(images, np.float32)
    size = images.shape[1], images.shape[2]
    found = [explain(randomised(probe, seed=seed + i), images, chosen) for i in range(controls)]
    steps: list[tuple[str, Array]] = []
    if cascade:
        random: list[str] = []
        for name, layers in reversed(parts(probe)):
            random += layers
            forgetful = randomised(probe, seed=seed, layers=random)
            steps.append((name, explain(forgetful, images, chosen)))
    return [
        _sanity(
            heat,
            [control[i] for control in found],
            tuple((name, similarity(heat, step[i], size)) for name, step in steps),
            size,
        )
        for i, heat in enumerate(maps)
    ]


def _sanity(
    heat: Array,
    controls: Sequence[Array],
    cascade: tuple[tuple[str, Similarity], ...],
    size: tuple[int, int],
) -> Sanity:
    telling = [control for control in controls if np.ptp(control) > 0] or controls
    alike = [similarity(heat, control, size) for control in telling]
    mean = Similarity(
        float(np.mean([each.rank_correlation for each in alike])),
        float(np.mean([each.ssim for each in alike])),
    )
    contrast = np.ptp(heat) > 0 and np.ptp(telling[0]) > 0
    return Sanity(telling[0], mean, cascade, contrast=bool(contrast))


def parts(probe: Probe) -> list[tuple[str, tuple[str, ...]]]:
    """The outer blocks and the layers outside them that have weights, in order, by name."""
    members = [
        (member, (member,)) if isinstance(member, str) else (member.name, member.layers)
        for member in probe.tree.members
    ]
    return [
        (name, layers)
        for name, layers in members
        if any(probe.model.get_layer(layer).weights for layer in layers)
    ]


def similarity(a: Array, b: Array, size: tuple[int, int]) -> Similarity:
    """How like two maps (h, w) of an image of a size are."""
    x, y = scaled(enlarged(np.stack([a, b]), size)).astype(np.float64)
    return Similarity(_rank_correlation(a, b), _ssim(x, y))


def _rank_correlation(a: Array, b: Array) -> float:
    """Spearman's; 0 where a map is constant and has no order."""
    x, y = (rankdata(values) for values in (a, b))
    if x.std() == 0 or y.std() == 0:
        return 0.0
    return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])


def _ssim(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """Wang et al. 2004, doi 10.1109/TIP.2003.819861, of images from 0 to 1."""

    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5))

    c1, c2 = 0.01**2, 0.03**2
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    alike = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(alike.mean())
