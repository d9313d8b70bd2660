from __future__ import annotations

import keras
import pytest

from keras_classics.architectures.precision import numbers
from settings import SETTINGS, set_up


@pytest.mark.parametrize("setting", SETTINGS)
def test_numbers_are_float32_meanwhile_and_as_before_afterwards(setting):
    with set_up(setting):
        before = keras.config.floatx(), keras.config.dtype_policy()
        with pytest.raises(KeyError), numbers():
            assert keras.config.floatx() == keras.config.dtype_policy().name == "float32"
            assert keras.Input((2,)).dtype == "float32"
            raise KeyError
        with numbers("mixed_bfloat16"):
            assert keras.Input((2,)).dtype == "float32"
            assert keras.layers.Dense(1).compute_dtype == "bfloat16"
        assert (keras.config.floatx(), keras.config.dtype_policy()) == before
