from __future__ import annotations

import pytest


@pytest.fixture
def branching(randomise):
    """A smooth network with a shortcut and a concatenation: (b, 12, 10, 3) to 3 classes."""
    import keras
    from keras import layers

    def build(activation="softmax", size=(12, 10), seed=0):
        channels_first = keras.config.image_data_format() == "channels_first"
        images = keras.Input((3, *size) if channels_first else (*size, 3), name="images")
        a = layers.Conv2D(4, 3, padding="same", activation="tanh", name="a")(images)
        b = layers.Conv2D(4, 3, padding="same", activation="tanh", name="b")(a)
        total = layers.Add(name="total")([a, b])
        c = layers.Conv2D(5, 1, activation="tanh", name="c")(total)
        axis = 1 if channels_first else -1
        joined = layers.Concatenate(axis=axis, name="joined")([total, c])
        x = layers.GlobalAveragePooling2D(name="pool")(joined)
        outputs = layers.Dense(3, activation=activation, name="predictions")(x)
        return randomise(keras.Model(images, outputs, name="branching"), seed)

    return build
