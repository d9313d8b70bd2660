from __future__ import annotations

import dataclasses

import pytest


@pytest.fixture(scope="session")
def untrained(shapes, tmp_path_factory):
    """Makes an artefact of random weights, with the shapes as its data, and a temperature."""

    def make(network, *, size, width=0.125, mode="tf", fit="crop"):
        import numpy as np

        import conftest
        from keras_classics import build
        from keras_classics.classifier.artefact import folder_id, write_artefact
        from keras_classics.classifier.card import Card, Preprocessing
        from keras_classics.data.folder import scan
        from keras_classics.data.listing import fingerprint
        from keras_classics.data.splits import assign_splits
        from keras_classics.evaluation.temperature import Calibration

        model = build(network, weights=None, input_shape=(size, size, 3), width=width, classes=3)
        rng = np.random.default_rng(0)
        for weight in model.weights:
            weight.assign(conftest.random_values(weight.name, tuple(weight.shape), rng))
        _spread(model, shapes, size, fit, mode)
        listing = assign_splits(scan(shapes), seed=0)
        card = Card(
            network=network,
            width=width,
            class_names=listing.classes,
            preprocessing=Preprocessing(size=(size, size), fit=fit, mode=mode),
            recipe={"seed": 0},
            data={
                "source": str(shapes),
                "folder": folder_id(shapes),
                "fingerprint": fingerprint(listing),
                "images": {"train": 42, "val": 9, "test": 9},
            },
            history=[{"loss": 1.0}],
            calibration=dataclasses.asdict(Calibration(1.5, 0.4, 0.9, False, 9, None)),
        )
        folder = tmp_path_factory.mktemp("untrained") / network
        folder.mkdir()
        write_artefact(folder, model, card, listing)
        return folder

    return make


def _spread(model, folder, size, fit, mode):
    """Sets the last layer so that its probabilities differ from picture to picture."""
    import keras
    import numpy as np

    from keras_classics.data.fit import load_image
    from keras_classics.weights.preprocess import preprocess

    paths = sorted(folder.rglob("*.png"))[::4]
    images = np.stack([load_image(path, (size, size), fit) for path in paths])
    last = model.layers[-1]
    features = keras.Model(model.input, last.input).predict(preprocess(images, mode), verbose=0)
    kernel = np.random.default_rng(1).normal(size=last.kernel.shape)
    kernel /= (features @ kernel).std(axis=0)
    last.kernel.assign(kernel)
    last.bias.assign(-(features @ kernel).mean(axis=0))


@pytest.fixture(scope="session")
def resnet(untrained):
    """An artefact of a ResNet50 of 32 × 32 pixels with Caffe's preprocessing."""
    return untrained("resnet50", size=32, mode="caffe")


@pytest.fixture(scope="session")
def inception(untrained):
    """An artefact of an Inception V3 of 75 × 75 pixels that sees whole pictures."""
    return untrained("inception_v3", size=75, fit="pad")


@pytest.fixture(scope="session")
def converted(tmp_path_factory):
    """Exports in this process, each once: a folder and what came of it."""
    made = {}

    def convert_once(artefact, target, precision="f32", kind="fitted", **options):
        from keras_classics.deployment.conversion import convert
        from keras_classics.deployment.exporting import Request

        key = (artefact, target, precision, kind, *sorted(options.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("export")
            asked = Request(str(artefact), None, target, precision, kind, **options)
            made[key] = folder, convert(asked, folder, lambda *_: None)
        return made[key]

    return convert_once
