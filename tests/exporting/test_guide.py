"""The guide to exports: what it shows runs as it stands, without this package."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from exporting.guide import BLOCKS, GUIDE, defined, write_photo
from keras_classics.classifier.artefact import load
from keras_classics.data.decode import read_image
from keras_classics.data.fit import CentralCrop, fit_image
from keras_classics.evaluation.temperature import with_temperature
from keras_classics.exporting.targets import TARGETS
from keras_classics.exporting.targets import TARGETS as KNOWN
from keras_classics.weights.preprocess import Mode, preprocess

RUN = """
import sys
from typing import get_args
{code}
import numpy as np
np.save("probabilities.npy", probabilities)
assert answer in about["class_names"]
assert not any(name.startswith("keras_classics") for name in sys.modules)
"""


def test_there_is_one_for_each_target():
    assert set(BLOCKS) > set(TARGETS)


@pytest.mark.parametrize(
    ("target", "decoder"),
    [
        ("openvino", "decode_pillow"),
        *(
            pytest.param(target, decoder, marks=pytest.mark.slow)
            for target, decoder in (
                ("onnx", "decode_opencv"),
                ("litert", "decode_pillow"),
                ("saved_model", "decode_opencv"),
            )
        ),
    ],
)
def test_what_is_shown_says_what_predict_says(converted, artefact, target, decoder):
    """Of a large photograph that its EXIF data turn."""
    folder, _ = converted(artefact, target, kind="image")
    _run(folder, artefact, decoder, target)


@pytest.mark.slow
def test_what_is_shown_of_torch_says_what_predict_says(artefact, tmp_path):
    from keras_classics import export

    folder = export(artefact, to="torch_export", input="fitted", out=tmp_path / "torch")
    _run(folder, artefact, "decode_pillow", "resized_opencv", "fitted", "torch_export")


def _run(folder, artefact, *blocks):
    photo, given = write_photo(folder / "photo.jpg"), folder / "probabilities.npy"
    done = subprocess.run(
        [sys.executable, "-I", "-c", RUN.format(code="\n".join(BLOCKS[name] for name in blocks))],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    classifier = load(artefact)
    (wanted,) = classifier.predict(photo, top_k=3)
    assert 0.1 < wanted.confidence < 0.9  # so that other pixels give other numbers
    named = dict(zip(classifier.card.class_names, np.load(given), strict=True))
    assert named == pytest.approx(dict(wanted.top), abs=1e-4)
    photo.unlink()
    given.unlink()


def test_onnx_calls_what_it_takes_by_names(converted, artefact):
    import onnxruntime

    folder, _ = converted(artefact, "onnx", kind="image")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (image,), (probabilities,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape) == ("image", [1, "height", "width", 3])
    assert (probabilities.name, probabilities.shape) == ("probabilities", [1, 3])
    assert b"unk__" not in (folder / "model.onnx").read_bytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("decoder", ["decode_pillow", "decode_opencv"])
def test_the_decoders_give_the_pixels_of_predict(decoder, orientation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo = write_photo(tmp_path / "photo.jpg", orientation, (120, 200))
    np.testing.assert_array_equal(defined(decoder)["picture"], read_image(photo))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "CMYK", "1"])
def test_pillow_gives_the_pixels_of_predict_of_every_mode(mode, tmp_path, monkeypatch):
    """The name says nothing, so that a PNG may be called photo.jpg."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 4), np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    options = {"transparency": 3} if mode == "P" else {}
    image.save("photo.jpg", "TIFF" if mode == "CMYK" else "PNG", **options)
    np.testing.assert_array_equal(defined("decode_pillow")["picture"], read_image("photo.jpg"))


RULES = [
    "crop", "pad", "stretch",
    *(CentralCrop(41, each) for each in ("bilinear", "bicubic", "opencv-cubic")),
]  # fmt: skip


@pytest.mark.parametrize("how", ["resized_opencv", "resized_numpy"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_pictures_get_the_size_of_the_network(rule, how):
    fitted = defined(how, "fitted")["fitted"]
    fit = vars(rule) if isinstance(rule, CentralCrop) else rule
    rng = np.random.default_rng(0)
    for shape in (
        (90, 61),
        (61, 90),
        (33, 36),
        (20, 31),
        (700, 900),
        (40, 400),
        (64, 72),
        (32, 36),
    ):
        picture = rng.integers(0, 256, (*shape, 3), np.uint8)
        found = fitted(picture, [32, 36], fit)
        apart = np.abs(found.astype(int) - fit_image(picture, (32, 36), rule))
        # OpenCV has whole numbers where NumPy has floats.
        assert apart.max() <= (how == "resized_numpy"), shape
        assert (apart > 0).mean() < 0.25, shape


@pytest.mark.parametrize("mode", get_args(Mode))
def test_what_a_raw_export_needs(mode):
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3), np.uint8)
    found = defined("resized_numpy", "raw")
    np.testing.assert_allclose(found["scaled"](images, mode), preprocess(images, mode), atol=1e-6)
    probabilities = np.float32([[0.7, 0.3, 0.0], [0.2, 0.3, 0.5]])
    np.testing.assert_allclose(
        found["calibrated"](probabilities, 1.7), with_temperature(probabilities, 1.7), atol=1e-6
    )


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_javascript_reads_the_metadata(converted, artefact, tmp_path):
    folder, _ = converted(artefact, "onnx", kind="image")
    script = tmp_path / "read.mjs"
    use = f"""
import fs from "node:fs";
{BLOCKS["metadata"]}
process.stdout.write(metadata(fs.readFileSync(process.argv[2])).keras_classics);
"""
    script.write_text(use, encoding="utf-8")
    done = subprocess.run(
        ["node", script, folder / "model.onnx"], capture_output=True, text=True, check=True
    )
    about = json.loads(done.stdout)
    assert about["class_names"] == list(load(artefact).card.class_names)
    assert about["inside"] == ["resize", "scaling", "network", "temperature"]


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
