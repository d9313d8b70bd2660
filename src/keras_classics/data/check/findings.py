"""What a check can find, how much it matters, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Severity = Literal["mend", "look", "know"]
"""Training would be wrong or unreliable; worth a look; handled, and only said."""

Kind = Literal[
    "unreadable", "copies-across-splits", "copies-across-classes", "near-copies-across-splits",
    "groups-across-splits", "few-images", "near-copies-across-classes", "copies", "near-copies",
    "imbalance", "similar-names", "empty-folder", "missing-in-split", "wrong-ending", "overlooked",
    "outside-classes", "flat", "tiny", "huge", "rotated", "greyscale", "palette", "cmyk",
    "transparent", "16-bit", "animated", "other-files",
]  # fmt: skip

FEWEST = 10
"""Images of a class, below which a run that divides them tests it on a single one."""

FEWEST_TO_LEARN = 5
"""Images of a class in the training part."""

UNEVEN = 4.0
"""Ratio of the largest class to the smallest from which it is mentioned."""

HUGE = 20_000_000
"""Pixels from which a picture takes long to decode, and more memory than most."""

RULES: dict[Kind, tuple[Severity, str, str]] = {
    "unreadable": (
        "mend",
        "cannot be read, and would be left out of a run",
        "get the files again, or remove them",
    ),
    "copies-across-splits": (
        "mend",
        "the same picture in several splits: the result would look better than it is",
        "keep each picture in one split only",
    ),
    "copies-across-classes": (
        "mend",
        "the same picture in several classes: one of the labels is wrong",
        "keep each picture in one class only",
    ),
    "near-copies-across-splits": (
        "mend",
        "nearly the same picture in several splits: the result would look better than it is",
        "keep pictures of one origin in one split",
    ),
    "groups-across-splits": (
        "mend",
        "images of one group in several splits: the result would look better than it is",
        "keep each group in one split only",
    ),
    "few-images": (
        "mend",
        f"fewer than {FEWEST} images in the class, or than {FEWEST_TO_LEARN} to learn from",
        "add images, or merge or remove the class",
    ),
    "near-copies-across-classes": (
        "look",
        "nearly the same picture in several classes",
        "see whether the labels are right",
    ),
    "copies": (
        "look",
        "the same picture several times in a class; a run keeps them in one part",
        "keep one of each",
    ),
    "near-copies": (
        "look",
        "nearly the same picture several times in a class; a run keeps them in one part",
        "keep one of each, or name what they have in common as --group-by",
    ),
    "imbalance": (
        "look",
        (
            f"at least {UNEVEN:g} times as many images in the largest class as in the smallest; "
            "training counts every image alike, so large classes are favoured"
        ),
        (
            "train with --balance weights or --balance sampling, or add images to the small "
            "classes; judge by the figures of each class"
        ),
    ),
    "similar-names": (
        "look",
        "classes whose names differ by capitals or spaces only, but count as different",
        "merge them if they are one",
    ),
    "empty-folder": (
        "look",
        "a folder without images beside those of the classes: it is not counted as a class",
        "add images or remove it",
    ),
    "missing-in-split": (
        "look",
        "a class without images in a split: it will not be judged there",
        "move some of its images there",
    ),
    "wrong-ending": (
        "look",
        "another format than the ending says; read by the contents, but other programs may fail",
        "rename the files",
    ),
    "overlooked": (
        "look",
        "an image whose ending is not one that is read: it is left out",
        "give it the ending of its format, or convert it to JPEG or PNG",
    ),
    "outside-classes": (
        "look",
        "an image in no folder of a class: it is left out",
        "move it into a class",
    ),
    "flat": (
        "look",
        "less than a quarter of the range of values is used: nearly black, white or one colour",
        "see whether their files state the range (docs/data.md), or scale their values",
    ),
    "tiny": (
        "look",
        "smaller than the input of the network: enlarged, which adds nothing",
        "a smaller --size trains faster; see that no thumbnails are among them",
    ),
    "huge": (
        "know",
        f"more than {HUGE // 10**6} million pixels: slow to read, and more memory while that lasts",
        "smaller copies would train as well",
    ),
    "rotated": ("know", "turned upright as EXIF says", ""),
    "greyscale": ("know", "grey, given to the network in three equal channels", ""),
    "palette": ("know", "a palette, turned into colours", ""),
    "cmyk": ("know", "CMYK, turned into RGB", ""),
    "transparent": ("know", "transparent, laid on white", ""),
    "16-bit": ("know", "more than 8 bits, scaled to 8", ""),
    "animated": ("know", "animated or of several pages: the first picture is taken", ""),
    "other-files": ("know", "files that are no images, left out", ""),
}


BALANCED: dict[str, str] = {
    "weights": "images of small classes weigh more in this run",
    "sampling": "images of small classes are shown more often in this run",
}
"""What a run with `--balance` does about imbalance."""


@dataclass(frozen=True)
class Place:
    """Where something was found.

    Attributes:
        paths: relative to the folder, as with `as_posix`; where classes are concerned, their names.
            Several belong together, such as the copies of one picture.
        note: what is particular here, such as why a file cannot be read.
    """

    paths: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """Something found, and all places where it was.

    Attributes:
        kind: what it is.
        severity: how much it matters.
        text: what it means, in a few words.
        advice: what to do; empty if nothing.
        places: in the order of the paths.
    """

    kind: Kind
    severity: Severity
    text: str
    advice: str
    places: tuple[Place, ...]


def findings_of(found: Mapping[Kind, Sequence[Place]]) -> tuple[Finding, ...]:
    """What was found, in the order of the rules: those to mend first."""
    return tuple(
        Finding(kind, severity, text, advice, tuple(found[kind]))
        for kind, (severity, text, advice) in RULES.items()
        if found.get(kind)
    )
