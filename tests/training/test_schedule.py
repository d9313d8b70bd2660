from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_classics.training.recipe import Schedule
from keras_classics.training.schedule import learning_rate, plateau_factor


def rates(schedule, steps, epoch=10, highest=1.0):
    found = learning_rate(schedule, highest, steps=steps, epoch=epoch)
    return [float(keras.ops.convert_to_numpy(found(step))) for step in range(steps)]


def test_cosine_rises_then_falls_to_zero():
    found = rates(Schedule(name="cosine", warm_up=0.2, warm_up_from=0.05), 100)
    assert found[0] == pytest.approx(0.05)
    assert np.argmax(found) == 20
    assert found[20] == pytest.approx(1.0)
    assert found[60] == pytest.approx(0.5)
    assert found[99] < 0.001


def test_cosine_without_warm_up_begins_at_the_top():
    found = rates(Schedule(name="cosine"), 100)
    assert found[0] == pytest.approx(1.0)
    assert found[50] == pytest.approx(0.5)


def test_exponential_falls_in_steps_as_inception_v3_s_paper():
    found = rates(Schedule(name="exponential", rate=0.94, every=2.0), 60, highest=0.045)
    assert found[:20] == pytest.approx([0.045] * 20)
    assert found[20:40] == pytest.approx([0.045 * 0.94] * 20)
    assert found[40:] == pytest.approx([0.045 * 0.94**2] * 20)


def test_exponential_after_a_warm_up():
    found = rates(
        Schedule(name="exponential", rate=0.5, every=1.0, warm_up=0.1, warm_up_from=0.0), 50
    )
    assert found[:5] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    assert found[5:15] == pytest.approx([1.0] * 10)
    assert found[15] == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["plateau", "constant"])
def test_a_number_where_the_steps_change_nothing(name):
    assert learning_rate(Schedule(name=name), 0.3, steps=10, epoch=5) == 0.3


def test_plateau_falls_after_patience_and_at_most_so_often():
    schedule = Schedule(name="plateau", rate=0.1, patience=2, falls=2)

    def factor(*accuracies):
        return plateau_factor(schedule, [{"val_accuracy": a} for a in accuracies])

    assert factor() == 1
    assert factor(0.5, 0.6, 0.6) == 1
    assert factor(0.5, 0.6, 0.6, 0.55) == pytest.approx(0.1)
    assert factor(0.5, 0.6, 0.6, 0.55, 0.7) == pytest.approx(0.1)  # what fell stays
    assert factor(0.5, 0.5, 0.5, 0.5, 0.5) == pytest.approx(0.01)
    assert factor(*[0.5] * 20) == pytest.approx(0.01)


def test_a_plateau_has_no_warm_up():
    with pytest.raises(ValueError, match="warm_up must be 0"):
        Schedule(name="plateau", warm_up=0.1)
