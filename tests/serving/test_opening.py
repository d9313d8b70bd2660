"""Real engines behind the server."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tritonclient import http as triton

from keras_classics.exporting.export import export
from keras_classics.serving.opening import Choice
from keras_classics.serving.places import Place
from keras_classics.serving.shelf import open_place
from serving.fakes import running, until


@pytest.fixture(scope="module")
def exported(artefact, tmp_path_factory):
    """An export to OpenVINO."""
    pytest.importorskip("openvino")
    out = tmp_path_factory.mktemp("exports") / "openvino-f32"
    return export(artefact, to="openvino", input="fitted", out=out)


SCRIPT = """
import json, sys
from pathlib import Path
from keras_classics.serving.opening import Choice
from keras_classics.serving.places import Place
from keras_classics.serving.process import Job, server_for
from keras_classics.serving.settings import Settings

job = Job((Place("shapes", "1", Path(sys.argv[1])),), Choice().open, Settings(), "127.0.0.1")
(served,) = server_for(job).shelf
print(json.dumps([served.engine.name, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_an_export_is_served_without_keras(exported):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(exported)], capture_output=True, text=True, check=True
    )
    engine, modules = json.loads(done.stdout)
    assert engine == "openvino"
    assert {"uvicorn", "starlette", "openvino"} <= {*modules, "uvicorn"}
    assert not {"keras", "tensorflow", "torch", "jax"} & set(modules)


@pytest.mark.parametrize("engine", ["keras", "openvino"])
def test_answers_are_those_of_the_classifier(serving, exported, artefact, shapes, engine):
    from keras_classics import load

    folder = artefact if engine == "keras" else exported
    model = open_place(Place("shapes", "1", folder), Choice(engine).open)
    paths = sorted(shapes.glob("*/00*.png"))
    with running(serving, model, queue=100) as server:
        files = [("file", (path.name, path.read_bytes())) for path in paths]
        answer = server.post("/classify", files=files).json()
        metadata = server.get("/v2/models/shapes").json()
    assert metadata["parameters"]["engine"] == engine
    wanted = load(artefact).predict(paths)
    assert [each["class"] for each in answer["predictions"]] == [one.class_name for one in wanted]
    np.testing.assert_allclose(
        [each["probability"] for each in answer["predictions"]],
        [one.confidence for one in wanted],
        atol=1e-4,
    )


def fitted(shapes):
    """Pictures of the network's size, as they come out of the files."""
    from keras_classics.data.fit import load_image

    paths = sorted(shapes.glob("*/00*.png"))
    return paths, np.stack([load_image(path, (32, 32), "crop") for path in paths])


def asked(server, images):
    tensor = triton.InferInput("image", list(images.shape), "UINT8").set_data_from_numpy(images)
    with triton.InferenceServerClient(f"{server.host}:{server.port}") as client:
        return client.infer("shapes", [tensor]).as_numpy("probabilities")


def test_decoded_pictures_by_triton_s_client(serving, exported, artefact, shapes):
    """What arrives are bytes that cannot be written to."""
    from keras_classics import load

    paths, images = fitted(shapes)
    model = open_place(Place("shapes", "1", exported), Choice("openvino").open)
    with running(serving, model, queue=100) as server:
        rows = asked(server, images)
    wanted = load(artefact).predict(paths)
    names = model.engine.card.class_names
    assert [names[i] for i in rows.argmax(axis=1)] == [one.class_name for one in wanted]
    np.testing.assert_allclose(rows.max(axis=1), [one.confidence for one in wanted], atol=1e-4)


def changed(exported, folder):
    """An export like another one, with other weights."""
    shutil.copytree(exported, folder)
    weights, told = folder / "model.bin", folder / "export.json"
    data = weights.read_bytes()
    new = data[: len(data) * 3 // 4] + bytes(len(data) - len(data) * 3 // 4)
    weights.write_bytes(new)
    old_hash, new_hash = (hashlib.sha256(each).hexdigest() for each in (data, new))
    assert old_hash in told.read_text()
    told.write_text(told.read_text().replace(old_hash, new_hash))
    return folder


def test_hot_reload(serving, exported, shapes, tmp_path):
    """To other weights, and on to torn ones, while the files are mapped."""
    folder, other = tmp_path / "model", changed(exported, tmp_path / "other")
    torn = changed(other, tmp_path / "torn")
    (torn / "model.bin").write_bytes((other / "model.bin").read_bytes()[:-100] + b"x" * 100)
    shutil.copytree(exported, folder)
    images, choice = fitted(shapes)[1], Choice("auto")
    with choice.open(exported) as one, choice.open(other) as two:
        before, after = one.probabilities(images), two.probabilities(images)
    assert np.abs(before - after).max() > 0.05
    model = open_place(Place("shapes", "1", folder), choice.open)
    with running(serving, model, open_engine=choice.open, watch=0.1, queue=100) as server:
        np.testing.assert_allclose(asked(server, images), before, atol=1e-6)
        for new, result in ((other, "swapped"), (torn, "refused")):
            folder.rename(tmp_path / f"before {new.name}")
            new.rename(folder)
            until(lambda result=result: result in [e["result"] for e in server.log.of("reload")])
            np.testing.assert_allclose(asked(server, images), after, atol=1e-6)
    line = server.log.of("reload")[0]
    assert (line["engine"], line["precision"]) == ("openvino", "f32")
    assert len(server.log.of("reload")) == 2
