from __future__ import annotations

from pathlib import Path

import pytest

from keras_classics.engines.benchmark.plot import FORMS, draw
from keras_classics.engines.benchmark.results import Results, Row
from keras_classics.errors import ClassicsError


def row(library, precision, rate, **changes):
    values = {
        "p50_ms": 1000 / rate,
        "p95_ms": 1200 / rate,
        "p99_ms": 2000 / rate,
        "images_per_s": rate,
        "to_reference": rate / 20,
        "to_torchvision": None,
        "of_limit": 0.5,
        "memory": 10**9,
        "built_s": 1.0,
    }
    return Row(library, precision, **{**values, **changes})


FOUND = Results(
    network="resnet50",
    size=224,
    width=1.0,
    macs=3_858_000_000,
    batch=16,
    rounds=5,
    rows=(
        row("openvino", "int8", 104.0),
        row("torchvision", "bf16", 36.0),
        row("keras.applications", "f32", 20.0),
        row("timm", "f32", 15.0, to_reference=None),
    ),
    missing={},
    limits={"f32": 1.7e11, "int8": 1.1e12},
    machine={"processor": "A processor", "cores": 2},
)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_bytes_every_time(form):
    first = draw(FOUND, Path(f"a{form}"))
    assert first == draw(FOUND, Path(f"b{form}"))
    start = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}[form]
    assert first.startswith(start)


def test_every_contender_is_named_with_its_figures():
    text = draw(FOUND, Path("a.svg")).decode()
    for words in ("openvino int8", "timm f32", "104.0 · 5.20 ×", "15.0", "A processor, 2 cores"):
        assert words in text


def test_what_cannot_be_drawn():
    with pytest.raises(ClassicsError, match=r"a\.gif: a figure ends with \.svg, \.png, \.pdf"):
        draw(FOUND, Path("a.gif"))
    empty = Results(**{**FOUND.__dict__, "rows": ()})
    with pytest.raises(ClassicsError, match="nothing ran"):
        draw(empty, Path("a.svg"))
