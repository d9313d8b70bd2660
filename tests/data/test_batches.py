from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from keras_classics.data.augment import Augmentation, augment, rng_for
from keras_classics.data.batches import Batches, FollowEpochs
from keras_classics.data.preprocess import preprocess

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 6, 5, 3), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
CHANGES = Augmentation(shift=0.2, rotate=10, flip=True, brightness=0.1)


def batches(**changes) -> Batches:
    arguments = {"classes": 3, "batch_size": 4, "mode": "raw"} | changes
    return Batches(IMAGES, LABELS, **arguments)


def everything(data: Batches) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = zip(*data, strict=True)
    return np.concatenate(inputs), np.concatenate(targets)


@pytest.fixture
def channels_first():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe", "raw"])
def test_batches_hold_the_images_in_order(mode):
    data = batches(mode=mode)
    assert len(data) == 3
    assert [len(inputs) for inputs, _ in data] == [4, 4, 2]
    inputs, targets = everything(data)
    assert inputs.dtype == targets.dtype == np.float32
    np.testing.assert_array_equal(inputs, preprocess(IMAGES, mode))
    np.testing.assert_array_equal(targets, np.eye(3)[LABELS])


@pytest.mark.usefixtures("channels_first")
def test_channels_first():
    inputs, _ = everything(batches(mode="torch"))
    np.testing.assert_array_equal(inputs, preprocess(IMAGES, "torch").transpose(0, 3, 1, 2))
    assert batches()[0][0].flags.c_contiguous


@pytest.mark.parametrize(("size", "length"), [(4, 2), (5, 2), (10, 1), (11, 1), (1, 10)])
def test_the_remainder_is_dropped_unless_it_is_all(size, length):
    data = batches(batch_size=size, drop_remainder=True)
    assert len(data) == len(list(data)) == length
    assert {len(inputs) for inputs, _ in data} == {min(size, 10)}


@pytest.mark.parametrize("index", [-1, 3])
def test_there_are_no_more_batches(index):
    with pytest.raises(IndexError, match=f"batch {index} of 3"):
        batches()[index]


def order(data: Batches) -> list[int]:
    inputs, _ = everything(data)
    return [int(np.flatnonzero((one == IMAGES).all(axis=(1, 2, 3)))[0]) for one in inputs]


def test_every_epoch_has_all_images_in_another_order():
    data = batches(shuffle=True, seed=3)
    orders = []
    for epoch in range(5):
        assert data.epoch == epoch
        orders.append(order(data))
        _, targets = everything(data)
        np.testing.assert_array_equal(targets.argmax(axis=1), LABELS[orders[-1]])
        data.on_epoch_end()
    assert all(sorted(one) == list(range(10)) for one in orders)
    assert len({tuple(one) for one in orders}) == 5
    resumed = batches(shuffle=True, seed=3)
    resumed.epoch = 3
    assert order(resumed) == orders[3]
    assert order(batches(shuffle=True, seed=4)) != orders[0]
    assert order(batches()) == list(range(10))


def test_augmentation_follows_the_image_and_not_its_place():
    data = batches(shuffle=True, seed=5, augmentation=CHANGES)
    data.epoch = 2
    inputs, _ = everything(data)
    plain = batches(shuffle=True, seed=5)
    plain.epoch = 2
    for image, place in zip(inputs, order(plain), strict=True):
        np.testing.assert_array_equal(
            image, augment(IMAGES[place], CHANGES, rng_for(5, 2, place)).astype(np.float32)
        )


def test_the_images_are_not_changed_and_threads_change_nothing():
    before = IMAGES.copy()
    data = batches(shuffle=True, augmentation=CHANGES, batch_size=1)
    alone = [data[index][0] for index in range(10)]
    with ThreadPoolExecutor(8) as pool:
        crowd = list(pool.map(lambda index: data[index][0], list(range(10)) * 5))
    for index, inputs in enumerate(crowd):
        np.testing.assert_array_equal(inputs, alone[index % 10])
    np.testing.assert_array_equal(IMAGES, before)


