"""What makes training fast, beside the networks: kernels, compiler and precision.

None of it is left in a model: what is saved is plain Keras. Measured in docs/speed.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras

from keras_classics.architectures.rebuild import graph_of, normed
from keras_classics.errors import ClassicsError
from keras_classics.memory import kept
from keras_classics.training.batch_norm import batch_norms

CPU_FACTS = Path("/proc/cpuinfo")  # Linux; elsewhere nothing is known without a dependency
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}  # of processors that multiply bfloat16 themselves
AMPERE = (8, 0)  # the first compute capability of NVIDIA's with bfloat16
# Multiply-adds for an image below which bfloat16 gains nothing, as casts and small operations rule.
FEW_MACS = 60e6
# Options of malloc, https://man7.org/linux/man-pages/man3/mallopt.3.html
FUSED_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Hardware:
    """What Keras computes on."""

    backend: str
    kind: Literal["cpu", "gpu", "tpu"]
    bfloat16: bool  # multiplied natively, by kernels that the backend has


def hardware() -> Hardware:
    """What Keras computes on here."""
    backend = keras.backend.backend()
    find = {"tensorflow": _of_tensorflow, "jax": _of_jax, "torch": _of_torch}.get(backend)
    return find() if find else Hardware(backend, "cpu", bfloat16=False)


def choose_precision(
    wanted: str, *, macs: float | None = None, here: Hardware | None = None
) -> str:
    """The dtype policy to train with; parameters are float32 in any case.

    "auto" is bfloat16 where it is fast: on GPUs and TPUs that have it, and on processors that have
    it with TensorFlow, as JAX's and torch's kernels for them were slower than those for float32,
    and so was TensorFlow's for narrow networks on small images.

    Args:
        wanted: "auto", "float32", "bfloat16" or "float16".
        macs: Multiply-adds of the network for one image; None for many.
        here: The hardware, if not that of this machine.

    Raises:
        ClassicsError: If it is none of these, or float16 without a GPU.
    """
    policies = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
    if wanted not in ("auto", *policies):
        raise ClassicsError(f"precision={wanted!r}: one of auto, {', '.join(policies)} is needed.")
    if wanted in ("float32", "bfloat16"):
        return policies[wanted]
    here = here or hardware()
    if wanted == "float16" and here.kind != "gpu":
        raise ClassicsError(
            f"precision='float16': a GPU is needed, and {here.backend} computes on a "
            f"{here.kind.upper()} here; use auto, float32 or bfloat16."
        )
    if wanted == "auto":
        small = here.kind == "cpu" and macs is not None and macs < FEW_MACS
        wanted = "bfloat16" if here.bfloat16 and not small else "float32"
    return policies[wanted]


def jit_compile() -> bool:
    """Whether the training step is compiled.

    JAX always compiles. With TensorFlow on a processor XLA takes minutes for these networks and
    runs them no faster; on a GPU it is what Keras chooses by itself. torch.compile took a minute
    and a half to the first step and was slower.
    """
    backend = keras.backend.backend()
    return backend == "jax" or (backend == "tensorflow" and hardware().kind == "gpu")


@contextmanager
def fast_training(model: keras.Model) -> Iterator[None]:
    """Train with what is fast here: `memory_kept`, `folded_batch_norm` and `fused_batch_norm`.

    Enter it when it is settled which layers are trainable.
    """
    with memory_kept(), folded_batch_norm(model), fused_batch_norm(model):
        yield


def memory_kept() -> AbstractContextManager[None]:
    """Let this process keep memory that is free until the next step needs it again.

    By itself the GNU C library gives large feature maps back to the system when they are no longer
    needed, and gets them again, every page cleared, in the next step: a tenth of the time of
    ResNet50's. Only on processors, and where that library is; what was kept is given back
    afterwards.
    """
    return kept() if hardware().kind == "cpu" else nullcontext()


@contextmanager
def folded_batch_norm(model: keras.Model) -> Iterator[None]:
    """Let convolutions and dense layers do the work of the frozen batch norms behind them.

    A frozen batch norm multiplies each channel by a number and adds another, which the layer before
    it can do with its kernel and bias: `conv(x, kernel * scale) + bias * scale + offset`. Outputs,
    and the gradients of the kernel as it is, are the same, to rounding, without passes over feature
    maps. The layers are themselves again afterwards. Batch norm that is trained, or that reads
    anything else than a linear layer that nobody else reads, is left as it is.

    Args:
        model: Flat; compiled before or afterwards.
    """
    pairs = [(norm, layer) for norm, layer in normed(graph_of(model)) if not norm.trainable]
    with _called(
        model,
        {layer: partial(_folded_call, layer, norm) for norm, layer in pairs}
        | {norm: _handed_on for norm, _ in pairs},
    ):
        yield


class _Folded:
    """A layer to Keras' own `call`, but for its kernel and bias."""

    def __init__(self, layer: Any, kernel: Any, bias: Any) -> None:
        self._layer, self.kernel, self.bias, self.use_bias = layer, kernel, bias, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


