"""What the README says is so."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import keras_classics
from keras_classics import CATALOG, analyse, build
from keras_classics.architectures.catalog import measured
from zoo import NETWORKS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_table_of_the_networks(name):
    row = next(line for line in README.splitlines() if line.startswith(f"| `{name}` "))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    architecture = CATALOG[name]
    cost = analyse(build(name)).model
    assert measured()[name] == (cost.parameters, cost.macs), "run tools/record.py"
    assert cells[1] == f"`{architecture.title}`"
    assert hasattr(keras_classics, architecture.title)
    assert architecture.paper in cells[2]
    assert cells[3:] == [
        f"{cost.parameters:,}",
        f"{cost.macs / 1e9:.3f}",
        str(architecture.default_size),
        str(architecture.least_size),
    ]


def test_three_python_examples():
    assert len(EXAMPLES) == 3


def test_the_constructor_example():
    names = {}
    exec(EXAMPLES[0], names)
    assert names["model"].input_shape == (None, 64, 64, 1)
    assert names["model"].output_shape == (None, 7)


def test_a_network_of_one_s_own_in_ten_lines(capsys):
    assert len([line for line in EXAMPLES[1].splitlines() if line]) == 10
    exec(EXAMPLES[1], {})
    printed = capsys.readouterr().out
    for kind in ("stage", "convolutional_block", "identity_block", "module_a"):
        assert kind in printed


def test_the_python_example_of_prediction(capsys, artefact, shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(artefact, "runs/photos-efficientnet_lite0")
    (tmp_path / "new").mkdir()
    shutil.copy(shapes / "cross" / "000.png", "new/one.jpg")
    exec(EXAMPLES[2], {})
    path, name, confidence = capsys.readouterr().out.split()
    assert path == "new/one.jpg"
    assert name in ("circle", "cross", "stripes")
    assert 0 < float(confidence) <= 1


def test_the_files_that_it_names_exist():
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_the_commands_that_it_names_exist():
    import typer

    from keras_classics.cli.app import app

    commands = typer.main.get_command(app).commands
    for command in re.findall(r"^classics (\w+)", README, flags=re.MULTILINE):
        assert command in commands
