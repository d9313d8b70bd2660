"""Every format, from networks of three families, read back by its plain runtime."""

from __future__ import annotations

import json

import numpy as np
import pytest

from graphs import RELU6, SWISH, inverted_residuals
from keras_classics.classifier.artefact import Classifier, load
from keras_classics.classifier.card import Card, Preprocessing
from keras_classics.exporting import runtimes
from keras_classics.exporting.bfloat16 import in_bfloat16
from keras_classics.exporting.exported import EXPORT, hashes, read_export
from keras_classics.exporting.portable import portable
from keras_classics.exporting.quantise import Calibration
from keras_classics.exporting.samples import fitted, parts_of, photographs
from keras_classics.exporting.targets import TARGETS, writer
from keras_classics.exporting.targets import TARGETS as KNOWN

HERE = [name for name in TARGETS if name != "torch_export"]  # from Keras on TensorFlow


CROP = Preprocessing((32, 32), "crop", "lite")


def also(target):
    """A target whose conversion is tested otherwise, too."""
    return pytest.param(target, marks=pytest.mark.slow)


def metadata_of(target, folder):
    """What the model file says of itself, by the plain runtime alone."""
    if target == "openvino":
        openvino = runtimes.load("openvino")
        model = openvino.Core().read_model(folder / "model.xml")
        return model.get_rt_info("keras_classics").astype(str)
    if target == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / "model.onnx")
        return session.get_modelmeta().custom_metadata_map["keras_classics"]
    if target == "litert":
        from tensorflow.lite.python import schema_py_generated as schema

        model = schema.Model.GetRootAs((folder / "model.tflite").read_bytes())
        entries = [model.Metadata(i) for i in range(model.MetadataLength())]
        (entry,) = (entry for entry in entries if entry.Name() == b"keras_classics")
        return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    return (folder / "model" / "assets.extra" / "keras_classics.json").read_text()


def test_every_target_has_a_module():
    assert set(KNOWN) == set(TARGETS)
    for name in TARGETS:
        module = writer(name)
        assert callable(module.write)
        assert callable(module.run)


@pytest.mark.parametrize("target", ["openvino", *map(also, ("onnx", "litert", "saved_model"))])
def test_a_picture_of_any_size(converted, resnet, target):
    folder, export = converted(resnet, target, kind="image")
    assert export.agreement.largest_difference < 1e-4
    assert export.agreement.pictures == 9 + 64
    assert read_export(folder) == export
    classifier = load(resnet)
    run = writer(target).run(folder, export.options)
    picture = next(photographs().batches())[0][5]
    given = run(picture[None])
    wanted = classifier.probabilities(fitted(classifier, [picture]))
    assert given == pytest.approx(wanted, abs=1e-4)
    assert given.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("target", ["openvino", *map(also, ("onnx", "litert", "saved_model"))])
def test_the_file_says_itself_what_it_is(converted, resnet, target):
    folder, export = converted(resnet, target, kind="image")
    found = json.loads(metadata_of(target, folder))
    card = load(resnet).card
    assert found["class_names"] == list(card.class_names)
    assert found["preprocessing"]["mode"] == "caffe"
    assert found["preprocessing"]["size"] == [32, 32]
    assert found["fingerprint"] == card.data["fingerprint"]
    assert found["temperature"] == 1.5
    assert found["threshold"] == 0.4
    assert found["input"] == "image"
    assert found["source"] == export.source
    assert found["versions"]["keras"] == export.versions["keras"]


@pytest.mark.parametrize("target", HERE)
def test_any_text_comes_back_as_it_was(tmp_path, target):
    import keras

    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    names = ['a "quoted" <name>', "two\nlines & a \\", "caf\udce9", "日本", "it's", "]]>"]
    text = json.dumps({"class_names": names})
    writer(target).write(model, tmp_path, "f32", text, None)
    assert json.loads(metadata_of(target, tmp_path))["class_names"] == names


@pytest.mark.slow
def test_onnx_names_the_axis_of_pictures(converted, artefact):
    """tests/exporting/test_guide.py has those of a picture of any size."""
    import onnxruntime

    folder, _ = converted(artefact, "onnx")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (image,), (probabilities,) = session.get_inputs(), session.get_outputs()
    assert image.shape == ["batch", 32, 32, 3]
    assert probabilities.shape == ["batch", 3]
    assert b"unk__" not in (folder / "model.onnx").read_bytes()


def test_litert_has_a_signature_and_names(converted, artefact):
    from ai_edge_litert.interpreter import Interpreter

    folder, _ = converted(artefact, "litert")
    interpreter = Interpreter(str(folder / "model.tflite"))
    names = {"inputs": ["image"], "outputs": ["probabilities"]}
    assert interpreter.get_signature_list() == {"serving_default": names}
    assert [each["name"] for each in interpreter.get_input_details()] == names["inputs"]
    assert [each["name"] for each in interpreter.get_output_details()] == names["outputs"]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["openvino", "onnx"])
