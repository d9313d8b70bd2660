"""What a network holds: feature maps, filters and what channels look for, as picture and JSON.

These are views of a layer, not explanations of an answer: no class has a part in them, and there is
no curve or control that would tell how far they can be believed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.architectures.frame import whole
from keras_classics.classifier.artefact import Classifier
from keras_classics.data.fit import fit_bytes
from keras_classics.data.sources import Source
from keras_classics.errors import ClassicsError
from keras_classics.explanation.explain import only, probe_of, write_json
from keras_classics.explanation.explained import FORMAT, versions
from keras_classics.explanation.figure import Scale, Tile, draw_tiles, scale_of
from keras_classics.explanation.maps import (
    colours,
    convolution,
    feature_maps,
    filters,
    pictures_of_filters,
    strongest_inputs,
)
from keras_classics.explanation.methods import METHODS, Offer, default_layer, find_offer
from keras_classics.explanation.probe import Array, Probe
from keras_classics.explanation.visualisation import STEPS, visualise
from keras_classics.heat import encoded
from keras_classics.host.files import write_bytes
from keras_classics.weights.preprocess import preprocess

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Choice:
    """What the views can be told; each reads what concerns it."""

    channels: int | None = None  # how many; None: what the view takes
    channel: tuple[int, ...] = ()  # these and no others
    steps: int = STEPS  # of feature visualisation
    seed: int = 0  # of feature visualisation


@dataclass(frozen=True)
class Task:
    """What a view is asked."""

    probe: Probe
    block: str | None  # as it was asked for
    picture: Picture | None  # (h, w, 3), of views that need an image
    size: int  # of images, where the network leaves it open
    to_input: Callable[[npt.NDArray[Any]], Array]  # from pixels to what the network reads
    choice: Choice


@dataclass(frozen=True)
class Found:
    """What a view answers, channel by channel."""

    block: str
    layer: str
    of: int  # channels that there are
    channels: tuple[int, ...]  # those that are shown
    values: Array  # (k, ...): of feature maps (h, w), of filters and images (h, w, c)
    tiles: npt.NDArray[Any]  # (k, h, w) on the scale, or colours (k, h, w, 3)
    notes: tuple[str, ...]  # one for each tile
    note: str
    scale: Scale | None = None
    figures: dict[str, npt.NDArray[Any]] = field(
        default_factory=dict
    )  # (k, ...): what else is known


@dataclass(frozen=True, kw_only=True)
class View(Offer):
    """A view of a layer's channels."""

    answer: Callable[[Task], Found]