def _folded_call(layer: Any, norm: Any, inputs: Any, training: bool | None = None) -> Any:  # noqa: ARG001
    """As the layer's own `call`, and then that of the frozen batch norm."""
    ops, cast = keras.ops, partial(keras.ops.cast, dtype=layer.variable_dtype)
    scale = ops.rsqrt(cast(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        scale *= cast(norm.gamma)
    bias = (cast(layer.bias) if layer.use_bias else 0.0) - cast(norm.moving_mean)
    bias *= scale
    if norm.center:
        bias += cast(norm.beta)
    kernel = cast(layer.kernel)
    if type(layer) is keras.layers.DepthwiseConv2D:  # (h, w, c, multiplier), c before it
        scale = ops.reshape(scale, kernel.shape[-2:])
    folded = (ops.cast(each, layer.compute_dtype) for each in (kernel * scale, bias))
    return type(layer).call(_Folded(layer, *folded), inputs)


def _handed_on(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: ARG001
    return inputs


@contextmanager
def _called(model: keras.Model, calls: Mapping[Any, Callable[..., Any]]) -> Iterator[None]:
    """Compute some layers of a model in another way, until the end."""
    try:
        for layer, call in calls.items():
            layer.call = call
        _forget_functions(model)
        yield
    finally:
        for layer in calls:
            vars(layer).pop("call", None)
        _forget_functions(model)


@contextmanager
def fused_batch_norm(model: keras.Model) -> Iterator[None]:
    """Let TensorFlow's fused kernel compute batch norm, not the dozen operations of Keras' layer.

    Outputs, gradients and moving statistics are those of Keras' layer, to rounding. The layers are
    themselves again afterwards. Only on processors: on a GPU, XLA fuses the operations. Other
    backends, channels that come first, masks, renormalisation and synchronised statistics are left
    to Keras.

    Args:
        model: Flat; compiled before or afterwards.
    """
    if keras.backend.backend() != "tensorflow" or hardware().kind != "cpu":
        yield
        return
    layers = [layer for layer in batch_norms(model) if _can_be_fused(layer)]
    with _called(model, {layer: partial(_fused_call, layer) for layer in layers}):
        yield


def _can_be_fused(layer: Any) -> bool:
    return (
        type(layer).call is keras.layers.BatchNormalization.call
        and "call" not in vars(layer)  # not folded
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
        and not layer.renorm
        and not layer.synchronized
    )


def _forget_functions(model: keras.Model) -> None:
    """What was traced keeps the kernels that it was traced with."""
    model.train_function = model.test_function = model.predict_function = None


def _fused_call(layer: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    """As `keras.layers.BatchNormalization.call`: (b, h, w, c) -> (b, h, w, c)."""
    import tensorflow as tf

    if mask is not None or keras.backend.standardize_dtype(inputs.dtype) not in FUSED_DTYPES:
        return keras.layers.BatchNormalization.call(layer, inputs, training=training, mask=mask)
    cast = partial(keras.ops.cast, dtype="float32")
    mean, variance = cast(layer.moving_mean), cast(layer.moving_variance)
    batch_s_own = bool(training and layer.trainable)
    outputs, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=cast(layer.gamma) if layer.scale else tf.ones_like(mean),
        offset=cast(layer.beta) if layer.center else tf.zeros_like(mean),
        mean=[] if batch_s_own else mean,
        variance=[] if batch_s_own else variance,
        epsilon=layer.epsilon,
        is_training=batch_s_own,
    )
    if batch_s_own:
        # The kernel's variance is an estimate of the population's (Bessel); Keras' is the batch's.
        number = tf.cast(tf.size(inputs) // inputs.shape[-1], "float32")
        batch_variance *= (number - 1.0) / number
        keep = layer.momentum
        layer.moving_mean.assign(mean * keep + batch_mean * (1.0 - keep))
        layer.moving_variance.assign(variance * keep + batch_variance * (1.0 - keep))
    return keras.ops.cast(outputs, layer.compute_dtype)


def _of_tensorflow() -> Hardware:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        capable = all(each.get("compute_capability", (0, 0)) >= AMPERE for each in details)
        return Hardware("tensorflow", "gpu", bfloat16=capable)
    # Without oneDNN the kernels for bfloat16 compute in float32, one number at a time.
    onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0"
    return Hardware("tensorflow", "cpu", bfloat16=onednn and _cpu_has_bfloat16())


def _of_jax() -> Hardware:
    import jax

    device = jax.local_devices()[0]
    if device.platform == "tpu":
        return Hardware("jax", "tpu", bfloat16=True)
    if device.platform != "gpu":
        return Hardware("jax", "cpu", bfloat16=False)
    major = str(getattr(device, "compute_capability", "0")).split(".")[0]
    return Hardware("jax", "gpu", bfloat16=major.isdigit() and int(major) >= AMPERE[0])


def _of_torch() -> Hardware:
    import torch

    if torch.cuda.is_available():
        capable = torch.cuda.get_device_capability() >= AMPERE
        return Hardware("torch", "gpu", bfloat16=capable)
    return Hardware("torch", "cpu", bfloat16=False)


def _cpu_has_bfloat16() -> bool:
    """Whether the processor says so; False where it cannot be asked."""
    try:
        lines = CPU_FACTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not BFLOAT16_FLAGS.isdisjoint(flags.split())
