"""What the processor can do at most: large matrix products, in each precision.

    python -m keras_classics.engines.benchmark.limits [THREADS]

The limit of a network is that rate divided by its operations: convolutions are matrix products of
less favourable shapes, with memory to be read and activations between them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_args

import numpy as np

from keras_classics.exporting import runtimes
from keras_classics.exporting.exported import Precision

SIDE = 2048  # of the square matrices
WIDE = 4096  # where numbers are converted in between, which takes as long as numbers there are
SECONDS = 1.5  # for each way to multiply
PATIENCE = 120.0

Product = Callable[[], object]
Way = tuple[float, Callable[[], Product]]  # operations of a product, once it is ready


def measured_limits(threads: int | None = None) -> dict[Precision, float]:
    """Operations (multiplications and additions) a second, the best of several libraries.

    Args:
        threads: As many as the libraries take by themselves, if None.

    Returns:
        What could be measured with the packages that are installed, "f32" at least.
    """
    command = [sys.executable, "-m", __name__, *([str(threads)] if threads else [])]
    limit = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    done = subprocess.run(
        command,
        env={**os.environ, **(limit if threads else {})},
        capture_output=True,
        timeout=PATIENCE,
        check=True,
        text=True,
    )
    rates: dict[Precision, float] = json.loads(done.stdout.splitlines()[-1])
    return rates


def _ways(threads: int | None) -> Mapping[Precision, list[Way]]:
    """How products can be made with what is installed."""
    installed = {name for name in ("torch", "openvino") if importlib.util.find_spec(name)}
    once, twice = 2.0 * SIDE**3, 4.0 * WIDE**3
    ways: dict[Precision, list[Way]] = {"f32": [(once, _numpy)]}
    if "torch" in installed:
        ways["f32"].append((once, lambda: _torch("float32", threads)))
        ways["bf16"] = [(once, lambda: _torch("bfloat16", threads))]
    if "openvino" in installed:
        for kind in get_args(Precision):
            way = (twice, partial(_openvino, kind, threads))
            ways.setdefault(kind, []).append(way)
    return ways


def _numpy() -> Product:
    a = np.ones((SIDE, SIDE), np.float32)
    return lambda: a @ a


def _torch(kind: str, threads: int | None) -> Product:
    import torch

    if threads:
        torch.set_num_threads(threads)
    a = torch.ones((SIDE, SIDE), dtype=getattr(torch, kind))
    return lambda: a @ a


def _openvino(kind: Precision, threads: int | None) -> Product:
    """Two products one after the other, as in a network, in the precision between them, too."""
    ov = runtimes.load("openvino")
    ops = ov.opset13
    rng = np.random.default_rng(0)

    def product(factor: Any) -> Any:
        if kind != "int8":
            return ops.matmul(factor, np.full((WIDE, WIDE), 0.01, np.float32), False, True)
        low, high = np.float32(0), np.float32(100)
        rounded = ops.fake_quantize(factor, low, high, low, high, 256)
        whole = ops.constant(rng.integers(-127, 128, (WIDE, WIDE)).astype(np.int8))
        weights = ops.multiply(ops.convert(whole, np.float32), np.full((WIDE, 1), 0.01, np.float32))
        return ops.matmul(rounded, weights, False, True)

    factor = ops.parameter((WIDE, WIDE), np.float32)
    model = ov.Model([product(product(factor))], [factor], "products")
    hint = "bf16" if kind == "bf16" else "f32"  # which leaves int8 alone
    options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        options["INFERENCE_NUM_THREADS"] = str(threads)
    request = runtimes.openvino_core().compile_model(model, "CPU", options).create_infer_request()
    request.set_input_tensor(ov.Tensor(rng.uniform(0, 100, (WIDE, WIDE)).astype(np.float32)))
    infer: Product = request.infer
    return infer


def _rate(operations: float, make: Callable[[], Product]) -> float:
    """Operations a second, of the fastest run."""
    product = make()
    product()
    best, until = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        began = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - began)
    return operations / best


def _main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else None
    rates = {
        precision: max(_rate(*way) for way in those) for precision, those in _ways(threads).items()
    }
    sys.stdout.write(json.dumps(rates) + "\n")


if __name__ == "__main__":
    _main()
