"""The weights of an installed package on photographs, and what its own network says of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from keras_classics import RECORDS
from keras_classics.cli import app
from scripts import benchmark_script

WEIGHTS = "efficientnet_lite0-google"
# Of two photographs: left, top, right, bottom. Small, tall, wide, odd, and at the network's size.
CROPS = [
    (0, (0, 0, 640, 427)), (1, (0, 0, 640, 427)), (1, (200, 40, 427, 267)), (0, (301, 2, 398, 425)),
    (0, (0, 100, 637, 331)), (1, (180, 20, 436, 276)), (1, (100, 0, 433, 333)),
    (0, (80, 90, 181, 173)),
]  # fmt: skip


@pytest.fixture(scope="module")
def benchmark():
    return benchmark_script("imagenet")


@pytest.mark.slow
def test_answers_on_photographs_are_those_of_the_packages_own_network(benchmark, tmp_path, capsys):
    """Three of four pictures lie in the folder of what it says, the others in that of the second.

    So `evaluate` counts the same, and the networks are not merely equal in what both get wrong.
    """
    logits = benchmark.torch_network(WEIGHTS)
    photographs = [Image.fromarray(each) for each in load_sample_images().images]
    for number, (photograph, box) in enumerate(CROPS):
        file = tmp_path / f"{number}.jpg"
        picture = photographs[photograph].crop(box)
        (picture.convert("L") if number == 2 else picture).save(file, quality=90)
        (answer,) = logits(benchmark.by_pillow(file.read_bytes(), 224)[None])
        label = np.argsort(-answer)[1 if number % 4 == 3 else 0]
        folder = tmp_path / "pictures" / RECORDS[WEIGHTS].class_names[label].synset
        folder.mkdir(parents=True, exist_ok=True)
        file.rename(folder / file.name)

    folder = str(tmp_path / "pictures")
    benchmark.main([folder, "--weights", WEIGHTS, "--no-speed"])
    said = capsys.readouterr()
    assert not said.err  # the pixels are the same
    cells = [cell.strip() for cell in said.out.splitlines()[-1].split("|")[1:-1]]
    assert cells[0] == "EfficientNetLite0"
    assert cells[2].startswith("75.0 (")
    assert cells[3].startswith("100.0 (")
    assert cells[4] == "8 / 8 of 8"
    assert float(cells[5]) < 1e-5

    assert app.run(["evaluate", "--weights", WEIGHTS, folder, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["accuracy"], figures["top5_accuracy"]) == (0.75, 1.0)
