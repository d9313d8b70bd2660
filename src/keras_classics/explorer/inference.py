"""Answers about a model and a picture; what the next view will ask again is kept, within bounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt

from keras_classics.errors import ClassicsError
from keras_classics.explanation.explain import settings_for
from keras_classics.explanation.faithfulness import Curve, deletion, insertion, randomised
from keras_classics.explanation.maps import (
    colours,
    convolution,
    filters,
    pictures_of_filters,
    pictures_of_maps,
)
from keras_classics.explanation.methods import METHODS, Settings, attribute, find_method
from keras_classics.explanation.probe import Array, Cut, Outputs, Probe
from keras_classics.explorer import schema
from keras_classics.explorer.ledger import ledger_rows
from keras_classics.explorer.memory import Memory
from keras_classics.explorer.models import Held
from keras_classics.explorer.pictures import Picture, Pixels
from keras_classics.explorer.sprites import text, tiled, to_gray
from keras_classics.weights.preprocess import preprocess

TOP = 5
ACTIVATIONS = 512 * 1024**2  # bytes; one picture through a full ResNet50 gives 150 MB
HEAT_MAPS = 64 * 1024**2
# Fewer than in a study: an answer that is waited for.
SETTINGS = Settings(channels=32, steps=16, samples=12)
_FOR_ALL_LAYERS = frozenset({"grad-cam", "grad-cam++", "layer-cam"})  # from one backward pass

Cuts = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class HeatMaps:
    """The maps of one picture by layer, and the class that they explain."""

    class_index: int
    maps: dict[str, Array]  # (h, w)


class Inference:
    """Runs the models, one question at a time."""

    def __init__(self) -> None:
        self._inputs: Memory[Pixels] = Memory(count=64, size=64 * 1024**2, size_of=_bytes)
        self._seen: Memory[Outputs] = Memory(
            count=64, size=ACTIVATIONS, size_of=lambda seen: sum(map(_bytes, seen.taps.values()))
        )
        self._heat: Memory[HeatMaps] = Memory(
            count=256, size=HEAT_MAPS, size_of=lambda heat: sum(map(_bytes, heat.maps.values()))
        )
        self._curves: Memory[schema.CurvePair] = Memory(count=256, size=256, size_of=lambda _: 1)
        self._controls: Memory[Probe] = Memory(count=4, size=4, size_of=lambda _: 1)

    def fitted(self, held: Held, picture: Picture) -> Pixels:
        """The picture as the model sees it: (h, w, 3) uint8.

        Raises:
            ClassicsError: If it cannot be read.
        """
        return self._inputs.of((held.id, picture.id), lambda: picture.fitted(held.shape))

    def predict(
        self, held: Held, picture: Picture, request: schema.PredictRequest
    ) -> schema.Prediction:
        """The most probable classes.

        Raises:
            ClassicsError: If a cut is not one, or the network gives no numbers.
        """
        since = _stopwatch()
        seen = self._look(held, picture, request.cuts)
        return schema.Prediction(top=_top(held, seen), milliseconds=since())

    def maps(self, held: Held, picture: Picture, request: schema.MapsRequest) -> schema.Maps:
        """Feature maps of a layer as tiles.

        Raises:
            ClassicsError: If the layer is not known or has no such channels, or as `predict`.
        """
        since = _stopwatch()
        layer = held.probe.layer(request.layer)
        whole = self._look(held, picture, request.cuts).taps[layer][0]
        if whole.ndim != 3:  # a vector: each number a map of one position
            whole = whole.reshape(1, 1, -1)
        height, width, channels = whole.shape
        last = channels - 1
        for name, value in (("offset", request.offset), ("channel", request.channel)):
            if value is not None and value > last:
                raise ClassicsError(f"{name}={value}: {layer!r} has {channels}, from 0 to {last}.")
        maps = whole[..., request.offset : request.offset + request.count]
        low, high = float(whole.min()), float(whole.max())
        if request.scale == "channel":
            tiles = pictures_of_maps(maps)
        else:
            tiles = to_gray(np.moveaxis(maps, -1, 0), low, high)
        sprite = tiled(tiles)
        lows, highs = maps.min(axis=(0, 1)).tolist(), maps.max(axis=(0, 1)).tolist()
        one = None if request.channel is None else whole[..., request.channel]
        return schema.Maps(
            layer=layer,
            shape=(height, width, channels),
            offset=request.offset,
            count=maps.shape[-1],
            sprite=text(sprite.png),
            tile=sprite.tile,
            columns=sprite.columns,
            low=low,
            high=high,
            ranges=list(zip(lows, highs, strict=True)),
            channel=request.channel,
            values=None if one is None else text(one),
            milliseconds=since(),
        )

    def cam(self, held: Held, picture: Picture, request: schema.CamRequest) -> schema.Cam:
        """Heat maps of layers, or of the pixels, for a class.

        Raises:
            ClassicsError: If the method, a layer or the class is not known; if a method that takes
                seconds for each layer is asked for several.
        """
        since = _stopwatch()
        method = find_method(request.method)
        layers = None if request.layers is None else tuple(request.layers)
        if layers is not None and len(layers) > 1 and method.name not in _FOR_ALL_LAYERS:
            raise ClassicsError(
                f"layers: {method.title} takes seconds for each; name one, or choose "
                f"{', '.join(sorted(_FOR_ALL_LAYERS))}."
            )
        if layers is None and method.name in _FOR_ALL_LAYERS:
            layers = held.probe.ends
        probability = self._look(held, picture, ()).probabilities[0]
        heat = self._explain(held, picture, method.name, layers, request.class_index)
        control = None
        if request.control:
            control = self._explain(
                held, picture, method.name, layers, heat.class_index, control=True
            )
        return schema.Cam(
            class_index=heat.class_index,
            class_name=held.class_name(heat.class_index),
            probability=float(probability[heat.class_index]),
            signed=method.signed,
            maps=_cam_maps(heat),
            control=None if control is None else _cam_maps(control),
            milliseconds=since(),
        )

    def curves(self, held: Held, picture: Picture, request: schema.CurvesRequest) -> schema.Curves:
        """What becomes of the class while pixels go or come in the order of a map.

        Raises:
            ClassicsError: As `cam`.
        """
        since = _stopwatch()
        at_layers = find_method(request.method).at_layers
        layers = (request.layer,) if at_layers else None

        def pair(index: int | None, *, control: bool) -> tuple[schema.CurvePair, int]:
            heat = self._explain(held, picture, request.method, layers, index, control=control)
            key = (held.id, picture.id, request.method, layers, heat.class_index, control)
            made = self._curves.of(
                (*key, request.steps), lambda: self._measure(held, picture, heat, request.steps)
            )
            return made, heat.class_index

        own, index = pair(request.class_index, control=False)
        return schema.Curves(
            deletion=own.deletion,
            insertion=own.insertion,
            class_index=index,
            class_name=held.class_name(index),
            control=pair(index, control=True)[0] if request.control else None,
            milliseconds=since(),
        )

    def ledger(self, held: Held, picture: Picture, request: schema.LedgerRequest) -> schema.Ledger:
        """The norms at every merging layer.

        Raises:
            ClassicsError: As `predict`.
        """
        since = _stopwatch()
        seen = self._look(held, picture, request.cuts)
        rows, branches = ledger_rows(held, seen.taps, frozenset(_cuts(held, request.cuts)))
        return schema.Ledger(
            rows=rows, branches=branches, top=_top(held, seen), milliseconds=since()
        )

    def filters(self, held: Held, request: schema.FiltersRequest) -> schema.Filters:
        """The kernels of a convolution as tiles.

        Raises:
            ClassicsError: If the layer is no convolution.
        """
        convolutions = (
            layer.name for layer in held.model.layers if isinstance(layer, keras.layers.Conv2D)
        )
        layer = request.layer or next(convolutions, None)
        kernels = filters(held.probe, layer)
        number, height, width, channels = kernels.shape
        order = colours(
            convolution(held.probe, layer), lambda pixels: preprocess(pixels, held.shape.mode)
        )
        shown = kernels if order is None else kernels[..., order]
        sprite = tiled(pictures_of_filters(shown))
        return schema.Filters(
            layer=str(layer),
            shape=(height, width, channels, number),
            sprite=text(sprite.png),
            tile=sprite.tile,
            columns=sprite.columns,
            low=float(kernels.min()),
            high=float(kernels.max()),
        )

    def warm(self, held: Held) -> None:
        """Run a model once, so that the first question need not wait for its backend."""
        height, width = held.shape.size
        held.probe.run(np.zeros((1, height, width, held.shape.channels), np.float32))

    def _input(self, held: Held, picture: Picture) -> Array:
        """(1, h, w, 3) as the network reads it."""
        return preprocess(self.fitted(held, picture)[None], held.shape.mode)

    def _look(self, held: Held, picture: Picture, cuts: Sequence[schema.Cut]) -> Outputs:
        """All that a model computes of a picture."""
        own = _cuts(held, cuts)

        def run() -> Outputs:
            names = [layer.name for layer in held.model.layers]
            seen = held.probe.run(
                self._input(held, picture), names, [Cut(layer, operand) for layer, operand in own]
            )
            if not np.isfinite(seen.probabilities).all() or not np.isfinite(seen.scores).all():
                raise ClassicsError(f"{held.id} gives no finite numbers for {picture.name!r}.")
            return seen

        return self._seen.of((held.id, picture.id, own), run)

    def _explain(
        self,
        held: Held,
        picture: Picture,
        method: str,
        layers: tuple[str, ...] | None,
        class_index: int | None,
        *,
        control: bool = False,
    ) -> HeatMaps:
        """Heat maps of the model, or of the same network with random weights."""
        if class_index is None:
            class_index = int(self._look(held, picture, ()).probabilities[0].argmax())

        def make() -> HeatMaps:
            probe = held.probe
            if control:
                probe = self._controls.of(held.id, lambda: randomised(held.probe))
            inputs = self._input(held, picture)
            found = attribute(
                probe,
                inputs,
                method,
                layers=layers,
                classes=class_index,
                settings=settings_for(inputs, held.shape.mode, SETTINGS),
            )
            return HeatMaps(class_index, {name: maps[0] for name, maps in found.maps.items()})

        return self._heat.of((held.id, picture.id, method, layers, class_index, control), make)

    def _measure(
        self, held: Held, picture: Picture, heat: HeatMaps, steps: int
    ) -> schema.CurvePair:
        (heat_map,) = heat.maps.values()
        both = [
            measure(
                held.probe,
                self._input(held, picture),
                heat_map[None],
                classes=heat.class_index,
                steps=steps,
            )
            for measure in (deletion, insertion)
        ]
        return schema.CurvePair(deletion=_curve(both[0]), insertion=_curve(both[1]))


def methods() -> list[schema.Method]:
    """The ways to make heat maps."""
    return [
        schema.Method(
            name=method.name,
            title=method.title,
            source=method.source,
            at_layers=method.at_layers,
            signed=method.signed,
            at_once=method.name in _FOR_ALL_LAYERS,
        )
        for method in METHODS.values()
    ]


def _cuts(held: Held, cuts: Sequence[schema.Cut]) -> Cuts:
    """Cuts in one order, whichever they came in, by the names of layers."""
    return tuple(sorted({(held.probe.layer(cut.layer), cut.operand) for cut in cuts}))


def _top(held: Held, seen: Outputs) -> list[schema.Answer]:
    probabilities, scores = seen.probabilities[0], seen.scores[0]
    return [
        schema.Answer(
            index=index,
            name=held.class_name(index),
            probability=float(probabilities[index]),
            score=float(scores[index]),
        )
        for index in np.argsort(-probabilities, kind="stable")[:TOP].tolist()
    ]


def _cam_maps(heat: HeatMaps) -> list[schema.CamMap]:
    found = []
    for layer, values in heat.maps.items():
        low, high = float(values.min()), float(values.max())
        found.append(
            schema.CamMap(
                layer=layer,
                shape=(values.shape[0], values.shape[1]),
                values=text(to_gray(values, low, high)),
                low=low,
                high=high,
            )
        )
    return found


def _curve(curve: Curve) -> schema.Curve:
    return schema.Curve(
        fraction=curve.fractions.tolist(),
        probability=curve.probabilities[0].tolist(),
        area=float(curve.areas[0]),
    )


def _bytes(array: npt.NDArray[np.generic]) -> int:
    return array.nbytes


def _stopwatch() -> Callable[[], float]:
    """Milliseconds since now."""
    begin = time.perf_counter()
    return lambda: round(1000 * (time.perf_counter() - begin), 2)
