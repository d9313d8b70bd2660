from __future__ import annotations

import asyncio
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from keras_classics.errors import ArtefactError, ClassicsError
from keras_classics.serving.journal import Journal
from keras_classics.serving.metrics import Metrics
from keras_classics.serving.places import Place
from keras_classics.serving.reload import Reloader
from keras_classics.serving.settings import Settings
from keras_classics.serving.shelf import (
    Shelf,
    UnknownModelError,
    open_place,
    signature,
)
from serving.fakes import FakeEngine, expected, opened, pictures, running, until


def write(folder, text):
    """Exchange a folder as a whole, as `classics train` and `export` do."""
    new = folder.with_name(folder.name + ".partial")
    new.mkdir()
    (new / "model.seed").write_text(text)
    if folder.exists():
        old = folder.with_name(folder.name + ".old")
        folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old)
    else:
        new.rename(folder)
    return folder


class Greedy(FakeEngine):
    def probabilities(self, images):
        raise MemoryError(f"{len(images)} pictures")


class Scores(FakeEngine):
    def probabilities(self, images):
        return 10 * expected(images)


def open_folder(path):
    """An engine whose answers follow from a file."""
    text = (path / "model.seed").read_text()
    if text == "bug":
        raise KeyError(text)
    if not text.isdecimal():
        raise ArtefactError(f"{path}: torn.")
    engine = FakeEngine(seed=int(text))
    OPENED.append(engine)
    return engine


OPENED = []


@pytest.fixture
def folder(tmp_path):
    OPENED.clear()
    return write(tmp_path / "model", "1")


def test_what_is_newest():
    models = [opened("a", version) for version in ("2", "10", "9", "v1")]
    shelf = Shelf(models, Settings(), Metrics())
    assert shelf.versions("a") == ["10", "9", "2", "v1"]
    assert shelf.find(None).place.version == "10"
    with pytest.raises(UnknownModelError, match="model 'b' is not served; a can be had"):
        shelf.find("b")


def test_a_folder_that_is_opened(folder):
    found = open_place(Place("a", "1", folder), open_folder)
    assert found.signature == signature(folder)
    assert found.engine.batches == [1]  # it has answered


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        (lambda _: FakeEngine(class_names=("a", "b")), "not probabilities"),
        (lambda _: Scores(), "not probabilities"),
        (lambda _: FakeEngine(poison=0), "does not answer \\(RuntimeError: a picture"),
        (lambda _: Greedy(), "not enough memory"),
    ],
)
def test_what_cannot_be_opened(folder, engine, words):
    with pytest.raises(ClassicsError, match=words):
        open_place(Place("a", "1", folder), engine)
    with pytest.raises(ClassicsError, match="no such artefact"):
        open_place(Place("a", "1", folder / "nowhere"), engine)


def test_what_changes_while_it_is_opened(folder):
    def slowly(path):
        engine = open_folder(path)
        write(folder, "2")
        return engine

    with pytest.raises(ClassicsError, match="changed while it was opened"):
        open_place(Place("a", "1", folder), slowly)
    assert OPENED[0].closed.is_set()


def test_signature(folder):
    before = signature(folder)
    for name in (".model.keras.partial", "checkpoint.keras", "report.html", "models.txt"):
        (folder / name).write_text("of the run, not of the model")
    (folder / "exports").mkdir()
    assert signature(folder) == before
    for name in ("artefact.json", "export.json", "model.keras", "model.xml", "model.bin"):
        unlike = signature(folder)
        (folder / name).write_text("new")
        assert signature(folder) != unlike
    (folder / "model.seed").write_text("2")
    changed = signature(folder)
    assert changed != before
    os.utime(folder / "model.seed", ns=(5, 5))
    assert signature(folder) != changed
    assert signature(folder / "nowhere") is None


