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
        "cannot be read; a run leaves them out",
        "replace the files or remove them",
    ),
    "copies-across-splits": (
        "mend",
        "the same picture in several splits, which inflates the measured accuracy",
        "keep each picture in one split only",
    ),
    "copies-across-classes": (
        "mend",
        "the same picture in several classes: one of the labels is wrong",
        "keep each picture in one class only",
    ),
    "near-copies-across-splits": (
        "mend",
        "near-duplicates in several splits, which inflate the measured accuracy",
        "keep near-duplicates in one split",
    ),
    "groups-across-splits": (
        "mend",
        "images of one group in several splits, which inflates the measured accuracy",
        "keep each group in one split only",
    ),
    "few-images": (
        "mend",
        f"fewer than {FEWEST} images in the class, or fewer than {FEWEST_TO_LEARN} to train on",
        "add images, or merge or remove the class",
    ),
    "near-copies-across-classes": (
        "look",
        "near-duplicates in several classes",
        "check their labels",
    ),
    "copies": (
        "look",
        "the same picture several times in a class; a run keeps the copies in one part",
        "keep one of each",
    ),
    "near-copies": (
        "look",
        "near-duplicates in a class; a run keeps them in one part",
        "keep one of each, or group them with --group-by",
    ),
    "imbalance": (
        "look",
        (
            f"at least {UNEVEN:g} times as many images in the largest class as in the smallest; "
            "training weights every image equally, so large classes are favoured"
        ),
        (
            "train with --balance weights or --balance sampling, or add images to the small "
            "classes; look at the figures per class"
        ),
    ),
    "similar-names": (
        "look",
        "class names that differ only in capitals or spaces; they count as different classes",
        "merge them if they are the same class",
    ),
    "empty-folder": (
        "look",
        "a folder without images next to the class folders; it is not a class",
        "add images or remove it",
    ),
    "missing-in-split": (
        "look",
        "a class without images in a split, so it is not evaluated there",
        "move some of its images there",
    ),
    "wrong-ending": (
        "look",
        "a format other than the file name says; read by content, but other programs may fail",
        "rename the files",
    ),
    "overlooked": (
        "look",
        "an image with an unknown file name extension; it is left out",
        "rename it with the extension of its format, or convert it to JPEG or PNG",
    ),
    "outside-classes": (
        "look",
        "an image outside the class folders; it is left out",
        "move it into a class folder",
    ),
    "flat": (
        "look",
        "uses less than a quarter of the value range: nearly black, white or one colour",
        "state the range in the file (docs/data.md), or rescale the values",
    ),
    "tiny": (
        "look",
        "smaller than the network input, so enlarged without gaining detail",
        "a smaller --size trains faster; check for thumbnails",
    ),
    "huge": (
        "know",
        f"more than {HUGE // 10**6} million pixels: slow to decode, and needs much memory",
        "smaller copies train just as well",
    ),
    "rotated": ("know", "rotated upright by EXIF orientation", ""),
    "greyscale": ("know", "greyscale, converted to RGB", ""),
    "palette": ("know", "palette, converted to RGB", ""),
    "cmyk": ("know", "CMYK, converted to RGB", ""),
    "transparent": ("know", "transparent, composited onto white", ""),
    "16-bit": ("know", "more than 8 bits per channel, scaled to 8", ""),
    "animated": ("know", "animated or several pages; only the first is used", ""),
    "other-files": ("know", "not images, left out", ""),
}


BALANCED: dict[str, str] = {
    "weights": "this run weights images of small classes higher",
    "sampling": "this run shows images of small classes more often",
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
