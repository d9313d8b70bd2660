"""Optional packages, imported when needed: with advice where one is missing, and without telemetry.

OpenVINO and NNCF report their use through `openvino_telemetry`, unasked, unless the user has
forbidden it. Here it is hidden from them before they are imported, and they take their own empty
stand-ins. A process that has imported OpenVINO before keeps what it has.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from keras_classics.errors import ClassicsError

EXTRAS = {
    "openvino": "openvino",
    "nncf": "openvino",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "tf2onnx": "onnx",
    "pyarrow": "parquet",
    "tensorflow": "tensorflow",
    "torch": "torch",
}
"""The extra of this package that brings a package."""


def check_installed(*packages: str) -> None:
    """Refuse to begin without a package.

    Raises:
        ClassicsError: If one is not installed.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ClassicsError(
                f"{package} is not installed: pip install 'keras-classics[{EXTRAS[package]}]'."
            )


def load(package: str) -> ModuleType:
    """Import an optional package.

    Raises:
        ClassicsError: If it is not installed.
    """
    check_installed(package)
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    module = importlib.import_module(package)
    if package == "nncf":
        logging.getLogger("nncf").setLevel(logging.ERROR)
    if package == "onnxruntime":
        module.disable_telemetry_events()
    return module


def versions(*packages: str) -> dict[str, str]:
    """Of packages that are installed; "unknown" where a build goes by another name."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
