from __future__ import annotations

import shutil

import pytest

from keras_classics.classifier.artefact import MANIFEST
from keras_classics.data.manifest import read_manifest
from keras_classics.errors import ClassicsError
from keras_classics.explorer.models import open_model
from keras_classics.explorer.samples import OF_AN_ARTEFACT, general, samples
from pictures import state


def test_every_model_gets_photographs_and_drawings(server):
    listed = server.get("/api/pictures")["pictures"]
    names = [each["id"] for each in listed if each["sample"]]
    assert names[-5:] == ["flower", "china", "shapes", "rings", "letters"]
    assert {(p["width"], p["height"]) for p in listed if p["id"] in ("flower", "china")} == {
        (640, 427)
    }


def test_the_drawings_are_no_blank_sheets_and_always_the_same():
    first, second = list(general()), list(general())
    assert [a.data for a in first] == [b.data for b in second]
    for picture in first:
        assert picture.whole().std() > 10


def test_an_artefact_gives_held_out_images_of_its_own(held, artefact, shapes):
    before = state(shapes)
    own = samples(held)[:-5]
    assert state(shapes) == before  # they are only read
    rows = {row["path"]: row for row in read_manifest(artefact / MANIFEST)}
    assert 0 < len(own) <= OF_AN_ARTEFACT
    of_name = {name.rpartition("/")[2]: [] for name in rows}
    for name, row in rows.items():
        of_name[name.rpartition("/")[2]].append(row)
    for picture in own:
        assert picture.sample
        assert any(
            row["label"] == picture.label and row["split"] == "test"
            for row in of_name[picture.name]
        )
    assert {picture.label for picture in own} == {row["label"] for row in rows.values()}


def test_without_the_folder_there_are_none(artefact, tmp_path):
    import json

    copy = shutil.copytree(artefact, tmp_path / "copy")
    card = json.loads((copy / "artefact.json").read_text())
    card["data"]["source"] = str(tmp_path / "moved away")
    (copy / "artefact.json").write_text(json.dumps(card))
    assert len(samples([open_model(str(copy))])) == 5
    # Another folder under that name is not the artefact's.
    (tmp_path / "moved away").mkdir()
    assert len(samples([open_model(str(copy))])) == 5


def test_an_artefact_of_the_digits(tmp_path, artefact):
    import json

    from keras_classics.data.digits import load_digits_images

    copy = shutil.copytree(artefact, tmp_path / "digits")
    card = json.loads((copy / "artefact.json").read_text())
    card["data"] = {"source": "the digits of scikit-learn", "folder": None}
    (copy / "artefact.json").write_text(json.dumps(card))
    lines = ["path,label,split", *(f"{i:04d},{i % 10},test" for i in range(30))]
    (copy / MANIFEST).write_text("\n".join(lines) + "\n")
    own = samples([open_model(str(copy))])[:-5]
    images, labels, names = load_digits_images(32)
    assert len(own) == OF_AN_ARTEFACT
    for picture in own:
        number = int(picture.id.removeprefix("digit-"))
        assert picture.label == names[labels[number]]
        assert (picture.whole() == images[number]).all()


def test_pictures_of_one_s_own(shapes, tmp_path):
    before = state(shapes)
    found = samples([], shapes)
    assert len(found) == OF_AN_ARTEFACT + 5
    assert state(shapes) == before
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ClassicsError, match="no image in it can be read"):
        samples([], tmp_path)
    with pytest.raises(ClassicsError, match="nowhere"):
        samples([], tmp_path / "nowhere")
