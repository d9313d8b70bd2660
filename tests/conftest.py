from __future__ import annotations

import gc
import os
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
from filelock import FileLock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.pop("PYTHONUNBUFFERED", None)  # what the tests start runs as it does for most

# Warnings of TensorFlow, JAX and Keras about each other, which no code of ours can avoid.
FOREIGN_WARNINGS = (
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
)


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes, too")


def pytest_configure(config):
    # Each network is tens of thousands of objects, among which hardly any garbage is found.
    gc.set_threshold(20_000, 20, 20)
    for warning in FOREIGN_WARNINGS:
        config.addinivalue_line("filterwarnings", warning)
    config.addinivalue_line(
        "markers", "requires_trainable_backend: stands on Keras' own tests, some of which run here"
    )


def pytest_collection_modifyitems(config, items):
    # What takes longest begins first, so that the end does not wait for it.
    items.sort(key=lambda item: item.path.name != "test_backends.py")
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="minutes long: runs with --slow"))


@pytest.fixture
def data_format():
    """Sets Keras' image data format for the length of a test."""
    import keras

    before = keras.config.image_data_format()
    yield keras.config.set_image_data_format
    keras.config.set_image_data_format(before)


@pytest.fixture
def dtype_policy():
    """Sets Keras' dtype policy for the length of a test."""
    import keras

    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def random_values(name, shape, rng):
    """Values for a weight with which activations neither vanish nor explode."""
    if name == "kernel":
        # An output reads one channel of a depthwise kernel (h, w, c, 1), all of any other.
        depthwise = len(shape) == 4 and shape[-1] == 1
        read = shape[:2] if depthwise else shape[:-1]
        return rng.normal(0, np.sqrt(2 / np.prod(read)), shape)
    if name in {"gamma", "moving_variance"}:
        return rng.uniform(0.6, 1.2, shape)
    return rng.normal(0, 0.1, shape)


@pytest.fixture
def randomise():
    """Gives all weights of a model random values, the statistics of batch norm too."""

    def randomise(model, seed=0):
        rng = np.random.default_rng(seed)
        for weight in model.weights:
            weight.assign(random_values(weight.name, tuple(weight.shape), rng))
        return model

    return randomise


@pytest.fixture
def run():
    """Runs a model in inference mode, from arrays to arrays."""
    import keras

    def compiled(model, x):
        """JAX takes far longer where it compiles operation by operation."""
        import jax

        @jax.jit
        def outputs(trainable, others, x):
            return model.stateless_call(trainable, others, x, training=False)[0]

        trainable = [weight.value for weight in model.trainable_variables]
        # Not the weights alone: dropout has a state.
        return outputs(trainable, [each.value for each in model.non_trainable_variables], x)

    def run(model, x):
        x = keras.ops.convert_to_tensor(x)
        on_jax = keras.backend.backend() == "jax"
        outputs = compiled(model, x) if on_jax else model(x, training=False)
        return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)

    return run


@pytest.fixture
def images():
    """Random images of a shape."""

    def images(*shape, seed=1):
        return np.random.default_rng(seed).normal(size=shape).astype("float32")

    return images


@pytest.fixture(autouse=True, scope="module")
def _no_graphs_left_over():
    """TensorFlow keeps what was trained; networks of one file should not weigh on the next."""
    from keras_classics.training.release import released

    with released():
        yield
    # What is left stays; the collector need not look through a million objects again and again.
    gc.freeze()


@pytest.fixture
def gradients():
    """Gradients of a loss of a model's output, in inference mode.

    The function returns one array for each trainable weight, and one for the input.
    """
    import keras

    to_array = keras.ops.convert_to_numpy

    def tensorflow(model, x, loss):
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(model(x, training=False))
        variables = [weight.value for weight in model.trainable_weights]
        *of_weights, of_input = tape.gradient(value, [*variables, x])
        return of_weights, of_input

    def jax(model, x, loss):
        import jax

        def value(trainable, x):
            state = [each.value for each in model.non_trainable_variables]
            return loss(model.stateless_call(trainable, state, x, training=False)[0])

        # Compiled as a whole: operation by operation takes far longer.
        trainable = [weight.value for weight in model.trainable_weights]
        return jax.jit(jax.grad(value, argnums=(0, 1)))(trainable, x)

    def torch(model, x, loss):
        x.requires_grad_()
        model.zero_grad()
        loss(model(x, training=False)).backward()
        return [weight.value.grad for weight in model.trainable_weights], x.grad

    compute = {"tensorflow": tensorflow, "jax": jax, "torch": torch}[keras.backend.backend()]

    def gradients(model, x, loss):
        of_weights, of_input = compute(model, keras.ops.convert_to_tensor(x), loss)
        return [to_array(g) for g in of_weights], to_array(of_input)

    return gradients


