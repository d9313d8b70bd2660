"""Optional packages, imported when needed: with advice where one is missing, and without telemetry.

OpenVINO and NNCF report their use through `openvino_telemetry`, unasked, unless the user has
forbidden it. Here it is hidden from them before they are imported, and they take their own empty
stand-ins. A process that has imported OpenVINO before keeps what it has.
"""

from __future__ import annotations

import functools
import importlib
import logging
import sys
import threading
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from keras_classics.extras import Extra, require

EXTRAS: dict[str, Extra] = {
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
        require(EXTRAS[package], package)


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


_one_at_a_time = threading.Lock()


def openvino_core() -> Any:
    """The one `openvino.Core` of this process, which stays to its end.

    OpenVINO gives the thread that first compiles a stack for the handlers of signals, and takes its
    memory back with the `Core`. Where another thread lets that go, or two of them go in the order
    in which they came, the next signal, such as Ctrl-C, is handled on memory that is gone, and the
    process crashes (`SigAltStackSetup` in OpenVINO's intel_cpu plugin, 2026.4).

    Raises:
        ClassicsError: If OpenVINO is not installed.
    """
    openvino = load("openvino")
    with _one_at_a_time:
        return _core_of(openvino)


@functools.cache
def _core_of(openvino: Any) -> Any:
    # Each request asks for this. Where two threads are the first to do so, they wait for each other
    # for ever: one holds Python's lock, the other that of a table in OpenVINO.
    openvino.Type.u8.to_dtype()
    core = openvino.Core()
    # A file that is mapped, and replaced while it is used, would change what is computed.
    core.set_property({"ENABLE_MMAP": False})
    return core


def versions(*packages: str) -> dict[str, str]:
    """Of packages that are installed; "unknown" where a build goes by another name."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
