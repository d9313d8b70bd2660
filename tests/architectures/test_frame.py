from __future__ import annotations

import json
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_classics import CATALOG, VGG16, block_tree, build
from keras_classics.architectures import frame
from keras_classics.architectures.efficientnet import SCALES
from keras_classics.architectures.frame import input_shape_for
from keras_classics.architectures.layers import scaled
from keras_classics.errors import ClassicsError
from zoo import FAMILIES, NETWORKS, one_each, slow

WIDTH = 1 / 16
MAIN = ("vgg16", "resnet50", "inception_v3")


def small(network, **arguments):
    """A network of one block a stage, unless the depths are given."""
    own = {"weights": None, "width": WIDTH, "classes": 5}
    if isinstance(network, str):
        own["depths"] = one_each(network)
    return build(network, **own | arguments)


def vgg_side(n):
    return n // 32


def resnet_side(n):
    return -(-n // 32)


def inception_side(n):
    for kernel, stride in ((3, 2), (3, 1), (3, 2), (3, 1), (3, 2), (3, 2), (3, 2)):
        n = (n - kernel) // stride + 1
    return n


SIDE = {
    "vgg16": vgg_side,
    "inception_v3": inception_side,
    "inception_v3_torch": inception_side,
}


def maps_of(network):
    """The filters of the last feature maps."""
    if network.startswith("efficientnet_b"):
        return scaled(1280, SCALES[network[-2:]][0] * WIDTH, divisor=8)
    if network.startswith("efficientnet_lite"):
        return 1280 * WIDTH
    return {"vgg16": 512 * WIDTH, "mobilenet_v2": 1280}.get(network, 2048 * WIDTH)


@pytest.mark.parametrize(
    ("network", "more"),
    [
        *((network, (1, 31) if network in MAIN else (0, 0)) for network in FAMILIES),
        *(slow(network, (0, 0)) for network in CATALOG if network not in FAMILIES),
        *(slow(network, (0, 0)) for network in MAIN),
        *(slow(network, (45, 2)) for network in MAIN),
    ],
)
def test_any_size_from_the_least_up(network, more, images, run):
    least = CATALOG[network].least_size
    height, width = least + more[0], least + more[1]
    side = SIDE.get(network, resnet_side)
    filters = maps_of(network)

    model = small(network, include_top=False, input_shape=(height, width, 3))
    maps = run(model, images(2, height, width, 3))
    assert maps.shape == (2, side(height), side(width), filters)
    assert np.isfinite(maps).all()

    top = small(network, input_shape=(height, width, 3))
    np.testing.assert_allclose(run(top, images(2, height, width, 3)).sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("include_top", [True, False])
@pytest.mark.parametrize("network", CATALOG)
def test_below_the_least_size_the_error_names_it(network, include_top):
    least = CATALOG[network].least_size
    for shape in ((least - 1, least, 3), (least, least - 1, 3), (None, least - 1, 3)):
        with pytest.raises(ValueError, match=f"at least {least} x {least} pixels"):
            small(network, include_top=include_top, input_shape=shape)


@pytest.mark.parametrize("network", ["resnet50", "resnet50_d", "inception_v3"])
def test_open_size_with_the_top(network, images, run):
    model = small(network, input_shape=(None, None, 3))
    assert model.input_shape == (None, None, None, 3)
    assert run(model, images(2, 80, 75, 3)).shape == (2, 5)
    fixed = small(network, input_shape=(96, 77, 3))
    fixed.set_weights(model.get_weights())
    x = images(2, 96, 77, 3)
    np.testing.assert_allclose(run(model, x), run(fixed, x), rtol=1e-5)


@pytest.mark.parametrize("shape", [(None, None, 3), (None, 64, 3), (64, None, 3)])
def test_vgg_with_its_top_needs_a_known_size(shape):
    with pytest.raises(ValueError, match=r"VGG16 needs a known height and width.*include_top=Fals"):
        small("vgg16", input_shape=shape)
    assert small("vgg16", input_shape=shape, include_top=False).input_shape == (None, *shape)


@pytest.mark.parametrize("network", NETWORKS)
def test_default_shapes(network):
    record = CATALOG[network]
    size = record.default_size
    assert small(network).input_shape == (None, size, size, 3)
    assert small(network, include_top=False).input_shape == (None, None, None, 3)


@pytest.mark.parametrize("channels", [1, 4, 7])
@pytest.mark.parametrize("network", MAIN)
def test_channels(network, channels, images, run):
    model = small(network, input_shape=(75, 75, channels))
    kernel = model.weights[0]
    assert (kernel.name, kernel.shape[2]) == ("kernel", channels)
    assert run(model, images(1, 75, 75, channels)).shape == (1, 5)


@pytest.mark.backends
@pytest.mark.parametrize("network", MAIN)
def test_data_formats_agree(network, data_format, randomise, images, run):
    last = randomise(small(network, input_shape=(75, 90, 3), classifier_activation=None))
    x = images(2, 75, 90, 3)
    expected = run(last, x)
    data_format("channels_first")
    first = small(network, input_shape=(3, 75, 90), classifier_activation=None)
    assert first.input_shape == (None, 3, 75, 90)
    first.set_weights(last.get_weights())  # Flatten puts the channels last in both formats
    np.testing.assert_allclose(run(first, x.transpose(0, 3, 1, 2)), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("network", MAIN)
def test_channels_first_without_the_top_and_with_least_size(network, data_format):
    data_format("channels_first")
    least = CATALOG[network].least_size
    filters = (512 if network == "vgg16" else 2048) * WIDTH
    assert small(network, include_top=False).output_shape == (None, filters, None, None)
    assert small(network, include_top=False, pooling="avg").output_shape == (None, filters)
    with pytest.raises(ValueError, match=f"at least {least} x {least}"):
        small(network, input_shape=(3, least, least - 1))


@pytest.mark.parametrize(
    ("policy", "compute", "variable"),
    [
        ("float32", "float32", "float32"),
        ("float64", "float64", "float64"),
        ("float16", "float16", "float16"),
        ("bfloat16", "bfloat16", "bfloat16"),
        ("mixed_bfloat16", "bfloat16", "float32"),
        ("mixed_float16", "float16", "float32"),
    ],
)
@pytest.mark.parametrize(
    "network",
    ["vgg16", "resnet50", pytest.param("inception_v3", marks=pytest.mark.slow)],
)
def test_dtype_policies(network, policy, compute, variable, dtype_policy, images):
    dtype_policy(policy)
    model = small(network, input_shape=(75, 75, 3))
    assert {weight.dtype for weight in model.weights} == {variable}
    assert {layer.compute_dtype for layer in model.layers} == {compute}
    outputs = model(keras.ops.convert_to_tensor(images(1, 75, 75, 3)), training=False)
    assert keras.backend.standardize_dtype(outputs.dtype) == compute
    values = keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float64"))
    np.testing.assert_allclose(values.sum(), 1, atol=2e-2)


@pytest.mark.parametrize("pooling", ["avg", "max"])
@pytest.mark.parametrize("network", MAIN)
def test_pooling_without_the_top(network, pooling, images, run):
    pooled = small(network, include_top=False, input_shape=(107, 107, 3), pooling=pooling)
    maps = keras.Model(pooled.inputs, pooled.layers[-2].output)
    x = images(2, 107, 107, 3)
    reduce = {"avg": np.mean, "max": np.max}[pooling]
    np.testing.assert_allclose(
        run(pooled, x), reduce(run(maps, x), axis=(1, 2)), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("network", MAIN)
def test_prefix_and_names(network):
    plain, one, two = (small(network, prefix=prefix) for prefix in ("", "one_", "two_"))
    names = [layer.name for layer in plain.layers]
    assert len(set(names)) == len(names)
    assert [layer.name for layer in one.layers][1:] == [f"one_{name}" for name in names[1:]]
    assert one.layers[0].name == "one_input_layer"
    both = keras.Model([*one.inputs, *two.inputs], [*one.outputs, *two.outputs])
    assert len({layer.name for layer in both.layers}) == 2 * len(names)
    assert plain.name == network
    assert small(network, name="mine").name == "mine"


@pytest.mark.parametrize("network", MAIN)
def test_models_are_flat(network):
    assert not [x for x in small(network).layers if isinstance(x, keras.Model)]


@pytest.mark.parametrize("network", MAIN)
def test_input_tensor(network, images, run):
    inputs = keras.Input((150, 150, 4), name="mine")
    before = keras.layers.Conv2D(3, 1, strides=2, name="before")(inputs)
    model = small(network, input_tensor=before)
    assert model.inputs[0] is inputs
    assert model.layers[1].name == "before"
    alone = small(network, input_shape=(75, 75, 3))
    alone.set_weights(model.get_weights()[2:])
    x = images(1, 150, 150, 4)
    seen = run(keras.Model(inputs, before), x)
    np.testing.assert_allclose(run(model, x), run(alone, seen), rtol=1e-5)


@pytest.mark.parametrize("network", MAIN)
def test_width_scales_every_layer(network):
    full, half = (small(network, width=w, input_shape=(75, 75, 3)) for w in (1 / 8, 1 / 16))
    for wide, narrow in zip(full.layers, half.layers, strict=True):
        filters = getattr(wide, "filters", None)
        if filters:
            assert abs(narrow.filters - filters / 2) <= 0.75
    assert full.layers[-1].units == half.layers[-1].units == 5
    assert min(x.filters for x in small(network, width=1e-9).layers if hasattr(x, "filters")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 0}, "classes=0: a whole number of at least 1"),
        ({"classes": True}, "classes=True: a whole number"),
        ({"classes": 2.0}, "classes=2.0: a whole number"),
        ({"width": 0}, "width=0: a positive number"),
        ({"width": -1.0}, "width=-1.0: a positive number"),
        ({"width": float("nan")}, "width=nan: a positive number"),
        ({"width": "1"}, "width='1': a positive number"),
        (
            {"pooling": "mean", "include_top": False},
            'pooling=\'mean\': None, "avg" or "max"',
        ),
        ({"width": True}, "width=True: a positive number"),
        ({"width": np.float32("inf")}, "a positive number"),
        ({"prefix": "a/b"}, "prefix='a/b': layer names"),
        ({"prefix": None}, "prefix=None: a string is needed"),
        ({"classes": np.bool_(True)}, "a whole number"),
        ({"classes": np.int64(0)}, "a whole number"),
        ({"classes": np.float64(3)}, "a whole number"),
        ({"input_shape": 5}, "input_shape=5: three whole numbers"),
        ({"input_shape": "abc"}, "input_shape='abc': three whole numbers"),
        ({"input_shape": np.array([64.0, 64, 3])}, "three whole numbers"),
        ({"input_shape": (64, 64)}, "three whole numbers"),
        ({"input_shape": (64, 64.0, 3)}, "three whole numbers"),
        ({"input_shape": (64, 64, True)}, "three whole numbers"),
        ({"input_shape": (80, 80, None)}, "the number of channels must be known"),
        ({"input_shape": (80, 80, 0)}, "the number of channels must be known"),
        (
            {"input_tensor": keras.KerasTensor((None, 80, 80, None))},
            "input_tensor of shape (80, 80, None): the number of channels must be known",
        ),
        ({"input_tensor": np.zeros((1, 64, 64, 3))}, "input_tensor of type ndarray"),
    ],
)
@pytest.mark.parametrize("network", MAIN)
def test_arguments_out_of_range(network, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        small(network, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("network", MAIN)
def test_numbers_of_numpy(network, tmp_path):
    plain = small(network, input_shape=(80, 96, 3), width=0.0625, classes=7)
    shape = (np.int64(80), np.int32(96), np.uint8(3))
    for input_shape in (shape, list(shape), np.array([80, 96, 3])):
        model = small(
            network, input_shape=input_shape, width=np.float32(0.0625), classes=np.int64(7)
        )
        assert [w.shape for w in model.weights] == [w.shape for w in plain.weights]
        assert [type(n) for n in model.input_shape[1:]] == [int] * 3
    model.save(tmp_path / "file.keras")
    assert keras.models.load_model(tmp_path / "file.keras").output_shape == (None, 7)


def test_an_input_shape_beside_an_input_tensor_is_checked_and_changes_nothing():
    given = {"input_tensor": keras.Input((64, 64, 3))}
    for shape in ([64, np.int64(64), 3], (224, 224, 3), (None, None, 3)):
        model = small("resnet50", **given, input_shape=shape)
        assert model.input_shape == (None, 64, 64, 3)
        assert model.output_shape == (None, 5)
    with pytest.raises(ClassicsError, match="input_shape=5: three whole numbers"):
        small("resnet50", **given, input_shape=5)
    with pytest.raises(
        ClassicsError, match=r"input_shape=\(31, 64, 3\): ResNet50 needs at least 32"
    ):
        small("resnet50", **given, input_shape=(31, 64, 3))


@pytest.mark.parametrize("size", [8, 28])
def test_resnet_begins_at_an_input_tensor_of_any_size(size, images, run):
    """A new input must have 32 pixels, as in keras.applications, but none of its maps vanishes."""
    model = small("resnet50", include_top=False, input_tensor=keras.Input((size, size, 1)))
    assert run(model, images(2, size, size, 1)).shape == (2, 1, 1, 2048 * WIDTH)


@pytest.mark.backends
@pytest.mark.parametrize("network", ["vgg16", "inception_v3", "inception_v3_torch"])
def test_an_input_tensor_in_which_the_maps_vanish(network):
    record = CATALOG[network]
    shape = (record.least_size, record.least_size - 1, 3)
    message = (
        rf"^input_tensor of shape \({shape[0]}, {shape[1]}, 3\): {record.title} needs at least "
        rf"{record.least_size} x {record.least_size} pixels\.$"
    )
    with pytest.raises(ClassicsError, match=message):
        small(network, include_top=False, input_tensor=keras.Input(shape))


def test_other_errors_of_layers_are_left_as_they_are():
    def features(*_, **__):
        raise ValueError("something else")

    mine = CATALOG["vgg16"].replace(features=features)
    with pytest.raises(ValueError, match=r"^something else$"):
        small(mine, input_tensor=keras.Input((64, 64, 3)))


def test_the_input_has_one_name_whatever_was_built_before():
    """Files that are made of the same network have the same bytes."""
    models = [frame.build(CATALOG["vgg16"], width=WIDTH, classes=5) for _ in range(2)]
    assert [model.layers[0].name for model in models] == ["input_layer"] * 2


def test_a_shape_that_fits_is_returned_as_it_is():
    record = CATALOG["inception_v3"]
    assert input_shape_for(record, (75, None, 4), include_top=True) == (75, None, 4)
    assert input_shape_for(record, None, include_top=True) == (299, 299, 3)


WITHOUT_THE_PACKAGE = """
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.modules["keras_classics"] = None
import keras, numpy as np
for path in json.loads(sys.argv[1]):
    model = keras.models.load_model(path + ".keras")
    outputs = model(keras.ops.convert_to_tensor(np.load(path + ".x.npy")), training=False)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    np.savez(path + ".npz", *[keras.ops.convert_to_numpy(output) for output in outputs])
try:
    import keras_classics
except ImportError:
    print("keras_classics cannot be imported")
"""


def test_saved_models_open_with_plain_keras(tmp_path, randomise, images, run):
    models = {
        "vgg": VGG16(weights=None, width=WIDTH, input_shape=(40, 33, 3), classes=4, dropout=0.5),
        "resnet": small("resnet50", input_shape=(None, None, 3), prefix="a_"),
        "resnet_d": small("resnet50_d", include_top=False, input_shape=(40, 40, 3)),
        "inception": small("inception_v3", input_shape=(151, 151, 3), auxiliary=True),
    }
    inputs = {}
    for name, model in models.items():
        randomise(model).save(tmp_path / f"{name}.keras")
        inputs[name] = images(2, *(side or 45 for side in model.input_shape[1:]))
        np.save(tmp_path / f"{name}.x.npy", inputs[name])
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            WITHOUT_THE_PACKAGE,
            json.dumps([str(tmp_path / n) for n in models]),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "keras_classics cannot be imported" in done.stdout
    for name, model in models.items():
        expected = run(model, inputs[name])
        expected = expected if isinstance(expected, list) else [expected]
        with np.load(tmp_path / f"{name}.npz") as file:
            for output, key in zip(expected, file, strict=True):
                np.testing.assert_allclose(file[key], output, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("network", NETWORKS)
def test_one_block_a_stage(network):
    """What small tests and lessons are made with: the same stages, blocks and top."""
    record = CATALOG[network]
    size = record.least_size
    model = small(network, input_shape=(size, size, 3))
    assert record.bears(model.name)
    assert model.output_shape == (None, 5)
    least = {kind for kind in record.kinds if kind.made_by or kind.frame == "stage"}
    assert {block.declared for block in list(block_tree(model).walk())[1:]} <= least
    assert [layer.name for layer in model.layers if layer.name in record.top_layers] == [
        *record.top_layers
    ]


@pytest.mark.parametrize("network", ["vgg16", "mobilenet_v2"])
def test_the_depths_of_the_paper_are_the_default(network):
    names = [
        [layer.name for layer in small(network, depths=depths).layers]
        for depths in (None, CATALOG[network].depths, np.array(CATALOG[network].depths))
    ]
    assert names[0] == names[1] == names[2]


@pytest.mark.parametrize(
    "depths", [(), (1, 1, 1), (1, 1, 1, 0), (1, 1, 1, 1.5), (1, 1, 1, True), "1111", 4, (None,) * 4]
)
def test_wrong_depths(depths):
    message = f"depths={depths!r}: ResNet50 needs 4 whole numbers of at least 1; the paper's are "
    with pytest.raises(ClassicsError, match=re.escape(message) + r"\(3, 4, 6, 3\)\.$"):
        small("resnet50", depths=depths)


ENDS = {
    "vgg16": [f"block{n}" for n in range(1, 6)],
    "resnet50": ["stem", *(f"conv{n}" for n in range(2, 6))],
    "mobilenet_v2": ["stem", *(f"row{n}" for n in range(1, 8)), "head"],
    "efficientnet_b0": ["stem", *(f"block{n}" for n in range(1, 8)), "top"],
}


@pytest.mark.backends
@pytest.mark.parametrize("network", [*ENDS, "inception_v3"])
def test_taps_give_the_maps_at_the_ends_of_stages(network, randomise, images, run):
    arguments = {"include_top": False, "input_shape": (75, 80, 3)}
    with pytest.raises(ClassicsError, match="which has ") as error:
        small(network, **arguments, taps=["nothing"])
    ends = re.search("which has (.*)\\.", str(error.value))[1].split(", ")
    assert ends == ENDS.get(network, ends)
    model = randomise(small(network, **arguments, taps=ends))
    assert list(model.output) == ends  # a dict in the order of the network
    whole = small(network, **arguments)
    whole.set_weights(model.get_weights())
    x = images(1, 75, 80, 3)
    found = run(model, x)
    np.testing.assert_allclose(found[ends[-1]], run(whole, x), rtol=1e-5, atol=1e-6)
    sides = [found[end].shape[1] for end in ends]
    assert sides == sorted(sides, reverse=True)
    few = small(network, **arguments, taps=(ends[2], ends[0]))
    assert list(few.output) == [ends[0], ends[2]]
    assert {layer.name for layer in few.layers} < {layer.name for layer in model.layers}


@pytest.mark.parametrize("arguments", [{"include_top": True}, {"pooling": "avg"}])
def test_taps_stand_alone(arguments):
    with pytest.raises(ClassicsError, match=r"taps=\['conv2'\]: .*include_top=False and pooling=N"):
        small("resnet50", **{"include_top": False, "taps": ("conv2",), **arguments})


@pytest.mark.parametrize("network", NETWORKS)
def test_options_are_those_of_the_record(network):
    record = CATALOG[network]
    arguments = {"input_shape": (75, 75, 3)}
    own = {option.name for option in record.options}
    for option in ("dropout", "drop_path"):
        if option not in own:
            with pytest.raises(ClassicsError, match=rf"^{option}=0\.1: {record.title} has no "):
                small(network, **arguments, **{option: 0.1})
            small(network, **arguments, **{option: 0})  # none where there is none
            continue
        for rate in (-0.1, 1, 1.5, "0.1", True, float("nan")):
            with pytest.raises(ClassicsError, match=f"^{option}={re.escape(repr(rate))}: a rate"):
                small(network, **{option: rate})
    rates = {name: np.float32(0.25) for name in own}
    model = small(network, **arguments, **rates)
    dropped = {x.name: x.rate for x in model.layers if isinstance(x, keras.layers.Dropout)}
    assert dropped
    assert all(type(rate) is float for rate in dropped.values())
    assert 0.25 in dropped.values()
    off = small(network, **arguments, **dict.fromkeys(own, 0.0))
    assert not [x for x in off.layers if isinstance(x, keras.layers.Dropout)]


@pytest.mark.parametrize("network", NETWORKS)
def test_norms_that_can_start_at_zero_close_the_residuals(network):
    record = CATALOG[network]
    model = small(network, depths=[min(2, depth) for depth in record.depths])
    closing = [
        block.name + block.declared.closing_norm
        for block in block_tree(model).walk()
        if block.declared.closing_norm
    ]
    assert all(isinstance(model.get_layer(n), keras.layers.BatchNormalization) for n in closing)
    assert bool(closing) == ("residuals" in record.traits)
    assert len(closing) <= len([x for x in model.layers if isinstance(x, keras.layers.Add)])
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert bool(norms) == ("batch_norm" in record.traits)


@pytest.mark.parametrize("network", NETWORKS)
def test_where_the_pixels_are_scaled(network):
    record = CATALOG[network]
    model = small(network)
    inside = {layer.name for layer in model.layers} & {"rescaling", "normalization"}
    assert bool(inside) == (record.input_scaling == "inside") == (record.mode == "raw")
