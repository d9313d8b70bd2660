"""What docs/serving.md says is so, of a real model."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from exporting.guide import defined, write_photo
from keras_classics.cli.app import app
from keras_classics.serving.opening import Choice
from keras_classics.serving.places import Place
from keras_classics.serving.shelf import open_place
from serving.fakes import running

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(serving, artefact):
    model = open_place(Place("photos-resnet50", "1", artefact), Choice("keras").open)
    with running(serving, model) as server:
        yield server


@pytest.fixture
def here(tmp_path, monkeypatch, shapes):
    shutil.copy(shapes / "cross" / "000.png", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("here")
def test_the_python_example(server, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    assert "127.0.0.1:8000" in example
    names = {}
    exec(example.replace(":8000", f":{server.port}"), names)
    names["client"].close()
    printed = capsys.readouterr().out
    assert len(re.findall(r"0\.\d+:\d:\w+", printed)) == 3
    assert {"circle", "cross", "stripes"} == set(re.findall(r":(\w+)\'", printed))


def test_the_example_of_decoded_pictures(server, tmp_path, monkeypatch):
    """What the guide to exports decodes and resizes is answered as the file is."""
    monkeypatch.chdir(tmp_path)
    photo = write_photo(tmp_path / "photo.jpg")
    (example,) = re.findall(r"```python image\n(.*?)```", GUIDE, flags=re.DOTALL)
    names = defined("decode_opencv", "resized_opencv", "fitted")
    exec(example.replace(":8000", f":{server.port}"), names)
    names["client"].close()
    answer = server.post("/classify", files={"file": ("photo.jpg", photo.read_bytes())})
    (wanted,) = answer.json()["predictions"]
    expected = sorted(each["probability"] for each in wanted["top"])
    assert 0.1 < expected[-1] < 0.9
    assert sorted(names["probabilities"][0]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.usefixtures("here")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("page", ["docs/serving.md", "README.md"])
def test_the_curl_commands(server, page):
    lines = re.findall(r"^curl .*$", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE)
    assert lines
    for line in lines:
        words = shlex.split(line.replace(":8000", f":{server.port}"))
        done = subprocess.run([*words, "-s"], capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout)
        assert answer["predictions"][0]["file"] == "photo.jpg"


def test_the_shape_of_the_answer(server):
    (example,) = re.findall(r"```json\n(.*?)```", GUIDE, flags=re.DOTALL)
    told = json.loads(example)
    from serving.fakes import pictures

    real = server.classify(pictures(1)[0]).json()
    assert real.keys() == told.keys()
    assert real["predictions"][0].keys() == told["predictions"][0].keys()
    assert real["predictions"][0]["top"][0].keys() == told["predictions"][0]["top"][0].keys()


def test_options_exist():
    command = typer.main.get_command(app).commands["serve"]
    known = {option for parameter in command.params for option in parameter.opts}
    for option in set(re.findall(r"`(--[a-z-]+)", GUIDE)):
        assert option in known, option


def test_every_metric_that_it_names(server):
    text = server.get("/metrics").text
    for name in set(re.findall(r"`(classics_\w+)", GUIDE)):
        assert name.removesuffix("_total") in text, name


def test_every_status_of_the_document_is_explained(server):
    document = server.get("/openapi.json").json()
    statuses = {
        status
        for methods in document["paths"].values()
        for facts in methods.values()
        for status in facts["responses"]
    }
    table = "".join(line for line in GUIDE.splitlines() if re.match(r"\| [45]\d\d", line))
    told = set(re.findall(r"\b[45]\d\d\b", table))
    assert statuses - {"200", "4XX"} <= told


def test_the_table_has_a_place():
    assert "serving-table" in GUIDE or "| accepted (200) |" in GUIDE
