from __future__ import annotations

import csv
import errno
import fcntl
import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from engines.doubles import CLASSES, Colours, Double, card
from keras_classics.classifier.prediction import Options
from keras_classics.data import fit
from keras_classics.data.image_list import ImageList
from keras_classics.data.sources import find_images
from keras_classics.engines.bulk import predict, predict_to, stream
from keras_classics.engines.journal import Asked, Journal, journal, partial_of
from keras_classics.engines.rows import Rows
from keras_classics.errors import ClassicsError, DataError, ImageError, OutputError

SMALL = Options(top_k=2, batch_size=8)
ENDINGS = (".csv", ".jsonl", ".parquet")
for_each_ending = pytest.mark.parametrize(
    "ending", [".csv", *(pytest.param(each, marks=pytest.mark.slow) for each in ENDINGS[1:])]
)
TESTS = Path(__file__).parents[1]
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
GUIDE = (TESTS.parent / "docs" / "predict.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def committed_after_each_batch(monkeypatch):
    monkeypatch.setattr("keras_classics.engines.journal.COMMIT_EVERY", 0.0)


def write_colours(folder, number, *, first=0):
    """Pictures of one colour each, no two alike."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + number):
        colour = (i % 251, i * 7 % 241, i * 31 % 239)
        Image.new("RGB", (9, 11), colour).save(folder / f"{i:04d}.png")
    return folder


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """100 pictures in two folders, and three files that are none."""
    folder = tmp_path_factory.mktemp("pictures") / "colours"
    write_colours(folder / "b", 50)
    write_colours(folder / "a", 50, first=50)
    (folder / "a" / "0060.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    (folder / "b" / "text.jpg").write_text("no picture")
    (folder / "b" / 'odd ",\n name.png').write_bytes(b"")
    return folder


def rows_of(file):
    """All rows as (path, first class, its probability, error)."""
    if file.suffix == ".csv":
        with file.open(encoding="utf-8", newline="") as stream:
            return [
                (row["path"], row["class_1"] or None, row["p_1"] or None, row["error"] or None)
                for row in csv.DictReader(stream)
            ]
    if file.suffix == ".jsonl":
        rows = map(json.loads, file.read_text().splitlines())
        return [(r["path"], r.get("class"), r.get("confidence"), r["error"]) for r in rows]
    table = pq.read_table(file).to_pylist()
    return [(row["path"], row["class_1"], row["p_1"], row["error"]) for row in table]


@for_each_ending
def test_a_row_an_image_in_the_order_of_find_images(colours, tmp_path, ending):
    out = tmp_path / f"out{ending}"
    told = []
    written = predict_to(out, Double(), colours, SMALL, progress=lambda *n: told.append(n))
    assert (written.images, written.done, written.unreadable, written.signal) == (102, 102, 3, None)
    rows = rows_of(out)
    assert [row[0] for row in rows] == [str(source.path) for source in find_images(colours)]
    errors = {Path(path).name: error for path, _, _, error in rows if error}
    assert errors == {
        "0060.png": errors["0060.png"],
        "text.jpg": "not an image",
        'odd ",\n name.png': "empty file",
    }
    path, name, p, _ = rows[0]
    pixel = np.array(Image.open(path).getpixel((0, 0)), np.float64) * 64 + 1
    assert name == CLASSES[pixel.argmax()]
    assert float(p) == pytest.approx(pixel.max() / pixel.sum(), abs=1e-6)
    assert told[0] == (0, 102)
    assert told[-1] == (102, 102)
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name]


def test_what_a_file_of_each_kind_looks_like(colours, tmp_path):
    files = {ending: tmp_path / f"out{ending}" for ending in ENDINGS}
    for file in files.values():
        predict_to(file, Double(), [colours / "a" / "0050.png", colours / "b/text.jpg"], SMALL)
    header, good, bad = files[".csv"].read_text().splitlines()
    assert header == "path,class_1,p_1,class_2,p_2,accepted,error"
    assert good.startswith(f"{colours}/a/0050.png,blue,0.42")
    assert bad == f"{colours}/b/text.jpg,,,,,,not an image"
    first, second = map(json.loads, files[".jsonl"].read_text().splitlines())
    assert list(first) == ["path", "class", "confidence", "accepted", "top", "error"]
    assert second == {"path": f"{colours}/b/text.jpg", "error": "not an image"}
    table = pq.read_table(files[".parquet"])
    assert [str(field.type) for field in table.schema] == [
        "string", "string", "float", "string", "float", "bool", "string"
    ]  # fmt: skip
    assert table.column_names == header.split(",")
    assert table["p_1"].to_pylist()[0] == np.float32(first["confidence"])


def test_no_more_classes_than_there_are(colours, tmp_path):
    out = tmp_path / "out.csv"
    predict_to(out, Double(), colours / "a", Options(top_k=9))
    assert out.read_text().splitlines()[0].endswith("class_3,p_3,accepted,error")


def test_an_archive_stands_for_its_pictures(colours, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "x"), "zip", colours))
    of_archive, of_folder = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    assert predict_to(of_archive, Double(), archive, SMALL).unreadable == 3
    predict_to(of_folder, Double(), colours, SMALL)
    assert of_archive.read_text().replace(str(archive), str(colours)) == of_folder.read_text()


def test_a_name_that_is_no_text(tmp_path):
    folder = write_colours(tmp_path / "data", 1)
    name = os.fsencode(folder) + b"/\xff.png"
    os.rename(os.fsencode(folder / "0000.png"), name)  # noqa: PTH104 - bytes
    for ending in ENDINGS:
        predict_to(tmp_path / f"out{ending}", Double(), folder)
    assert (tmp_path / "out.csv").read_bytes().splitlines()[1].startswith(name + b",")
    assert json.loads((tmp_path / "out.jsonl").read_text())["path"] == os.fsdecode(name)
    assert rows_of(tmp_path / "out.parquet")[0][0].endswith("\\udcff.png")


@for_each_ending
def test_a_class_whose_name_is_no_text(colours, tmp_path, ending):
    """As that of the folder may be that the class is called after."""
    engine = Colours()
    engine.card = card(classes=(os.fsdecode(b"caf\xe9"),) * 3)
    out = tmp_path / f"out{ending}"
    stopped(out, colours / "a" / "0050.png", engine)
    if ending == ".csv":
        assert out.read_bytes().splitlines()[1].split(b",")[1] == b"caf\xe9"
    else:
        wanted = {".jsonl": os.fsdecode(b"caf\xe9"), ".parquet": "caf\\udce9"}[ending]
        assert rows_of(out)[0][1] == wanted


def test_a_name_with_the_end_of_a_line(tmp_path):
    folder = write_colours(tmp_path / "data", 2)
    for i, end in enumerate(("\r", "\n")):
        (folder / f"{i:04d}.png").rename(folder / f"{i}a{end}b.png")
    out = tmp_path / "out.csv"
    predict_to(out, Double(), folder)
    assert [row[0] for row in rows_of(out)] == [f"{folder}/0a\rb.png", f"{folder}/1a\nb.png"]
    assert out.read_bytes().splitlines(keepends=True)[0].endswith(b"error\n")


def test_parquet_in_groups_of_rows(colours, tmp_path, monkeypatch):
    """As of millions of images, of which one group is held at a time."""
    monkeypatch.setattr("keras_classics.engines.rows.ROW_GROUP", 40)
    grouped, other = tmp_path / "out.parquet", tmp_path / "out.jsonl"
    predict_to(grouped, Double(), colours, SMALL)
    predict_to(other, Double(), colours, SMALL)
    groups = pq.ParquetFile(grouped).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [40, 40, 22]
    rounded = [(*row[:2], row[2] and np.float32(row[2]), row[3]) for row in rows_of(other)]
    assert rows_of(grouped) == rounded


@pytest.mark.parametrize(("ending", "seed"), [(".csv", 1), (".jsonl", 2), (".parquet", 3)])
def test_killed_at_ten_random_moments_the_file_is_the_same(colours, tmp_path, ending, seed):
    result = subprocess.run(
        [
            sys.executable,
            TESTS / "engines" / "killed_predictions.py",
            colours,
            tmp_path,
            ending,
            "10",
            str(seed),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=ENV,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["left"] == [f"broken{ending}", f"whole{ending}"]
    # Some were killed when rows were there, and not one and all at the same place.
    assert len(found["moments"]) >= 8
    assert len(set(found["moments"]) - {0}) >= 4
    whole, broken = (tmp_path / f"{name}{ending}" for name in ("whole", "broken"))
    assert broken.read_bytes() == whole.read_bytes()
    assert len(rows_of(whole)) == 102


@pytest.fixture(scope="module")
def exported(converted, artefact):
    """An export to OpenVINO."""
    return converted(artefact, "openvino")[0]


WITH_OPENVINO = """
import resource, sys
from keras_classics.engines import bulk, journal
journal.COMMIT_EVERY = 0.0
_, export, pictures, out, room = sys.argv
if int(room):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(room), hard))
tell = lambda done, total: print(done, flush=True)
bulk.predict_to(out, export, pictures, bulk.Options(batch_size=2), progress=tell)
"""


def test_kills_and_a_full_disk_with_openvino(exported, colours, tmp_path):
    """Rows with all digits are the same, and errors come out though threads ask the engine."""
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    predict_to(whole, str(exported), colours, Options(batch_size=2))

    def begin(room=0):
        command = [sys.executable, "-c", WITH_OPENVINO, exported, colours, out, str(room)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    before = 0
    for _ in range(2):
        with begin() as process:
            told = map(int, process.stdout)
            assert before <= next(told) < 100  # it goes on
            before = next(told)
            process.kill()
        assert process.returncode == -signal.SIGKILL
    for room, code in ((partial_of(out).stat().st_size + 1000, 1), (0, 0)):
        with begin(room) as process:
            try:
                said = process.communicate(timeout=60)[1]
            finally:
                process.kill()  # it hung
        assert process.returncode == code, said
        assert (f"{out}: cannot be written (disk I/O error)" in said) is bool(room)
    assert out.read_bytes() == whole.read_bytes()


class Closed(Colours):
    """Remembers how many requests ran when it was closed, which no engine stands."""

    def __init__(self):
        super().__init__()
        self.begun, self.ended, self.ran = 0, 0, None
        self.lock = threading.Lock()

    def probabilities(self, images):
        with self.lock:
            self.begun += 1
            self.seconds = 0.1 * (self.begun > 1)  # the first answer comes while others run
        rows = super().probabilities(images)
        with self.lock:
            self.ended += 1
        return rows

    def close(self):
        self.ran = self.begun - self.ended


@pytest.mark.parametrize("where", ["append", "commit", "progress", "each"])
def test_an_engine_is_closed_when_nobody_asks_it_any_more(colours, tmp_path, monkeypatch, where):
    """Whoever holds the error of the rows holds the frames that were to use the answers."""
    engine = Closed()

    def fail(*told):
        if where in ("append", "commit") or told[0]:
            # The request that comes next runs.
            while engine.begun < 2:
                time.sleep(0.001)
            raise RuntimeError("no")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="no"):
        if where in ("append", "commit"):
            original = getattr(Journal, where)
            patch.setattr(
                Journal, where, lambda here, *row: fail() if here.certain else original(here, *row)
            )
        if where == "each":
            ENGINE[:] = [engine]
            predict(Opened(), colours, SMALL, progress=fail)
        else:
            stopped(
                tmp_path / "out.csv",
                colours,
                engine,
                progress=fail if where == "progress" else None,
            )
    assert engine.ran == 0


class Stopped(Colours):
    """Sends this process a signal when it is asked for the batch of a number."""

    def __init__(self, at, number):
        super().__init__()
        self.at, self.number = at, number
        self.requests = 1

    def probabilities(self, images):
        if len(self.asked) == self.at:
            os.kill(os.getpid(), self.number)
        return super().probabilities(images)


class Opened(Double):
    """A model with an engine that is given."""

    def open(self, **_):
        return ENGINE[0]


ENGINE = []


def stopped(out, paths, engine, options=SMALL, **more):
    ENGINE[:] = [engine]
    return predict_to(out, Opened(), paths, options, **more)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@for_each_ending
def test_a_signal_leaves_what_is_done_and_the_same_call_goes_on(colours, tmp_path, ending, number):
    whole, out = tmp_path / f"whole{ending}", tmp_path / f"out{ending}"
    predict_to(whole, Double(), colours, SMALL)
    before = signal.getsignal(number)
    written = stopped(out, colours, Stopped(5, number))
    assert written.signal == number
    assert 0 < written.done < 102
    assert not out.exists()
    assert signal.getsignal(number) is before
    begun = []
    ENGINE[:] = [Colours()]
    written = predict_to(out, Opened(), colours, SMALL, begins=lambda _, n: begun.append(n))
    assert written.signal is None
    assert begun == [written.images - sum(ENGINE[0].asked) - 3 + errors_before(whole, begun[0])]
    assert out.read_bytes() == whole.read_bytes()


def errors_before(file, number):
    return sum(row[3] is not None for row in rows_of(file)[:number])


def test_files_that_change_vanish_or_appear_in_between(tmp_path):
    """The list is taken once: no row is lost or doubled, and what is gone is said."""
    folder = write_colours(tmp_path / "data", 40)
    listed = [str(source.path) for source in find_images(folder)]
    out = tmp_path / "out.jsonl"
    assert 8 <= stopped(out, folder, Stopped(3, signal.SIGINT)).done <= 32
    (folder / "0001.png").unlink()  # it has its row
    (folder / "0038.png").unlink()
    Image.new("RGB", (9, 11), (0, 0, 255)).save(folder / "0039.png")
    write_colours(folder, 3, first=90)
    (folder / "0000a.png").write_bytes((folder / "0002.png").read_bytes())
    assert predict_to(out, Opened(), folder, SMALL).unreadable == 1
    rows = rows_of(out)
    assert [row[0] for row in rows] == listed
    assert [(row[0], row[3]) for row in rows if row[3]] == [(listed[38], "no such file")]
    assert rows[39][1] == "blue"


def test_an_archive_that_vanishes_in_between(colours, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "x"), "zip", colours))
    out = tmp_path / "out.csv"
    stopped(out, archive, Stopped(3, signal.SIGINT))
    moved = archive.rename(tmp_path / "y.zip")
    with pytest.raises(DataError, match=r"x\.zip: cannot be read"):
        predict_to(out, Double(), archive, SMALL)
    moved.rename(archive)
    predict_to(out, Double(), archive, SMALL)
    assert len(rows_of(out)) == 102


def test_another_job_is_refused_and_may_be_given_up(colours, tmp_path):
    out = tmp_path / "out.csv"
    stopped(out, colours, Stopped(5, signal.SIGINT))
    for model, paths, options, differs in (
        (Double(), colours / "a", SMALL, "paths"),
        (Double(), colours, Options(top_k=1, batch_size=8), "top"),
        (Double(path="other"), colours, SMALL, "model"),
        (Double(engine="keras"), colours, SMALL, "engine"),
        (Double(precision="f32"), colours, SMALL, "precision"),
    ):
        message = rf"out\.csv\.partial: is another unfinished job \(not the same {differs}\)"
        with pytest.raises(OutputError, match=message):
            predict_to(out, model, paths, options)
    predict_to(out, Double(), colours / "a", SMALL, overwrite=True)
    assert len(rows_of(out)) == 50


def test_relative_paths_are_those_of_a_folder(colours, tmp_path, monkeypatch):
    monkeypatch.chdir(colours.parent)
    for paths in ("colours", "colours/**/*", colours):
        out = tmp_path / "out.csv"
        stopped(out, paths, Stopped(5, signal.SIGINT))
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            if paths != colours:  # the same words mean other files
                with pytest.raises(OutputError, match=r"unfinished job \(not the same paths\)"):
                    predict_to(out, Double(), paths, SMALL)
                patch.undo()
            assert predict_to(out, Double(), paths, SMALL).done == 102
        out.unlink()


def test_names_that_are_too_long(colours, tmp_path):
    for length in (250, 300):  # of the folder beside it, and of the file itself
        with pytest.raises(OutputError, match=r"nn\.csv: cannot be written \(File name too long\)"):
            predict_to(tmp_path / f"{'n' * length}.csv", Double(), colours, SMALL)
    out = tmp_path / "out.csv"
    with pytest.raises(DataError, match=r"nnn: cannot be read \(File name too long\)"):
        predict_to(out, Double(), "n" * 300, SMALL)
    # A pattern may be longer than what it matches.
    assert predict_to(out, Double(), f"{colours}/[{'ab' * 150}]/*.png", SMALL).done == 101


def test_overwriting_goes_on_too(colours, tmp_path):
    out = tmp_path / "out.csv"
    out.write_text("mine")
    with pytest.raises(OutputError, match=r"out\.csv: exists; choose another -o, or --overwrite"):
        predict_to(out, Double(), colours, SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv"]
    done = stopped(out, colours, Stopped(5, signal.SIGINT), overwrite=True).done
    assert out.read_text() == "mine"
    begun = []
    predict_to(
        out, Double(), colours, SMALL, overwrite=True, begins=lambda _, first: begun.append(first)
    )
    assert begun == [done]
    assert len(rows_of(out)) == 102


def test_overwriting_goes_on_with_what_did_not(colours, tmp_path):
    out = tmp_path / "out.csv"
    done = stopped(out, colours, Stopped(5, signal.SIGINT)).done
    out.write_text("of another")
    with pytest.raises(OutputError, match=r"out\.csv: exists"):
        predict_to(out, Double(), colours, SMALL)
    begun = []
    predict_to(
        out, Double(), colours, SMALL, overwrite=True, begins=lambda _, first: begun.append(first)
    )
    assert begun == [done]
    assert len(rows_of(out)) == 102


@pytest.mark.parametrize("when", ["listing", "opening"])
def test_a_signal_before_the_first_row_leaves_nothing(colours, tmp_path, monkeypatch, when):
    class Slow(Double):
        def open(self, **_):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(9)

    def slow(*_):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(9)

    if when == "listing":
        monkeypatch.setattr(ImageList, "add", slow)
    written = predict_to(tmp_path / "out.csv", Slow(), colours, SMALL)
    assert (written.images, written.done, written.signal) == (0, 0, signal.SIGINT)
    assert not list(tmp_path.iterdir())


@for_each_ending
def test_killed_between_the_last_row_and_the_end(colours, tmp_path, monkeypatch, ending):
    """Before the file is in its place, and before the journal is removed."""
    whole = tmp_path / f"whole{ending}"
    predict_to(whole, Double(), colours, SMALL)
    for where in ("finish", "discard"):
        out = tmp_path / f"{where}{ending}"

        def killed(*_):
            raise RuntimeError("killed")

        with monkeypatch.context() as patch:
            patch.setattr(Journal, where, killed)
            with pytest.raises(RuntimeError):
                predict_to(out, Double(), colours, SMALL)
        assert out.exists() == (where == "discard")
        if where == "finish":  # what a process leaves that tidies nothing up
            partial_of(out).with_name(f"{partial_of(out).name}-whole").write_text("half")
        written = stopped(out, colours, None)  # no engine is asked
        assert (written.done, written.unreadable) == (102, 3)
        assert out.read_bytes() == whole.read_bytes()
        out.unlink()
        assert [path.name for path in tmp_path.iterdir()] == [whole.name]


def test_another_file_in_the_place_of_the_finished_one(colours, tmp_path, monkeypatch):
    """It was killed when all was done but removing the journal; then came somebody else."""
    out = tmp_path / "out.csv"
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "discard", lambda _: None)
        predict_to(out, Double(), colours, SMALL)
    out.write_text("mine")
    with pytest.raises(OutputError, match=r"out\.csv: exists"):
        predict_to(out, Double(), colours, SMALL)
    assert out.read_text() == "mine"
    assert stopped(out, colours, None, overwrite=True).done == 102
    assert len(rows_of(out)) == 102


def test_anew_without_the_journal(colours, tmp_path):
    """A process was killed amid a transaction; what it left beside the journal does no harm."""
    out = tmp_path / "out.csv"
    stopped(out, colours, Stopped(5, signal.SIGINT))
    with sqlite3.connect(partial_of(out)) as database:
        database.execute("PRAGMA cache_spill = 1")
        database.execute("PRAGMA cache_size = 1")
        database.execute("UPDATE batches SET rows = zeroblob(9999)")
        hot = partial_of(out).with_name(f"{partial_of(out).name}-journal")
        left = hot.read_bytes()
        database.rollback()
    database.close()
    hot.write_bytes(left)
    partial_of(out).unlink()
    begun = []
    predict_to(out, Double(), colours, SMALL, begins=lambda _, first: begun.append(first))
    assert begun == [0]
    assert len(rows_of(out)) == 102
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what is open")
@for_each_ending
def test_what_windows_asks_for(colours, tmp_path, monkeypatch, ending):
    """No file is renamed or removed while it is open, and none flushed that is only read."""
    fsync, seen = os.fsync, []

    def checked(name):
        original = getattr(Path, name)

        def call(path, *more, **options):
            links = Path("/proc/self/fd").iterdir()
            assert str(path) not in [str(link.readlink()) for link in links if link.exists()]
            seen.append((name, path.name))
            return original(path, *more, **options)

        return call

    def checked_fsync(number):
        if stat.S_ISREG(os.fstat(number).st_mode):
            assert fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        fsync(number)

    for name in ("replace", "unlink"):
        monkeypatch.setattr(Path, name, checked(name))
    monkeypatch.setattr(os, "fsync", checked_fsync)
    predict_to(tmp_path / f"out{ending}", Double(), colours, SMALL)
    partial = f"out{ending}.partial"
    assert seen == [
        ("replace", f"{partial}-whole"),
        ("unlink", f"{partial}-journal"),
        ("unlink", partial),
    ]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[:-4096], "corrupt"),
        (lambda data: data[:4096] + b"?" * 4096 + data[8192:], "corrupt"),
        (lambda data: data[:60] + b"\0\0\0\x01" + data[64:], "of another version"),
    ],
)
def test_a_torn_job_is_refused_and_may_be_given_up(colours, tmp_path, spoil, message):
    out = tmp_path / "out.csv"
    stopped(out, colours, Stopped(5, signal.SIGINT))
    spoilt = spoil(partial_of(out).read_bytes())
    partial_of(out).write_bytes(spoilt)
    with pytest.raises(OutputError, match=rf"out\.csv\.partial: {message}, .*--overwrite\.$"):
        predict_to(out, Double(), colours, SMALL)
    assert partial_of(out).read_bytes() == spoilt
    predict_to(out, Double(), colours, SMALL, overwrite=True)
    assert len(rows_of(out)) == 102


@pytest.mark.parametrize("kind", ["folder", "text", "database"])
def test_something_of_that_name_that_is_not_ours(colours, tmp_path, kind):
    out = tmp_path / "out.csv"
    diary = partial_of(out)
    if kind == "folder":
        diary.mkdir()
        diary /= "diary.txt"
    if kind == "database":
        with closing(sqlite3.connect(diary)) as database:
            database.execute("CREATE TABLE days (words TEXT)")
    else:
        diary.write_text("dear")
    before = diary.read_bytes()
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"out\.csv\.partial: is in the way"):
            predict_to(out, Double(), colours, SMALL, overwrite=overwrite)
    assert diary.read_bytes() == before


def test_two_processes_and_one_file(colours, tmp_path):
    out = tmp_path / "out.csv"
    asked = Asked("", "", None, "", 1)
    with (
        journal(out, asked, overwrite=False),
        pytest.raises(OutputError, match=r"out\.csv: another process is writing it"),
    ):
        predict_to(out, Double(), colours, SMALL, overwrite=True)
    assert predict_to(out, Double(), colours, SMALL).done == 102


@contextmanager
def room(size):
    """No file may grow beyond so many bytes."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


