from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from keras_classics.architectures import catalog
from keras_classics.data.augment import Augmentation
from keras_classics.data.mixing import Mixing
from keras_classics.errors import ClassicsError
from keras_classics.training import recipes
from keras_classics.training.config import TrainConfig, input_sizes, recipe_for
from keras_classics.training.origin import Origin
from keras_classics.training.search_space import Ranges, Settings, scaled, space_of
from keras_classics.training.tuning_files import recipe_text

VGG = TrainConfig(network="vgg16", width=0.25, size=64)


def space(config=VGG, origin=None, **ranges):
    architecture = catalog.find(config.network)
    recipe = recipe_for(config, architecture, origin)
    task = SimpleNamespace(config=config, recipe=recipe, architecture=architecture, origin=origin)
    return space_of(task, Ranges(**ranges))


def test_the_space_is_around_the_recipe():
    found = space()
    assert found.own == found.default == Settings(5e-4, 64, 0.25, 1.0)
    assert found.learning_rate == pytest.approx((5e-5, 5e-3))
    assert found.size == (32, 48, 64, 96, 128)
    assert found.width == (0.125, 0.1875, 0.25, 0.375, 0.5)
    assert found.augmentation == (0.0, 2.0)
    assert found.varied == ("learning_rate", "size", "width", "augmentation")
    assert found.config(found.default) == VGG  # the plain run, to the last field


def test_what_the_network_does_not_take_is_not_tried():
    config = TrainConfig(network="inception_v3", width=0.75, size=96)
    found = space(config)
    assert found.size == (96, 144, 192)  # 48 and 72 are below its 75 pixels
    assert max(found.width) == 0.75  # no wider than the paper


def test_one_value_fixes_and_the_nearest_to_the_recipe_comes_first():
    found = space(size=(48,), width=(0.5, 1.0), learning_rate=(1e-3, 1e-2), augmentation=(0.5,))
    assert found.varied == ("learning_rate", "width")
    assert found.default == Settings(1e-3, 48, 0.5, 0.5)
    config = found.config(found.default)
    assert (config.learning_rate, config.size, config.width) == (1e-3, 48, 0.5)
    assert "augmentation.shift=0.05" in config.changes


def test_the_width_is_that_of_trained_weights_and_the_rate_what_they_stand():
    origin = Origin("w.h5", "w.h5", 0.5, "tf", None)
    config = dataclasses.replace(VGG, weights="w.h5", width=None)
    found = space(config, origin=origin)
    assert found.width == (0.5,)
    assert found.own.learning_rate == 5e-4 * 0.5  # half at twice the width
    with pytest.raises(ClassicsError, match=r"width=0.25: the weights have width 0.5"):
        space(config, origin=origin, width=(0.25,))


def test_a_recipe_without_augmentation_has_none_to_scale(tmp_path):
    (tmp_path / "plain.toml").write_text('about = "plain"\n')
    found = space(dataclasses.replace(VGG, recipe=str(tmp_path / "plain.toml")))
    assert "augmentation" not in found.varied


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"learning_rate": (0.0,)}, "learning_rate=0: above 0 and below 10"),
        ({"learning_rate": (1e-2, 1e-3)}, "learning_rate=0.01, 0.001: one value, or the lowest"),
        ({"learning_rate": (1e-4, 1e-3, 1e-2)}, "one value, or the lowest and the highest"),
        ({"learning_rate": (float("nan"),)}, "learning_rate=nan"),
        ({"width": (-1.0,)}, "width=-1: above 0"),
        ({"augmentation": (-0.5,)}, "augmentation=-0.5: 0 to 4"),
        ({"augmentation": (0.0, 9.0)}, "augmentation=9: 0 to 4"),
    ],
)
def test_ranges_that_cannot_be(ranges, message):
    with pytest.raises(ClassicsError, match=message):
        Ranges(**ranges).check()


def test_sizes_that_cannot_be_and_nothing_left():
    with pytest.raises(ClassicsError, match="size=16: VGG16 takes 32 to 4096"):
        space(size=(16, 64))
    fixed = space(size=(64,), width=(0.25,), learning_rate=(1e-3,), augmentation=(1.0,))
    assert fixed.varied == ()


