from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest

from keras_classics import load
from keras_classics.data.sources import find_images
from keras_classics.engines import deployment as engines
from keras_classics.engines.deployment import Deployment, open_engine
from keras_classics.errors import ArtefactError, ClassicsError, OutputError
from keras_classics.exporting.export import export
from keras_classics.exporting.exported import EXPORT, ExportError
from keras_classics.extras import install
from pictures import no_pictures

CONVERTED = ("openvino", "onnxruntime")
ALL = ("keras", *CONVERTED)


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """A cache of this module's own, in which conversions are made once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("KERAS_CLASSICS_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def classifier(artefact):
    return load(artefact)


@pytest.fixture(scope="module")
def pictures(classifier, shapes):
    """60 pictures at the size of the network."""
    from keras_classics.data.fit import load_image

    shape = classifier.card.preprocessing
    paths = [source.path for source in find_images(shapes)]
    return np.stack([load_image(path, shape.size, shape.fit) for path in paths])


@pytest.fixture(scope="module")
def opened(artefact):
    """All engines over one artefact; the first use converts it."""
    found = {name: open_engine(artefact, engine=name) for name in ALL}
    yield found
    for engine in found.values():
        engine.close()


@pytest.fixture(scope="module")
def converted(opened, home):
    """The folders of the conversions."""
    assert set(opened) == set(ALL)
    folders = (path.parent for path in home.glob(f"engines/*/{EXPORT}"))
    return {json.loads((path / EXPORT).read_text())["target"]: path for path in folders}


def changed(folder, place, **changes):
    """A copy of an export that says something else."""
    copy = shutil.copytree(folder, place)
    values = json.loads((copy / EXPORT).read_text())
    for key, value in changes.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    (copy / EXPORT).write_text(json.dumps(values))
    return copy


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n", [0, 1, 2, 5, 33])
def test_equal_to_keras_for_any_number_of_pictures(opened, classifier, pictures, name, n):
    engine = opened[name]
    assert (engine.name, engine.precision) == (name, "f32")
    assert engine.card.class_names == classifier.card.class_names
    got = engine.probabilities(pictures[:n])
    assert got.dtype == np.float32
    assert got.shape == (n, 3)
    wanted = classifier.probabilities(pictures)[:n]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_a_picture_does_not_see_its_neighbours(opened, pictures, name):
    engine = opened[name]
    alone = np.concatenate([engine.probabilities(pictures[i : i + 1]) for i in range(12)])
    noise = np.random.default_rng(0).integers(0, 256, pictures[:31].shape, np.uint8)
    for i in range(12):
        among = np.insert(noise, i, pictures[i], axis=0)
        np.testing.assert_allclose(engine.probabilities(among)[i], alone[i], atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_pictures_that_lie_in_memory_otherwise(opened, pictures, name):
    engine = opened[name]
    wanted = engine.probabilities(np.ascontiguousarray(pictures[::3, ::-1]))
    np.testing.assert_allclose(engine.probabilities(pictures[::3, ::-1]), wanted, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_several_threads_get_their_own_answers(opened, pictures, name):
    engine = opened[name]
    wanted = engine.probabilities(pictures)
    wrong = []

    def ask(seed):
        rng = np.random.default_rng(seed)
        for _ in range(8):
            chosen = rng.permutation(len(pictures))[: rng.integers(1, 40)]
            got = engine.probabilities(pictures[chosen])
            if not np.allclose(got, wanted[chosen], atol=1e-6):
                wrong.append(seed)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_first_requests_of_a_process_come_together(converted):
    """OpenVINO's binding for Python would lock up; frequent switches of threads show it."""
    code = (
        "import sys, threading, numpy as np\n"
        "from keras_classics.engines.deployment import open_engine\n"
        f"engine = open_engine({str(converted['openvino'])!r})\n"
        "images = np.zeros((1, *engine.card.preprocessing.size, 3), np.uint8)\n"
        "together = threading.Barrier(4)\n"
        "def ask():\n"
        "    together.wait()\n"
        "    engine.probabilities(images)\n"
        "sys.setswitchinterval(1e-6)\n"
        "threads = [threading.Thread(target=ask) for _ in range(4)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    "ended",
    [
        # By another thread than the one that opened it.
        "[thread := threading.Thread(target=engines.pop().close), thread.start(), thread.join()]",
        # In the order in which they were opened.
        "[engines.pop(0).close() for _ in range(2)]",
    ],
)
def test_a_signal_finds_its_handler_after_engines_are_closed(converted, ended):
    code = (
        "import gc, os, signal, threading\n"
        "from keras_classics.engines.deployment import open_engine\n"
        f"folder = {str(converted['openvino'])!r}\n"
        "engines = [open_engine(folder), open_engine(folder)]\n"
        f"{ended}\n"
        "gc.collect()\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('handled', flush=True))\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_what_becomes_of_the_file_changes_no_answer(converted, pictures, tmp_path):
    """Not even if it is written over, or cut off, under a running engine."""
    copy = shutil.copytree(converted["openvino"], tmp_path / "copy")
    with open_engine(copy) as engine:
        wanted = engine.probabilities(pictures)
        size = (copy / "model.bin").stat().st_size
        with (copy / "model.bin").open("r+b") as file:
            file.write(bytes(size))
        np.testing.assert_array_equal(engine.probabilities(pictures), wanted)
        os.truncate(copy / "model.bin", 0)
        np.testing.assert_array_equal(engine.probabilities(pictures), wanted)


def test_who_waits_for_a_closed_engine_is_told(converted, pictures):
    engine = open_engine(converted["openvino"])
    busy = [engine._free.get() for _ in range(engine.requests)]
    told = []

    def ask():
        with pytest.raises(RuntimeError, match="closed") as caught:
            engine.probabilities(pictures[:1])
        told.append(caught.value)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    engine.close()
    for thread in threads:
        thread.join(30)
    assert len(told) == 3
    assert busy


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_picture_of_the_size_is_refused_in_the_same_words(opened, pictures, name):
    engine = opened[name]
    wanted = engine.probabilities(pictures[:3])
    for given, words in no_pictures(pictures):
        with pytest.raises(ClassicsError, match=words):
            engine.probabilities(given)
    np.testing.assert_allclose(engine.probabilities(list(pictures[:3])), wanted, atol=1e-6)
    np.testing.assert_allclose(engine.probabilities(pictures[0]), wanted[:1], atol=1e-6)


def test_openvino_computes_in_what_was_asked(artefact, pictures, opened):
    """By itself it takes bf16 where the processor has it, silently."""
    import openvino

    wanted = opened["keras"].probabilities(pictures)
    for precision, kind in (
        ("f32", openvino.Type.f32),
        ("bf16", openvino.Type.bf16),
        (None, openvino.Type.f32),
    ):
        with open_engine(artefact, engine="openvino", precision=precision) as engine:
            assert engine._compiled.get_property("INFERENCE_PRECISION_HINT") == kind
            assert engine.precision == (precision or "f32")
            far = np.abs(engine.probabilities(pictures) - wanted).max()
            assert far < (0.1 if precision == "bf16" else 1e-5)


def test_hints(artefact, pictures, opened):
    wanted = opened["keras"].probabilities(pictures)
    with open_engine(artefact, engine="openvino", hint="latency", threads=1) as engine:
        assert engine.requests == 1
        np.testing.assert_allclose(engine.probabilities(pictures), wanted, atol=1e-5)
    with open_engine(artefact, engine="onnxruntime", threads=1) as engine:
        np.testing.assert_allclose(engine.probabilities(pictures), wanted, atol=1e-5)
    with pytest.raises(ClassicsError, match="hint 'slow': not one of throughput, latency"):
        open_engine(artefact, hint="slow")


@pytest.mark.parametrize("target", ["openvino", "onnx"])
def test_an_export_needs_neither_keras_nor_a_backend(converted, target):
    code = (
        "import sys, numpy as np\n"
        "from keras_classics.engines.deployment import open_engine\n"
        f"engine = open_engine({os.fspath(converted[target])!r})\n"
        "size = engine.card.preprocessing.size\n"
        "rows = engine.probabilities(np.zeros((3, *size, 3), np.uint8))\n"
        "assert rows.shape == (3, 3), rows\n"
        "print(engine.name, [m for m in ('keras', 'tensorflow', 'torch', 'jax', 'sklearn', 'scipy')"
        " if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == f"{'openvino' if target == 'openvino' else 'onnxruntime'} []\n", done


def test_the_fastest_that_is_ready_is_taken(artefact, opened, monkeypatch):
    del opened  # the conversions are there
    with open_engine(artefact, images=1) as engine:
        assert engine.name == "openvino"
        assert engine.why.startswith("within ")
        assert float(engine.why.split()[1]) <= 1e-4
    without(monkeypatch, "openvino")
    with open_engine(artefact, images=1) as engine:
        assert engine.name == "onnxruntime"
    without(monkeypatch, "openvino", "onnxruntime")
    with open_engine(artefact, images=1) as engine:
        assert engine.name == "keras"
        assert engine.why == (
            f"openvino is not installed: {install('openvino')}; "
            f"onnxruntime is not installed: {install('onnx')}"
        )


def without(monkeypatch, *packages):
    from importlib.util import find_spec

    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name in packages else find_spec(name)
    )


class Converter:
    """In the place of `export`: hands out a conversion that is there already."""

    def __init__(self, ready):
        self.ready = ready
        self.asked = []

    def __call__(self, _source, *, to, out, **more):
        self.asked.append((to, more))
        shutil.copytree(self.ready[to], out)
        return out


@pytest.fixture
def converter(converted, tmp_path, monkeypatch):
    """An empty cache, and conversions that take no time."""
    monkeypatch.setenv("KERAS_CLASSICS_HOME", str(tmp_path / "empty"))
    made = Converter(converted)
    monkeypatch.setattr(engines, "export", made)
    return made


def test_few_pictures_are_not_worth_a_conversion(artefact, converter):
    with open_engine(artefact, images=engines.WORTH_CONVERTING - 1) as engine:
        assert engine.name == "keras"
        assert "too few images" in engine.why
    assert converter.asked == []
    for images in (engines.WORTH_CONVERTING, None, 1):  # the last as it is there by then
        told = []
        with open_engine(artefact, images=images, tell=told.append) as engine:
            assert engine.name == "openvino"
    assert converter.asked == [("openvino", {"weights": None, "input": "fitted"})]


@pytest.mark.usefixtures("converter")
def test_what_cannot_be_converted_runs_on_keras(artefact, monkeypatch):
    def refuse(*_, **__):
        raise ExportError("torn.")

    monkeypatch.setattr(engines, "export", refuse)
    with open_engine(artefact) as engine:
        assert engine.name == "keras"
        assert engine.why == "torn; torn"
    for error in (RuntimeError("a\nbug"), MemoryError()):
        monkeypatch.setattr(engines, "export", Mock(side_effect=error))
        with open_engine(artefact) as engine:
            assert engine.name == "keras"
            assert engine.why.startswith(("a bug; a bug", "too little memory to convert it for"))
    monkeypatch.setattr(engines, "export", refuse)
    with pytest.raises(ExportError, match="torn"):
        open_engine(artefact, engine="openvino")


def test_a_torn_conversion_is_made_anew(artefact, converter, tmp_path):
    open_engine(artefact).close()
    (found,) = tmp_path.glob("empty/engines/*/model.bin")
    found.write_bytes(found.read_bytes()[:-1])
    open_engine(artefact, engine="openvino").close()
    assert [to for to, _ in converter.asked] == ["openvino", "openvino"]


@pytest.mark.usefixtures("converter")
def test_a_cache_that_cannot_be_written(artefact, tmp_path):
    (tmp_path / "empty").write_text("a file")
    with pytest.raises(OutputError, match=r"cannot be written.*KERAS_CLASSICS_HOME may name"):
        open_engine(artefact, engine="openvino")
    with open_engine(artefact) as engine:
        assert engine.name == "keras"


def test_the_export_of_a_run_is_used(artefact, converter, converted, tmp_path):
    run = shutil.copytree(artefact, tmp_path / "run")
    ours = changed(converted["openvino"], run / "exports" / "openvino-f32-fitted")
    with open_engine(run, images=1) as engine:
        assert engine.name == "openvino"
    for path in (run, ours):
        with open_engine(path, engine="openvino", precision="bf16") as engine:
            assert engine.why == "its f32 was compared with Keras, its bf16 was not"
    assert converter.asked == []
    # Of the one that is there, nothing else is taken.
    for path in (run, ours):
        with pytest.raises(ClassicsError, match="int8"):
            open_engine(path, precision="int8")
    # The card is part of the model: its calibration is.
    card = json.loads((run / "artefact.json").read_text())
    (run / "artefact.json").write_text(json.dumps({**card, "recipe": {}}))
    for path in (run, ours):
        with pytest.raises(ExportError, match=r"openvino-f32-fitted: was made of another model"):
            open_engine(path, engine="openvino")
    with open_engine(run, images=1) as engine:
        assert engine.name == "keras"
        assert "was made of another model" in engine.why


def test_a_torn_export_is_refused(converted, tmp_path):
    for target, file in (("openvino", "model.bin"), ("onnx", "model.onnx")):
        copy = shutil.copytree(converted[target], tmp_path / target)
        whole = (copy / file).read_bytes()
        (copy / file).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ExportError, match=rf"{file}: changed since it was exported"):
            open_engine(copy)
        (copy / file).unlink()
        with pytest.raises(ExportError, match=rf"{file}: missing"):
            open_engine(copy)
        (copy / EXPORT).write_text("{")
        with pytest.raises(ExportError, match="not the description of an export, or corrupt"):
            open_engine(copy)


