from __future__ import annotations

import psutil
import pytest

from keras_classics.host import memory


@pytest.fixture
def group(tmp_path, monkeypatch):
    """A container without a limit."""
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    return tmp_path


def test_the_limit_of_a_container_counts(group):
    assert memory.total_memory() == psutil.virtual_memory().total
    assert memory.free_memory() > 2_000_000
    (group / "memory.max").write_text("3000000\n")
    assert memory.total_memory() == 3_000_000
    assert memory.free_memory() == 2_000_000


def test_the_first_version_of_control_groups(group):
    (group / "memory.max").unlink()
    (group / "memory").mkdir()
    (group / "memory" / "memory.limit_in_bytes").write_text("4000000\n")
    assert memory.total_memory() == 4_000_000


def test_what_is_kept_is_given_back_by_no_one_else(monkeypatch):
    """Large pictures are decoded while a network is trained, too."""
    asked = []

    class Library:
        def mallopt(self, option, _value):
            asked.append(option)

        def malloc_trim(self, _pad):
            asked.append("trim")

    monkeypatch.setattr(memory, "_library", Library)
    memory.give_back()
    assert asked == ["trim"]
    asked.clear()
    with memory.kept():
        memory.give_back()
        assert asked == [memory.M_MMAP_MAX, memory.M_TRIM_THRESHOLD]
    assert asked[-1] == "trim"
