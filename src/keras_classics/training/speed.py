"""What makes training fast, beside the networks: kernels, compiler and precision.

None of it is left in a model: what is saved is plain Keras. Measured in docs/speed.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras

from keras_classics.architectures.analysis import analyse
from keras_classics.errors import ClassicsError
from keras_classics.host.memory import kept
from keras_classics.training import kernels

CPU_FACTS = Path("/proc/cpuinfo")  # Linux; elsewhere nothing is known without a dependency
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}  # of processors that multiply bfloat16 themselves
AMPERE = (8, 0)  # the first compute capability of NVIDIA's with bfloat16
# Multiply-adds for an image below which bfloat16 gains nothing, as casts and small operations rule.
FEW_MACS = 60e6


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
    wanted: str, *, model: keras.Model | None = None, here: Hardware | None = None
) -> str:
    """The dtype policy to train with; parameters are float32 in any case.

    "auto" is bfloat16 where it is fast: on GPUs and TPUs that have it, and on processors that have
    it with TensorFlow, as JAX's and torch's kernels for them were slower than those for float32,
    and so were TensorFlow's for narrow networks on small images and for swish.

    Args:
        wanted: "auto", "float32", "bfloat16" or "float16".
        model: The network, for images of the size that it is trained at; None for any that gains.
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
        gains = here.kind != "cpu" or model is None or _gains(model)
        wanted = "bfloat16" if here.bfloat16 and gains else "float32"
    return policies[wanted]


def _gains(model: keras.Model) -> bool:
    """Whether a processor trains the network faster in bfloat16."""
    functions = (getattr(layer, "activation", None) for layer in model.layers)
    if any(function is keras.activations.silu for function in functions):
        return False
    return analyse(model).model.macs >= FEW_MACS


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
    """Train with what is fast here: `memory_kept` and, on processors, the layers of `kernels`.

    Enter it when it is settled which layers are trainable.
    """
    with ExitStack() as stack:
        stack.enter_context(memory_kept())
        if hardware().kind == "cpu":
            stack.enter_context(kernels.folded_batch_norm(model))
            stack.enter_context(kernels.fast_depthwise(model))
            stack.enter_context(kernels.fused_batch_norm(model))
        yield


def memory_kept() -> AbstractContextManager[None]:
    """Let this process keep memory that is free until the next step needs it again.

    By itself the GNU C library gives large feature maps back to the system when they are no longer
    needed, and gets them again, every page cleared, in the next step: a tenth of the time of
    ResNet50's. Only on processors, and where that library is; what was kept is given back
    afterwards.
    """
    return kept() if hardware().kind == "cpu" else nullcontext()


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
