"""Class activation maps: where a layer's feature maps speak for a class.

Grad-CAM (arXiv 1610.02391), Grad-CAM++ (1710.11063), LayerCAM (Jiang et al.,
IEEE TIP 30, 2021) and Score-CAM (1910.01279). All maps are (b, h, w) in the layer's own resolution,
at least 0 and not scaled, so that they can be compared between layers, images and classes;
`keras_classics.heat.enlarged` brings them to the size of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from keras_classics.errors import ClassicsError, nearest
from keras_classics.explanation.probe import BATCH_SIZE, Array, Classes, Probe
from keras_classics.heat import enlarged


def grad_cam(maps: Array, gradients: Array) -> Array:
    """1610.02391, equations 1 and 2: channels weighted by the means of their gradients."""
    weights = gradients.mean(axis=(1, 2), keepdims=True)
    return _positive((weights * maps).sum(axis=-1))


def grad_cam_plus_plus(maps: Array, gradients: Array) -> Array:
    """1710.11063, equations 10 and 19: rising pixels weighted so that each object counts alike.

    Equation 19 has squares and cubes of the gradients in numerator and denominator, so that the
    scale of the scores falls out; here no constant is added that would bring it back in.
    """
    g = gradients.astype(np.float64)
    below = 2 * g**2 + maps.sum(axis=(1, 2), keepdims=True) * g**3
    alpha = np.divide(g**2, below, out=np.zeros_like(g), where=below != 0)
    weights = (alpha * np.maximum(g, 0)).sum(axis=(1, 2), keepdims=True)
    return _positive((weights * maps).sum(axis=-1))


def layer_cam(maps: Array, gradients: Array) -> Array:
    """LayerCAM, equations 6 to 8: every position weighted by its own gradient where that rises."""
    return _positive((np.maximum(gradients, 0) * maps).sum(axis=-1))


FROM_GRADIENTS: Mapping[str, Callable[[Array, Array], Array]] = MappingProxyType(
    {"grad-cam": grad_cam, "grad-cam++": grad_cam_plus_plus, "layer-cam": layer_cam}
)
CAMS = (*FROM_GRADIENTS, "score-cam")


def cam(
    probe: Probe,
    images: npt.NDArray[Any],
    *,
    method: str = "grad-cam",
    layers: Sequence[str] | None = None,
    classes: Classes = None,
    batch_size: int = BATCH_SIZE,
) -> dict[str, Array]:
    """Class activation maps of many layers, from one forward and one backward pass.

    Args:
        probe: In the network.
        images: (b, h, w, c), as the network reads them.
        method: "grad-cam", "grad-cam++", "layer-cam" or "score-cam"; the last takes one forward
            pass for every channel of every layer.
        layers: Layers or blocks with feature maps; default: the ends of all outer blocks.
        classes: One for all images, or one for each; None for each image's most probable one.
        batch_size: Images that go through the network at a time.

    Returns:
        By the names asked for: (b, h, w) in the layer's resolution, at least 0.

    Raises:
        ClassicsError: If the method, a layer or a class is not known, a layer gives no feature
            maps, or the images are not of the network's shape.
    """
    if method not in CAMS:
        raise ClassicsError(
            f"method={method!r}: one of {', '.join(CAMS)} is needed{nearest(str(method), CAMS)}"
        )
    names = list(probe.ends if layers is None else layers)
    if not names:
        raise ClassicsError("layers=(): name at least one layer or block with feature maps.")
    for name in names:
        probe.map_layer(name)
    if method == "score-cam":
        return {
            name: score_cam(probe, images, layer=name, classes=classes, batch_size=batch_size)
            for name in names
        }
    found = probe.gradients(images, names, classes, batch_size=batch_size)
    weigh = FROM_GRADIENTS[method]
    return {name: weigh(found.taps[name], found.gradients[name]) for name in names}


def score_cam(
    probe: Probe,
    images: npt.NDArray[Any],
    *,
    layer: str,
    classes: Classes = None,
    channels: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> Array:
    """1910.01279, algorithm 1: channels weighted by the score of what they let through.

    Each channel, enlarged and scaled to 0..1, masks the image; the softmax of the masked images'
    scores weighs the channels. The score of the empty image, which the paper subtracts, falls out
    of the softmax.

    Args:
        probe: In the network.
        images: (b, h, w, c), as the network reads them.
        layer: Or a block, with feature maps.
        classes: As in `cam`.
        channels: Only so many, those that vary the most, as each takes a forward pass; None: all.
        batch_size: Images that go through the network at a time.

    Raises:
        ClassicsError: As in `cam`.
    """
    probe.map_layer(layer)
    if channels is not None and channels < 1:
        raise ClassicsError(f"channels={channels}: at least 1 is needed.")
    whole = probe.run(images, [layer], batch_size=batch_size)
    # The check of the classes, and their choice where none are given, is that of the gradients.
    chosen = probe.chosen(classes, whole.scores)
    images = np.asarray(images, np.float32)
    return np.stack(
        [
            _score_cam(probe, image, maps, int(index), channels=channels, batch_size=batch_size)
            for image, maps, index in zip(images, whole.taps[layer], chosen, strict=True)
        ]
    )


def _score_cam(
    probe: Probe, image: Array, maps: Array, index: int, *, channels: int | None, batch_size: int
) -> Array:
    """One image (h, w, c) and its feature maps (h', w', k) to (h', w')."""
    order = np.argsort(-maps.var(axis=(0, 1)), kind="stable")[:channels]
    scores = []
    for start in range(0, len(order), batch_size):
        part = np.moveaxis(maps[..., order[start : start + batch_size]], -1, 0)
        masks = scaled(enlarged(part, (image.shape[0], image.shape[1])))
        batch = image[None] * masks[..., None]
        if start and len(batch) < batch_size:  # of one size, as in `Probe.run`
            batch = np.concatenate([batch, np.repeat(batch[-1:], batch_size - len(batch), axis=0)])
        scores.append(probe.run(batch, batch_size=batch_size).scores[: len(part), index])
    weights = softmax(np.concatenate(scores).astype(np.float64))
    return _positive((maps[..., order] * weights).sum(axis=-1))


def scaled(maps: Array) -> Array:
    """Maps (n, h, w) each from its own least value to its largest onto 0..1; constant ones to 0."""
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    scaled_maps: Array = np.divide(maps - low, span, out=np.zeros_like(maps), where=span > 0)
    return scaled_maps


def _positive(values: npt.NDArray[Any]) -> Array:
    return np.asarray(np.maximum(values, 0), np.float32)
