from __future__ import annotations

import pytest

from keras_classics.errors import ClassicsError
from keras_classics.serving.places import newest_first, parse_places


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("run", "other", "a b", "x=y", "run/exports/openvino-int8"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("argument", "place"),
    [
        ("run", "run:1 run"),
        ("run/", "run:1 run"),
        ("run/exports/openvino-int8", "run:1 run/exports/openvino-int8"),
        ("cats=run", "cats:1 run"),
        ("cats:2026-10=run", "cats:2026-10 run"),
        ("cats=x=y", "cats:1 x=y"),
        ("cats.v_2-b=a b", "cats.v_2-b:1 a b"),
    ],
)
def test_places(argument, place):
    (found,) = parse_places([argument])
    assert f"{found} {found.path}" == place


def test_the_current_folder_has_a_name(run, monkeypatch):
    monkeypatch.chdir(run / "run")
    (found,) = parse_places(["."])
    assert found.name == "run"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere: no such artefact or export"),
        (["cats=nowhere"], "cats=nowhere: nowhere is no artefact"),
        (["cats="], "cats=: nothing is no artefact"),
        (["a b"], "'a b' cannot be a model's name; write NAME=a b"),
        (["=run"], "'' cannot be a model's name"),
        (["c/d=run"], "'c/d' cannot be a model's name"),
        ([".hidden=run"], "'.hidden' cannot be"),
        (["é=run"], "cannot be a model's name"),
        (["x" * 65 + "=run"], "at most 64"),
        (["cats:=run"], "'' cannot be a model's version"),
        (["cats:1/2=run"], "'1/2' cannot be a model's version"),
        (["cats:1:2=run"], "'1:2' cannot be a model's version"),
        (["run", "run"], "run:1: run and run would have the same name"),
        (["cats=run", "cats=other"], "write cats:VERSION=FOLDER or NAME=FOLDER"),
        (["cats:2=run", "cats:2=other"], "cats:2: run and other would have the same name"),
        (["run", "run/exports/openvino-int8"], "would have the same name"),
    ],
)
def test_what_cannot_be_a_place(arguments, words):
    with pytest.raises(ClassicsError) as error:
        parse_places(arguments)
    assert words in str(error.value)


def test_versions_in_order():
    versions = ["9", "10", "2026-10", "2026-9", "1", "v2", "v10", "1.5"]
    assert sorted(versions, key=newest_first) == [
        "v2", "v10", "1", "1.5", "9", "10", "2026-9", "2026-10"
    ]  # fmt: skip
