from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

TESTS = Path(__file__).parent
# The tests of the current backend run in this very process.
OTHERS = [b for b in ("tensorflow", "jax", "torch") if b != keras.backend.backend()]


@pytest.fixture(scope="module")
def processes(tmp_path_factory, pytestconfig):
    """The tests of each backend that is not the current one, begun at once."""
    slow = pytestconfig.getoption("--slow")
    chosen = ["-m", "every_backend and not slow"]
    if slow:
        chosen = ["-m", "every_backend or backends", "--slow"]
    running = {}
    for backend in OTHERS:
        if importlib.util.find_spec(backend) is None:
            continue
        output = tmp_path_factory.mktemp(backend) / "output.txt"
        with output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-q", *chosen, "-p", "no:cacheprovider"],
                cwd=TESTS.parent,
                env={
                    **os.environ,
                    "KERAS_BACKEND": backend,
                    # Thousands of small operations are compiled and run once.
                    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
                },
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        running[backend] = process, output
    yield running
    for process, _ in running.values():
        process.kill()
        process.wait()


@pytest.mark.parametrize("backend", OTHERS)
def test_on_each_backend_in_a_process_of_its_own(backend, processes):
    if backend not in processes:
        pytest.fail(f'{backend} is not installed: pip install -e ".[{backend}]"')
    process, output = processes[backend]
    code = process.wait()
    text = output.read_text()
    assert code == 0, text
    assert " passed" in text, text
    assert " skipped" not in text, text
