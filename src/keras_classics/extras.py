"""Optional packages: what to install where one is missing, said in one way.

No index has keras-classics, so that the advice is what works from a clone.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Literal

from keras_classics.errors import ClassicsError

Extra = Literal[
    "explore", "fast", "jax", "litert", "mlflow", "onnx", "openvino", "parquet", "pretrained",
    "serve", "tensorboard", "tensorflow", "torch", "tune",
]  # fmt: skip
"""The extras of pyproject.toml that a user may want."""


def install(extra: Extra) -> str:
    """How to get an extra, as the rest of a message."""
    return f'pip install -e ".[{extra}]" in your clone of keras-classics'


def install_package(package: str, *, again: bool = False) -> str:
    """How to get a package that an index has, as the rest of a message.

    Args:
        package: Its name there.
        again: Whether it is installed, but damaged; what it depends on stays as it is.
    """
    return f"pip install {'--force-reinstall --no-deps ' if again else ''}{package}"


def require(extra: Extra, *modules: str) -> None:
    """Refuse to begin without modules that an extra brings.

    Raises:
        ClassicsError: If one is not installed.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise _missing(module, extra)


def load(extra: Extra, module: str) -> Any:
    """Import a module that an extra brings.

    Raises:
        ClassicsError: If it, or what it stands on, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing(module, extra) from error


def _missing(module: str, extra: Extra) -> ClassicsError:
    return ClassicsError(f"{module.replace('_', '-')} is not installed: {install(extra)}.")