def test_an_export_that_no_engine_runs(converted, tmp_path):
    openvino = converted["openvino"]
    with pytest.raises(ClassicsError, match="no engine here runs litert; export to openvino or"):
        open_engine(changed(openvino, tmp_path / "a", target="litert"))
    with pytest.raises(ClassicsError, match=r"takes raw input.*--fitted"):
        open_engine(changed(openvino, tmp_path / "b", input="raw"))
    card = json.loads((openvino / EXPORT).read_text())["card"]
    twice = {"fit": {"resize": 64, "interpolation": "bilinear"}}
    card = {"preprocessing": {**card["preprocessing"], **twice}}
    with pytest.raises(ClassicsError, match="takes image input"):
        open_engine(changed(openvino, tmp_path / "c", input="image", card=card))
    with pytest.raises(ClassicsError, match="is run by openvino, not by onnxruntime"):
        open_engine(openvino, engine="onnxruntime")
    with pytest.raises(ClassicsError, match="is in f32, not in int8"):
        open_engine(openvino, precision="int8")


def test_an_export_for_pictures_of_any_size_is_run_too(artefact, opened, pictures, tmp_path):
    """Once the picture has the network's size, resizing it changes nothing."""
    folder = export(artefact, to="openvino", out=tmp_path / "image")
    wanted = opened["keras"].probabilities(pictures)
    with open_engine(folder) as engine:
        np.testing.assert_allclose(engine.probabilities(pictures), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorrt"}, r"engine 'tensorrt': not one of auto, keras, openvino, onnxrun"),
        ({"engine": "openvin"}, r"did you mean 'openvino'\?"),
        ({"precision": "fp16"}, r"precision 'fp16': not one of f32, bf16, int8"),
        ({"threads": 0}, "threads=0: at least 1"),
        ({"weights": "resnet50-keras"}, "and not both"),
        ({"engine": "keras", "precision": "int8"}, "precision int8: the engine keras computes"),
        (
            {"engine": "openvino", "precision": "int8"},
            r"has no export to openvino in int8; make one with `classics export .* --to openvino",
        ),
        ({"engine": "onnxruntime", "precision": "bf16"}, "has no export to onnx in bf16"),
        ({"precision": "int8"}, r"nothing runs it in int8 \(.*openvino in int8.*; .*onnx in int8"),
    ],
)
def test_what_cannot_be(artefact, converter, options, message):
    with pytest.raises(ClassicsError, match=message) as caught:
        open_engine(artefact, **options)
    assert "\n" not in str(caught.value)
    assert converter.asked == []


