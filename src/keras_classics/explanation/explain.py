"""The explanation of a classifier's answer to a picture."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_classics.classifier.artefact import Classifier
from keras_classics.data.fit import fit_bytes
from keras_classics.data.sources import Source, find_images
from keras_classics.errors import ClassicsError, nearest
from keras_classics.explanation.explained import Checks, ClassExplanation, Explained
from keras_classics.explanation.faithfulness import STEPS, deletion, insertion, sanity
from keras_classics.explanation.figure import draw
from keras_classics.explanation.methods import (
    Settings,
    attribute,
    default_layer,
    find_method,
)
from keras_classics.explanation.probe import Array, Probe
from keras_classics.host.files import write_bytes, write_text
from keras_classics.weights.preprocess import Mode, preprocess

SHOWN = 5  # classes whose probabilities are given


class Explanation(Explained):
    """An answer, and why; it can be written to files."""

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
        write_bytes(Path(path), draw(self))


def explain(
    classifier: Classifier,
    image: str | os.PathLike[str] | Source,
    *,
    method: str = "grad-cam",
    block: str | None = None,
    classes: Sequence[int | str] | None = None,
    check: bool = True,
    cascade: bool = False,
    settings: Settings | None = None,
    probe: Probe | None = None,
) -> Explanation:
    """Explain what a classifier makes of one image file.

    Args:
        classifier: From `load` or `published`.
        image: A file, or one of those that `find_images` finds.
        method: A name in `METHODS`.
        block: Or a layer, whose maps are explained; default: `default_layer`.
        classes: By name or index; default: the most probable one.
        check: Whether the deletion and insertion curves and the control with random weights belong
            to it; they take some 70 forward passes and the method three times more, for each class.
        cascade: Whether the control is also made block by block, from the top down.
        settings: Of the method. Where they leave it open, integrated gradients begin at black, and
            occlusion covers with the image's mean colour.
        probe: In the classifier's model, from `probe_of`, where it is used again.

    Raises:
        ClassicsError: If the method, the block or a class is not known.
        DataError: If there is no such image, or it cannot be read.
    """
    how = find_method(method)
    probe = probe or probe_of(classifier)
    if block is not None and not how.at_layers:
        raise ClassicsError(f"block={block!r}: {how.title} explains pixels; leave the block out.")
    at = (block or default_layer(probe)) if how.at_layers else None
    layer = probe.map_layer(at) if at else None
    indices = class_indices(classifier, classes) if classes is not None else None

    card = classifier.card
    source = image if isinstance(image, Source) else only(image)
    shape = card.preprocessing
    picture = fit_bytes(source.storage.read_bytes(source.name), source.path, shape.size, shape.fit)
    inputs = preprocess(picture[None], shape.mode)
    given = settings_for(inputs, shape.mode, settings or Settings())
    whole = probe.run(inputs)
    order = np.argsort(-whole.probabilities[0], kind="stable")
    names = card.class_names

    def maps(asked: Probe, images: npt.NDArray[Any], wanted: npt.NDArray[np.int64]) -> Array:
        found = attribute(
            asked, images, method, layers=[at] if at else None, classes=wanted, settings=given
        )
        return next(iter(found.maps.values()))

    explained = []
    for index in indices if indices is not None else [int(order[0])]:
        answer = attribute(
            probe, inputs, method, layers=[at] if at else None, classes=index, settings=given
        )
        heat = next(iter(answer.maps.values()))
        checks = None
        if check:
            checks = Checks(
                deletion=deletion(probe, inputs, heat, classes=index, steps=STEPS),
                insertion=insertion(probe, inputs, heat, classes=index, steps=STEPS),
                sanity=sanity(
                    probe, inputs, heat, maps, classes=index, cascade=cascade, seed=given.seed
                )[0],
            )
        explained.append(
            ClassExplanation(
                index=index,
                name=names[index],
                probability=float(whole.probabilities[0, index]),
                score=float(whole.scores[0, index]),
                heat=heat[0],
                figures={name: float(value[0]) for name, value in answer.figures.items()},
                checks=checks,
            )
        )
    return Explanation(
        path=source.path,
        picture=picture,
        network=card.network,
        method=how,
        settings=given,
        block=at,
        layer=layer,
        top=tuple((int(i), names[i], float(whole.probabilities[0, i])) for i in order[:SHOWN]),
        classes=tuple(explained),
    )


def probe_of(classifier: Classifier) -> Probe:
    """A probe in a classifier's model, whose probabilities are the classifier's."""
    calibration = classifier.calibration
    apply = None if calibration is None else calibration.apply
    return Probe(classifier.model, calibrate=apply)


def class_indices(classifier: Classifier, classes: Sequence[int | str]) -> list[int]:
    """The places of classes that are given by name or by index; a name counts first.

    Raises:
        ClassicsError: If one is not known, or several classes bear the name.
    """
    names = classifier.card.class_names
    found = []
    for each in classes:
        places = [i for i, name in enumerate(names) if name == each]
        if len(places) > 1:
            raise ClassicsError(
                f"class {each!r}: {len(places)} classes have this name; give one of the indices "
                f"{', '.join(map(str, places))}."
            )
        if not places and str(each).isdecimal() and int(each) < len(names):
            places = [int(each)]
        if not places:
            known = f"not one of the {len(names)} classes, nor an index from 0 to {len(names) - 1}"
            raise ClassicsError(f"class {each!r}: {known}{nearest(str(each), names)}")
        found.append(places[0])
    return list(dict.fromkeys(found))


def only(image: str | os.PathLike[str]) -> Source:
    """The one image that a name stands for.

    Raises:
        DataError: If there is none.
        ClassicsError: If there are several.
    """
    sources = find_images(image)
    if len(sources) > 1:
        raise ClassicsError(f"{image}: {len(sources)} images; explain them one by one.")
    return sources[0]


def settings_for(inputs: Array, mode: Mode, settings: Settings) -> Settings:
    """The settings with what they leave open: a black baseline, a cover of the mean colour.

    Args:
        inputs: (b, h, w, c), as the network reads them.
        mode: How they were preprocessed.
        settings: Which are left as they are.
    """
    if settings.baseline is None:
        black = preprocess(np.zeros(inputs.shape, np.uint8), mode)
        settings = dataclasses.replace(settings, baseline=black)
    if settings.cover is None:
        cover = inputs.mean(axis=(1, 2), keepdims=True)
        settings = dataclasses.replace(settings, cover=cover)
    return settings


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, which appears complete or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    text = json.dumps(content, indent=1, allow_nan=False)
    write_text(path, text + "\n")