@for_each_ending
def test_a_full_disk(colours, tmp_path, ending):
    """Nothing certain is lost, and with room the same call goes on."""
    whole, out = tmp_path / f"whole{ending}", tmp_path / f"out{ending}"
    predict_to(whole, Double(), colours, SMALL)
    done = stopped(out, colours, Stopped(3, signal.SIGINT)).done
    size = partial_of(out).stat().st_size
    with room(size + 5000), pytest.raises(OutputError) as caught:
        predict_to(out, Double(), colours, SMALL)
    assert f"{out}: cannot be written (disk I/O error)" in str(caught.value)
    assert str(caught.value).endswith("images are done; run the same command to resume.")
    assert not out.exists()
    begun = []
    predict_to(out, Double(), colours, SMALL, begins=lambda _, first: begun.append(first))
    assert f"; {begun[0]} images" in str(caught.value)
    assert done <= begun[0] < 102
    assert out.read_bytes() == whole.read_bytes()


def test_a_disk_that_is_full_when_the_file_is_made(colours, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "out.csv"
    with (
        monkeypatch.context() as patch,
        pytest.raises(OutputError, match=r"No space left on device\); 102 images are done; run"),
    ):
        patch.setattr(Rows, "write", full)
        predict_to(out, Double(), colours, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv.partial"]
    assert stopped(out, colours, None).done == 102  # no engine is asked
    assert len(rows_of(out)) == 102


def test_a_full_disk_before_the_first_row(colours, tmp_path):
    message = r"out\.csv: cannot be written \(disk I/O error\); nothing is done yet\.$"
    with room(4096), pytest.raises(OutputError, match=message):
        predict_to(tmp_path / "out.csv", Double(), colours, SMALL)
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_written(colours, tmp_path):
    with pytest.raises(ClassicsError, match=r"out\.txt: ends with none of \.csv, \.jsonl, \.par"):
        predict_to(tmp_path / "out.txt", Double(), colours)
    with pytest.raises(OutputError, match="cannot be written"):
        predict_to(tmp_path / "none" / "out.csv", Double(), colours)
    with pytest.raises(OutputError, match="lies in the folder of the images"):
        predict_to(colours / "out.csv", Double(), colours)
    with pytest.raises(OutputError, match="cannot be written"):
        predict_to("/proc/out.csv", Double(), colours)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        predict_to(tmp_path / "folder.csv", Double(), colours)


@pytest.mark.parametrize("paths", [[], [""], ["nowhere"], "empty", "*.webp"])
def test_nothing_to_predict_leaves_nothing(tmp_path, monkeypatch, paths):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(DataError):
        predict_to("out.csv", Double(), paths)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
    with pytest.raises(DataError):
        predict(Double(), paths)


def test_pyarrow_is_not_installed(colours, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ClassicsError, match=r'pyarrow is not installed: pip install -e "\.\[par'):
        predict_to(tmp_path / "out.parquet", Double(), colours)


def test_numbers_that_make_no_sense():
    for wrong in ({"top_k": 0}, {"batch_size": 0}, {"threads": 0}):
        with pytest.raises(ValueError, match="at least 1 is needed"):
            Options(**wrong)


def test_into_memory_as_into_a_file(colours, tmp_path):
    told = []
    predictions = predict(Double(), colours, SMALL, progress=lambda *n: told.append(n))
    predict_to(tmp_path / "out.jsonl", Double(), colours, SMALL)
    rows = rows_of(tmp_path / "out.jsonl")
    assert [(str(p.path), p.confidence) for p in predictions] == [
        (row[0], row[2]) for row in rows if not row[3]
    ]
    assert [error.reason for error in predictions.skipped] == [row[3] for row in rows if row[3]]
    assert told[-1] == (102, 102)
    with pytest.raises(DataError, match=r"none of the 1 images can be read; first .*text\.jpg"):
        predict(Double(), colours / "b/text.jpg")


def test_answers_come_before_all_is_decoded(tmp_path):
    """No more than a few batches are read ahead."""
    folder = write_colours(tmp_path / "data", 64)
    with closing(stream(Double(), folder, Options(batch_size=4))) as answers:
        assert [found.path.name for found in next(answers)] == [f"{i:04d}.png" for i in range(4)]
        (folder / "0063.png").unlink()
        *_, last = answers
    assert isinstance(last[-1], ImageError)


def test_it_decodes_while_the_network_runs(tmp_path, monkeypatch):
    """The first batch in the network and a picture of the second one wait for each other."""
    folder = write_colours(tmp_path / "data", 16)
    both = threading.Barrier(2, timeout=30)

    class Meeting(Colours):
        requests = 1

        def probabilities(self, images):
            if not self.asked:
                both.wait()
            return super().probabilities(images)

    def fit_bytes(data, path, *shape):
        if path.name == "0004.png":
            both.wait()
        return fit.fit_bytes(data, path, *shape)

    monkeypatch.setattr("keras_classics.classifier.prediction.fit_bytes", fit_bytes)
    ENGINE[:] = [Meeting()]
    assert len(predict(Opened(), folder, Options(batch_size=4, threads=1))) == 16


def test_an_engine_that_fails_ends_it_and_its_threads(colours):
    class Failing(Colours):
        def probabilities(self, _images):
            raise RuntimeError("no")

    ENGINE[:] = [Failing()]
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="no"):
        predict(Opened(), colours, SMALL)
    time.sleep(0.05)
    assert threading.active_count() == before


MEMORY = """
import resource, sys
from engines.doubles import Double
from keras_classics.engines import bulk, journal
journal.COMMIT_EVERY = 0.0
_, folder, out = sys.argv
bulk.predict_to(out, Double(), folder, bulk.Options(batch_size=16, threads=2))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@for_each_ending
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path, ending):
    (picture,) = write_colours(tmp_path / "one", 1).iterdir()
    peaks = []
    for number in (400, 8000):
        folder = tmp_path / str(number)
        folder.mkdir()
        for i in range(number):
            (folder / f"a long name, as a picture of a long job has {i:05d}.png").hardlink_to(
                picture
            )
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, folder, tmp_path / f"{number}{ending}"],
            capture_output=True,
            text=True,
            check=False,
            env=ENV,
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
        assert len(rows_of(tmp_path / f"{number}{ending}")) == number
    few, many = peaks  # KiB
    # Of one folder at most 50,000 names are held, and of Parquet one group of rows.
    assert many - few < {".parquet": 32_000}.get(ending, 8_000)


def test_what_the_guide_shows_of_python(exported, artefact, colours, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(artefact, "runs/photos-resnet50")
    for name in ("openvino-f32", "openvino-int8"):  # the precision makes no difference here
        shutil.copytree(exported, Path(run, "exports", name))
    Path("new").mkdir()
    for path in sorted((colours / "a").iterdir())[:3]:
        Image.open(path).save(f"new/{path.stem}.jpg")
    names = {"images": np.zeros((2, 32, 32, 3), np.uint8)}
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    exec(example, names)
    assert names["probabilities"].shape == (2, 3)
    rows = rows_of(Path("predictions.parquet"))
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "3 0"
    assert [line.split()[:2] for line in told[1:]] == [[row[0], row[1]] for row in rows]


@pytest.mark.parametrize(
    ("codes", "runs"), [(["kill -9 $$", "exit 143", ""], 3), (["exit 130"], 1), (["exit 2"], 1)]
)
def test_a_script_repeats_the_command_of_the_guide(tmp_path, codes, runs):
    """After a kill it does, but neither after Ctrl-C nor after an error."""
    (line,) = re.findall(r"^until .*$", GUIDE, flags=re.MULTILINE)
    program = tmp_path / "classics"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/runs\ncase $(wc -l < {tmp_path}/runs) in\n'
        + "".join(f"{i}) {code} ;;\n" for i, code in enumerate(codes, 1))
        + "esac\n"
    )
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-c", line],
        env={**os.environ, "PATH": path},
        check=True,
        timeout=30,
        capture_output=True,
    )
    asked = (tmp_path / "runs").read_text().splitlines()
    assert asked == ["predict runs/photos-resnet50 new/ -o predictions.parquet"] * runs