@pytest.mark.parametrize("name", CONVERTED)
def test_not_installed(artefact, converted, monkeypatch, name):
    without(monkeypatch, name)
    extra = {"openvino": "openvino", "onnxruntime": "onnx"}[name]
    advice = rf"^{name} is not installed: {re.escape(install(extra))}\.$"
    with pytest.raises(ClassicsError, match=advice):
        open_engine(artefact, engine=name)
    with pytest.raises(ClassicsError, match=advice):
        open_engine(converted[engines.TARGET_OF[name]])


def test_what_is_no_model(tmp_path):
    with pytest.raises(ArtefactError, match="no such artefact or export"):
        open_engine(tmp_path / "nowhere")
    with pytest.raises(ArtefactError, match="not an artefact"):
        open_engine(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ArtefactError, match="an unfinished run"):
        open_engine(tmp_path)
    with pytest.raises(ClassicsError, match="a folder or published weights are needed"):
        Deployment()


def test_the_fingerprint_is_that_of_the_model(artefact, converted, tmp_path):
    one = Deployment(artefact).fingerprint()
    copy = shutil.copytree(artefact, tmp_path / "copy")
    assert Deployment(copy).fingerprint() == one
    card = json.loads((copy / "artefact.json").read_text())
    (copy / "artefact.json").write_text(json.dumps({**card, "calibration": None}))
    found = {
        one,
        Deployment(copy).fingerprint(),
        Deployment(converted["onnx"]).fingerprint(),
        Deployment(weights="resnet50-keras").fingerprint(),
        Deployment(weights="vgg16-keras").fingerprint(),
    }
    assert len(found) == 5


def test_before_keras_is_imported_it_is_told(artefact, opened):
    del opened
    told = []
    wanted = Deployment(artefact, before_keras=lambda: told.append("keras"))
    wanted.open(images=1).close()
    assert told == []
    replace(wanted, engine="keras").open().close()
    assert told == ["keras"]