def test_inception(converted, inception, target):
    folder, export = converted(inception, target)
    assert export.agreement.largest_difference < 1e-4
    classifier = load(inception)
    images = fitted(classifier, next(photographs().batches())[0][:5])
    given = writer(target).run(folder, export.options)(images)
    assert given == pytest.approx(classifier.probabilities(images), abs=1e-4)
    assert given.max(axis=1).std() > 0.001  # else any network would do


@pytest.mark.parametrize("target", [*map(also, ("openvino", "onnx", "litert")), "saved_model"])
def test_the_network_alone(converted, artefact, target):
    folder, export = converted(artefact, target, kind="raw")
    assert export.agreement.largest_difference < 1e-4
    batch = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    wanted = np.asarray(load(artefact).model.predict_on_batch(batch))
    assert writer(target).run(folder, export.options)(batch) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("target", ["openvino", also("onnx"), also("litert")])
def test_int8(converted, artefact, target):
    folder, export = converted(artefact, target, "int8", accept=True)  # of nine, one is 11 %
    assert export.agreement.top1_agreement >= 8 / 9
    assert export.agreement.accepted is not export.agreement.within
    assert export.agreement.of == "the test part of the run's own split"
    assert export.quantisation["pictures"] == 42
    assert export.quantisation["part"] == "train"
    if "layers" in export.quantisation:
        assert export.quantisation["layers_in_int8"] == export.quantisation["layers"] == 16
    weights = load(artefact).model.count_params()
    size = sum((folder / name).stat().st_size for name in export.files)
    assert size < 2.5 * weights  # bytes; 4 for each before


@pytest.mark.slow
@pytest.mark.parametrize("target", ["openvino", "onnx"])
def test_int8_of_a_picture_of_any_size(converted, artefact, target):
    """The resize rule stays exact: what it makes of a picture is told like the picture it makes."""
    folder, export = converted(artefact, target, "int8", kind="image", accept=True)
    assert export.quantisation["layers"] == 16
    classifier = load(artefact)
    run = writer(target).run(folder, export.options)
    names = parts_of(classifier, None).train
    for picture in next(names.batches())[0][:10]:
        for given in (np.repeat(np.repeat(picture, 5, axis=0), 3, axis=1), picture[::4, ::3]):
            of_size = run(fitted(classifier, [given]))
            assert run(given[None]) == pytest.approx(of_size, abs=0.01)  # one grey level


@pytest.mark.slow
@pytest.mark.parametrize("target", ["openvino", "onnx"])
@pytest.mark.parametrize("network", ["resnet", "inception"])
def test_accuracy_control_of_a_whole_network(request, monkeypatch, converted, target, network):
    """Where the goal is out of reach it ends all the same, and says how far it got."""
    from keras_classics.exporting import conversion, quantise
    from keras_classics.exporting.exported import ExportError

    monkeypatch.setitem(conversion.LIMITS, "int8", (None, 2.0))
    monkeypatch.setattr(quantise, "MOST_PUT_BACK", 6)
    with pytest.raises(ExportError, match=r"top-1 agrees on .* of .* layers in int8 by NNCF"):
        converted(request.getfixturevalue(network), target, "int8", kind="image")


@pytest.mark.parametrize("target", ["openvino", also("onnx"), also("litert")])
@pytest.mark.parametrize(
    "kind",
    [pytest.param(SWISH, id="swish"), pytest.param(RELU6, id="relu6", marks=pytest.mark.slow)],
)
def test_inverted_residuals(kind, target, randomise, tmp_path):
    """Depthwise kernels, gates, relu6 and swish, "same" with a stride, scaling inside the graph."""
    model = randomise(inverted_residuals(**kind))
    shape = Preprocessing((32, 32), "crop", "raw" if kind["inside"] else "lite")
    ours = Classifier(model, Card("inverted", 1.0, tuple("abcd"), shape))
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
    images[:, :20] //= np.arange(1, 61, dtype=np.uint8)[:, None, None, None]  # of many brightnesses
    expected = ours.probabilities(images)
    singles = [image[None] for image in images]
    called = expected.argmax(axis=1).tolist()
    calibration = Calibration(singles, singles, called, most_lost=1.0, seed=0)
    whole = portable(ours, input="fitted")
    for precision, given, tolerance in (("f32", None, 1e-5), ("int8", calibration, 0.1)):
        folder = tmp_path / precision
        folder.mkdir()
        how = writer(target).write(whole, folder, precision, "{}", given)
        options = KNOWN[target].options.get(precision, {})
        found = writer(target).run(folder, options)(images)
        assert np.abs(found - expected).mean() < tolerance * expected.std(), precision
        if how and "layers" in how:  # all of them, those of the gates and the depthwise ones, too
            assert how["layers_in_int8"] == how["layers"] == (13 if kind["gated"] else 9)


