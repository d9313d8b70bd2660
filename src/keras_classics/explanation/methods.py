"""What every method needs, and the table of those that make heat maps, by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.errors import ClassicsError, nearest
from keras_classics.explanation.attribution import (
    Baseline,
    integrated_gradients,
    occlusion,
    smooth_grad,
)
from keras_classics.explanation.cam import cam, score_cam
from keras_classics.explanation.probe import BATCH_SIZE, Array, Classes, Probe


@dataclass(frozen=True)
class Settings:
    """What the methods can be told; each reads what concerns it."""

    baseline: Baseline | None = None  # where integrated gradients begin; None: at zeros
    cover: Baseline | None = None  # what occlusion covers with; None: zeros
    steps: int = 50  # of integrated gradients
    samples: int = 25  # of SmoothGrad
    noise: float = 0.15  # of SmoothGrad, as a part of the image's range
    window: int | None = None  # of occlusion, in pixels; None: a quarter of the image
    stride: int | None = None  # of occlusion; None: a quarter of the window
    channels: int | None = None  # of Score-CAM: only those that vary most; None: all
    seed: int = 0  # of SmoothGrad
    batch_size: int = BATCH_SIZE


@dataclass(frozen=True)
class Task:
    """What a method is asked."""

    probe: Probe
    images: npt.NDArray[Any]  # (b, h, w, c)
    layers: tuple[str, ...]
    classes: Classes
    settings: Settings


Maps = dict[str, Array]  # (b, h, w) by layer


@dataclass(frozen=True)
class Attributed:
    """What a method answers."""

    maps: Maps
    figures: dict[str, Array] = field(default_factory=dict)  # (b,): what it says of itself


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a method is called and what concerns it: all that a command asks before it runs."""

    name: str
    title: str
    source: str
    needs_image: bool = True
    at_layers: bool  # is about a layer; else about the pixels themselves
    reads: tuple[str, ...]  # the settings that concern it
    every: ClassVar[tuple[str, ...]] = ()  # what concerns each method of the kind

    @property
    def options(self) -> tuple[str, ...]:
        """All that it can be told, by the names of the command's options."""
        return (*(("block",) if self.at_layers else ()), *self.every, *self.reads)


Kind = TypeVar("Kind", bound=Offer)


@dataclass(frozen=True, kw_only=True)
class Method(Offer):
    """A method: from images to heat maps."""

    signed: bool  # negative where a pixel speaks against the class
    answer: Callable[[Task], Attributed]
    every: ClassVar[tuple[str, ...]] = ("class", "check", "cascade", "seed")


def attribute(
    probe: Probe,
    images: npt.NDArray[Any],
    method: str = "grad-cam",
    *,
    layers: Sequence[str] | None = None,
    classes: Classes = None,
    settings: Settings | None = None,
) -> Attributed:
    """Heat maps by any method.

    Args:
        probe: In the network.
        images: (b, h, w, c), as the network reads them.
        method: A name in `METHODS`.
        layers: Layers or blocks, for methods that explain those; default: `default_layer`.
        classes: One for all images, or one for each; None for each image's most probable one.
        settings: What the method is told.

    Returns:
        Maps (b, h', w') by layer, in its resolution; of methods that explain pixels one map, under
        the name of the network's input. Of integrated gradients also "score_difference", between
        image and baseline, and "completeness_gap", by how much the attributions miss it.

    Raises:
        ClassicsError: If the method, a layer or a class is not known, or layers are given to a
            method that explains pixels.
    """
    chosen = find_method(method)
    if layers is not None and not chosen.at_layers:
        raise ClassicsError(
            f"layers={list(layers)}: {chosen.title} explains pixels; leave it out, or choose "
            f"{', '.join(m.name for m in METHODS.values() if m.at_layers)}."
        )
    layers = [default_layer(probe)] if layers is None else layers
    return chosen.answer(Task(probe, images, tuple(layers), classes, settings or Settings()))


