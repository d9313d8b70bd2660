from __future__ import annotations

import json
import subprocess
import sys

import pytest

from keras_classics.classifier.card import Card, Preprocessing
from keras_classics.exporting.exported import (
    EXPORT,
    Agreement,
    Export,
    ExportError,
    bare,
    hashes,
    metadata,
    read_export,
)

CARD = Card(
    network="vgg16",
    width=0.5,
    class_names=("cat", "dog"),
    preprocessing=Preprocessing(size=(32, 48), fit="crop", mode="caffe"),
    data={"fingerprint": "f", "source": "/home/someone/pictures", "skipped": ["/home/x.png: torn"]},
    recipe={"seed": 1},
    history=[{"loss": 1.0}],
    calibration={
        "temperature": 1.5,
        "threshold": 0.25,
        "target": 0.9,
        "promised": True,
        "fitted_on": 10,
        "warning": None,
    },
)
INT8 = {"tolerance": None, "least_top1": 0.99, "top1_agreement": 0.97}
AGREEMENT = Agreement(10, "ten pictures", 1e-6, 1.0, 1e-4, 0.0)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"weights")
    (tmp_path / "graph").write_bytes(b"graph")
    Export(
        card=bare(CARD),
        target="saved_model",
        precision="f32",
        input="image",
        source={"model.keras": "1" * 64},
        agreement=AGREEMENT,
        files=hashes(tmp_path),
        versions={"keras": "3"},
    ).write(tmp_path)
    return tmp_path


def changed(folder, **values):
    path = folder / EXPORT
    content = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps(content))
    return folder


def test_what_is_written_is_read(folder):
    export = read_export(folder)
    assert export.card.class_names == ("cat", "dog")
    assert export.card.preprocessing == CARD.preprocessing
    assert export.card.fitted.temperature == 1.5
    assert export.agreement == AGREEMENT
    assert (export.target, export.precision, export.input) == ("saved_model", "f32", "image")
    assert set(export.files) == {"graph", "model/weights"}


def test_where_the_pictures_lay_stays_at_home(folder):
    assert read_export(folder).card.data == {"fingerprint": "f"}
    assert "someone" not in (folder / EXPORT).read_text()
    assert "/home" not in metadata({"input": "image"}, CARD)


def test_the_metadata_say_what_a_caller_must_know():
    content = json.loads(metadata({"target": "onnx", "input": "raw"}, CARD))
    assert content["class_names"] == ["cat", "dog"]
    assert content["preprocessing"] == {
        "size": [32, 48],
        "fit": "crop",
        "mode": "caffe",
        "channels": "red, green, blue",
    }
    assert (content["temperature"], content["threshold"]) == (1.5, 0.25)
    assert (content["fingerprint"], content["input"]) == ("f", "raw")
    assert content["inside"] == ["network"]
    fitted = json.loads(metadata({"target": "onnx", "input": "fitted"}, CARD))
    assert fitted["inside"] == ["scaling", "network", "temperature"]


@pytest.mark.parametrize(
    ("values", "within"),
    [
        ({}, True),
        ({"largest_difference": 1.1e-4}, False),
        ({"largest_difference": float("nan")}, False),
        ({"tolerance": None, "largest_difference": 0.3, "least_top1": 0.99}, True),
        ({"tolerance": None, "least_top1": 0.99, "top1_agreement": 0.98}, False),
        # A network of many classes that is right as often as before.
        ({**INT8, "by_accuracy": True, "accuracy": 0.79, "keras_accuracy": 0.8}, True),
        ({**INT8, "by_accuracy": True, "accuracy": 0.9, "keras_accuracy": 0.8}, True),
        ({**INT8, "by_accuracy": True, "accuracy": 0.785, "keras_accuracy": 0.8}, False),
        ({**INT8, "by_accuracy": True}, False),
        ({**INT8, "accuracy": 0.9, "keras_accuracy": 0.8}, False),
        (
            {
                **INT8,
                "by_accuracy": True,
                "tolerance": 0.1,
                "largest_difference": 0.2,
                "accuracy": 1.0,
                "keras_accuracy": 1.0,
            },
            False,
        ),
    ],
)
def test_tolerance(values, within):
    fields = {**AGREEMENT.__dict__, **values}
    assert Agreement(**fields).within is within


def test_a_folder_without_an_export(tmp_path):
    with pytest.raises(ExportError, match=r"not an export: a folder with export\.json"):
        read_export(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 1}', '{"format": null}'])
def test_a_torn_description(folder, content):
    (folder / EXPORT).write_text(content)
    with pytest.raises(ExportError, match="not the description of an export"):
        read_export(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"target": "tensorrt"},
        {"precision": "f64"},
        {"input": "video"},
        {"files": {}},
        {"files": ["graph"]},
        {"files": {"graph": None}},
        {"source": "x"},
        {"versions": {"keras": 3}},
        {"files": {"../outside": "0"}},
        {"files": {"/etc/passwd": "0"}},
        {"agreement": {}},
        {"card": {}},
        {"more": 1},
    ],
)
def test_values_that_cannot_be(folder, values):
    with pytest.raises(ExportError, match="not the description of an export"):
        read_export(changed(folder, **values))


def test_a_later_format(folder):
    with pytest.raises(ExportError, match="format 2, but this version reads 1; upgrade"):
        read_export(changed(folder, format=2))


def test_files_that_are_gone_or_changed(folder):
    (folder / "graph").write_bytes(b"Graph")
    with pytest.raises(ExportError, match="graph: changed since it was exported"):
        read_export(folder)
    assert read_export(folder, verify=False).target == "saved_model"
    (folder / "graph").unlink()
    with pytest.raises(ExportError, match="graph: missing; export again"):
        read_export(folder, verify=False)


def test_no_keras_is_needed(folder):
    code = (
        "import sys; from keras_classics import read_export; "
        f"read_export({str(folder)!r}); "
        "sys.exit(bool({'keras', 'tensorflow', 'torch', 'jax'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
