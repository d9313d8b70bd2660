from __future__ import annotations

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import keras
import numpy as np
import pytest
from PIL import Image

from keras_classics.data.augment import Augmentation, augment, rng_for
from keras_classics.data.batches import Batches, FollowEpochs
from keras_classics.data.fit import fit_image, load_image
from keras_classics.data.mixing import Mixing, mix, mixing_rng
from keras_classics.data.pictures import FilePictures
from keras_classics.data.views import view
from keras_classics.errors import ImageError
from keras_classics.weights.preprocess import Mode, preprocess

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 6, 5, 3), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
CHANGES = Augmentation(shift=0.2, rotate=10, flip=True, brightness=0.1)


def batches(**changes) -> Batches:
    arguments = {"classes": 3, "batch_size": 4, "mode": "raw", "pictures": IMAGES} | changes
    return Batches(labels=LABELS, **arguments)


def everything(data: Batches) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = zip(*data, strict=True)
    return np.concatenate(inputs), np.concatenate(targets)


@pytest.fixture
def channels_first():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


@pytest.mark.parametrize("mode", get_args(Mode))
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

    def __init__(self, seed: int = 0, **start) -> None:
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
            **start,
        )

    def __getitem__(self, index):
        self.asked.add(self.epoch)
        return super().__getitem__(index)


@pytest.mark.parametrize("threads", [1, 2, 9])
@pytest.mark.parametrize("size", [1, 3, 10])
def test_the_number_of_threads_changes_nothing(threads, size):
    changes = {"shuffle": True, "augmentation": CHANGES, "mixing": Mixing(mixup=1.0, cutmix=1.0)}
    one = batches(batch_size=size, threads=1, **changes)
    many = batches(batch_size=size, threads=threads, **changes)
    for epoch in (0, 1):
        one.epoch = many.epoch = epoch
        for (a, b), (c, d) in zip(one, many, strict=True):
            np.testing.assert_array_equal(a, c)
            np.testing.assert_array_equal(b, d)


def test_threads_work_ahead_and_end_with_the_batches():
    before = set(threading.enumerate())
    data = batches(batch_size=2, threads=2, shuffle=True, augmentation=CHANGES)
    assert not set(threading.enumerate()) - before
    data[0]
    assert set(threading.enumerate()) - before
    assert len(data._look_ahead._ahead) == 4  # the rest of the epoch
    data[3]  # out of turn
    assert len(data._look_ahead._ahead) == 0
    data[0]
    data.epoch = 1
    assert len(data._look_ahead._ahead) == 0
    alive = weakref.ref(data)
    del data
    end = time.monotonic() + 5
    while (alive() or set(threading.enumerate()) - before) and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    assert alive() is None
    assert not set(threading.enumerate()) - before


def test_closing_ends_the_threads_until_a_batch_is_asked_for():
    before = set(threading.enumerate())
    data = batches(batch_size=2, threads=2, shuffle=True, augmentation=CHANGES)
    data.close()
    images, _ = data[0]
    for thread in (threads := set(threading.enumerate()) - before):
        assert thread.is_alive()
    data.close()
    for thread in threads:
        thread.join(timeout=5)
        assert not thread.is_alive()
    np.testing.assert_array_equal(data[0][0], images)
    data.close()


def test_the_depth_follows_the_number_of_threads():
    assert batches(batch_size=1, threads=1)._depth == 32
    assert batches(batch_size=32, threads=4)._depth == 4
    assert batches(batch_size=2048, threads=4)._depth == 1


def test_more_threads_where_files_are_read():
    from keras_classics.data.pixels import processors

    assert batches()._look_ahead.threads == processors()
    files = batches(pictures=FilePictures(["x"] * 10), size=(2, 2))
    assert files._look_ahead.threads == 2 * processors()


def test_an_epoch_can_begin_in_its_middle():
    changes = {"shuffle": True, "augmentation": CHANGES, "mixing": Mixing(mixup=0.5), "seed": 7}
    whole = batches(**changes)
    whole.epoch = 2
    expected = list(whole)
    rest = batches(**changes, epoch=2, first=1)
    assert (rest.epoch, rest.first, len(rest), rest.steps) == (2, 1, 2, 3)
    for ours, wanted in zip(rest, expected[1:], strict=True):
        for a, b in zip(ours, wanted, strict=True):
            np.testing.assert_array_equal(a, b)
    rest.epoch = 3
    assert (rest.first, len(rest)) == (0, 3)
    rest.epoch = 2
    assert len(rest) == 2
    assert len(batches(first=3)) == 0


def test_mixing_is_that_of_the_batch():
    spec = Mixing(mixup=0.4, cutmix=1.0)
    data = batches(mixing=spec, mode="tf", seed=3)
    data.epoch = 5
    for number, (inputs, targets) in enumerate(data):
        chosen = slice(4 * number, 4 * number + 4)
        expected = mix(
            preprocess(IMAGES[chosen], "tf"),
            np.eye(3, dtype=np.float32)[LABELS[chosen]],
            spec,
            mixing_rng(3, 5, number),
        )
        np.testing.assert_array_equal(inputs, expected[0])
        np.testing.assert_array_equal(targets, expected[1])
        np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)


