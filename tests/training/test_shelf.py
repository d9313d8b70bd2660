from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from keras_classics.errors import OutputError
from keras_classics.training import shelf as module
from keras_classics.training.shelf import Shelf

TASK = SimpleNamespace(architecture=SimpleNamespace(name="vgg16"), sizes=SimpleNamespace(test=32))
NETWORK = SimpleNamespace(head=SimpleNamespace(input=np.empty((1, 4))), model="model")
DATA = SimpleNamespace(labels=np.zeros(9), part=lambda _: np.arange(2))


def told(*_):
    pass


def test_a_head_is_fitted_once_and_its_features_are_not_kept(tmp_path, monkeypatch):
    fitted, put = [], []

    def fit(task, network, data, folder, *, told):  # noqa: ARG001
        fitted.append(folder)
        (folder / "features.npy").touch()
        if len(fitted) == 1:
            raise KeyboardInterrupt
        return SimpleNamespace(head="head", probabilities=lambda indices: indices)

    monkeypatch.setattr(module, "fit_head_of", fit)
    monkeypatch.setattr(module, "put_head", lambda *what: put.append(what))
    shelf = Shelf(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        shelf.head(TASK, NETWORK, DATA, told=told)
    assert list(tmp_path.iterdir()) == []
    first = shelf.head(TASK, NETWORK, DATA, told=told)
    assert list(tmp_path.iterdir()) == []
    assert shelf.head(TASK, NETWORK, DATA, told=told) is first
    assert len(fitted) == 2
    assert put == [("model", NETWORK, "head")]
    assert first.val.tolist() == [0, 1]


def test_a_disk_that_cannot_hold_the_features(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "keras_classics.host.staging.shutil.disk_usage", lambda _: SimpleNamespace(free=10)
    )
    with pytest.raises(OutputError, match="free some space") as caught:
        Shelf(tmp_path).head(TASK, NETWORK, DATA, told=told)
    assert "\n" not in str(caught.value)
