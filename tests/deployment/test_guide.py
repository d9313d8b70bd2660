"""The guide to exports: what it shows runs as it stands, without this package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_classics.artefact import load
from keras_classics.data.fit import load_image
from keras_classics.deployment.exported import TARGETS
from keras_classics.deployment.targets import TARGETS as KNOWN
from pictures import write_pictures

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```python (\w+)\n(.*?)```", GUIDE, flags=re.DOTALL))

RUN = """
import os, sys
import numpy as np
picture = np.load("picture.npy")
{code}
np.save("probabilities.npy", probabilities)
assert answer in about["class_names"]
assert not any(name.startswith("keras_classics") for name in sys.modules)
"""


def test_there_is_one_for_each_target():
    assert set(BLOCKS) == set(TARGETS)


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "torch_export"])
def test_what_is_shown_runs(converted, artefact, target, tmp_path):
    folder, _ = converted(artefact, target, kind="image")
    _run(folder, artefact, target, tmp_path, size=(90, 61))


def test_what_is_shown_of_torch_runs(artefact, tmp_path):
    from keras_classics.deployment import export

    folder = export(artefact, to="torch_export", input="fitted", out=tmp_path / "torch")
    _run(folder, artefact, "torch_export", tmp_path, size=(32, 32))


def _run(folder, artefact, target, tmp_path, *, size):
    source = write_pictures(tmp_path / "pictures", each=1) / "cross" / "000.png"
    picture = load_image(source, size, "stretch")
    np.save(folder / "picture.npy", picture)
    done = subprocess.run(
        [sys.executable, "-I", "-c", RUN.format(code=BLOCKS[target])],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    from PIL import Image

    Image.fromarray(picture).save(tmp_path / "picture.png")
    (wanted,) = load(artefact).predict(tmp_path / "picture.png", top_k=3)
    given = np.load(folder / "probabilities.npy")
    names = load(artefact).card.class_names
    assert dict(zip(names, given, strict=True)) == pytest.approx(dict(wanted.top), abs=1e-4)
    for name in ("picture.npy", "probabilities.npy"):
        (folder / name).unlink()


@pytest.mark.slow
def test_what_the_guide_exports_of_the_digits_succeeds(tmp_path):
    """The run at its defaults, then each line as it stands, those in int8 unaccepted."""
    lines = [re.sub(" *#.*", "", line) for line in GUIDE.splitlines()]
    lines = [line for line in lines if line.startswith("classics") and "--weights" not in line]
    assert sum("--precision int8" in line for line in lines) == 2
    for i, line in enumerate(lines):
        command = line.split()[1:]
        if command[0] == "export" and "-o" not in command:  # some lines write to one place
            command += ["-o", f"out{i}"]
        done = subprocess.run(
            [sys.executable, "-m", "keras_classics.cli", *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (line, done.stderr)


def test_the_table_of_precisions():
    """What the table refuses is what the package refuses."""
    lines = [line for line in GUIDE.splitlines() if line.startswith("| `")]
    rows = {
        cells[1].strip(" `"): [cell.strip() for cell in cells[2:5]]
        for cells in (line.split("|") for line in lines)
        if cells[1].strip(" `") in TARGETS
    }
    assert set(rows) == set(TARGETS)
    for name, cells in rows.items():
        for precision, cell in zip(("f32", "bf16", "int8"), cells, strict=True):
            refused = precision in KNOWN[name].refused
            assert cell.startswith("no:") is refused, (name, precision)
            assert ("--fitted" in cell) is (precision in KNOWN[name].fitted_only)
