from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from keras_classics.errors import ClassicsError, OutputError
from keras_classics.training.checkpoint import Checkpoints, Progress


def progress(epoch, step, *, best_epoch=1, value=0.0):
    return Progress(
        epoch=epoch,
        step=step,
        history=({"loss": 1.5},) * epoch,
        best_epoch=best_epoch,
        best=(np.full((2, 3), best_epoch, "float32"), np.array(best_epoch, "int64")),
        arrays={"model/0": np.full((4,), value, "float32"), "seed": np.array([1, 8], "uint32")},
    )


def equal(one, other):
    assert (one.epoch, one.step, one.best_epoch) == (other.epoch, other.step, other.best_epoch)
    assert one.history == other.history
    for a, b in zip(one.best, other.best, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert set(one.arrays) == set(other.arrays)
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name])


def test_there_and_back(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", every=0)
    assert checkpoints.latest() is None
    checkpoints.write(progress(1, 3, value=7.0))
    equal(Checkpoints(tmp_path / "c", every=0).latest(), progress(1, 3, value=7.0))


def test_before_the_first_epoch_is_over_there_is_no_best(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", every=0)
    checkpoints.write(Progress(step=2, arrays={"a": np.zeros(2)}))
    found = checkpoints.latest()
    assert found.best == ()
    assert found.history == ()


def test_the_last_two_are_kept_and_the_best_weights_once(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", every=0)
    for epoch in range(1, 5):
        checkpoints.write(progress(epoch, 0, best_epoch=1 if epoch < 4 else 4))
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        "000003-000000000.json",
        "000003-000000000.safetensors",
        "000004-000000000.json",
        "000004-000000000.safetensors",
        "best-000001.safetensors",
        "best-000004.safetensors",
    ]


@pytest.mark.parametrize("torn", ["json", "safetensors"])
@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_a_torn_one_is_passed_over_for_the_one_before(tmp_path, torn, how):
    checkpoints = Checkpoints(tmp_path / "c", every=0)
    checkpoints.write(progress(1, 1, value=1.0))
    checkpoints.write(progress(1, 2, value=2.0))
    path = tmp_path / "c" / f"000001-000000002.{torn}"
    whole = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        changed = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
        path.write_bytes(whole[: len(whole) // 2] if how == "cut" else changed)
    found = checkpoints.latest()
    if torn == "json" and how == "changed":
        # One bit of the description; whatever it says, it says it of whole arrays or of none.
        assert found.arrays["model/0"][0] in (1.0, 2.0)
    else:
        equal(found, progress(1, 1, value=1.0))


def test_torn_best_weights_are_not_loaded_either(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", every=0)
    checkpoints.write(progress(1, 1, best_epoch=1))
    checkpoints.write(progress(2, 1, best_epoch=2))
    (tmp_path / "c" / "best-000002.safetensors").write_bytes(b"torn")
    equal(checkpoints.latest(), progress(1, 1, best_epoch=1))
    (tmp_path / "c" / "best-000001.safetensors").unlink()
    assert checkpoints.latest() is None


class Killed(BaseException):
    """The process is gone."""


class Life:
    """How many more changes of the disk the process lives to make."""

    def __init__(self, changes):
        self.left = changes

    def of(self, work, torn=None):
        """The same work, or death; a torn file may be left."""

        def instead(*arguments, **options):
            if not self.left:
                if torn:
                    torn(*arguments)
                raise Killed
            self.left -= 1
            return work(*arguments, **options)

        return instead


def half(_, path):
    path.write_bytes(b"half")


@pytest.mark.parametrize("changes", range(7))
def test_wherever_writing_is_cut_off_one_that_is_whole_is_left(tmp_path, monkeypatch, changes):
    from keras_classics.training import checkpoint as module

    first, second = progress(1, 1, value=1.0), progress(2, 0, best_epoch=2, value=2.0)
    folder = tmp_path / "c"
    Checkpoints(folder, every=0).write(progress(1, 0, value=0.0))
    checkpoints = Checkpoints(folder, every=0)
    checkpoints.write(first)
    life = Life(changes)
    with monkeypatch.context() as patch:
        patch.setattr(module, "save_file", life.of(module.save_file, half))
        patch.setattr(Path, "replace", life.of(Path.replace))
        patch.setattr(Path, "unlink", life.of(Path.unlink))
        with pytest.raises(Killed):
            checkpoints.write(second)
    found = Checkpoints(folder, every=0).latest()
    equal(found, second if changes >= 5 else first)
    again = Checkpoints(folder, every=0)  # the next process goes on and clears up
    again.write(second)
    equal(again.latest(), second)
    assert not [path for path in folder.iterdir() if path.name.startswith(".part-")]


def test_one_of_a_later_version_is_told(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", every=0)
    checkpoints.write(progress(1, 1))
    path = next((tmp_path / "c").glob("*.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ClassicsError, match="of a later version"):
        checkpoints.latest()


def test_they_come_in_time_and_never_cost_much(tmp_path, monkeypatch):
    from keras_classics.training import checkpoint as module

    now = [100.0]
    # The clock of this module alone: a server in another thread would wait by it for hours.
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    checkpoints = Checkpoints(tmp_path / "c", every=10)
    now[0] += 9
    assert not checkpoints.due()
    now[0] += 1
    assert checkpoints.due()
    save = module.save_file

    def slow(*arguments):
        now[0] += 2.0
        save(*arguments)

    monkeypatch.setattr(module, "save_file", slow)
    checkpoints.write(Progress(arrays={"a": np.zeros(1)}))
    now[0] += 39  # two seconds are more than a twentieth of that
    assert not checkpoints.due()
    now[0] += 1
    assert checkpoints.due()


def test_a_disk_that_takes_nothing_is_told_as_one(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", every=0)
    checkpoints.write(progress(1, 1))
    in_the_way = f".part-{os.getpid()}-000001-000000002.safetensors"
    (tmp_path / "c" / in_the_way).mkdir()
    with pytest.raises(OutputError, match="serializing"):
        checkpoints.write(progress(1, 2))
    equal(checkpoints.latest(), progress(1, 1))
