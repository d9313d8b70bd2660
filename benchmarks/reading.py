"""What listing, decoding and dividing a folder of images takes, in processor seconds.

python benchmarks/reading.py FOLDER...
"""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from keras_classics.data.check.run import same_files
from keras_classics.data.copies import equal_groups, near_groups
from keras_classics.data.folder import scan
from keras_classics.data.listing import Listing, fingerprint
from keras_classics.data.pixels import decode_all
from keras_classics.data.splits import assign_splits

SIZE = (64, 64)
T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Processor seconds, the better of two tries, and the result."""
    times = []
    for _ in range(2):
        began = time.process_time()
        result = work()
        times.append(time.process_time() - began)
    return min(times), result


def packed(listing: Listing, folder: Path) -> Path:
    """The images as an archive."""
    place = folder / "images.zip"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for item in listing.items:
            archive.write(listing.root / item.name, item.name)
    return place


def measure(folder: Path, scratch: Path) -> dict[str, str]:
    """All rows of a folder."""
    seconds = {}
    tracemalloc.start()
    listing = scan(folder)
    size = tracemalloc.get_traced_memory()[0] / len(listing.items)
    tracemalloc.stop()
    archive = packed(listing, scratch)
    seconds["listing a folder"], _ = timed(lambda: scan(folder))
    seconds["listing an archive"], inside = timed(lambda: scan(archive))
    seconds["decoding from a folder"], _ = timed(
        lambda: decode_all(listing.storage, listing.items, SIZE, "crop")
    )
    seconds["decoding from an archive"], _ = timed(
        lambda: decode_all(inside.storage, inside.items, SIZE, "crop")
    )
    with_prints, decoded = timed(
        lambda: decode_all(listing.storage, listing.items, SIZE, "crop", prints=True)
    )
    seconds["hashes of files and pictures on top"] = with_prints - seconds["decoding from a folder"]
    prints = decoded.prints
    assert prints is not None
    hashed = np.flatnonzero(prints.pictures.any(axis=1))
    seconds["search for near copies"], near = timed(lambda: near_groups(prints.pictures[hashed]))
    names = [item.name for item in listing.items]
    kept = {
        "copies": [[names[i] for i in group] for group in equal_groups(prints.files)],
        "near": [[names[hashed[i]] for i in group] for group in near],
    }
    bare = replace(listing, items=tuple(replace(item, split=None) for item in listing.items))
    seconds["dividing, with copies"], _ = timed(lambda: assign_splits(bare, seed=0, **kept))
    seconds["fingerprint by sizes"], _ = timed(lambda: fingerprint(listing))
    seconds["reading files of the same size again"], _ = timed(
        lambda: same_files(listing.storage, listing.items)
    )
    rows = {name: f"{value:.2f}" for name, value in seconds.items()}
    return {"images": f"{len(names):,}", **rows, "bytes of the list, an image": f"{size:.0f}"}


def main() -> None:
    """Measure and print."""
    columns = []
    for folder in map(Path, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as scratch:
            columns.append(measure(folder, Path(scratch)))
    names = " | ".join(Path(folder).name for folder in sys.argv[1:])
    sys.stdout.write(f"| | {names} |\n|---|{'---:|' * len(columns)}\n")
    for row in columns[0]:
        sys.stdout.write(f"| {row} | {' | '.join(column[row] for column in columns)} |\n")


if __name__ == "__main__":
    main()
