"""One verdict on a file, whoever reads it: what a run learns from is what all others take."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

import odd_pictures
from keras_classics.classifier.artefact import Classifier
from keras_classics.classifier.card import Card, Preprocessing
from keras_classics.data import decode
from keras_classics.data.batches import Batches
from keras_classics.data.check.run import check
from keras_classics.data.contact_sheet import readable
from keras_classics.data.listing import Item
from keras_classics.data.pictures import StoredPictures
from keras_classics.data.pixels import decode_all
from keras_classics.data.sources import Source
from keras_classics.data.storage import Archive, Folder
from keras_classics.errors import ImageError
from keras_classics.explanation.explain import explain, probe_of
from keras_classics.explanation.inside import look
from keras_classics.explorer.application import application
from keras_classics.explorer.models import Models, open_model
from keras_classics.serving.application import Server
from keras_classics.serving.journal import Journal
from keras_classics.serving.settings import Settings
from keras_classics.web.uploads import UploadError, check_upload
from serving.fakes import FakeEngine, opened

SIZE = 8
SOUND, BROKEN, DOUBTFUL = odd_pictures.sound(), odd_pictures.broken(), odd_pictures.doubtful()
EVERY = {**SOUND, **BROKEN, **DOUBTFUL}
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP")
SMALL = 100_000  # pixels of a file that is broken on purpose: more would take long to decode

Refused = dict[str, str]
"""Why files are refused, by their names."""


class Readers:
    """All that reads pictures, each as a function from a folder of classes to what it refuses."""

    def __init__(self, stack: ExitStack) -> None:
        inputs = keras.Input((SIZE, SIZE, 3))
        maps = keras.layers.Conv2D(2, 3, padding="same", name="maps")(inputs)
        pooled = keras.layers.GlobalAveragePooling2D()(maps)
        outputs = keras.layers.Dense(2, activation="softmax")(pooled)
        shape = Preprocessing((SIZE, SIZE), "crop", "tf")
        self.classifier = Classifier(
            keras.Model(inputs, outputs),
            Card("vgg16", 1.0, ("a", "good"), shape),
        )
        self.probe = probe_of(self.classifier)
        self.explain = partial(explain, self.classifier, check=False, probe=self.probe)
        self.look = partial(look, self.classifier, "feature-maps", probe=self.probe)
        server = Server(
            [opened(engine=FakeEngine())], lambda _: FakeEngine(), settings=Settings(watch=0.0),
            journal=Journal(lambda _line: None),
        )  # fmt: skip
        self.server = stack.enter_context(TestClient(server, "http://127.0.0.1"))
        explorer = application(Models([open_model("vgg16", size=32, width=0.02)]), [], warm=False)
        self.explorer = stack.enter_context(TestClient(explorer, "http://127.0.0.1"))

    def all(self) -> dict[str, Callable[[Path, list[str]], Refused]]:
        """Each by what it is called; it gets the folder and the names of its files."""
        return {
            "decode": lambda folder, names: _each(
                folder, names, lambda source: decode.read_image(source.path)
            ),
            **{f"decode at {size}": partial(_at_least, size) for size in (7, 40)},
            "decode without simplejpeg": _without_simplejpeg,
            "check": _check,
            "train": _train,
            "train on an archive": _train_on_archive,
            "train from files": _batches,
            "augment": _augment,
            "predict": self._predict,
            "evaluate": self._evaluate,
            "explain": lambda folder, names: _each(folder, names, self.explain),
            "explain a layer": lambda folder, names: _each(folder, names, self.look),
            "serve": partial(self._uploaded, self.server, "/classify"),
            "explore": partial(self._uploaded, self.explorer, "/api/pictures"),
        }

    def _predict(self, folder: Path, _names: list[str]) -> Refused:
        return _relative(folder, self.classifier.predict(folder).skipped)

    def _evaluate(self, folder: Path, _names: list[str]) -> Refused:
        return _relative(folder, self.classifier.evaluate(folder, split="all").skipped)

    @staticmethod
    def _uploaded(client: TestClient, address: str, folder: Path, names: list[str]) -> Refused:
        refused = {}
        for name in names:
            headers = {"content-type": "image/png", "x-name": Path(name).name}
            answer = client.post(address, content=(folder / name).read_bytes(), headers=headers)
            if answer.status_code not in {200, 201}:
                assert answer.status_code in {415, 422}, answer.text
                refused[name] = answer.json()["error"]
        return refused


@pytest.fixture(scope="module")
def readers():
    with ExitStack() as stack:
        yield Readers(stack)


def _each(folder: Path, names: list[str], read: Callable[[Source], object]) -> Refused:
    errors = []
    for name in names:
        try:
            read(Source(Folder(folder), name))
        except ImageError as error:
            errors.append(error)
    return _relative(folder, errors)


def _relative(folder, errors) -> Refused:
    return {error.path.relative_to(folder).as_posix(): error.reason for error in errors}


def _at_least(size: int, folder: Path, names: list[str]) -> Refused:
    return _each(folder, names, lambda source: decode.read_image(source.path, at_least=size))


def _without_simplejpeg(folder: Path, names: list[str]) -> Refused:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "_simplejpeg", lambda: None)
        return {**_at_least(SIZE, folder, names), **_at_least(10**4, folder, names)}


def _check(folder: Path, _names: list[str]) -> Refused:
    found = check(folder, size=SIZE)
    unreadable = [each.places for each in found.findings if each.kind == "unreadable"]
    return {place.paths[0]: place.note for places in unreadable for place in places}


def _train(folder: Path, names: list[str]) -> Refused:
    items = [Item(name, 0) for name in [*names, "good/good.png"]]
    decoded = decode_all(Folder(folder), items, (SIZE, SIZE), "crop")
    return _relative(folder, decoded.skipped)


def _train_on_archive(folder: Path, names: list[str]) -> Refused:
    with tempfile.TemporaryDirectory() as place:
        archive = Archive(Path(shutil.make_archive(f"{place}/x", "zip", folder)))
        items = [Item(name, 0) for name in [*names, "good/good.png"]]
        decoded = decode_all(archive, items, (SIZE, SIZE), "crop", keep=False)
        return _relative(archive.place, decoded.skipped)


def _batches(folder: Path, names: list[str]) -> Refused:
    pictures = StoredPictures(Folder(folder), names)
    errors = []
    batches = Batches(
        pictures, np.zeros(len(names), np.int64), classes=2, batch_size=1, mode="tf",
        size=(SIZE, SIZE),
    )  # fmt: skip
    for number in range(len(names)):
        try:
            batches[number]
        except ImageError as error:
            errors.append(error)
    batches.close()
    return _relative(folder, errors)


def _augment(folder: Path, names: list[str]) -> Refused:
    pictures = StoredPictures(Folder(folder), names)
    return _relative(folder, readable(pictures, np.arange(len(names)), len(names))[1])


def _laid_out(folder: Path, files: dict[str, bytes]) -> list[str]:
    """Files as the class "a" of a folder, beside a sound class; their names there."""
    for name, data in {
        **{f"a/{name}": data for name, data in files.items()},
        "good/good.png": SOUND["plain.png"],
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return [f"a/{name}" for name in files]


@pytest.fixture(scope="module")
def verdicts(readers, tmp_path_factory):
    """What each reader refuses of all files, and why."""
    folder = tmp_path_factory.mktemp("verdicts")
    names = _laid_out(folder, EVERY)
    return {
        reader: {Path(name).name: why for name, why in read(folder, names).items()}
        for reader, read in readers.all().items()
    }


@pytest.mark.parametrize("name", EVERY)
def test_every_reader_has_the_same_verdict(verdicts, name):
    found = {reader: refused.get(name, "read") for reader, refused in verdicts.items()}
    _agree(found, EVERY[name])
    if name in SOUND:
        assert set(found.values()) == {"read"}
    if name in BROKEN:
        assert "read" not in found.values()


def _agree(found: dict[str, str], data: bytes) -> None:
    """All read it, or none; and what Pillow reads is refused by a rule alone."""
    assert len({why == "read" for why in found.values()}) == 1, found
    for why in found.values():
        assert "\n" not in why
        assert "unpack" not in why  # of Python's own words, which say nothing of the file
        if why != "read" and _pillow_reads(data):
            assert "damaged" not in why
            assert "truncated" not in why


def _pillow_reads(data: bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                image.convert("RGB")
        except Exception:
            return False
    return True


@st.composite
def mutations(draw):
    """A file of the corpus with some of its bytes changed, cut out or doubled."""
    name = draw(st.sampled_from(sorted(EVERY)))
    data = bytearray(EVERY[name])
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            break
        # Heads decide more than pixels.
        last = draw(st.sampled_from([min(64, len(data)), len(data)])) - 1
        place = draw(st.integers(0, last))
        kind = draw(st.sampled_from(["set", "set", "flip", "cut", "drop", "double"]))
        if kind == "set":
            data[place] = draw(st.integers(0, 255))
        elif kind == "flip":
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[place:]
        else:
            end = place + draw(st.integers(1, 16))
            data[place:end] = b"" if kind == "drop" else data[place:end] * 2
    return name, bytes(data)


def _check_mutation(readers, name, data):
    try:
        check_upload(data, name, most_bytes=10**6, most_pixels=SMALL)
    except UploadError as error:
        assume(error.status != 413)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        names = _laid_out(folder, {name: data})
        found = {
            reader: read(folder, names).get(names[0], "read")
            for reader, read in readers.all().items()
        }
    _agree(found, data)


def _settings(examples):
    return settings(
        max_examples=examples, deadline=None, database=None, derandomize=examples < 1000,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )  # fmt: skip


@_settings(25)
@given(mutation=mutations())
def test_on_changed_files_too(readers, mutation):
    _check_mutation(readers, *mutation)


@pytest.mark.slow
@_settings(3000)
@given(mutation=mutations())
def test_on_many_changed_files(readers, mutation):
    _check_mutation(readers, *mutation)
