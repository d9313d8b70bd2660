from __future__ import annotations

import itertools
from typing import get_args

import keras
import numpy as np
import pytest
from keras import layers

from graphs import assert_close
from keras_classics import CATALOG, Classifier, build
from keras_classics.classifier.card import Card, Preprocessing
from keras_classics.data.fit import CentralCrop, fit_image
from keras_classics.exporting import runtimes
from keras_classics.exporting.portable import portable
from keras_classics.weights.preprocess import Mode, preprocess
from zoo import one_each

CLASSES = ("a", "b", "c", "d", "e")
RULES = [
    "crop", "pad", "stretch",
    *(CentralCrop(72, each) for each in ("bilinear", "bicubic", "opencv-cubic")),
]  # fmt: skip
# Tall, wide, nearly of the size, smaller.
SHAPES = [(150, 60), (50, 90), (66, 62), (20, 31)]


def classifier(model, *, mode="torch", fit="crop", size=(64, 60), temperature=None):
    calibration = temperature and {
        "temperature": temperature, "threshold": 0.0, "target": 0.9, "promised": False,
        "fitted_on": 9, "warning": None,
    }  # fmt: skip
    card = Card("own", 1.0, CLASSES, Preprocessing(size, fit, mode), calibration=calibration)
    return Classifier(model, card)


@pytest.fixture
def small(randomise):
    """A network that looks at single pixels, in a moment."""

    def small(padding="same"):
        return randomise(
            keras.Sequential(
                [
                    keras.Input((64, 60, 3)),
                    layers.Conv2D(8, 3, strides=2, padding=padding, use_bias=False),
                    layers.BatchNormalization(),
                    layers.Activation("relu"),
                    layers.Dropout(0.5),
                    layers.Flatten(),
                    layers.Dense(5, activation="softmax"),
                ],
                name="small",
            )
        )

    return small


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")


def outputs(model, x):
    return keras.ops.convert_to_numpy(model(x))


def varied(probabilities):
    """Neither one class alone nor the same for all pictures."""
    return 0.2 < probabilities.max(axis=1).min() < 0.99 and np.ptp(probabilities, axis=0).max() > 0


# Each mode, and of each kind of network one; all pairs with --slow.
OFTEN = {
    ("vgg16", "caffe"),
    ("resnet50_d", "torch"),
    ("inception_v3", "tf"),
}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        pytest.param(*pair, marks=[] if pair in OFTEN else pytest.mark.slow)
        for pair in itertools.product(CATALOG, ["tf", "torch", "caffe", "lite"])
    ],
)
def test_each_network_fitted(name, mode, randomise):
    """Logits, because random networks have saturated probabilities."""
    arguments = {"width": 1 / 16, "classes": 5, "classifier_activation": None}
    arguments["depths"] = one_each(name)
    model = randomise(build(name, input_shape=(75, 80, 3), **arguments))
    ours = classifier(model, mode=mode, size=(75, 80))
    x = pictures(3, 75, 80, 3)
    fitted = portable(ours, input="fitted")
    assert fitted.input_shape == (None, 75, 80, 3)
    expected = ours.probabilities(x)
    assert_close([outputs(fitted, x)], [expected])
    assert_close([outputs(fitted, x[:1])], [expected[:1]])


@pytest.mark.backends
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("mode", get_args(Mode))
def test_raw_and_fitted(mode, padding, small):
    ours = classifier(small(padding), mode=mode, temperature=3.0)
    tolerance = 1e-4 if mode == "raw" else 1e-5  # whose logits are hundreds
    x = pictures(3, 64, 60, 3)
    scaled = preprocess(x, mode)
    raw = portable(ours, input="raw")
    expected = outputs(ours.model, scaled)
    np.testing.assert_allclose(outputs(raw, scaled), expected, atol=tolerance)
    assert raw.inputs[0].dtype == "float32"
    assert not {layers.BatchNormalization, layers.Dropout} & {type(each) for each in raw.layers}
    fitted = portable(ours, input="fitted")
    assert fitted.inputs[0].dtype == "uint8"
    assert fitted.outputs[0].dtype == "float32"
    np.testing.assert_allclose(outputs(fitted, x), ours.probabilities(x), atol=tolerance)