class Watched(Batches):
    """Notes of which epoch the batches are that Keras asks for."""

    def __init__(self, seed: int = 0) -> None:
        self.asked: set[int] = set()
        super().__init__(
            IMAGES,
            LABELS,
            classes=3,
            batch_size=4,
            mode="tf",
            shuffle=True,
            augmentation=CHANGES,
            seed=seed,
        )

    def __getitem__(self, index):
        self.asked.add(self.epoch)
        return super().__getitem__(index)


def train(model, data: Batches, epochs: range, *, follow: bool = True) -> list[np.ndarray]:
    """The weights of a linear model, which tell in which order it saw the images."""
    model.fit(
        data,
        epochs=epochs.stop,
        initial_epoch=epochs.start,
        shuffle=False,
        verbose=0,
        callbacks=[FollowEpochs(data)] if follow else [],
    )
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]


def linear():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6, 5, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    # Large steps, as small ones would end in nearly the same place whatever the order.
    model.compile(keras.optimizers.SGD(0.02), "mse", metrics=["accuracy"])
    return model


def test_an_interrupted_run_goes_on_as_if_it_had_not_been():
    data = Watched()
    whole = train(linear(), data, range(4))
    assert data.asked == {0, 1, 2, 3}
    interrupted = linear()
    train(interrupted, Watched(), range(2))
    rest = Watched()
    resumed = train(interrupted, rest, range(2, 4))
    assert {2, 3} <= rest.asked
    unlike = train(linear(), Watched(seed=1), range(4))
    for ours, same, other in zip(whole, resumed, unlike, strict=True):
        np.testing.assert_allclose(ours, same, rtol=1e-5, atol=1e-7)
        assert np.abs(ours - other).max() > 1e-4


def test_without_the_callback_the_epochs_advance_too():
    data = Watched()
    train(linear(), data, range(3), follow=False)
    assert {1, 2, 3} <= data.asked <= {0, 1, 2, 3}


def test_evaluate_and_predict_read_batches():
    model = keras.Sequential([keras.Input((6, 5, 3)), keras.layers.GlobalAveragePooling2D()])
    model.compile(loss="mse")
    expected = IMAGES.astype(np.float32).mean(axis=(1, 2))
    np.testing.assert_allclose(model.predict(batches(), verbose=0), expected, rtol=1e-5)
    loss = model.evaluate(batches(), verbose=0)
    np.testing.assert_allclose(loss, ((expected - np.eye(3)[LABELS]) ** 2).mean(), rtol=1e-4)


@pytest.mark.parametrize(
    ("images", "labels", "changes", "words"),
    [
        (IMAGES[0], LABELS, {}, "images must be"),
        (IMAGES.astype(np.float32), LABELS, {}, "images must be"),
        (IMAGES[:0], LABELS[:0], {}, "n at least 1"),
        (IMAGES, LABELS[:9], {}, r"labels must be \(10,\) integers, got \(9,\)"),
        (IMAGES, LABELS.astype(float), {}, "labels must be"),
        (IMAGES, LABELS, {"classes": 2}, "classes - 1 = 1, got 0 to 2"),
        (IMAGES, LABELS - 1, {}, "got -1 to 1"),
        (IMAGES, LABELS, {"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(images, labels, changes, words):
    arguments = {"classes": 3, "batch_size": 4, "mode": "tf"} | changes
    with pytest.raises(ValueError, match=words):
        Batches(images, labels, **arguments)


def test_the_other_modules_do_not_need_keras():
    import subprocess
    import sys

    names = ("decode", "fit", "folder", "pixels", "preprocess", "augment", "digits")
    code = "import sys\n" + "".join(f"import keras_classics.data.{name}\n" for name in names)
    code += "assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