@dataclass(frozen=True)
class Inside:
    """A view of a network."""

    path: Path | None  # of the image, where the view needs one
    picture: Picture | None
    network: str
    method: View
    choice: Choice
    found: Found

    @property
    def summary(self) -> str:
        """In one line what is shown."""
        found = self.found
        shape = " × ".join(map(str, found.values.shape[1:]))
        return (
            f"{self.method.title.lower()} of {found.block}: {len(found.channels)} of {found.of} "
            f"channels, {shape}, from {found.values.min():.3g} to {found.values.max():.3g}"
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values for JSON."""
        found = self.found
        sides = tuple(range(1, found.values.ndim))
        ranges = {"low": found.values.min(axis=sides), "high": found.values.max(axis=sides)}
        columns = {name: value.tolist() for name, value in {**ranges, **found.figures}.items()}
        return {
            "format": FORMAT,
            "path": None if self.path is None else str(self.path),
            "network": self.network,
            "method": {
                "name": self.method.name,
                "title": self.method.title,
                "source": self.method.source,
                "settings": {name: getattr(self.choice, name) for name in self.method.reads},
            },
            "seed": self.choice.seed,
            "block": found.block,
            "layer": found.layer,
            "of": found.of,
            "channels": [
                {"channel": channel, **{name: values[i] for name, values in columns.items()}}
                for i, channel in enumerate(found.channels)
            ],
            "values": encoded(found.values),
            "versions": versions(),
        }

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file, which appears complete or not at all.

        Raises:
            OutputError: If it cannot be written.
        """
        write_json(Path(path), self.to_dict())

    def write_picture(self, path: str | os.PathLike[str]) -> None:
        """Write a PNG file, which appears complete or not at all.

        Raises:
            OutputError: If it cannot be written.
        """
        found = self.found
        tiles = [
            Tile(tile, f"{channel}", note)
            for tile, channel, note in zip(found.tiles, found.channels, found.notes, strict=True)
        ]
        if self.picture is not None and self.path is not None:
            tiles.insert(0, Tile(self.picture, self.path.name, ""))
        title = f"{self.method.title}: {self.network}, {found.block}"
        note = f"{len(found.channels)} of {found.of} channels; {found.note}"
        write_bytes(Path(path), draw_tiles(title, note, tiles, found.scale))


def look(
    classifier: Classifier,
    method: str,
    image: str | os.PathLike[str] | Source | None = None,
    *,
    block: str | None = None,
    choice: Choice | None = None,
    probe: Probe | None = None,
) -> Inside:
    """Look into a layer of a classifier's network.

    Args:
        classifier: From `load` or `published`.
        method: A name in `VIEWS`.
        image: A file, or one of those that `find_images` finds, for views that need one.
        block: Or a layer; default: `default_layer`, for filters the first convolution.
        choice: Of the channels, and what else the view can be told.
        probe: In the classifier's model, from `probe_of`, where it is used again.

    Raises:
        ClassicsError: If the method, the block or a channel is not known, or an image is given to a
            view that needs none, or missing.
        DataError: If there is no such image, or it cannot be read.
    """
    view = find_offer(method, VIEWS)
    if view.needs_image != (image is not None):
        need = "an image is needed" if view.needs_image else "it needs no image; leave it out"
        raise ClassicsError(f"image={image!r}: {view.title}: {need}.")
    shape = classifier.card.preprocessing
    source = image if isinstance(image, Source) or image is None else only(image)
    picture = None
    if source is not None:
        data = source.storage.read_bytes(source.name)
        picture = fit_bytes(data, source.path, shape.size, shape.fit)
    task = Task(
        probe=probe or probe_of(classifier),
        block=block,
        picture=picture,
        size=shape.size[0],
        to_input=lambda pixels: preprocess(pixels, shape.mode),
        choice=choice or Choice(),
    )
    return Inside(
        path=source.path if source else None,
        picture=picture,
        network=classifier.card.network,
        method=view,
        choice=task.choice,
        found=view.answer(task),
    )


def _maps(task: Task) -> Found:
    if task.picture is None:
        raise ClassicsError("feature maps: an image is needed.")
    block = task.block or default_layer(task.probe)
    maps = np.moveaxis(feature_maps(task.probe, task.to_input(task.picture[None]), block)[0], -1, 0)
    # As Score-CAM's: a deep layer leaves most channels silent on any one image.
    lively = np.argsort(-maps.std(axis=(1, 2)), kind="stable")
    channels = _chosen(task.choice, len(maps), lively, most=35)
    shown = maps[list(channels)]
    return Found(
        block=block,
        layer=task.probe.map_layer(block),
        of=len(maps),
        channels=channels,
        values=shown,
        tiles=shown,
        notes=tuple(f"{value:.2g}" for value in shown.max(axis=(1, 2))),
        note="beside each number its largest value; all on one scale",
        scale=scale_of(shown),
    )


def _filters(task: Task) -> Found:
    kernels = filters(task.probe, task.block)
    convolves = convolution(task.probe, task.block)
    layer = convolves.name
    order = colours(convolves, task.to_input)
    channels = _chosen(task.choice, len(kernels), np.arange(len(kernels)), most=64)
    shown = kernels[list(channels)]
    largest = np.abs(shown).max(axis=(1, 2))  # (k, c)
    if order is not None:
        tiles = pictures_of_filters(shown[..., order])
        notes, what = largest.max(axis=-1), "red, green and blue together"
        figures = {}
    else:
        tiles, strongest = pictures_of_filters(shown), strongest_inputs(shown)
        notes, what = largest[np.arange(len(shown)), strongest], "each's strongest input channel"
        if isinstance(convolves, keras.layers.DepthwiseConv2D):
            strongest = np.array(channels) // convolves.depth_multiplier
            what = "each's only input channel"
        figures = {"input_channel": strongest}
    return Found(
        block=task.block or layer,
        layer=layer,
        of=len(kernels),
        channels=channels,
        values=shown,
        tiles=tiles,
        notes=tuple(f"{value:.2g}" for value in notes),
        note=f"{what}; beside each number its largest weight, where the scale ends",
        scale=Scale("gray", -1.0, 1.0, ("−largest", "0", "largest")),
        figures=figures,
    )


def _visualisations(task: Task) -> Found:
    block = task.block or default_layer(task.probe)
    layer = task.probe.map_layer(block)
    of = task.probe.channels(block)
    channels = _chosen(task.choice, of, np.arange(of), most=9)
    black, white = np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)
    found = visualise(
        task.probe,
        block,
        channels,
        size=task.size,
        low=task.to_input(black)[0, 0],
        high=task.to_input(white)[0, 0],
        order=_order(task),
        steps=task.choice.steps,
        seed=task.choice.seed,
    )
    return Found(
        block=block,
        layer=layer,
        of=of,
        channels=channels,
        values=found.images,
        tiles=found.pictures,
        notes=tuple(f"{value:.2g}" for value in found.activations[:, -1]),
        note="the images that they answer to; beside each number the channel's mean",
        figures={"activations": found.activations},
    )


