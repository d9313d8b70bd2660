"""The benchmark beside the peers: the same pictures for all, and what it makes of the figures."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_classics.data.folder import scan
from keras_classics.data.splits import assign_splits
from scripts import benchmark_script


@pytest.fixture(scope="module")
def benchmark():
    return benchmark_script("transfer_peers")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes in train and val, with a file that is no picture and a copy."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for part, number in (("train", 14), ("val", 6)):
        for shade, name in ((60, "ants"), (200, "bees")):
            place = folder / part / name
            place.mkdir(parents=True)
            for i in range(number):
                pixels = rng.normal(shade, 20, (40, 30, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.{'gif' if i == 3 else 'jpg'}")
    (folder / "train" / "ants" / "broken.jpg").write_bytes(b"no picture")
    shutil.copy(folder / "train" / "bees" / "0.jpg", folder / "train" / "bees" / "copy.jpg")
    return folder


def test_all_learn_from_the_pictures_that_classics_train_learns_from(benchmark, photos, tmp_path):
    listing = scan(photos)
    readable = tuple(item for item in listing.items if "broken" not in item.name)
    listing = type(listing)(listing.source, listing.classes, readable)
    copies = [["train/bees/0.jpg", "train/bees/copy.jpg"]]
    expected = assign_splits(listing, seed=1, copies=copies)

    job = benchmark.Job("", str(tmp_path), 1, quick=False)
    assert benchmark.divide(job, str(photos)) == 12  # the given val
    for part in benchmark.PARTS:
        for label in (0, 1):
            items = [i.path for i in expected.items if (i.split, i.label) == (part, label)]
            place = tmp_path / part / f"000{label}"
            assert sorted(path.read_bytes() for path in place.iterdir()) == sorted(
                Path(photos, path).read_bytes() for path in items
            )


def test_ratios_are_those_of_the_medians_and_the_interval_that_of_one_judgement(benchmark):
    def runs(accuracy, *seconds):
        return [benchmark.Result(accuracy, 150, each, 0.0, 0.5) for each in seconds]

    results = {"head": runs(0.96, 10, 30, 20), "ours": [], "torch": runs(0.94, 500, 400, 900)}
    lines = benchmark.table(results).splitlines()[2:]
    assert lines == [
        "| `classics train --unfreeze none` | 96.0% (91.5 to 98.2) | 20 | 0.5 | 1.0 |  |",
        "| loop of PyTorch's tutorial | 94.0% (89.0 to 96.8) | 500 | 0.5 | 25.0 |  |",
    ]


@pytest.mark.slow
def test_every_way_trains(benchmark, photos, capsys):
    with pytest.raises(SystemExit) as left:
        benchmark.main([str(photos), "--seeds", "0", "--quick"])
    said = capsys.readouterr()
    assert left.value.code == 0, said.err
    lines = said.out.splitlines()[-len(benchmark.TITLES) :]
    assert [line.split("|")[1].strip() for line in lines] == list(benchmark.TITLES.values())
