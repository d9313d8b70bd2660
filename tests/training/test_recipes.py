from __future__ import annotations

import dataclasses
import re

import pytest

from keras_classics.architectures.catalog import CATALOG
from keras_classics.errors import ClassicsError
from keras_classics.training import recipes
from keras_classics.training.recipe import Recipe

PAPERS = {
    "vgg16": "paper_vgg16",
    "resnet50": "paper_resnet50",
    "inception_v3": "paper_inception_v3",
}

WITH_A_PAPER_S = {*PAPERS, "resnet50_v1_5", "resnet50_d", "inception_v3_torch"}


@pytest.mark.parametrize("network", CATALOG)
@pytest.mark.parametrize("name", ["paper", *recipes.names()])
def test_each_recipe_is_one_for_the_networks_that_it_is_meant_for(name, network):
    meant = () if name == "paper" else recipes.networks_of(name)
    if name == "paper" and network not in WITH_A_PAPER_S:
        with pytest.raises(ClassicsError, match=f"there is none for {network}; `classics recipes`"):
            recipes.find(name, network)
        return
    if meant and network not in meant:
        with pytest.raises(ClassicsError, match=f"is for {meant[0]}.*, not {network}"):
            recipes.find(name, network)
        return
    found = recipes.find(name, network)
    assert found.about
    assert found.sources
    assert found.name == recipes.read(name, network).name
    assert recipes.from_dict(dataclasses.asdict(found)) == found


@pytest.mark.parametrize(("network", "name"), PAPERS.items())
def test_paper_is_the_recipe_of_the_network_s_paper(network, name):
    assert recipes.find("paper", network).name == name
    assert CATALOG[network].paper in recipes.find("paper", network).sources


def test_the_figures_of_the_papers():
    """The table of the published recipes, line by line."""
    vgg, resnet, inception = (recipes.find("paper", network) for network in PAPERS)
    assert (vgg.epochs, vgg.batch_size, vgg.size) == (74, 256, 224)
    assert (vgg.optimizer.name, vgg.optimizer.learning_rate) == ("sgd", 1e-2)
    assert (vgg.optimizer.momentum, vgg.optimizer.weight_decay) == (0.9, 5e-4)
    assert (vgg.schedule.name, vgg.schedule.rate, vgg.schedule.falls) == ("plateau", 0.1, 3)
    assert vgg.network.dropout == 0.5
    assert (vgg.augmentation.view, vgg.augmentation.shorter_side) == ("scale_jitter", (256, 512))
    assert (vgg.augmentation.flip, vgg.augmentation.pca) == (True, 0.1)

    assert (resnet.epochs, resnet.batch_size, resnet.size) == (120, 256, 224)
    assert (resnet.optimizer.name, resnet.optimizer.learning_rate) == ("sgd", 0.1)
    assert (resnet.optimizer.momentum, resnet.optimizer.weight_decay) == (0.9, 1e-4)
    assert (resnet.schedule.name, resnet.schedule.rate) == ("plateau", 0.1)
    assert resnet.augmentation.shorter_side == (256, 480)
    assert (resnet.augmentation.flip, resnet.augmentation.pca) == (True, 0.1)
    assert resnet.reestimate
    assert resnet.network.dropout == 0

    assert (inception.epochs, inception.batch_size, inception.size) == (100, 50 * 32, 299)
    optimizer = inception.optimizer
    assert (optimizer.name, optimizer.rho, optimizer.epsilon) == ("rmsprop", 0.9, 1.0)
    assert (optimizer.learning_rate, optimizer.clip_norm) == (0.045, 2.0)
    assert optimizer.ema > 0
    schedule = inception.schedule
    assert (schedule.name, schedule.rate, schedule.every) == ("exponential", 0.94, 2)
    assert (inception.loss.label_smoothing, inception.loss.auxiliary) == (0.1, 0.4)
    assert inception.augmentation.view == "random_area"
    assert inception.augmentation.area == (0.08, 1.0)
    assert inception.augmentation.aspect == pytest.approx((3 / 4, 4 / 3))
    assert inception.augmentation.distortion


