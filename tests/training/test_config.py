from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from keras_classics.architectures import TRAINED, catalog
from keras_classics.data.fit import CentralCrop
from keras_classics.errors import ClassicsError
from keras_classics.training import recipes
from keras_classics.training.config import Sizes, TrainConfig, input_sizes, length, recipe_for
from keras_classics.training.origin import Origin, settled
from keras_classics.training.recipe import Transfer
from keras_classics.weights import records

FOLDER = Path("photos")


def sizes(network="resnet50", origin=None, **options):
    config = TrainConfig(folder=FOLDER, network=network, **options)
    architecture = catalog.find(network)
    return input_sizes(config, recipe_for(config, architecture, origin), architecture, origin)


def origin(width=1.0, size=None):
    return Origin("weights", Path("weights.h5"), width, "caffe", size)


def test_sizes_are_the_user_s_the_recipe_s_the_weights_or_the_network_s():
    assert sizes() == Sizes(64, 64, "crop")
    assert sizes("inception_v3") == Sizes(75, 75, "crop")
    assert sizes(size=100, fit="pad") == Sizes(100, 100, "pad")
    assert sizes(origin=origin(size=224)) == Sizes(224, 224, "crop")
    assert sizes(recipe="paper") == Sizes(224, 224, CentralCrop(256, "bilinear"))
    assert sizes("inception_v3", recipe="paper").train == 299
    digits = TrainConfig()
    architecture = catalog.find("resnet50")
    assert input_sizes(digits, recipe_for(digits, architecture), architecture).train == 32


def test_another_size_keeps_the_recipe_s_proportions():
    assert sizes(recipe="a3") == Sizes(160, 224, CentralCrop(236, "bilinear"))
    assert sizes(recipe="a3", size=80) == Sizes(80, 112, CentralCrop(118, "bilinear"))


def test_sizes_that_cannot_be():
    with pytest.raises(ClassicsError, match="size=16: ResNet50 takes 32 to 4096"):
        sizes(size=16)
    with pytest.raises(ClassicsError, match="test_size=5600"):
        sizes(recipe="a3", size=4000)
    with pytest.raises(ClassicsError, match="goes with crop only"):
        sizes(recipe="paper", fit="stretch")


def recipe(network="resnet50", origin=None, **options):
    return recipe_for(TrainConfig(folder=FOLDER, network=network, **options), catalog.find(network), origin)  # fmt: skip # noqa: E501


def test_the_user_s_options_are_lines_of_the_recipe():
    found = recipe(
        epochs=3,
        batch_size=7,
        learning_rate=0.5,
        balance="weights",
        monitor="val_f1",
        patience=4,
        changes=("optimizer.weight_decay=0.3",),
    )
    assert (found.epochs, found.batch_size, found.optimizer.learning_rate) == (3, 7, 0.5)
    assert (found.balance, found.selection.monitor, found.selection.patience) == (
        "weights",
        "val_f1",
        4,
    )
    assert found.optimizer.weight_decay == 0.3
    assert found.optimizer.clip_norm == 1.0


def test_with_trained_weights_the_rate_is_that_of_transfer():
    assert recipe().transfer is None
    own = recipe(recipe="transfer", origin=origin(width=1.0))
    narrow = recipe(recipe="transfer", origin=origin(width=0.25))
    assert narrow.optimizer.learning_rate == pytest.approx(4 * own.optimizer.learning_rate)
    assert (
        own.optimizer.learning_rate == recipes.find("transfer", "resnet50").optimizer.learning_rate
    )
    assert recipe(origin=origin(width=1.0)).optimizer.learning_rate == pytest.approx(2e-3 / 4)
    assert own.transfer.unfreeze == recipe(origin=origin()).transfer.unfreeze == "all"
    assert recipe(origin=origin(), learning_rate=0.1).optimizer.learning_rate == 0.1
    assert recipe(origin=origin(), weights="w", unfreeze="none").transfer.unfreeze == "none"
    assert recipe(origin=origin(), recipe="paper").optimizer.learning_rate == pytest.approx(0.1)


def test_the_epochs_of_a_recipe_follow_the_number_of_images():
    table = Transfer(lengths=((100, 20), (1000, 10), (10_000, 4)))
    found = dataclasses.replace(recipe(epochs=7), transfer=table)
    images = (1, 20, 100, 316, 1000, 10_000, 1_000_000)
    assert [length(found, each) for each in images] == [20, 20, 20, 14, 10, 4, 4]
    assert length(recipe(epochs=7), 316) == 7  # a recipe without a table


@pytest.mark.parametrize(
    ("options", "network", "chosen", "weights", "why"),
    [
        ({}, "efficientnet_lite0", "transfer", "imagenet", "--weights none"),
        ({"network": "vgg16"}, "vgg16", "transfer", "imagenet", "--weights none"),
        ({"weights": "none"}, "resnet50", "quick", "none", "as requested"),
        ({"width": 0.5}, "resnet50", "quick", "none", "width 1 only"),
        ({"folder": None}, "resnet50", "quick", "none", "digits"),
        ({"folder": None, "network": "vgg16"}, "vgg16", "quick", "none", "digits"),
        ({"recipe": "paper", "network": "vgg16"}, "vgg16", "paper", "none", "from scratch"),
        ({"recipe": "a1"}, "resnet50", "a1", "none", "from scratch"),
        ({"recipe": "transfer"}, "efficientnet_lite0", "transfer", "imagenet", "--weights none"),
        ({"weights": "resnet50-keras"}, "resnet50", "transfer", "resnet50-keras", "as requested"),
        (
            {"weights": "imagenet", "recipe": "a1"},
            "efficientnet_lite0",
            "a1",
            "imagenet",
            "as requested",
        ),
    ],
)
def test_where_a_run_begins(options, network, chosen, weights, why):
    found = settled(TrainConfig(**{"folder": FOLDER} | options))
    assert (found.config.network, found.config.recipe) == (network, chosen)
    assert found.config.weights == weights
    assert why in found.why
    assert settled(found.config).config == found.config  # which a run writes down


def test_the_default_network_is_the_one_whose_weights_are_installed():
    assert records.imagenet(TRAINED).name == records.DEFAULT


def test_where_a_run_begins_that_has_an_artefact_or_a_file(tmp_path):
    weights = tmp_path / "unknown.weights.h5"
    weights.write_bytes(b"")
    with pytest.raises(ClassicsError, match=r"unknown.weights.h5: the weights of which network\?"):
        settled(TrainConfig(folder=FOLDER, weights=str(weights)))
    with pytest.raises(ClassicsError, match="recipe='transfer': fine-tunes trained weights"):
        settled(TrainConfig(folder=FOLDER, weights="none", recipe="transfer"))
