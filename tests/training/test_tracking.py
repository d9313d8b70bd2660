from __future__ import annotations

import json

import pytest

from keras_classics.errors import ClassicsError, OutputError
from keras_classics.evaluation.assessment import assess
from keras_classics.evaluation.report import write_report
from keras_classics.evaluation.saved import write_assessment, write_history, write_metrics
from keras_classics.training.events import EpochEnd, Prepared, Step
from keras_classics.training.tracking import both, mlflow_listener, tensorboard_listener
from simulated import about, history, parts


def prepared():
    fields = dict.fromkeys(Prepared.__dataclass_fields__, 1)
    return Prepared(**{**fields, "source": "photos", "network": "VGG16", "skipped": ()})


def epochs():
    return [
        EpochEnd(epoch=i, images_per_second=50.0, best=True, **figures)
        for i, figures in enumerate(history(3), 1)
    ]


@pytest.fixture
def artefact(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    judged = parts(60, pictures=False)
    found = assess(judged, tuple("abcde"))
    write_assessment(folder, found, judged)
    write_history(folder, history())
    write_metrics(folder, found.content)
    write_report(folder, found.content, about())
    (folder / "model.keras").write_bytes(b"model")
    return folder


def test_tensorflow_reads_the_events_that_tensorboardx_wrote(tmp_path):
    pytest.importorskip("tensorboardX")
    tf = pytest.importorskip("tensorflow")
    with tensorboard_listener(tmp_path / "events") as tell:
        for event in (prepared(), Step(1, 1, 9, 5.0), *epochs()):
            tell(event)
    found = {}
    (file,) = (tmp_path / "events").iterdir()
    for record in tf.data.TFRecordDataset(str(file)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    for name, tag in (("loss", "loss/training"), ("val_accuracy", "accuracy/validation")):
        assert found[tag] == [(i, pytest.approx(e[name])) for i, e in enumerate(history(3), 1)]
    assert found["speed/images_per_second"][0] == (1, 50.0)
    assert any("run" in tag for tag in found)


def test_a_folder_that_cannot_be(tmp_path):
    pytest.importorskip("tensorboardX")
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match="cannot write"),
        tensorboard_listener(tmp_path / "file" / "events"),
    ):
        pass


@pytest.fixture
def client(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "store").as_uri()
    return mlflow.MlflowClient(tracking_uri=uri), uri


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_mlflow_holds_the_run(client, artefact):
    client, uri = client
    with mlflow_listener(experiment="signs", name="first", uri=uri) as run:
        both(None, run)(prepared())
        for event in epochs():
            run(event)
        run.parameters({"learning_rate": 0.001})
        run.finish(artefact)
    kept = client.get_run(run.run_id)
    assert kept.info.status == "FINISHED"
    assert kept.info.run_name == "first"
    assert kept.data.params["network"] == "VGG16"
    assert kept.data.params["learning_rate"] == "0.001"
    losses = client.get_metric_history(run.run_id, "val_loss")
    assert [(m.step, m.value) for m in losses] == [
        (i, e["val_loss"]) for i, e in enumerate(history(3), 1)
    ]
    content = json.loads((artefact / "metrics.json").read_text())
    assert kept.data.metrics["test_accuracy"] == content["held_out"]["accuracy"]
    names = {file.path for file in client.list_artifacts(run.run_id, "artefact")}
    assert {"artefact/report.html", "artefact/model.keras", "artefact/metrics.json"} <= names


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_mlflow_without_the_model_and_after_an_error(client, artefact):
    client, uri = client
    with mlflow_listener(uri=uri) as run:
        run.finish(artefact, with_model=False)
    names = {file.path for file in client.list_artifacts(run.run_id)}
    assert "report.html" in names
    assert "model.keras" not in names
    with pytest.raises(RuntimeError), mlflow_listener(uri=uri) as run:
        raise RuntimeError
    assert client.get_run(run.run_id).info.status == "FAILED"
    with pytest.raises(KeyboardInterrupt), mlflow_listener(uri=uri) as run:
        raise KeyboardInterrupt
    assert client.get_run(run.run_id).info.status == "KILLED"


@pytest.mark.parametrize(
    ("listener", "extra"),
    [(lambda: tensorboard_listener("x"), "tensorboard"), (mlflow_listener, "mlflow")],
)
def test_what_is_not_installed_is_named(monkeypatch, listener, extra):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with (
        pytest.raises(ClassicsError, match=rf'pip install -e "\.\[{extra}\]"'),
        listener(),
    ):
        pass
