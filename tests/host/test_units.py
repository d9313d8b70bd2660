from __future__ import annotations

import pytest

from keras_classics.host.units import counted, short


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1 k"),
        (2_366, "2.37 k"),
        (999_499, "999 k"),
        (999_500, "1 M"),  # and not 1e+03 k
        (25_636_712, "25.6 M"),
        (999_600_000, "1 G"),
        (15_470_264_320, "15.5 G"),
    ],
)
def test_numbers_have_three_digits(number, words):
    assert short(number) == words


@pytest.mark.parametrize(("number", "words"), [(0, "0 B"), (512, "512 B"), (102_400_000, "102 MB")])
def test_a_unit_follows_its_prefix(number, words):
    assert short(number, "B") == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 epochs"), (1, "1 epoch"), (2, "2 epochs"), (20000, "20,000 epochs")],
)
def test_a_number_of_things(number, words):
    assert counted(number, "epoch") == words
