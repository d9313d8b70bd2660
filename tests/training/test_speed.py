from __future__ import annotations

import ctypes
import json
import subprocess
import sys

import keras
import pytest

from keras_classics.errors import ClassicsError
from keras_classics.training import speed
from keras_classics.training.speed import Hardware
from zoo import one_each, small

CPU, GPU = Hardware("tensorflow", "cpu", bfloat16=False), Hardware("jax", "gpu", bfloat16=True)
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the kernel is TensorFlow's"
)


@pytest.mark.parametrize(
    ("wanted", "here", "policy"),
    [
        ("auto", CPU, "float32"),
        ("auto", Hardware("tensorflow", "cpu", bfloat16=True), "mixed_bfloat16"),
        ("auto", GPU, "mixed_bfloat16"),
        ("auto", Hardware("jax", "tpu", bfloat16=True), "mixed_bfloat16"),
        ("auto", Hardware("torch", "gpu", bfloat16=False), "float32"),
        ("float32", GPU, "float32"),
        ("bfloat16", CPU, "mixed_bfloat16"),
        ("float16", GPU, "mixed_float16"),
    ],
)
def test_precision(wanted, here, policy):
    assert speed.choose_precision(wanted, here=here) == policy


def test_float16_is_refused_without_a_gpu():
    with pytest.raises(ClassicsError, match=r"float16.*tensorflow computes on a CPU here"):
        speed.choose_precision("float16", here=CPU)


def test_a_precision_that_is_none():
    with pytest.raises(ClassicsError, match=r"precision='int8': one of auto, float32, bfloat16"):
        speed.choose_precision("int8", here=CPU)


def convolution(side, activation):
    """A network of one convolution."""
    inputs = keras.Input((side, side, 3))
    x = keras.layers.Conv2D(256, 3, padding="same")(inputs)
    return keras.Model(inputs, keras.layers.Activation(activation)(x))


def test_small_networks_gain_nothing_from_half_precision():
    here = Hardware("tensorflow", "cpu", bfloat16=True)
    few, many = convolution(64, "relu"), convolution(256, "relu")  # 28 and 450 million
    assert speed.choose_precision("auto", model=few, here=here) == "float32"
    assert speed.choose_precision("auto", model=many, here=here) == "mixed_bfloat16"
    assert speed.choose_precision("auto", model=few, here=GPU) == "mixed_bfloat16"
    assert speed.choose_precision("bfloat16", model=few, here=here) == "mixed_bfloat16"


def test_swish_gains_nothing_from_half_precision():
    here = Hardware("tensorflow", "cpu", bfloat16=True)
    model = convolution(256, "swish")
    assert speed.choose_precision("auto", model=model, here=here) == "float32"
    assert speed.choose_precision("auto", model=model, here=GPU) == "mixed_bfloat16"


@pytest.mark.parametrize(
    ("network", "expected"),
    [("efficientnet_lite0", "mixed_bfloat16"), ("efficientnet_b0", "float32")],
)
def test_depthwise_convolutions_gain_from_half_precision_but_swish_does_not(
    network, expected, monkeypatch
):
    monkeypatch.setattr(speed, "FEW_MACS", 0)
    model = small(network, input_shape=(32, 32, 3), depths=one_each(network))
    here = Hardware("tensorflow", "cpu", bfloat16=True)
    assert speed.choose_precision("auto", model=model, here=here) == expected


@on_tensorflow
@pytest.mark.parametrize(
    ("facts", "onednn", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16 avx2\n", None, True),
        ("processor\t: 0\nflags\t\t: fpu amx_bf16\n", "1", True),
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16\n", "0", False),
        ("processor\t: 0\nflags\t\t: fpu avx2\nbugs\t\t: avx512_bf16\n", None, False),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", None, False),  # ARM: never measured
        ("", None, False),
        (None, None, False),  # not Linux
    ],
)
def test_the_processor_is_asked(facts, onednn, expected, tmp_path, monkeypatch):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if onednn:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", onednn)
    if facts is not None:
        (tmp_path / "cpuinfo").write_text(facts)
    monkeypatch.setattr(speed, "CPU_FACTS", tmp_path / "cpuinfo")
    assert speed.hardware() == Hardware("tensorflow", "cpu", bfloat16=expected)


@on_tensorflow
@pytest.mark.parametrize(("capability", "expected"), [((8, 0), True), ((7, 5), False)])
def test_the_gpu_is_asked(capability, expected, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["gpu"])
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda _: {"compute_capability": capability}
    )
    assert speed.hardware() == Hardware("tensorflow", "gpu", bfloat16=expected)
    assert speed.jit_compile() is True
    inputs = keras.Input((5, 6, 7))
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="bn")(inputs))
    with speed.fast_training(model):
        assert "call" not in vars(model.get_layer("bn"))


@pytest.mark.every_backend
def test_a_step_is_compiled_by_jax_alone_on_a_processor():
    backend = keras.backend.backend()
    assert speed.jit_compile() is (backend == "jax")
    if backend != "tensorflow":  # whose kernels alone were faster
        assert speed.choose_precision("auto") == "float32"


FAULTS = """
import ctypes, json, resource
from keras_classics.training import speed

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]


def faults(size=40_000_000, times=20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        memory = libc.malloc(size)
        ctypes.memset(memory, 1, size)
        libc.free(memory)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


found = [faults()]
with speed.memory_kept():
    faults(times=1)
    found.append(faults())
try:
    with speed.memory_kept():
        raise KeyboardInterrupt
except KeyboardInterrupt:
    found.append(faults())
print(json.dumps(found))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="it is the GNU C library's",
)
def test_memory_is_kept_while_training_and_given_back():
    """In a process of its own: where other memory lies above it, the library keeps more."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True
    )
    before, kept, after = json.loads(done.stdout)
    assert kept < before / 10
    assert after > before / 2


def test_memory_is_left_alone_where_nothing_is_known_of_it(monkeypatch):
    def refused(*_):
        raise AssertionError("asked for the C library")

    monkeypatch.setattr(ctypes, "CDLL", refused)
    monkeypatch.setattr(sys, "platform", "darwin")
    with speed.memory_kept():
        pass
