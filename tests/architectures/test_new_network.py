"""A network is one file: all that knows networks finds it, and nothing else is touched."""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from pathlib import Path

import pytest

import keras_classics
from keras_classics import CATALOG, analyse, architectures, block_tree, networks
from keras_classics.architectures import catalog
from keras_classics.drawing import draw

FAMILY = '''
    """TinyNet: Nobody, 2026."""

    from functools import partial

    from keras import layers

    from keras_classics.architectures.frame import Architecture
    from keras_classics.architectures.layers import CONV_BN, Names, conv_bn, scaled
    from keras_classics.architectures.tree import BlockKind

    DEPTHS = (1, 2)
    unit = partial(conv_bn, activation="relu6", epsilon=1e-5)


    def tiny_block(x, *, filters, name):
        """A strided unit and one that is not: (b, h, w, c) -> (b, h / 2, w / 2, filters)."""
        x = unit(x, filters=filters, kernel=3, strides=2, name=f"{name}_a")
        return unit(x, filters=filters, kernel=3, name=f"{name}_b")


    def features(x, *, width, depths, prefix):
        """All stages: (b, h, w, c) -> (b, h / 8, w / 8, 16 width)."""
        ends = {}
        for stage, depth in enumerate(depths, start=1):
            for block in range(depth):
                name = f"{prefix}tiny{stage}_{block}"
                x = tiny_block(x, filters=scaled(8 * stage, width), name=name)
            ends[f"tiny{stage}"] = x
        return ends


    KINDS = (
        CONV_BN,
        BlockKind("tiny_block", r"(tiny\\d_\\d)_[ab]_.+", "figure 1", made_by=tiny_block),
    )
    TINY = Architecture(
        name="tiny_net", title="TinyNet", paper="https://arxiv.org/abs/2612.00001", year=2026,
        default_size=32, least_size=8, depths=DEPTHS, features=features, kinds=KINDS,
    )
    NETWORKS = (TINY, TINY.replace(name="tiny_net_b", title="TinyNetB", depths=(2, 2)))
'''


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The package with one file more, read afresh."""
    (tmp_path / "tiny.py").write_text(textwrap.dedent(FAMILY), encoding="utf-8")
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(tmp_path)])
    fresh = catalog.Catalog()
    monkeypatch.setattr(catalog, "CATALOG", fresh)
    networks.constructor.cache_clear()
    yield fresh
    networks.constructor.cache_clear()
    sys.modules.pop("keras_classics.architectures.tiny", None)
    vars(architectures).pop("tiny", None)


def test_it_is_the_last_in_the_catalog(tiny):
    assert list(tiny)[-2:] == ["tiny_net", "tiny_net_b"]
    assert catalog.find("TinyNetB") is tiny["tiny_net_b"]
    assert {"tiny_block", "conv_bn"} <= {kind.name for kind in tiny.kinds}


@pytest.mark.usefixtures("tiny")
def test_it_has_a_constructor_with_everything(images, run):
    assert {"TinyNet", "TinyNetB"} <= set(networks.titles())
    model = keras_classics.TinyNet(classes=3, width=0.5, dropout=0.1)
    assert model.name == "tiny_net"
    assert run(model, images(2, 32, 32, 3)).shape == (2, 3)
    body = keras_classics.TinyNet(include_top=False, taps=["tiny1"], depths=(1, 1))
    assert {name: maps.shape for name, maps in body.output.items()} == {
        "tiny1": (None, None, None, 8)
    }
    with pytest.raises(ValueError, match="TinyNet needs at least 8 x 8 pixels"):
        keras_classics.TinyNet(input_shape=(7, 8, 3))
    with pytest.raises(ValueError, match="TinyNet has no residuals to drop"):
        keras_classics.TinyNet(drop_path=0.1)


@pytest.mark.usefixtures("tiny")
def test_it_has_blocks_costs_and_a_drawing():
    model = keras_classics.TinyNet(classes=3)
    blocks = [block for block in block_tree(model).walk() if block.kind == "tiny_block"]
    assert [block.name for block in blocks] == ["tiny1_0", "tiny2_0", "tiny2_1"]
    assert [inside.kind for inside in blocks[0].blocks] == ["conv_bn"] * 2
    assert "tiny2_1" in {cost.name for _, cost in analyse(model).blocks}
    assert "tiny_block" in draw(model, unfolded=True).svg()


SOURCE = Path(keras_classics.__file__).parent
# Where networks are what the file is about; a family's own module has `NETWORKS`.
THEIR_PLACES = ("weights/records.py", "weights/layouts/")
# Code that names one elsewhere.
NAMED = {
    "__init__.py": "the modules of the public blocks",
    "architectures/__init__.py": "the default of training",
}
# Docstrings and comments that have one as an example, or say what is known of one.
TOLD = {
    "architectures/layers.py", "architectures/stages.py", "architectures/surgery.py",
    "explanation/methods.py", "explanation/probe.py", "explanation/program.py",
    "explorer/inference.py", "explorer/models.py", "networks.py", "classifier/published.py",
    "training/optimizer.py", "training/speed.py", "weights/keras_files.py",
}  # fmt: skip


def test_nothing_else_names_a_network():
    words = {word for record in CATALOG.values() for word in (record.name, record.title)}
    pattern = re.compile(rf"\b(?:{'|'.join(sorted(words))})\b")
    named, told = set(), set()
    for path in sorted(SOURCE.rglob("*.py")):
        place, text = path.relative_to(SOURCE).as_posix(), path.read_text("utf-8")
        if place.startswith(THEIR_PLACES) or re.search(r"^NETWORKS = ", text, re.MULTILINE):
            continue
        if pattern.search(without_words(text)):
            named.add(place)
        elif pattern.search(text):
            told.add(place)
    assert named == set(NAMED)
    assert told == TOLD


def without_words(text):
    """Python without its docstrings and comments."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    return ast.unparse(tree)