def _order(task: Task) -> list[int]:
    """Which colour each channel of the network's input is: of Caffe's blue, green and red."""
    pixels = np.diag([255, 255, 255]).astype(np.uint8)[:, None, :]  # one of each colour
    change = task.to_input(pixels) - task.to_input(np.zeros_like(pixels))
    return [int(i) for i in change[:, 0].argmax(axis=0)]


def _chosen(
    choice: Choice, of: int, ranked: npt.NDArray[np.int64], *, most: int
) -> tuple[int, ...]:
    """The channels that are asked for; else the first of a ranking, in the order of their numbers.

    Raises:
        ClassicsError: If there is no such channel, or not so many.
    """
    if choice.channel:
        if choice.channels is not None:
            raise ClassicsError("channel, channels: name channels, or how many; not both.")
        for channel in choice.channel:
            number = whole(channel)
            if number is None or not 0 <= number < of:
                raise ClassicsError(f"channel {channel!r}: there are {of}, from 0 to {of - 1}.")
        return tuple(dict.fromkeys(choice.channel))
    number = whole(choice.channels) if choice.channels is not None else min(most, of)
    if number is None or not 1 <= number <= of:
        raise ClassicsError(f"channels={choice.channels!r}: from 1 to the {of} that there are.")
    return tuple(sorted(int(i) for i in ranked[:number]))


VIEWS: Mapping[str, View] = MappingProxyType(
    {
        view.name: view
        for view in (
            View(
                name="feature-maps",
                title="Feature maps",
                source="https://arxiv.org/abs/1311.2901",
                at_layers=True,
                reads=("channels", "channel"),
                answer=_maps,
            ),
            View(
                name="filters",
                title="Filters",
                source="https://doi.org/10.1145/3065386",
                needs_image=False,
                at_layers=True,
                reads=("channels", "channel"),
                answer=_filters,
            ),
            View(
                name="feature-visualisation",
                title="Feature visualisation",
                source="https://distill.pub/2017/feature-visualization",
                needs_image=False,
                at_layers=True,
                reads=("channels", "channel", "steps", "seed"),
                answer=_visualisations,
            ),
        )
    }
)

OFFERS: Mapping[str, Offer] = MappingProxyType({**METHODS, **VIEWS})  # all that a command offers
