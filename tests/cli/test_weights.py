from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from pathlib import Path

import pytest

from keras_classics.cli import app
from keras_classics.weights import records
from keras_classics.weights.download import RemoteFile
from weights.server import Reply, Server

CONTENT = bytes(range(256)) * 20


def run(capsys, *arguments, code=0):
    assert app.run([str(argument) for argument in arguments]) == code
    return capsys.readouterr()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Empty caches of ours, Keras' and torch's."""
    for variable in ("KERAS_CLASSICS_HOME", "KERAS_HOME", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    return tmp_path / "KERAS_CLASSICS_HOME"


@pytest.fixture
def site(cache, monkeypatch):  # noqa: ARG001  the server is for an empty cache
    """A server that publishes one file in two sizes, under the name of real weights."""
    server = Server()
    server.script = {"/full.h5": [Reply(CONTENT)], "/notop.h5": [Reply(CONTENT[:100])]}
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def remote(name, content):
        digest = hashlib.sha256(content).hexdigest()
        return RemoteFile(f"{server.address}/{name}", f"sha256:{digest}", len(content))

    record = dataclasses.replace(
        records.RECORDS["resnet50-keras"],
        file=remote("full.h5", CONTENT),
        notop=remote("notop.h5", CONTENT[:100]),
    )
    monkeypatch.setattr(records, "RECORDS", {**records.RECORDS, record.name: record})
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("cache")
def test_the_list_names_every_record_with_its_figures(capsys):
    output = run(capsys, "weights").out
    for record in records.RECORDS.values():
        (line,) = (line for line in output.splitlines() if line.startswith(f" {record.name} "))
        assert f"{record.top1:.2f}" in line
        assert ("–" if record.top5 is None else f"{record.top5:.2f}") in line
        assert f"{record.protocol.resize} → {record.protocol.crop}" in line
        assert ("yes" in line) == (record.source == "google")  # which comes with packages


@pytest.mark.usefixtures("cache")
def test_json_holds_all_that_is_on_record(capsys):
    printed = {entry["name"]: entry for entry in json.loads(run(capsys, "weights", "--json").out)}
    assert printed.keys() == records.RECORDS.keys()
    entry = printed["inception_v3_torch-torchvision"]
    record = records.RECORDS["inception_v3_torch-torchvision"]
    assert entry["url"] == record.file.url
    assert entry["hash"] == record.file.digest
    assert entry["licence"] == record.licence
    assert entry["interpolation"] == "bilinear"
    assert entry["auxiliary"] is True
    assert entry["url_notop"] is None


def test_show_tells_licence_hash_and_protocol(capsys):
    output = run(capsys, "weights", "show", "vgg16-keras").out
    for word in ("CC-BY-4.0", "md5:64373286793e3c8b2b4e3219cbf3544b", "opencv-cubic", "caffe"):
        assert word in output


def test_fetch_prints_the_path_and_the_list_knows_it(capsys, site, cache):
    path = run(capsys, "weights", "fetch", "resnet50-keras").out.strip()
    assert path.startswith(str(cache))
    assert Path(path).read_bytes() == CONTENT
    assert run(capsys, "weights", "fetch", "resnet50-keras").out.strip() == path
    assert len(site.requests) == 1
    listed = run(capsys, "weights").out
    here = [line.split()[0] for line in listed.splitlines() if line.rstrip().endswith("web   yes")]
    assert here == ["resnet50-keras"]


def test_fetch_without_the_top_takes_the_smaller_file(capsys, site):
    path = run(capsys, "weights", "fetch", "resnet50-keras", "--without-top").out.strip()
    assert path.endswith("notop.h5")
    assert Path(path).read_bytes() == CONTENT[:100]
    assert len(site.requests) == 1


def test_a_wrong_hash_is_one_line_that_says_what_belongs_where(capsys, site, cache):
    site.script["/full.h5"] = [Reply(b"x" * len(CONTENT))]
    error = run(capsys, "weights", "fetch", "resnet50-keras", code=2).err
    record = records.RECORDS["resnet50-keras"]
    assert len(error.strip().splitlines()) == 1
    assert record.file.digest in error
    assert str(cache) in error
    assert "full.h5" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch", "resnet-keras"], "'resnet-keras' are not known; did you mean 'resnet50-keras'?"),
        (["show", "nothing_like_it"], "'nothing_like_it' are not known. `classics weights` lists"),
        (["fetch"], "missing argument"),
        (["burn"], "no such command"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, message):
    error = run(capsys, "weights", *arguments, code=2).err
    assert len(error.strip().splitlines()) == 1
    assert message in " ".join(
        error.replace("Missing", "missing").replace("No such", "no such").split()
    )