@pytest.mark.parametrize(
    (
        "name",
        "epochs",
        "sizes",
        "rate",
        "decay",
        "smoothing",
        "drop",
        "repeats",
        "policy",
        "mixup",
    ),
    [
        ("a1", 600, (224, None), 5e-3, 0.01, 0.1, 0.05, 3, (7, 0.5), 0.2),
        ("a2", 300, (224, None), 5e-3, 0.02, 0.0, 0.05, 3, (7, 0.5), 0.1),
        ("a3", 100, (160, 224), 8e-3, 0.02, 0.0, 0.0, 1, (6, 0.5), 0.1),
    ],
)
def test_the_figures_of_resnet_strikes_back(
    name, epochs, sizes, rate, decay, smoothing, drop, repeats, policy, mixup
):
    found = recipes.find(name, "resnet50_v1_5")
    assert (found.epochs, found.batch_size) == (epochs, 2048)
    assert (found.size, found.test_size) == sizes
    assert found.test_crop == 0.95
    assert (found.optimizer.name, found.optimizer.learning_rate) == ("lamb", rate)
    assert found.optimizer.weight_decay == decay
    assert {"gamma", "beta"} <= set(found.optimizer.no_decay)
    assert (found.loss.name, found.loss.label_smoothing) == ("binary_cross_entropy", smoothing)
    assert found.schedule.name == "cosine"
    assert found.schedule.warm_up * epochs == pytest.approx(5, rel=0.01)
    assert found.network.drop_path == drop
    augmentation = found.augmentation
    assert (augmentation.policy, augmentation.repeats) == ("rand_augment", repeats)
    assert (augmentation.magnitude, augmentation.magnitude_std) == policy
    assert (found.mixing.mixup, found.mixing.cutmix) == (mixup, 1.0)
    assert found.optimizer.ema == 0


def test_the_figures_of_torchvision_s_second_weights():
    found = recipes.find("torchvision_v2", "resnet50_v1_5")
    assert (found.epochs, found.batch_size, found.size, found.test_size) == (600, 1024, 176, 224)
    assert round(224 / found.test_crop) == 232
    assert (found.optimizer.name, found.optimizer.learning_rate) == ("sgd", 0.5)
    assert (found.optimizer.momentum, found.optimizer.weight_decay) == (0.9, 2e-5)
    assert found.optimizer.ema > 0
    assert set(found.optimizer.no_decay) == {"gamma", "beta"}
    assert found.schedule.warm_up * 600 == pytest.approx(5, rel=0.01)
    assert (found.loss.name, found.loss.label_smoothing) == ("cross_entropy", 0.1)
    augmentation = found.augmentation
    assert (augmentation.policy, augmentation.erase) == ("trivial_augment", 0.1)
    assert augmentation.repeats == 4
    assert (found.mixing.mixup, found.mixing.cutmix) == (0.2, 1.0)


SOURCE = r"# .*(section|table|figure|--|timm|slim|not stated|authors|blog|torchvision)"


@pytest.mark.parametrize("name", sorted(set(recipes.names()) - {"quick", "transfer"}))
def test_every_line_of_a_published_recipe_has_its_source(name):
    for line in recipes.read(name).text.splitlines():
        if re.match(r"(?!about|sources|networks)\w+ = ", line):
            assert re.search(SOURCE, line), line


def test_a_line_for_one_network_holds_for_no_other():
    assert recipes.find("quick", "resnet50").optimizer.learning_rate == 2e-3
    assert recipes.find("quick", "vgg16").optimizer.learning_rate == 5e-4


