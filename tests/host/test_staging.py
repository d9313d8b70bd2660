from __future__ import annotations

import os
import shutil
import sys

import pytest

from keras_classics.errors import OutputError
from keras_classics.host.staging import LOCK, check_space, file_stem, free_name, staging, taken


def test_published_only_when_whole(tmp_path):
    out = tmp_path / "deep" / "run"
    with staging(out) as stage:
        (stage.folder / "file").write_text("whole")
        assert not out.exists()
        stage.publish()
        stage.kept = True
    assert (out / "file").read_text() == "whole"
    assert list(out.parent.iterdir()) == [out]


def test_an_error_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt), staging(tmp_path / "run") as stage:
        (stage.folder / "file").write_text("torn")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_may_be_taken_a_full_one_may_not(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    with staging(out) as stage:
        (stage.folder / "file").write_text("1")
        stage.publish()
        stage.kept = True
    with pytest.raises(OutputError, match=r"run: exists.*--out"), staging(out):
        pass
    assert (out / "file").read_text() == "1"


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(OutputError, match="exists"), staging(tmp_path / "run"):
        pass
    with (
        pytest.raises(OutputError, match="cannot be written"),
        staging(tmp_path / "run" / "deeper"),
    ):
        pass
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc refuses even the superuser")
def test_no_permission():
    with pytest.raises(OutputError, match=r"/proc/run: cannot be written"), staging_at("/proc/run"):
        pass


def staging_at(place):
    from pathlib import Path

    return staging(Path(place))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_write_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written"), staging(tmp_path / "run"):
        pass
    tmp_path.chmod(0o700)


def test_too_little_space_is_said_in_figures(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    check_space(tmp_path, free // 2)
    with pytest.raises(OutputError, match=r"needs [\d,]+ MB, [\d,]+ MB are free"):
        check_space(tmp_path, free * 2)


def test_safety_is_elsewhere_and_publishes_there(tmp_path):
    with staging(tmp_path / "run") as stage:
        stage.publish()
        stage.move_to_safety()
        (stage.folder / "file").write_text("saved")
        stage.kept = True
    try:
        assert stage.out.parent != tmp_path
        assert stage.out.name == "run"
        assert (stage.out / "file").read_text() == "saved"
        assert list(tmp_path.iterdir()) == []
    finally:
        shutil.rmtree(stage.out.parent)


def test_folders_made_on_the_way_go_with_an_unpublished_run(tmp_path):
    with pytest.raises(KeyboardInterrupt), staging(tmp_path / "a" / "b" / "run"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_an_empty_folder_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with staging(tmp_path / "link") as stage:
        (stage.folder / "file").write_text("whole")
        stage.publish()
        stage.kept = True
    assert (tmp_path / "real" / "file").read_text() == "whole"
    assert stage.out == tmp_path / "link"


def test_places_that_are_no_folder_of_a_run(tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="current folder"), staging(Path()):
        pass
    with pytest.raises(OutputError, match="cannot be written"), staging(tmp_path / ("x" * 300)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_free_names_are_numbered(tmp_path):
    assert free_name(tmp_path, "run") == tmp_path / "run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run-2").mkdir()
    assert free_name(tmp_path, "run") == tmp_path / "run-3"


def test_a_published_folder_in_which_nothing_is_kept_goes(tmp_path):
    with pytest.raises(KeyboardInterrupt), staging(tmp_path / "run") as stage:
        (stage.folder / "file").write_text("1")
        stage.publish()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_files_take_their_places_when_all_are_written(tmp_path):
    with staging(tmp_path / "run") as stage:
        (stage.folder / "a").write_text("old")
        with pytest.raises(OSError, match="full"), stage.whole(last="a") as folder:
            (folder / "a").write_text("new")
            raise OSError("full")
        assert [path.name for path in stage.folder.iterdir()] == ["a"]
        assert (stage.folder / "a").read_text() == "old"
        with stage.whole(last="a") as folder:
            (folder / "a").write_text("new")
            (folder / "b").write_text("new")
        assert sorted(path.name for path in stage.folder.iterdir()) == ["a", "b"]
        assert (stage.folder / "a").read_text() == "new"


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not(tmp_path):
    import subprocess

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".run.partial-{dead.pid}").mkdir()
    (tmp_path / f".run.partial-{os.getppid()}").mkdir()
    (tmp_path / ".other.partial-1").mkdir()
    with staging(tmp_path / "run"):
        pass
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted([f".run.partial-{os.getppid()}", ".other.partial-1"])


def test_a_run_belongs_to_one_process(tmp_path):
    with taken(tmp_path):
        with (
            pytest.raises(OutputError, match="another process is training this run"),
            taken(tmp_path),
        ):
            pass
        assert (tmp_path / LOCK).exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("cats", "cats"),
        (" .a b. ", "a b"),
        ("..", "unnamed"),
        ("a\x1b[31m\n\udcffb\u202e", "a[31mb"),
        ("x" * 300, "x" * 160),
        ("日" * 100, "日" * 53),
        ("é" * 120, "é" * 80),
    ],
)
def test_names_derived_from_others_suit_every_file_system(tmp_path, name, stem):
    assert file_stem(name) == stem
    assert free_name(tmp_path, name) == tmp_path / stem
    (tmp_path / stem).mkdir()
    assert free_name(tmp_path, name) == tmp_path / f"{stem}-2"
