from __future__ import annotations

import csv

import pytest

from keras_classics.errors import OutputError
from keras_classics.host.files import write_atomically, write_bytes, write_table, write_text


def test_a_file_is_replaced_when_all_of_it_is_written(tmp_path):
    path = tmp_path / "model.weights.h5"
    write_bytes(path, b"old")
    with write_atomically(path, durable=True) as part:
        assert part.parent == tmp_path
        assert part.name.endswith(path.name)  # writers go by the ending
        part.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_error_the_file_is_as_it_was(tmp_path, error):
    path = tmp_path / "a"
    write_text(path, "old")
    with pytest.raises(error), write_atomically(path) as part:
        part.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_takes_nothing_is_one_line(tmp_path):
    with pytest.raises(OutputError, match="cannot be written") as told:
        write_text(tmp_path / "no\nfolder" / "a", "text")
    assert "no\\nfolder" in str(told.value)
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"a: cannot be written \(Is a directory\)\.$"):
        write_bytes(tmp_path / "a", b"")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_table_keeps_every_name(tmp_path):
    rows = [("a\rb", 1), ('quoted "c", d', 2), ("not Unicode \udce9", 3), ("line\nbreak", 4)]
    write_table(tmp_path / "t.csv", ("name", "n"), rows)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        found = list(csv.reader(file))
    assert found == [["name", "n"], *([name, str(n)] for name, n in rows)]
