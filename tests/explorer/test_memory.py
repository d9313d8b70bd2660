from __future__ import annotations

import threading

from keras_classics.explorer.memory import Memory


def memory(count=3, size=10):
    return Memory(count=count, size=size, size_of=len)


def test_what_was_not_used_for_longest_goes_first():
    kept = memory()
    for key in "abc":
        kept.put(key, key)
    assert kept.get("a") == "a"
    kept.put("d", "d")
    assert kept.get("b") is None
    assert kept.values() == ["c", "a", "d"]


def test_the_bytes_of_all_are_bounded():
    kept = memory()
    kept.put(1, "xxxxxx")
    kept.put(2, "yyyyyy")
    assert kept.get(1) is None
    assert kept.bytes == 6
    kept.put(2, "y")
    assert kept.bytes == 1
    kept.put(3, "z" * 11)  # larger than all there is: nothing makes room for it
    assert kept.get(3) is None
    assert kept.get(2) == "y"
    assert kept.bytes == 1


def test_a_value_is_made_once():
    kept, made = memory(), []
    for _ in range(3):
        assert kept.of("a", lambda: made.append(1) or "value") == "value"
    assert made == [1]


def test_many_threads():
    kept = memory(count=5, size=100)

    def work(number):
        for i in range(300):
            kept.put((number, i % 7), "x" * (i % 11))
            kept.get((number, 3))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept.bytes == sum(map(len, kept.values())) <= 100
    assert len(kept.values()) <= 5
