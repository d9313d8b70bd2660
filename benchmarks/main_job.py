"""The main job, measured: `classics train` on the digits and on a folder.

    python benchmarks/main_job.py FOLDER

trains ResNet50 on the digits of scikit-learn; on the folder what `classics train` begins with
trained weights, the head only and the whole; and three networks from random weights. Each run is a
process of its own; prints the table of the README. Seconds are those of the whole command, the
start of the backend included.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from keras_classics.classifier.card import Card

RANDOM = ("--weights", "none")
RUNS = (  # of the folder
    ("trained weights, head only", ("--unfreeze", "none")),
    ("trained weights", ()),
    ("random weights", ("--network", "vgg16", *RANDOM)),
    ("random weights", ("--network", "resnet50", *RANDOM)),
    ("random weights", ("--network", "inception_v3", *RANDOM)),
)


def measure(folder: str | None, begins: str, options: Sequence[str]) -> str:
    """Train once; one row of the table."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        command = ["classics", "train", *([folder] if folder else []), *options]
        began = time.monotonic()
        subprocess.run([*command, "--out", out], check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - began
        card = Card.read(out)
    data = f"`{Path(folder).name}`" if folder else "digits"
    figures = card.figures or {}
    side = card.preprocessing.size[0]
    epochs = "-" if "--unfreeze" in options else card.recipe["epochs"]
    return (
        f"| {data} | {card.network} | {begins} | {card.width:g} | {side} | {epochs} | "
        f"{figures['accuracy']:.1%} of {figures['images']} | {seconds:.0f} |"
    )


def main(folder: str) -> None:
    """Print the table, a row as soon as it is measured."""
    sys.stdout.write(
        f"{os.cpu_count()} cores\n\n"
        "| images | network | starts from | width | pixels | epochs | held-out accuracy "
        "| seconds |\n|---|---|---|---:|---:|---:|---:|---:|\n"
    )
    runs = [(None, "random weights", ()), *((folder, *each) for each in RUNS)]
    for run in runs:
        sys.stdout.write(measure(*run) + "\n")
        sys.stdout.flush()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    sys.stdout.write(f"\nlargest memory of a run: {peak:.1f} GB\n")


if __name__ == "__main__":
    main(sys.argv[1])
