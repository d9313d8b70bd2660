from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from keras_classics.engines.benchmark.measuring import Results, Row
from keras_classics.engines.benchmark.plot import FORMS, draw


def row(library, precision, rate, **changes):
    values = {
        "p50_ms": 1000 / rate,
        "p95_ms": 1200 / rate,
        "p99_ms": 2000 / rate,
        "images_per_s": rate,
        "to_reference": rate / 20,
        "rates": (rate,),
        "memory": 10**9,
    }
    return Row(f"{library} {precision}", library, precision, **{**values, **changes})


FOUND = Results(
    network="resnet50",
    size=224,
    width=1.0,
    macs=3_858_000_000,
    reference="ResNet50",
    batch=16,
    rounds=5,
    rows=(
        row("openvino", "int8", 104.0),
        row("openvino", "bf16", 36.0),
        row("keras.applications", "f32", 20.0),
        row("keras", "f32", 15.0, to_reference=None),
    ),
    missing={},
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
    for words in (
        "openvino int8",
        "keras f32",
        "104.0 · 5.20 ×",
        "15.0",
        "A processor, 2 cores",
        "× keras.applications' ResNet50",
    ):
        assert words in text


def test_no_ratios_where_nothing_is_compared():
    alone = replace(FOUND, rows=(row("openvino", "f32", 50.0, to_reference=None),))
    assert "×" not in draw(alone, Path("a.svg")).decode().replace("224 × 224", "")