@pytest.mark.parametrize("temperature", [None, 1.0, 0.3, 8.0])
def test_the_temperature_is_part_of_it(temperature, small):
    """Where the softmax is so sure that float32 knows no other class, too."""
    model = small()
    model.layers[-1].kernel.assign(model.layers[-1].kernel * 100)
    ours = classifier(model, temperature=temperature)
    x = pictures(8, 64, 60, 3)
    assert (outputs(model, preprocess(x, "torch")) == 0).any()
    np.testing.assert_allclose(
        outputs(portable(ours, input="fitted"), x), ours.probabilities(x), atol=1e-4
    )


@pytest.mark.backends
@pytest.mark.parametrize("fit", RULES, ids=str)
def test_pictures_of_any_size(fit, small):
    """Where a grey level is another one, as test_resizing.py says, this network sees it."""
    ours = classifier(small(), fit=fit, temperature=2.0)
    image = portable(ours)
    assert image.input_shape == (1, None, None, 3)
    rows = []
    for shape in SHAPES:
        x = pictures(*shape, 3)
        rows.append(ours.probabilities(fit_image(x, (64, 60), fit)[None]))
        np.testing.assert_allclose(outputs(image, x[None]), rows[-1], atol=5e-4)
    assert varied(np.concatenate(rows))


@pytest.mark.parametrize("kind", ["image", "fitted"])
def test_a_network_for_any_size_and_the_classifier_stays(kind, randomise):
    model = randomise(build("resnet50_d", input_shape=(None, None, 3), width=1 / 16, classes=5))
    before = model.get_weights()
    ours = classifier(model, mode="torch")
    x = pictures(1, 64, 60, 3)
    expected = ours.probabilities(x)
    np.testing.assert_allclose(outputs(portable(ours, input=kind), x), expected, atol=1e-5)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_low_precision_gives_float32(dtype_policy, small):
    dtype_policy("mixed_bfloat16")
    ours = classifier(small())
    dtype_policy("float32")
    x = pictures(2, 64, 60, 3)
    fitted = portable(ours, input="fitted")
    assert fitted.outputs[0].dtype == "float32"
    np.testing.assert_allclose(outputs(fitted, x), ours.probabilities(x), atol=0.1)


def run_openvino(path):
    core = runtimes.openvino_core()
    model = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda image: model([image])[0]


def run_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    (entry,) = session.get_inputs()
    return lambda image: session.run(None, {entry.name: image})[0]


def run_litert(path):
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(path)
    (entry,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(image):
        interpreter.resize_tensor_input(entry["index"], image.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(entry["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(out["index"])

    return run


def run_saved_model(path):
    import tensorflow as tf

    model = tf.saved_model.load(path)
    return lambda image: model.serve(tf.constant(image)).numpy()


TARGETS = {
    "openvino": ("model.xml", run_openvino),
    "onnx": ("model.onnx", run_onnx),
    "litert": ("model.tflite", run_litert),
    "tf_saved_model": ("model", run_saved_model),
}
RESIZED_OFTEN = {*((target, "pad") for target in TARGETS), ("openvino", RULES[-1])}


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"
)
@pytest.mark.parametrize(
    ("target", "fit"),
    [
        # All pairs with --slow; test_targets.py has "crop".
        pytest.param(*pair, marks=[] if pair in RESIZED_OFTEN else pytest.mark.slow)
        for pair in itertools.product(TARGETS, RULES)
    ],
    ids=str,
)
def test_every_format_resizes_as_keras_does(target, fit, small, tmp_path):
    model = portable(classifier(small(), fit=fit, temperature=2.0))
    images = [pictures(1, *shape, 3) for shape in SHAPES]
    expected = [outputs(model, image) for image in images]
    assert varied(np.concatenate(expected))
    name, runner = TARGETS[target]
    model.export(str(tmp_path / name), format=target, verbose=False)
    run = runner(str(tmp_path / name))
    for image, row in zip(images, expected, strict=True):
        np.testing.assert_allclose(run(image), row, atol=5e-4)
