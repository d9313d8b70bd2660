from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from keras_classics.errors import ClassicsError
from keras_classics.exporting import runtimes


@pytest.mark.parametrize(("package", "extra"), [("nncf", "openvino"), ("tf2onnx", "onnx")])
def test_a_missing_package_says_what_to_install(monkeypatch, package, extra):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else found(name)
    )
    with pytest.raises(ClassicsError) as error:
        runtimes.load(package)
    assert str(error.value) == (
        f'{package} is not installed: pip install -e ".[{extra}]" in your clone of keras-classics.'
    )


def test_versions_of_what_is_there_and_not():
    found = runtimes.versions("keras", "no-such-package")
    assert found["keras"].startswith("3.")
    assert found["no-such-package"] == "unknown"


QUANTISED = """
import socket, sys

reached = []
sys.addaudithook(
    lambda event, arguments: reached.append((event, arguments))
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto")
    else None
)
{telemetry}
from keras_classics.exporting import runtimes

openvino, nncf = runtimes.load("openvino"), runtimes.load("nncf")
import numpy as np
from openvino import opset13 as op

image = op.parameter([1, 4], np.float32, name="image")
model = openvino.Model([op.matmul(image, np.ones((4, 2), np.float32), False, False)], [image])
nncf.quantize(model, nncf.Dataset([np.ones((1, 4), np.float32)]))
import time
time.sleep(1)
assert "openvino_telemetry" not in sys.modules or sys.modules["openvino_telemetry"] is None
assert not reached, reached
"""


def test_neither_openvino_nor_nncf_sends_anything(tmp_path):
    """Both would, where the user has never been asked: with an empty home."""
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [sys.executable, "-c", QUANTISED.format(telemetry="")],
        env={**environment, **home},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []  # such as an identity to be recognised by


def test_the_test_would_see_it(tmp_path):
    """Without the stand-in an identity is written and a connection tried."""
    code = QUANTISED.format(telemetry="import openvino_telemetry")
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert list(tmp_path.iterdir()) != []
