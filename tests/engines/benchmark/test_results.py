from __future__ import annotations

import json

import numpy as np
import pytest

from keras_classics.engines.benchmark import results as module
from keras_classics.engines.benchmark.contenders import REFERENCE, Contender
from keras_classics.engines.benchmark.measuring import Measured
from keras_classics.engines.benchmark.results import processor, results, write
from keras_classics.errors import OutputError

OURS = Contender("openvino", "int8")
TORCH = [Contender("torchvision", "f32"), Contender("torchvision", "bf16")]


def measured():
    return [
        Measured(REFERENCE, rates=[10.0, 30.0, 20.0], latencies=[[0.1] * 3], memory=3),
        Measured(TORCH[0], rates=[12.0, 24.0, 36.0], latencies=[[0.1]], memory=3),
        Measured(TORCH[1], rates=[20.0, 30.0, 60.0], latencies=[[0.1]], memory=3),
        Measured(OURS, rates=[50.0, 90.0, 120.0], latencies=[[0.01, 0.03], [0.02]], memory=9),
        Measured(Contender("keras", "f32"), why_not="not enough memory"),
    ]


def summed_up(**changes):
    options = {
        "network": "resnet50",
        "size": 224,
        "width": 1.0,
        "macs": {"ours": 4_000_000_000, "torch": 5_000_000_000},
        "batch": 16,
        "limits": {"int8": 1.44e12, "bf16": 6e11},
        "threads": None,
    }
    return results(measured(), {Contender("timm", "f32"): "no"}, **{**options, **changes})


def test_ratios_are_of_the_same_round():
    rows = {row.name: row for row in summed_up().rows}
    # Round by round 5, 3 and 6 times; the medians' ratio would be 4.5.
    assert rows["openvino int8"].to_reference == pytest.approx(5)
    assert rows["openvino int8"].to_torchvision == pytest.approx(2.5)  # to bf16, the faster
    assert rows["keras.applications f32"].to_reference == 1
    assert rows["torchvision f32"].to_torchvision == pytest.approx(0.6)


def test_percentiles_over_all_rounds():
    row = next(row for row in summed_up().rows if row.name == "openvino int8")
    assert row.p50_ms == pytest.approx(20)
    assert row.p95_ms == pytest.approx(np.percentile([10, 20, 30], 95))
    assert row.p99_ms == pytest.approx(np.percentile([10, 20, 30], 99))
    assert row.memory == 9


def test_the_share_of_the_limit_counts_each_network_s_own_operations():
    rows = {row.name: row for row in summed_up().rows}
    assert rows["openvino int8"].of_limit == pytest.approx(90 * 2 * 4e9 / 1.44e12)
    assert rows["torchvision bf16"].of_limit == pytest.approx(30 * 2 * 5e9 / 6e11)
    assert rows["torchvision f32"].of_limit is None  # no limit was measured


def test_the_fastest_first_and_nothing_is_hidden():
    found = summed_up()
    assert found.rows[0].library == "openvino"
    assert [row.images_per_s for row in found.rows] == [90, 30, 24, 20]
    assert found.missing == {"timm f32": "no", "keras f32": "not enough memory"}
    assert found.rounds == 3


def test_without_the_reference_there_are_no_ratios():
    found = results(
        [Measured(OURS, rates=[1.0], latencies=[[1.0]])],
        {},
        network="vgg16",
        size=32,
        width=0.25,
        macs={"ours": 1, "torch": 1},
        batch=1,
        limits={},
        threads=2,
    )
    assert found.rows[0].to_reference is found.rows[0].to_torchvision is None
    assert found.machine["threads"] == 2


def test_json_holds_all_figures():
    found = summed_up()
    values = json.loads(found.to_json())
    assert values["rows"][0]["images_per_s"] == 90
    assert values["machine"]["versions"]["keras"]
    assert values["limits"] == {"int8": 1.44e12, "bf16": 6e11}


def test_the_processor_has_a_name(monkeypatch):
    assert processor()
    monkeypatch.setattr(module, "Path", lambda *_: (_ for _ in ()).throw(OSError))
    assert processor()


def test_a_file_that_cannot_be_written(tmp_path):
    write(tmp_path / "a.json", b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    (tmp_path / "b.json").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        write(tmp_path / "b.json", b"{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]
