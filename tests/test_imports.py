from __future__ import annotations

import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import keras_classics

ROOT = Path(__file__).parents[1]


def test_dependencies_point_one_way():
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


def test_the_layout_that_is_told_is_the_layout():
    told = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Layout")[2]
    floors = told.split("```")[1].strip().splitlines()
    told_layers = [re.split(r"  +", floor)[0] for floor in floors]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    assert told_layers == [layer.replace("keras_classics.", "") for layer in contract["layers"]]

    package = ROOT / "src" / "keras_classics"
    table = told.partition("| to change |")[2].partition("\n\n")[0]
    rows = [row.split("|")[2] for row in table.splitlines()[2:]]
    paths = [path for row in rows for path in re.findall(r"`([^`]*[/.][^`]*)`", row)]
    assert len(rows) >= 20
    for path in paths:
        assert "<" in path or (package / path).exists(), path


def modules_after(statement):
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys; {statement}; print(json.dumps([*sys.modules]))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout))


def test_importing_the_package_imports_no_backend_and_no_keras():
    slow = {"keras", "tensorflow", "jax", "torch", "numpy", "cv2", "sklearn", "h5py"}
    loaded = modules_after("import keras_classics")
    assert "keras_classics" in loaded
    assert loaded & slow == set()
    assert modules_after("from keras_classics import ClassicsError") & slow == set()
    assert "keras" in modules_after("from keras_classics import CATALOG")


def test_no_module_has_a_public_name():
    """Else the name would mean the module from its import on."""
    import keras_classics

    modules = {module.name for module in pkgutil.iter_modules(keras_classics.__path__)}
    assert modules & set(keras_classics.__all__) == set()


def test_every_public_name_is_there():
    import keras_classics

    assert sorted(keras_classics.__all__) == sorted(set(keras_classics.__all__))
    for name in keras_classics.__all__:
        assert getattr(keras_classics, name) is not None
        assert name in dir(keras_classics)


def test_no_public_name_is_that_of_a_module():
    """Python would put the module in its place as soon as anything imports it."""
    names = [module.name for module in pkgutil.iter_modules(keras_classics.__path__)]
    assert not set(names) & set(keras_classics.__all__)