@pytest.fixture(scope="session")
def serving():
    """The address of an application that really serves, while the `with` lasts."""
    import served

    return served.serving


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Makes a folder once for all workers of the tests."""
    own = tmp_path_factory.getbasetemp()
    common = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def made_once(name, make):
        folder = common / "common" / name
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                unfinished = tmp_path_factory.mktemp(name)
                make(unfinished / name)
                (unfinished / name).rename(folder)
        return folder

    return made_once


@pytest.fixture(scope="session")
def shapes(made_once):
    """A folder with 3 classes of 20 pictures."""
    from pictures import write_pictures

    return made_once("shapes", lambda folder: write_pictures(folder, each=20))


@pytest.fixture(scope="session")
def artefact(shapes, made_once, tmp_path_factory):
    """The artefact of a short run on the shapes."""
    from keras_classics.training.config import TrainConfig
    from keras_classics.training.run import train

    config = TrainConfig(
        folder=shapes,
        network="vgg16",
        weights="none",
        width=0.125,
        size=32,
        epochs=12,
        batch_size=8,
        learning_rate=1e-3,
    )
    made = made_once("artefact", lambda folder: train(replace(config, out=folder)))
    return shutil.copytree(made, tmp_path_factory.mktemp("runs") / "shapes")


@pytest.fixture(scope="session")
def head_artefact(shapes, artefact, made_once, tmp_path_factory):
    """The artefact of a run on the shapes that fitted a head to the features of another run."""
    from keras_classics.training.config import TrainConfig
    from keras_classics.training.run import train

    config = TrainConfig(folder=shapes, weights=str(artefact), unfreeze="none", seed=1)
    made = made_once("head", lambda folder: train(replace(config, out=folder)))
    return shutil.copytree(made, tmp_path_factory.mktemp("runs") / "head")


@pytest.fixture(scope="session")
def flower(tmp_path_factory):
    """The photo of a dahlia that comes with scikit-learn."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    path = tmp_path_factory.mktemp("photo") / "flower.jpg"
    Image.fromarray(load_sample_image("flower.jpg")).save(path, quality=95)
    return path


@pytest.fixture(scope="session")
def untrained(shapes, tmp_path_factory):
    """Makes an artefact of random weights and one block a stage.

    The shapes are its data, and it has a temperature.
    """

    def make(network, *, size, width=0.125, mode="tf", fit="crop"):
        from keras_classics import CATALOG, build
        from keras_classics.classifier.artefact import folder_id, write_artefact
        from keras_classics.classifier.card import Card, Preprocessing
        from keras_classics.data.folder import scan
        from keras_classics.data.listing import fingerprint
        from keras_classics.data.splits import assign_splits
        from keras_classics.evaluation.temperature import Calibration

        model = build(
            network, weights=None, input_shape=(size, size, 3), width=width, classes=3,
            depths=(1,) * len(CATALOG[network].depths),
        )  # fmt: skip
        rng = np.random.default_rng(0)
        for weight in model.weights:
            weight.assign(random_values(weight.name, tuple(weight.shape), rng))
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
            calibration=asdict(Calibration(1.5, 0.4, 0.9, False, 9, None)),
        )
        folder = tmp_path_factory.mktemp("untrained") / network
        folder.mkdir()
        write_artefact(folder, model, card, listing)
        return folder

    return make


def _spread(model, folder, size, fit, mode):
    """Sets the last layer so that its probabilities differ from picture to picture."""
    import keras

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
        from keras_classics.exporting.conversion import convert
        from keras_classics.exporting.export import Request

        key = (artefact, target, precision, kind, *sorted(options.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("export")
            asked = Request(str(artefact), None, target, precision, kind, **options)
            made[key] = folder, convert(asked, folder, lambda *_: None)
        return made[key]

    return convert_once


@pytest.fixture
def converted_here(monkeypatch):
    """Exports are converted in this process, which has imported what another would import anew."""
    from keras_classics.exporting import conversion, export

    def convert(asked, folder, _, tell):
        conversion.convert(asked, folder, tell)

    monkeypatch.setattr(export, "_in_another_process", convert)