def test_any_line_can_be_changed():
    found = recipes.find(
        "quick",
        "resnet50",
        (
            "epochs=3",
            "optimizer.learning_rate=.5",
            "optimizer.name=sgd",
            "augmentation.flip=true",
            'optimizer.no_decay=["bias"]',
            "augmentation.view = random_area",
        ),
    )
    assert (found.epochs, found.optimizer.learning_rate, found.optimizer.name) == (3, 0.5, "sgd")
    assert found.augmentation.flip
    assert found.optimizer.no_decay == ("bias",)
    assert found.augmentation.view == "random_area"
    unchanged = recipes.find("quick", "resnet50")
    assert found.schedule == unchanged.schedule
    assert found.augmentation.rotate == unchanged.augmentation.rotate


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimizer.learning_rat=1", "no such line; did you mean 'learning_rate'"),
        ("augmentation.shfit=0.1", "did you mean 'shift'"),
        ("nothing=1", "there are name, about"),
        ("optimizer.learning_rate=-1", "optimizer.learning_rate = -1: input should be greater"),
        ("optimizer.learning_rate=much", "'much': input should be a valid number"),
        ("optimizer.name=sgdd", "'adamw', 'sgd', 'rmsprop' or 'lamb'"),
        ("epochs=2.5", "valid integer"),
        ("epochs=0", "greater than or equal to 1"),
        ("augmentation.flip=1", "valid boolean"),
        ("epochs", "a line such as optimizer.learning_rate"),
        ("epochs.x=1", "epochs is a line of a recipe, not a section"),
        ("=1", "a line such as"),
        ("schedule.name=plateau", "warm_up must be 0"),
        ("transfer=3", "transfer = 3"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate"),
    ],
)
def test_a_line_that_cannot_be(change, message):
    with pytest.raises(ClassicsError, match=re.escape(message)) as caught:
        recipes.find("quick", "resnet50", (change,))
    assert "\n" not in str(caught.value)


def test_a_file_of_one_s_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'extends = "quick"\nepochs = 5\n[optimizer]\nlearning_rate = 1e-3\n'
        "[for.vgg16]\nepochs = 7\n"
    )
    found = recipes.find(str(path), "resnet50")
    assert (found.name, found.epochs, found.optimizer.learning_rate) == (str(path), 5, 1e-3)
    assert found.optimizer.weight_decay == 0.01
    assert found.about == ""
    assert recipes.find(str(path), "vgg16").epochs == 7


def test_lines_for_what_a_network_has_and_has_not(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        "epochs = 1\n[for.with_batch_norm]\nepochs = 2\n[for.without_residuals]\nbatch_size = 3\n"
        "[for.efficientnet_b0]\nepochs = 4\n"
    )
    found = {
        n: recipes.find(str(path), n)
        for n in ("vgg16", "resnet50", "inception_v3", "efficientnet_b0")
    }
    assert {name: (r.epochs, r.batch_size) for name, r in found.items()} == {
        "vgg16": (1, 3), "resnet50": (2, 32), "inception_v3": (2, 3), "efficientnet_b0": (4, 32),
    }  # fmt: skip


def test_a_file_without_extends_begins_with_plain_defaults(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("epochs = 5\n")
    assert recipes.find(str(path), "resnet50") == Recipe(name=str(path), about="", epochs=5)


def test_a_file_beside_another(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "base.toml").write_text("epochs = 5\nbatch_size = 7\n")
    (tmp_path / "deep" / "mine.toml").write_text('extends = "base.toml"\nepochs = 6\n')
    monkeypatch.chdir(tmp_path)
    found = recipes.find("deep/mine.toml", "resnet50")
    assert (found.epochs, found.batch_size) == (6, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = ", "is not TOML"),
        ("epochs = 5\nepoch = 6", "epoch: there is no such line; did you mean 'epochs'"),
        ('extends = "mine.toml"', "extends recipes that extend it"),
        ('extends = "nothing"', "recipe 'nothing'"),
        ("extends = 3", "`extends = "),
        ("for = 3", "`extends = "),
        ('networks = ["vgg16"]', "is for vgg16, not resnet50"),
        ("sources = 2020-01-01", "sources"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ClassicsError, match=re.escape(message)) as caught:
        recipes.find(str(path), "resnet50")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ClassicsError, match="cannot be read"):
        recipes.find(str(tmp_path / "none.toml"), "resnet50")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ClassicsError, match="not a text file"):
        recipes.find(str(tmp_path / "binary.toml"), "resnet50")


def test_a_misspelt_name_gets_the_nearest():
    with pytest.raises(ClassicsError, match="did you mean 'quick'"):
        recipes.find("quik", "resnet50")
    with pytest.raises(ClassicsError, match="there are paper, a1, a2"):
        recipes.find("xxxxxx", "resnet50")
