"""The start of Keras: on a backend that is there, and without its remarks."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_classics.errors import ClassicsError
from keras_classics.extras import Extra, install

BACKENDS: tuple[Extra, ...] = ("tensorflow", "jax", "torch")


def start() -> None:
    """Import Keras; every command that needs it begins with this.

    Raises:
        ClassicsError: If no backend is installed, or not the one that KERAS_BACKEND names.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    wanted = os.environ.get("KERAS_BACKEND")
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    if wanted is None and _configured() not in installed:
        if not installed:
            raise ClassicsError(f"Keras has no backend to run on: {install('tensorflow')}.")
        os.environ["KERAS_BACKEND"] = installed[0]
    elif wanted is not None and wanted not in installed:
        for backend in BACKENDS:
            if backend == wanted:
                raise ClassicsError(f"KERAS_BACKEND={wanted}: not installed; {install(backend)}.")
        raise ClassicsError(f"KERAS_BACKEND={wanted}: not supported; use {', '.join(BACKENDS)}.")
    with _silent(), _uninterrupted():
        importlib.import_module("keras")


def _configured() -> str:
    """The backend of Keras' own configuration file."""
    home = os.environ.get("KERAS_HOME")
    folder = Path(home) if home else Path.home() / ".keras"
    try:
        return str(json.loads((folder / "keras.json").read_text()).get("backend", "tensorflow"))
    except (OSError, ValueError, AttributeError):
        return "tensorflow"


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Answer Ctrl-C afterwards: compiled modules swallow it while they are imported."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[bool] = []
    before = signal.signal(signal.SIGINT, lambda *_: asked.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


@contextmanager
def _silent() -> Iterator[None]:
    """Keep TensorFlow's remarks on processor and GPU, written past Python, off the terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