@pytest.mark.usefixtures("channels_first")
def test_mixing_before_the_channels_come_first():
    inputs, _ = batches(mixing=Mixing(cutmix=1.0))[0]
    keras.config.set_image_data_format("channels_last")
    expected, _ = batches(mixing=Mixing(cutmix=1.0))[0]
    np.testing.assert_array_equal(inputs, expected.transpose(0, 3, 1, 2))


def test_class_weights_follow_the_mixed_labels():
    data = batches(class_weights=[1.0, 2.0, 5.0])
    _, targets, weights = data[0]
    np.testing.assert_array_equal(weights, [1, 2, 5, 1])
    np.testing.assert_array_equal(targets, np.eye(3)[LABELS[:4]])
    _, targets, weights = batches(class_weights=[1, 2, 5], mixing=Mixing(mixup=1.0))[0]
    np.testing.assert_allclose(weights, targets @ [1, 2, 5], rtol=1e-6)
    assert len(set(weights)) > 1


def test_labels_for_an_auxiliary_head():
    _, (one, two), (weights, same) = batches(outputs=2, class_weights=[1, 2, 5])[0]
    np.testing.assert_array_equal(one, np.eye(3)[LABELS[:4]])
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(weights, same)
    assert isinstance(batches(outputs=2)[0][1], tuple)


def test_keras_trains_two_outputs_with_weights():
    layers = keras.layers
    x = keras.Input((6, 5, 3))
    flat = layers.Flatten()(x)
    model = keras.Model(x, [layers.Dense(3)(flat), layers.Dense(3)(flat)])
    model.compile("sgd", ["mse", "mse"])
    heavy = batches(outputs=2, class_weights=[1e3] * 3, mode="tf")
    light = batches(outputs=2, class_weights=[1.0] * 3, mode="tf")
    model.fit(light, shuffle=False, verbose=0)
    ratio = model.evaluate(heavy, verbose=0)[0] / model.evaluate(light, verbose=0)[0]
    np.testing.assert_allclose(ratio, 1e3, rtol=1e-3)


