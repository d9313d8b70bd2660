"""Real engines behind the server."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from deployment.serving.fakes import running
from keras_classics.deployment.exporting import export
from keras_classics.deployment.serving.opening import Choice
from keras_classics.deployment.serving.places import Place
from keras_classics.deployment.serving.shelf import open_place


@pytest.fixture(scope="module")
def exported(artefact, tmp_path_factory):
    """An export to OpenVINO."""
    pytest.importorskip("openvino")
    out = tmp_path_factory.mktemp("exports") / "openvino-f32"
    return export(artefact, to="openvino", input="fitted", out=out)


SCRIPT = """
import json, sys
from pathlib import Path
from keras_classics.deployment.serving.opening import Choice
from keras_classics.deployment.serving.places import Place
from keras_classics.deployment.serving.process import Job, server_for
from keras_classics.deployment.serving.settings import Settings

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
