"""The pictures that an export is compared and quantised by: which, and that no part is mixed up.

What is compared comes from the part of the run's images that was held out, and what int8 is
calibrated by from the part that the network learnt from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits, load_sample_images

from keras_classics.classifier.artefact import Classifier
from keras_classics.data.decode import decode_image
from keras_classics.data.fit import fit_image
from keras_classics.data.folder import scan
from keras_classics.data.listing import Item, Listing
from keras_classics.data.pixels import processors
from keras_classics.data.storage import Storage
from keras_classics.errors import DataError, ImageError
from keras_classics.exporting.exported import ExportError

Picture = npt.NDArray[np.uint8]

CROPS = 64  # of the two photographs, where there are no pictures of the run
AT_A_TIME, BYTES_AT_A_TIME = 32, 128 * 1024**2  # of pictures, of full size


@dataclass(frozen=True)
class Sample:
    """Some pictures, decoded when they are needed."""

    of: str  # which, in words
    names: tuple[str, ...]
    decoded: Callable[[str], Picture]  # (h, w, 3) uint8 of any size, by a name; or an ImageError
    labels: tuple[int, ...] | None = None  # classes, where known

    def __len__(self) -> int:
        return len(self.names)

    def batches(self) -> Iterator[tuple[list[Picture], list[int]]]:
        """Decoded pictures of their own sizes, and their labels; the unreadable are left out."""
        labels = self.labels or (-1,) * len(self)
        pictures: list[Picture] = []
        known: list[int] = []
        threads = processors()
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(self), threads):
                rows = slice(start, start + threads)
                read = pool.map(self._decoded, self.names[rows])
                for picture, label in zip(read, labels[rows], strict=True):
                    if picture is not None:
                        pictures.append(picture)
                        known.append(label)
                if len(pictures) >= AT_A_TIME or sum(map(np.size, pictures)) >= BYTES_AT_A_TIME:
                    yield pictures, known
                    pictures, known = [], []
        if pictures:
            yield pictures, known

    def _decoded(self, name: str) -> Picture | None:
        try:
            return self.decoded(name)
        except ImageError:
            return None

    def drawn(self, most: int, seed: int = 0) -> Sample:
        """So many of them at most, drawn at random, the same ones for the same seed."""
        if len(self) <= most:
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:most])
        return Sample(
            self.of,
            tuple(self.names[i] for i in chosen),
            self.decoded,
            None if self.labels is None else tuple(self.labels[i] for i in chosen),
        )


@dataclass(frozen=True)
class Parts:
    """The parts of a run's images, or of others by which published weights are exported."""

    train: Sample
    val: Sample
    test: Sample


def parts_of(classifier: Classifier, data: Path | None, root: Path | None = None) -> Parts | None:
    """The parts of a run's images, where these can be found.

    Args:
        classifier: Loaded from the artefact of the run.
        data: Where the images are now; None for where they were.
        root: What the paths of a table are relative to.

    Returns:
        None where no data are given and the images are no longer where they were.

    Raises:
        ExportError: If the data are not the run's.
        DataError: If they are no images.
    """
    if is_of_digits(classifier):
        if data is not None:
            raise ExportError(
                f"{data}: the run was trained on scikit-learn's digits, not on a folder; leave out "
                "--data."
            )
        return _parts(classifier, _digits(), None)
    if not classifier.splits:
        if data is None:
            return None
        raise ExportError(
            f"{data}: which of its pictures were held out is not known, as this is not the "
            "artefact of a run; leave out --data."
        )
    source = str(classifier.card.data.get("source") or "")
    try:
        if data is None and not Path(source).exists():
            return None
        listing = scan(data or Path(source), classes=classifier.folders, root=root)
    except DataError:
        if data is None:  # something else stands there by now
            return None
        raise
    if not classifier.is_own(listing):
        if data is None:
            return None
        raise ExportError(
            f"{data}: not the images that the run was trained on, so which were held out is not "
            "known; give --data the run's own folder, zip or csv."
        )
    return _parts(classifier, _stored(listing.storage), listing)


def parts_of_others(
    classifier: Classifier, data: Path, root: Path | None = None, *, seed: int = 0
) -> Parts:
    """A fifth of some pictures to decide by, drawn at random, and the others to compare on.

    For published weights, whose own pictures are not at hand.

    Args:
        classifier: Whose classes the folders are named by, as `published` says.
        data: Pictures that it did not learn from.
        root: What the paths of a table are relative to.
        seed: The same seed draws the same pictures.

    Raises:
        DataError: If they are no images, or not of its classes.
    """
    listing = scan(data, classes=classifier.folders, root=root)
    places = np.random.default_rng(seed).permutation(len(listing.items))
    deciding = len(places) // 5

    def part(of: str, chosen: npt.NDArray[np.intp]) -> Sample:
        items = [listing.items[i] for i in np.sort(chosen)]
        names, labels = (tuple(getattr(x, each) for x in items) for each in ("name", "label"))
        return Sample(of, names, _stored(listing.storage), labels)

    train = part(f"a fifth of {data.name}", places[:deciding])
    test = part(f"the pictures of {data.name} by which nothing was decided", places[deciding:])
    return Parts(train, dataclasses.replace(train, names=(), labels=()), test)


def is_of_digits(classifier: Classifier) -> bool:
    """Whether a run learnt from the digits of scikit-learn, which are always at hand."""
    data = classifier.card.data
    return bool(classifier.splits) and data.get("folder") is None and not data.get("fingerprint")


def photographs() -> Sample:
    """Crops of the two photographs that come with scikit-learn, of many sizes and proportions."""
    images = [np.asarray(image, np.uint8) for image in load_sample_images().images]
    names = tuple(f"{i}" for i in range(CROPS))

    def crop(name: str) -> Picture:
        rng = np.random.default_rng(int(name))
        image = images[int(name) % len(images)]
        height, width = (int(rng.integers(side // 5, side + 1)) for side in image.shape[:2])
        top = int(rng.integers(image.shape[0] - height + 1))
        left = int(rng.integers(image.shape[1] - width + 1))
        return image[top : top + height, left : left + width]

    return Sample(f"{CROPS} crops of two photographs of scikit-learn", names, crop)


def fitted(classifier: Classifier, pictures: Sequence[Picture]) -> Picture:
    """Pictures of any size at that of the network: (n, h, w, 3) uint8."""
    shape = classifier.card.preprocessing
    return np.stack([fit_image(picture, shape.size, shape.fit) for picture in pictures])


def _parts(
    classifier: Classifier,
    decoded: Callable[[str], Picture],
    listing: Listing | None,
) -> Parts:
    splits = classifier.splits
    items = listing.items if listing else _digit_items()
    found = {}
    for part in ("train", "val", "test"):
        mine = [item for item in items if splits.get(item.name) == part]
        found[part] = Sample(
            f"the {part} part of the run's own split",
            tuple(item.name for item in mine),
            decoded,
            tuple(item.label for item in mine),
        )
    return Parts(**found)


def _stored(storage: Storage) -> Callable[[str], Picture]:
    def decoded(name: str) -> Picture:
        return decode_image(storage.read_bytes(name), storage.place / name)

    return decoded


def _digits() -> Callable[[str], Picture]:
    """The digits as they are, 8 x 8 pixels; `data.digits` enlarges them as `fit_image` does."""
    grey = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)

    def decoded(name: str) -> Picture:
        return np.repeat(grey[int(name)][..., None], 3, axis=2)

    return decoded


def _digit_items() -> list[Item]:
    return [Item(f"{i:04d}", int(label)) for i, label in enumerate(load_digits().target)]