@pytest.mark.slow
def test_onnx_rounds_what_a_depthwise_convolution_reads_by_one_scale(randomise, tmp_path):
    """With one for each channel, ONNX Runtime would compute it in f32, between roundings."""
    onnx = runtimes.load("onnx")
    model = randomise(inverted_residuals(**RELU6))
    ours = Classifier(model, Card("inverted", 1.0, tuple("abcd"), CROP))
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 32, 32, 3), np.uint8)
    calibration = Calibration(list(images), list(images), [0] * 20, most_lost=1.0, seed=0)
    writer("onnx").write(portable(ours, input="fitted"), tmp_path, "int8", "{}", calibration)
    graph = onnx.load(tmp_path / "model.onnx").graph
    sizes = {each.name: int(np.prod(each.dims)) for each in graph.initializer}
    scales = [sizes[node.input[1]] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert len(scales) >= 8
    assert set(scales) == {1}


def test_nodes_of_onnx_have_names():
    """NNCF tells them apart by nothing else, additions that were taken for biases included."""
    import keras

    from keras_classics.exporting.targets import onnx

    x = image = keras.Input(batch_shape=(1, 1, 1, 8))
    for _ in range(2):
        inner = keras.layers.ReLU()(keras.layers.Conv2D(8, 1)(x))
        x = keras.layers.Add()([keras.layers.Conv2D(8, 1)(x), keras.layers.Conv2D(8, 1)(inner)])
        x = keras.layers.ReLU()(x)
    names = [node.name for node in onnx._converted(keras.Model(image, x)).graph.node]
    assert any(name.endswith("/add") for name in names)
    assert all(names)
    assert len(set(names)) == len(names)


@pytest.mark.slow
def test_what_openvino_makes_of_a_file_by_itself(converted, resnet, artefact):
    """It leaves the hint in the file unheard, and takes bf16 where the processor has it.

    With the hint given to it, f32 is exact on pictures of any size. Without, an export of pictures
    of the network's size keeps to the limit of bf16, as the guide says; its resize rule would not.
    """
    core = runtimes.openvino_core()
    classifier = load(resnet)
    pictures = next(photographs().batches())[0][:8]
    images = fitted(classifier, pictures)
    wanted = classifier.probabilities(images)
    folder, _ = converted(resnet, "openvino", kind="image")
    model = core.read_model(folder / "model.xml")
    hint = model.get_rt_info(["runtime_options", "INFERENCE_PRECISION_HINT"]).astype(str)
    run = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": hint})
    given = np.concatenate([run(picture[None])[0] for picture in pictures])
    assert given == pytest.approx(wanted, abs=1e-4)
    folder, _ = converted(artefact, "openvino")
    classifier = load(artefact)
    images = fitted(classifier, pictures)
    wanted = classifier.probabilities(images)
    for config in ({}, {"INFERENCE_PRECISION_HINT": "bf16"}):
        run = core.compile_model(folder / "model.xml", "CPU", config)
        assert run(images)[0] == pytest.approx(wanted, abs=0.1)


def test_bf16_is_a_hint_to_openvino(converted, artefact):
    folder, export = converted(artefact, "openvino", "bf16")
    assert export.options == {"INFERENCE_PRECISION_HINT": "bf16"}
    model = runtimes.load("openvino").Core().read_model(folder / "model.xml")
    hint = model.get_rt_info(["runtime_options", "INFERENCE_PRECISION_HINT"])
    assert hint.astype(str) == "bf16"
    f32, _ = converted(artefact, "openvino")
    assert (f32 / "model.bin").read_bytes() == (folder / "model.bin").read_bytes()


def test_bf16_halves_a_saved_model(converted, artefact):
    folder, export = converted(artefact, "saved_model", "bf16")
    f32, _ = converted(artefact, "saved_model")
    assert export.agreement.top1_agreement >= 0.99

    def size(place):
        return (place / "model" / "variables" / "variables.data-00000-of-00001").stat().st_size

    assert 0.45 < size(folder) / size(f32) < 0.6


def test_both_ends_of_a_network_stay_in_float32(resnet):
    model = in_bfloat16(portable(load(resnet), input="fitted"))
    (network,) = (layer for layer in model.layers if hasattr(layer, "layers"))
    types = {layer.name: layer.compute_dtype for layer in network.layers if layer.weights}
    assert types.pop("predictions") == "float32"
    types = {name: dtype for name, dtype in types.items() if "conv" in name}
    assert len(types) == 17
    assert set(types.values()) == {"bfloat16"}
    assert model.output.dtype == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("target", ["litert"])
def test_the_same_bytes_each_time(converted, artefact, tmp_path, target):
    from keras_classics.exporting.conversion import convert
    from keras_classics.exporting.export import Request

    folder, export = converted(artefact, target)
    convert(Request(str(artefact), None, target, "f32", "fitted"), tmp_path, lambda *_: None)
    assert hashes(tmp_path) == {EXPORT: hashes(folder)[EXPORT], **export.files}
