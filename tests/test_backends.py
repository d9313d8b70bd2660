from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

TESTS = Path(__file__).parent


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_on_each_backend_in_a_process_of_its_own(backend, request):
    """The tests marked `backends`; those of the current backend run in this process anyway."""
    if backend == keras.backend.backend():
        assert request.session.items, "this process runs them itself"
        return
    if importlib.util.find_spec(backend) is None:
        pytest.fail(f"{backend} is not installed: pip install 'keras-classics[{backend}]'")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "backends", "-p", "no:cacheprovider", TESTS],
        cwd=TESTS.parent,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            # The tests compile thousands of small operations once and run each once.
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert " passed" in output, output
    assert " skipped" not in output, output
