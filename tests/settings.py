"""What a user may have set in Keras, by `keras.json` or in a program."""

from __future__ import annotations

from contextlib import contextmanager

import keras

SETTINGS = (
    "float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16", "channels_first",
)  # fmt: skip


@contextmanager
def set_up(setting):
    """Has it set for a while."""
    before = keras.config.floatx(), keras.config.dtype_policy(), keras.config.image_data_format()
    try:
        if setting == "channels_first":
            keras.config.set_image_data_format(setting)
        else:
            if not setting.startswith("mixed"):
                keras.config.set_floatx(setting)
            keras.config.set_dtype_policy(setting)
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])
        keras.config.set_image_data_format(before[2])
