"""Our engines beside torchvision and timm: what of them runs, and what the figures become."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engines.benchmark.runners import TASK
from keras_classics.architectures.catalog import CATALOG
from keras_classics.engines.benchmark.measuring import Measured, Results, rows_of
from scripts import benchmark_script, torch_module

TASK = replace(TASK, size=64, batch=2)


@pytest.fixture(scope="module")
def peers():
    return benchmark_script("inference_peers")


def test_the_networks_of_torch_are_there():
    known = {
        "torchvision": torch_module("torchvision.models").list_models(),
        "timm": torch_module("timm").list_models(),
    }
    for record in CATALOG.values():
        assert record.peers
        for library, name in record.peers:
            assert name in known.get(library, [name]), record.name
        assert record.sibling is None or record.sibling in CATALOG


@pytest.mark.parametrize(
    ("library", "precision", "network", "convolutions"),
    [("torchvision", "bf16", "resnet50", 53), ("timm", "f32", "resnet50_d", 55)],
)
def test_torch_s_models_run_at_their_best(
    peers, monkeypatch, library, precision, network, convolutions
):
    """In inference, channels last, and in the precision that is asked for."""
    import torch

    seen = []
    original = torch.nn.Conv2d.forward

    def forward(self, x):
        seen.append((x.dtype, self.weight.dtype, self.training, torch.is_inference_mode_enabled()))
        assert x.is_contiguous(memory_format=torch.channels_last)
        return original(self, x)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", forward)
    contender = next(
        each for each in peers.peers_of(network) if each.name == f"{library} {precision}"
    )
    run = contender.open(contender, TASK)
    run(3)
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    assert set(seen) == {(kind, kind, False, True)}
    assert len(seen) == 2 * convolutions  # two images, and one


def test_the_table_compares_with_the_faster_of_torchvision_s(peers):
    rates = {
        "openvino int8": [60.0, 90.0, 120.0],
        "torchvision bf16": [20.0, 30.0, 60.0],
        "torchvision f32": [12.0, 24.0, 36.0],
        "keras.applications f32": [10.0, 30.0, 20.0],
    }
    contenders = {each.name: each for each in (*peers.CONTENDERS, *peers.peers_of("resnet50"))}
    measured = [Measured(contenders[name], "", [0.1], rates[name], 3) for name in rates]
    rows = rows_of(measured)
    found = Results("resnet50", 224, 1.0, 1, "ResNet50", 16, 3, rows, {"timm f32": "no"}, {})
    lines = peers.table(found).splitlines()
    assert lines[2] == "| openvino int8 | 100.0 | 100.0 | 100.0 | 90.0 | 6.00 | 3.00 |"
    assert lines[3].startswith("| torchvision bf16 |")
    assert lines[3].endswith("| 30.0 | 2.00 | 1.00 |")
    assert lines[-1] == "left out: timm f32: no"
