"""The scripts beside the package, as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def benchmark_script(name):
    """A module of benchmarks/, which finds those beside it as if it were run."""
    spec = importlib.util.spec_from_file_location(f"_benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    return module


torch_module = benchmark_script("torch_modules").torch_module
