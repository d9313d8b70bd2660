"""What is in the wheel besides the code."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    (path,) = WheelBuilder(str(ROOT)).build(
        directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"]
    )
    with zipfile.ZipFile(path) as wheel:
        return set(wheel.namelist())


def test_everything_of_the_package(names):
    package = ROOT / "src" / "keras_classics"
    files = {
        "keras_classics/" + path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.is_file() and not {"__pycache__", ".mypy_cache"} & set(path.parts)
    }
    assert len(files) > 100
    assert files <= names
    assert {name for name in names if ".dist-info/" not in name} == files


@pytest.mark.parametrize(
    "name",
    [
        "explorer/page/index.html",
        "drawing/fonts/Inter-Regular.ttf",
        "drawing/fonts/LICENSE.txt",
        "evaluation/report.html.jinja",
        "weights/imagenet_classes.txt",
        "training/recipes/quick.toml",
        "py.typed",
    ],
)
def test_what_is_read_at_run_time(names, name):
    assert f"keras_classics/{name}" in names