def default_layer(probe: Probe) -> str:
    """The last outer block whose maps are at least 4 x 4, or the last with maps at all.

    That is the last one of all at the papers' sizes; at 64 x 64 the last maps of ResNet50 are 2 x 2
    and show no place. A layer outside of all blocks counts as one, if it does more than pad: a
    model that nobody knows gives its last layer with maps, and EfficientNet and MobileNetV2, whose
    last blocks are linear, the activation behind their last convolution.

    Raises:
        ClassicsError: If the model has no feature maps.
    """
    ends = {probe.layer(name): name for name in probe.ends}
    members = (
        member if isinstance(member, str) else ends.get(member.end) for member in probe.tree.members
    )
    names = [
        name
        for name in members
        if name is not None
        and name != probe.input
        and probe.is_map(name)
        and not isinstance(probe.model.get_layer(probe.layer(name)), keras.layers.ZeroPadding2D)
    ]
    if not names:
        raise ClassicsError(f"model {probe.model.name!r}: has no feature maps to explain.")
    fine = [name for name in names if all(n is None or n >= 4 for n in probe.sides(name))]
    return fine[-1] if fine else names[-1]


def find_method(name: str) -> Method:
    """A method that makes heat maps, by its name.

    Raises:
        ClassicsError: If there is none; the message names all, and the nearest.
    """
    return find_offer(name, METHODS)


def find_offer(name: str, table: Mapping[str, Kind]) -> Kind:
    """A method of a table by its name.

    Raises:
        ClassicsError: If there is none; the message names all, and the nearest.
    """
    if name not in table:
        raise ClassicsError(
            f"method={name!r}: one of {', '.join(table)} is needed{nearest(str(name), table)}"
        )
    return table[name]


def _cams(task: Task, *, method: str) -> Attributed:
    maps = cam(
        task.probe,
        task.images,
        method=method,
        layers=task.layers,
        classes=task.classes,
        batch_size=task.settings.batch_size,
    )
    return Attributed(maps)


def _score_cams(task: Task) -> Attributed:
    maps = {
        layer: score_cam(
            task.probe,
            task.images,
            layer=layer,
            classes=task.classes,
            channels=task.settings.channels,
            batch_size=task.settings.batch_size,
        )
        for layer in task.layers
    }
    return Attributed(maps)


def _integrated(task: Task) -> Attributed:
    found = integrated_gradients(
        task.probe,
        task.images,
        classes=task.classes,
        baseline=0.0 if task.settings.baseline is None else task.settings.baseline,
        steps=task.settings.steps,
        batch_size=task.settings.batch_size,
    )
    return Attributed(
        {task.probe.input: found.attributions.sum(axis=-1)},
        {"score_difference": found.differences, "completeness_gap": found.gaps},
    )


def _smooth(task: Task) -> Attributed:
    found = smooth_grad(
        task.probe,
        task.images,
        classes=task.classes,
        samples=task.settings.samples,
        noise=task.settings.noise,
        seed=task.settings.seed,
        batch_size=task.settings.batch_size,
    )
    # A gradient's sign tells whether brighter is better, not whether the pixel counts.
    return Attributed({task.probe.input: np.abs(found).sum(axis=-1)})


def _occluded(task: Task) -> Attributed:
    found = occlusion(
        task.probe,
        task.images,
        classes=task.classes,
        window=task.settings.window,
        stride=task.settings.stride,
        baseline=0.0 if task.settings.cover is None else task.settings.cover,
        batch_size=task.settings.batch_size,
    )
    return Attributed({task.probe.input: found})


def _cam_method(name: str, title: str, source: str) -> Method:
    answer = partial(_cams, method=name)
    return Method(
        name=name, title=title, source=source, at_layers=True, signed=False, reads=(), answer=answer
    )


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            _cam_method("grad-cam", "Grad-CAM", "https://arxiv.org/abs/1610.02391"),
            _cam_method("grad-cam++", "Grad-CAM++", "https://arxiv.org/abs/1710.11063"),
            _cam_method("layer-cam", "LayerCAM", "https://doi.org/10.1109/TIP.2021.3089943"),
            Method(
                name="score-cam",
                title="Score-CAM",
                source="https://arxiv.org/abs/1910.01279",
                at_layers=True,
                signed=False,
                reads=("channels",),
                answer=_score_cams,
            ),
            Method(
                name="integrated-gradients",
                title="Integrated gradients",
                source="https://arxiv.org/abs/1703.01365",
                at_layers=False,
                signed=True,
                reads=("steps",),
                answer=_integrated,
            ),
            Method(
                name="smooth-grad",
                title="SmoothGrad",
                source="https://arxiv.org/abs/1706.03825",
                at_layers=False,
                signed=False,
                reads=("samples", "noise", "seed"),
                answer=_smooth,
            ),
            Method(
                name="occlusion",
                title="Occlusion",
                source="https://arxiv.org/abs/1311.2901",
                at_layers=False,
                signed=True,
                reads=("window", "stride"),
                answer=_occluded,
            ),
        )
    }
)
