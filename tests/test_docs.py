"""What the guides in docs/ say is so."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import typer
from PIL import Image

from keras_classics import RECORDS, ResNet50, build, networks
from keras_classics.classifier.card import MODEL, Card, Preprocessing
from keras_classics.cli.app import app
from keras_classics.training.recipe import Recipe, Transfer

ROOT = Path(__file__).parent.parent
GUIDES = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *GUIDES]
WEIGHTS = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")


def commands():
    for page in PAGES:
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), flags=re.S | re.M)
        for line in "".join(text for language, text in blocks if not language).splitlines():
            if line.startswith("classics "):
                yield pytest.param(line, id=f"{page.stem}: {line.split('#')[0].strip()}")


@pytest.mark.parametrize("line", list(commands()))
def test_commands_can_be_parsed(line):
    """Every command exists, and takes the options that it is given."""
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index(">")] if ">" in words else words
    command = typer.main.get_command(app)
    context = command.make_context("classics", words)
    while hasattr(command, "commands") and context._protected_args + context.args:
        name, command, rest = command.resolve_command(
            context, context._protected_args + context.args
        )
        context = command.make_context(name, rest, parent=context)


def test_the_table_of_the_published_weights():
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in WEIGHTS.splitlines()
        if line.startswith("| `") and line.split("`")[1] in RECORDS
    ]
    assert rows == [
        (
            f"`{record.name}`",
            f"{record.top1:.2f}",
            "–" if record.top5 is None else f"{record.top5:.2f}",
            str(record.protocol.resize),
            str(record.protocol.crop),
            record.protocol.interpolation,
            record.preprocessing,
        )
        for record in RECORDS.values()
    ]
    assert len(rows) == 32  # as the README says


def test_the_python_examples(tmp_path, monkeypatch):
    loaded = []

    def load_requested(_, architecture, weights, **__):
        loaded.append((architecture.name, weights))

    monkeypatch.setattr(networks, "load_requested", load_requested)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet50-0676ba61.pth").touch()
    first, package, surgery, inference = re.findall(
        r"```python\n(.*?)```", WEIGHTS, flags=re.DOTALL
    )
    exec(first, {})
    exec(package, {})
    assert loaded == [
        ("resnet50", "imagenet"),
        ("resnet50_v1_5", "resnet50_v1_5-torchvision-v2"),
        ("resnet50_v1_5", "resnet50-0676ba61.pth"),
        ("efficientnet_lite0", "imagenet"),
    ]
    names = {}
    exec(surgery, names)
    assert names["grey"].input_shape == (None, 224, 224, 1)
    assert names["mine"].output_shape == (None, 7)
    assert names["large"].input_shape == (None, None, None, 3)
    exec(inference, names)
    assert "conv1_bn" not in [layer.name for layer in names["of_pixels"].layers]


def test_the_python_example_of_the_drawings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    guide = (ROOT / "docs" / "drawing.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
    names = {}
    exec(example, names)
    assert (tmp_path / "resnet50.svg").read_text(encoding="utf-8") == names["svg"]
    opened = re.findall(r'class="frame \w+"[^>]* data-name="(\w+)"', names["inside"].svg())
    assert opened == ["conv3", "conv3_block1"]


def test_the_python_examples_of_the_explanations(tmp_path, monkeypatch, randomise, images):
    monkeypatch.chdir(tmp_path)
    guide = (ROOT / "docs" / "explanation.md").read_text(encoding="utf-8")
    of_a_picture, of_a_model = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)

    run = tmp_path / "runs" / "sign-digits"
    run.mkdir(parents=True)
    card = Card(
        network="vgg16", width=0.0625, class_names=("0", "1", "2"),
        preprocessing=Preprocessing((32, 32), "stretch", "tf"),
    )  # fmt: skip
    card.write(run)
    vgg16 = randomise(build("vgg16", width=0.0625, input_shape=(32, 32, 3), classes=3))
    vgg16.save(run / MODEL)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(pixels).save("one.jpg")
    names = {}
    exec(of_a_picture, names)
    (explained,) = names["explanation"].classes
    assert (explained.name, explained.heat.shape) == ("2", (32, 32))
    assert 0 < explained.checks.deletion.areas[0] < 1
    with Image.open("one.png") as picture:
        assert picture.width > 500

    resnet = ResNet50(weights=None, width=0.0625, input_shape=(32, 32, 3), classes=10)
    names = {"model": randomise(resnet), "images": images(2, 32, 32, 3)}
    exec(of_a_model, names)
    probe, outputs, without, slopes = (names[n] for n in ("probe", "outputs", "without", "slopes"))
    assert list(outputs.taps) == ["conv2_block1", "conv3_block1_2_conv"]
    added = probe.run(names["images"], ["conv2_block1_add", "conv2_block1_3"])
    cut = probe.run(names["images"], ["conv2_block1_add"], [names["Cut"]("conv2_block1_add", 0)])
    assert np.any(added.taps["conv2_block1_add"] != added.taps["conv2_block1_3"])
    np.testing.assert_array_equal(cut.taps["conv2_block1_add"], added.taps["conv2_block1_3"])
    np.testing.assert_array_equal(cut.scores, without.scores)
    assert slopes.gradients[probe.input].shape == (2, 32, 32, 3)
    assert slopes.gradients["conv4"].shape == (2, 2, 2, 64)
    assert slopes.classes.tolist() == [3, 7]
    assert tuple(names["maps"]) == probe.ends


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.S | re.M)  # no code
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (page.parent / target).exists(), target


def test_the_guide_to_training_names_every_line_of_a_recipe():
    guide = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    rows = {
        cells[0].strip("` "): re.findall(r"`(\w+)`", cells[1])
        for cells in (line.strip("|").split("|") for line in guide.splitlines())
        if len(cells) == 2
    }
    sections = get_type_hints(Recipe)
    sections["transfer"] = Transfer
    for section, kind in sections.items():
        if dataclasses.is_dataclass(kind) and section != "augmentation":  # too many for a table
            assert {field.name for field in dataclasses.fields(kind)} <= set(rows[section])
    plain = {name for name, kind in sections.items() if not dataclasses.is_dataclass(kind)}
    assert plain - {"name", "about", "sources"} <= set(rows["(top)"])
