"""What tools/record.py writes is what the code gives now."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import keras_classics
from keras_classics import CATALOG
from keras_classics.architectures.frame import Arguments
from keras_classics.networks import constructor
from keras_classics.weights.records import has_imagenet

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def record():
    spec = importlib.util.spec_from_file_location("record", ROOT / "tools" / "record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_public_names_for_editors(record):
    assert record.STUB.read_text("utf-8") == record.stub(), "run python tools/record.py"


def test_the_table_of_the_readme_has_every_network_in_order():
    """Its figures: `test_readme.py`, and below."""
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", (ROOT / "README.md").read_text("utf-8"), re.M)
    assert rows == [(name, network.title) for name, network in CATALOG.items()]


@pytest.mark.slow
def test_the_readme(record):
    text = record.README.read_text("utf-8")
    assert text == record.with_table(text, record.table()), "run python tools/record.py"


def test_another_table_leaves_the_rest_of_the_readme(record):
    text = record.README.read_text("utf-8")
    other = record.with_table(text, "| a table |")
    assert record.with_table(other.replace("| a table |", "| network "), "") != other
    before, _, after = other.partition("| a table |")
    assert text.startswith(before)
    assert text.endswith(after)
    assert "| `vgg16` |" not in other


@pytest.mark.parametrize("name", CATALOG)
def test_constructors_show_all_that_they_take(name):
    network = CATALOG[name]
    made = getattr(keras_classics, network.title)
    assert made is constructor(network.title)
    assert made.__name__ == made.__qualname__ == network.title
    there = {here: there for there, here in network.renamed}
    signature = inspect.signature(made).parameters
    own = inspect.signature(Arguments).parameters
    assert set(signature) == {there.get(argument, argument) for argument in own}
    for argument, parameter in own.items():
        shown = signature[there.get(argument, argument)]
        assert shown.annotation == parameter.annotation
        if argument not in {"weights", "name"}:
            assert shown.default == parameter.default
    assert signature["weights"].default == ("imagenet" if has_imagenet(name) else None)
    assert made.__doc__.startswith(f"{network.title}, {network.paper}.\n")
    for section in ("\nArgs:\n", "\nReturns:\n", "\nRaises:\n"):
        assert section in made.__doc__
    for argument in own:
        assert re.search(rf"^    {argument}: ", made.__doc__, re.M), argument


@pytest.mark.slow
def test_help_shows_signature_and_arguments():
    program = "import keras_classics; help(keras_classics.ResNet50)"
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert "ResNet50(include_top: 'bool' = True, weights" in re.sub(r"\s+", " ", shown)
    assert "Args:\n" in shown
    assert "drop_path: Rate at which" in shown
    assert "*args" not in shown


def test_a_wrong_argument_is_met_as_by_any_function():
    with pytest.raises(TypeError, match="widht"):
        keras_classics.VGG16(weights=None, widht=1.0)
    with pytest.raises(TypeError, match="too many positional"):
        keras_classics.VGG16(True, None, None, None, None, 5, None, "mine", 1.0)