def test_every_line_of_the_augmentation_is_scaled():
    own = Augmentation(
        shift=0.1, zoom=0.6, rotate=10.0, flip=True, brightness=0.1, contrast=0.8,
        view="random_area", area=(0.2, 1.0), aspect=(0.75, 1.25), shorter_side=(256.0, 512.0),
        policy="rand_augment", magnitude=6.0, pca=0.1, erase=0.25, repeats=3,
    )  # fmt: skip
    mixing = Mixing(mixup=0.2, cutmix=1.0)
    assert scaled(own, mixing, 1.0) == (own, mixing)
    half, mixed = scaled(own, mixing, 0.5)
    assert (half.shift, half.zoom, half.rotate, half.contrast) == (0.05, 0.3, 5.0, 0.4)
    assert (half.magnitude, half.pca, half.erase) == (3.0, 0.05, 0.125)
    assert half.area == (0.6, 1.0)
    assert half.aspect == pytest.approx((0.866025, 1.11803), abs=1e-5)
    assert half.shorter_side == (256.0, 384.0)
    assert (half.flip, half.policy, half.repeats) == (True, "rand_augment", 3)
    assert (mixed.mixup, mixed.cutmix) == (0.1, 0.5)
    double, _ = scaled(own, mixing, 2.0)
    assert (double.zoom, double.contrast, double.magnitude) == (0.9, 1.0, 10.0)  # at their limits
    assert double.area == (0.01, 1.0)
    assert double.shorter_side == (256.0, 768.0)
    assert scaled(own, mixing, 0.0) == (Augmentation(), Mixing())


@pytest.mark.parametrize(
    ("config", "weights"),
    [
        (VGG, None),
        (dataclasses.replace(VGG, epochs=3, batch_size=8, monitor="val_loss", patience=2), None),
        (dataclasses.replace(VGG, changes=("loss.label_smoothing=0.1", "balance=weights")), None),
        (dataclasses.replace(VGG, weights="w.h5", unfreeze="stage"), 0.25),
        (TrainConfig(network="resnet50", recipe="a3", width=0.25, size=80), None),
        (TrainConfig(network="inception_v3", recipe="paper", width=0.25), None),
    ],
)
@pytest.mark.parametrize("strength", [0.0, 0.7, 1.0])
def test_best_toml_is_the_run(tmp_path, config, weights, strength):
    """A run with that recipe and nothing else is the run that was found best."""
    architecture = catalog.find(config.network)
    origin = Origin("w.h5", "w.h5", weights, "tf", None) if weights else None
    found = space(config, origin=origin)
    settings = Settings(3e-3, found.size[-1], found.width[0], strength)
    path = tmp_path / "best.toml"
    path.write_text(recipe_text(found, settings, 'found "here"'))
    wanted = found.config(settings)
    plain = TrainConfig(network=config.network, recipe=str(path), weights=config.weights)
    one, other = (recipe_for(each, architecture, origin) for each in (wanted, plain))
    names = {"name": "", "about": "", "sources": ()}
    sized = {"size": None, "test_size": None, "width": 1.0}  # of the recipe, or of an option
    assert dataclasses.replace(one, **names, **sized) == dataclasses.replace(
        other, **names, **sized
    )
    assert input_sizes(wanted, one, architecture, origin) == input_sizes(
        plain, other, architecture, origin
    )
    assert other.width == settings.width
    assert other.about == 'found "here"'


def test_a_recipe_of_ones_own_is_written_out(tmp_path):
    (tmp_path / "mine.toml").write_text('extends = "quick"\nepochs = 7\n')
    found = space(dataclasses.replace(VGG, recipe=str(tmp_path / "mine.toml")))
    text = recipe_text(found, found.default, "x")
    assert "extends" not in text
    (tmp_path / "mine.toml").unlink()
    (tmp_path / "best.toml").write_text(text)
    assert recipes.find(str(tmp_path / "best.toml"), "vgg16").epochs == 7
