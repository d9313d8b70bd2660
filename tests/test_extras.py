from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from keras_classics import extras
from keras_classics.errors import ClassicsError
from keras_classics.exporting.runtimes import EXTRAS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
OPTIONAL = PROJECT["project"]["optional-dependencies"]
# All that a user reads, the built page included.
PLACES = (
    "src/**/*.py", "src/**/*.js", "src/**/*.html", "src/**/*.j2", "page/src/**/*", "docs/**/*.md",
    "docs/**/*.ipynb", "*.md", "*file", ".ci/*", "benchmarks/*.py", "tests/**/*.py",
)  # fmt: skip


def texts():
    for place in PLACES:
        for path in ROOT.glob(place):
            if path.is_file():
                yield path, path.read_text("utf-8", errors="ignore")


def test_what_messages_advise_exists():
    assert set(get_args(extras.Extra)) == OPTIONAL.keys() - {"test"}
    for package, extra in EXTRAS.items():
        names = [re.split(r"[<>=\[]", needed)[0] for needed in OPTIONAL[extra]]
        assert package in names


def test_every_extra_that_a_page_or_a_command_names_exists():
    """And none is asked of an index, which has no such package."""
    named = set()
    for path, text in texts():
        if path == Path(__file__):
            continue
        assert not re.search(r"install[^\n]*keras[-_]classics\[", text), path
        for found in re.findall(r"\"\.\[([\w,]+)\]\"", text):
            assert set(found.split(",")) <= OPTIONAL.keys(), path
            named.update(found.split(","))
    assert {"tensorflow", "serve", "onnx", "openvino", "tune", "explore", "parquet"} <= named


def test_the_advice_is_said_in_one_place():
    """Whoever needs a package that may be missing says so by this module."""
    saying = [
        path.name
        for path in (ROOT / "src").rglob("*.py")
        if re.search(r"pip install", path.read_text("utf-8"))
    ]
    assert saying == ["extras.py"]


def test_what_is_missing_is_named():
    extras.require("serve", "json")
    assert extras.load("tune", "json").dumps(1) == "1"
    advice = 'no-such is not installed: pip install -e ".[serve]" in your clone of keras-classics.'
    for ask in (
        lambda: extras.require("serve", "json", "no_such", "nor_this"),
        lambda: extras.load("serve", "no_such"),
    ):
        with pytest.raises(ClassicsError, match=f"^{re.escape(advice)}$"):
            ask()


def test_a_package_that_lacks_a_part_counts_as_missing(tmp_path, monkeypatch):
    (tmp_path / "halfway.py").write_text("import no_such_part")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ClassicsError, match=r"^halfway is not installed"):
        extras.load("mlflow", "halfway")
