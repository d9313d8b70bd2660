"""What reading a folder for a run will take: time and memory, estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_classics.data.pixels import MEMORY_BUDGET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keras_classics.data.check.facts import Facts


@dataclass(frozen=True)
class Cost:
    """What the images of a run take before the network sees them; an estimate.

    Attributes:
        size: height and width of the decoded images, pixels.
        seconds: to read and decode all images, by what it took just now.
        workers: number of threads that share this.
        image_bytes: of all images, decoded at the size.
        mapped: whether they are too many for memory and go to a temporary file.
    """

    size: int
    seconds: float
    workers: int
    image_bytes: int
    mapped: bool


def estimate(facts: Sequence[Facts], *, size: int, workers: int) -> Cost:
    """The cost of decoding a folder, from the pass over its files.

    Args:
        facts: of all images.
        size: height and width wanted, in pixels.
        workers: number of threads, in the pass and in the run.
    """
    image_bytes = len(facts) * size * size * 3
    return Cost(
        size=size,
        seconds=sum(fact.seconds for fact in facts) / workers,
        workers=workers,
        image_bytes=image_bytes,
        mapped=image_bytes > MEMORY_BUDGET,
    )