def test_balanced_sampling_shows_every_class_equally_often():
    labels = np.array([0] * 90 + [1] * 9 + [3])
    pixels = np.arange(100, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    data = Batches(
        pixels, labels, classes=5, batch_size=10, mode="raw", sampling="balanced", shuffle=True
    )
    assert len(data) == 10
    shown = []
    for epoch in range(12):
        data.epoch = epoch
        inputs, targets = everything(data)
        counts = targets.sum(axis=0)
        assert sorted(counts) == [0, 0, 33, 33, 34]
        assert counts[2] == counts[4] == 0
        np.testing.assert_array_equal(labels[inputs[:, 0, 0, 0].astype(int)], targets.argmax(1))
        shown.append(inputs[:, 0, 0, 0])
    # Even halves: in no place is one class preferred.
    assert len({counts.tobytes() for counts in shown}) == 12
    assert len(np.unique(np.concatenate(shown))) > 95
    data.epoch = 4
    np.testing.assert_array_equal(everything(data)[0][:, 0, 0, 0], shown[4])


def test_a_repeated_image_is_changed_differently():
    changes = {"shuffle": True, "augmentation": Augmentation(shift=0.3)}
    data = batches(**changes, repeats=3, batch_size=10)
    plain = batches(shuffle=True, repeats=3, batch_size=10)
    assert len(data) == 1
    places = order(plain)
    assert [places[k] for k in (0, 1, 2)] == [places[0]] * 3
    assert len(set(places)) == 4
    assert places[9] not in places[:9]
    inputs, _ = data[0]
    for row, (place, repetition) in enumerate(zip(places, [0, 1, 2] * 3 + [0], strict=True)):
        expected = augment(IMAGES[place], changes["augmentation"], rng_for(0, 0, place, repetition))
        np.testing.assert_array_equal(inputs[row], expected)
    assert not (inputs[0] == inputs[1]).all()
    spec = Augmentation(shift=0.3, repeats=3)
    again, _ = batches(shuffle=True, augmentation=spec, batch_size=10)[0]
    np.testing.assert_array_equal(again, inputs)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Ten pictures of different sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for place in range(10):
        pixels = rng.integers(0, 256, (20 + 3 * place, 40, 3), np.uint8)
        Image.fromarray(pixels).resize((300 - place, 200)).save(folder / f"{place}.jpg")
    return [folder / f"{place}.jpg" for place in range(10)]


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_pictures_are_read_as_everywhere_else(files, fit):
    data = batches(pictures=FilePictures(files), size=(32, 24), fit=fit)
    inputs, targets = everything(data)
    for path, image in zip(files, inputs, strict=True):
        np.testing.assert_array_equal(image, load_image(path, (32, 24), fit))
    np.testing.assert_array_equal(targets, np.eye(3)[LABELS])


@pytest.mark.parametrize("kind", ["random_area", "scale_jitter"])
def test_pictures_are_read_in_part(files, kind):
    spec = Augmentation(view=kind, flip=True, policy="trivial_augment", erase=0.5)
    pictures = FilePictures(files)
    inputs, _ = everything(
        batches(pictures=pictures, size=(32, 24), augmentation=spec, shuffle=True, seed=9)
    )
    places = np.random.Generator(
        np.random.PCG64(np.random.SeedSequence((9, 0), spawn_key=(1,)))
    ).permutation(10)
    for place, image in zip(places, inputs, strict=True):
        rng = rng_for(9, 0, int(place))
        seen = view(lambda n, p=place: pictures.picture(p, n), (32, 24), "crop", spec, rng)
        np.testing.assert_array_equal(image, augment(seen, spec, rng))


def test_an_array_is_seen_in_part_as_well():
    spec = Augmentation(view="random_area", area=(0.1, 0.3))
    inputs, _ = everything(batches(augmentation=spec))
    assert inputs.shape == (10, 6, 5, 3)
    assert all(np.isin(np.unique(one), np.arange(256)).all() for one in inputs)
    assert (inputs != IMAGES).any()
    smaller, _ = everything(batches(size=(3, 3)))
    np.testing.assert_array_equal(smaller[4], fit_image(IMAGES[4], (3, 3), "crop"))


def test_a_file_that_becomes_unreadable_is_named(files, tmp_path):
    paths = [tmp_path / path.name for path in files]
    for path, target in zip(files, paths, strict=True):
        target.write_bytes(path.read_bytes())
    data = batches(pictures=FilePictures(paths), size=(32, 24), batch_size=1, threads=2)
    assert len(list(data)) == 10
    paths[9].write_bytes(paths[9].read_bytes()[:-900])
    for epoch in (1, 2):
        data.epoch = epoch
        with pytest.raises(ImageError, match=r"9\.jpg: truncated"):
            list(data)
    assert len(data[3][0]) == 1


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


def test_a_run_goes_on_in_the_middle_of_an_epoch():
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):  # noqa: ARG002
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):  # noqa: ARG002
            if (self.epoch, batch) == (1, 0):
                raise KeyboardInterrupt

    whole = train(linear(), Watched(), range(3))
    model, data = linear(), Watched()
    with pytest.raises(KeyboardInterrupt):
        model.fit(data, epochs=3, shuffle=False, verbose=0, callbacks=[FollowEpochs(data), Stop()])
    # Keras takes the length once, so that the begun epoch has a call of its own.
    rest = Watched(epoch=1, first=1)
    train(model, rest, range(1, 2))
    resumed = train(model, rest, range(2, 3))
    for ours, same in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(ours, same)


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
        (IMAGES, LABELS, {"threads": 0}, "threads must be at least 1, got 0"),
        (IMAGES, LABELS, {"class_weights": [1, 2]}, "class_weights must be 3 numbers"),
        (IMAGES, LABELS, {"class_weights": [1, 2, -1]}, "none below 0"),
        (IMAGES, LABELS, {"sampling": "all"}, "sampling must be one of each, balanced; got 'all'"),
        (IMAGES, LABELS, {"sampling": "balanced"}, "shuffle must be True"),
        (IMAGES, LABELS, {"repeats": 3}, "shuffle must be True"),
        (IMAGES, LABELS, {"repeats": 0, "shuffle": True}, "repeats must be at least 1, got 0"),
        (
            IMAGES,
            LABELS,
            {"repeats": 2, "sampling": "balanced", "shuffle": True},
            "repeats must be 1",
        ),
        (IMAGES, LABELS, {"outputs": 0}, "outputs must be at least 1"),
        (IMAGES, LABELS, {"first": 4}, "first must be from 0 to 3, got 4"),
        (FilePictures([]), LABELS, {}, "size must be given"),
        (FilePictures([]), LABELS, {"size": (2, 2)}, r"labels must be \(0,\) integers"),
        (FilePictures([]), LABELS[:0], {"size": (2, 2)}, "pictures must be at least one, got 0"),
    ],
)
def test_wrong_arguments_are_named(images, labels, changes, words):
    arguments = {"classes": 3, "batch_size": 4, "mode": "tf"} | changes
    with pytest.raises(ValueError, match=words):
        Batches(images, labels, **arguments)


def test_the_other_modules_do_not_need_keras():
    import subprocess
    import sys

    names = ("decode", "fit", "folder", "pixels", "augment", "digits", "mixing")
    code = "import sys\n" + "".join(f"import keras_classics.data.{name}\n" for name in names)
    code += "import keras_classics.weights.preprocess\n"
    code += "assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