def test_hot_reload(serving, folder):
    images = pictures(2)
    model = open_place(Place("fake", "1", folder), open_folder)
    with running(serving, model, open_engine=open_folder, watch=0.05) as server:

        def answers(seed):
            data = server.infer(images).json()["outputs"][0]["data"]
            return np.allclose(np.reshape(data, (2, -1)), expected(images, seed), rtol=1e-6)

        assert answers(1)
        write(folder, "2")
        until(lambda: answers(2))
        assert OPENED[0].closed.wait(10)  # nobody needs it any more
        assert not OPENED[1].closed.is_set()
        until(lambda: server.log.of("reload"))
        (line,) = server.log.of("reload")
        told = {"result": "swapped", "engine": "keras", "precision": "f32", "why": "it is a fake"}
        assert told.items() <= line.items()
        swapped = {"model": "fake", "result": "swapped"}
        assert server.metric("classics_reloads_total", **swapped) == 1

        write(folder, "torn")
        until(lambda: server.log.of("reload")[-1]["result"] == "refused")
        assert "torn" in server.log.of("reload")[-1]["error"]
        assert server.metric("classics_reloads_total", model="fake", result="refused") == 1
        assert answers(2)  # the old one goes on
        until(lambda: server.log.of("reload"))
        assert len(server.log.of("reload")) == 2  # and it is said once

        write(folder, "bug")
        until(lambda: len(server.log.of("reload")) == 3)
        assert "KeyError: 'bug' (this is a bug)" in server.log.of("reload")[-1]["error"]
        assert answers(2)

        shutil.rmtree(folder)
        until(lambda: len(server.log.of("reload")) == 4)
        assert "no such artefact" in server.log.of("reload")[-1]["error"]
        assert answers(2)

        write(folder, "3")
        until(lambda: answers(3))


def test_the_old_one_answers_what_it_was_asked(serving, folder):
    gate = threading.Event()
    old = FakeEngine(gate=gate, seed=1)
    model = opened("fake", "1", old, folder)
    images = pictures(1)
    with running(serving, model, open_engine=open_folder, watch=0.05) as server:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(server.infer, images)
            until(lambda: len(old.batches) == 1)
            write(folder, "2")
            until(lambda: server.server.shelf.find("fake").engine is not old)
            after = server.infer(images).json()["outputs"][0]["data"]
            assert not old.closed.is_set()
            gate.set()
            before = waiting.result().json()["outputs"][0]["data"]
        assert old.closed.wait(10)
    np.testing.assert_allclose(before, expected(images, 1)[0], rtol=1e-6)
    np.testing.assert_allclose(after, expected(images, 2)[0], rtol=1e-6)


def test_reloads_under_load_give_no_error_and_no_mixture(serving, folder):
    """Every answer is that of one of the two versions, and none fails."""
    model = open_place(Place("fake", "1", folder), open_folder)
    images = pictures(3)
    rows = {seed: expected(images, seed) for seed in range(1, 7)}
    with running(serving, model, open_engine=open_folder, watch=0.02) as server:
        ended = threading.Event()

        def ask(_):
            seen, is_last = [], False
            while not is_last:
                is_last = ended.is_set()  # so that each asks once more after the last exchange
                answer = server.infer(images)
                assert answer.status_code == 200, answer.text
                found = np.reshape(answer.json()["outputs"][0]["data"], (3, -1))
                (seed,) = [s for s, row in rows.items() if np.allclose(row, found, rtol=1e-6)]
                seen.append(seed)
            assert seen == sorted(seen)  # never back to an older one
            return set(seen)

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask, i) for i in range(4)]
            for seed in range(2, 7):
                write(folder, str(seed))
                until(lambda seed=seed: server.server.shelf.find("fake").engine.seed == seed)
            ended.set()
            assert all(6 in each.result() for each in asking)


def test_it_goes_on_watching_when_a_look_fails(folder):
    log, looks = [], []

    class Failing(Reloader):
        async def look(self, *, again=False):
            looks.append(again)
            if len(looks) == 1:
                raise OSError("the log is on a full disk")

    async def scenario():
        model = open_place(Place("a", "1", folder), open_folder)
        shelf = Shelf([model], Settings(), Metrics())
        reloader = Failing(shelf, open_folder, Metrics(), Journal(log.append))
        watching = asyncio.create_task(reloader.watch(0.01))
        await asyncio.to_thread(until, lambda: len(looks) > 2)
        watching.cancel()
        await shelf.close()

    asyncio.run(scenario())
    (line,) = log
    assert "the log is on a full disk" in line


def test_a_half_written_folder_is_left_alone(folder):
    """Two looks must show the same before it is opened; a signal does not wait."""
    log = []

    async def scenario():
        model = open_place(Place("a", "1", folder), open_folder)
        shelf = Shelf([model], Settings(), Metrics())
        reloader = Reloader(shelf, open_folder, Metrics(), Journal(log.append))
        await reloader.look()
        for seed in ("2", "3"):
            write(folder, seed)
            await reloader.look()
            assert len(OPENED) == 1
        await reloader.look()
        assert shelf.find("a").engine.seed == 3
        write(folder, "4")
        await reloader.look(again=True)
        assert shelf.find("a").engine.seed == 4
        write(folder, "torn")
        for again, lines in ((False, 2), (False, 3), (False, 3), (True, 4)):
            await reloader.look(again=again)
            assert len(log) == lines
        await shelf.close()

    asyncio.run(scenario())
    assert all(engine.closed.is_set() for engine in OPENED)
