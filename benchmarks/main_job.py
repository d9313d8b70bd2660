"""The main job, measured: each network trained by `classics train` with its defaults.

    python benchmarks/main_job.py FOLDER

trains ResNet50 on the digits of scikit-learn, and the three networks on the folder, each in a
process of its own, and prints the table of the README. Seconds are those of the whole command, the
start of the backend included.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from keras_classics.card import Card

NETWORKS = ("vgg16", "resnet50", "inception_v3")


def measure(folder: str | None, network: str) -> str:
    """Train once; one row of the table."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        command = ["classics", "train", *([folder] if folder else []), "--network", network]
        began = time.monotonic()
        subprocess.run([*command, "--out", out], check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - began
        card = Card.read(out)
    data = f"`{Path(folder).name}`" if folder else "digits"
    figures = card.figures or {}
    side = card.preprocessing.size[0]
    return (
        f"| {data} | {network} | {card.width:g} | {side} | {card.recipe['epochs']} | "
        f"{figures['accuracy']:.1%} of {figures['images']} | {seconds:.0f} |"
    )


def main(folder: str) -> None:
    """Print the table, a row as soon as it is measured."""
    sys.stdout.write(
        f"{os.cpu_count()} cores\n\n"
        "| images | network | width | pixels | epochs | right, of held-out images | seconds |\n"
        "|---|---|---:|---:|---:|---:|---:|\n"
    )
    for data, network in [(None, "resnet50"), *((folder, network) for network in NETWORKS)]:
        sys.stdout.write(measure(data, network) + "\n")
        sys.stdout.flush()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    sys.stdout.write(f"\nlargest memory of a run: {peak:.1f} GB\n")


if __name__ == "__main__":
    main(sys.argv[1])
