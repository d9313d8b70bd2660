"""What runs a network: one interface, whatever is behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from keras_classics.classifier.card import Card
from keras_classics.classifier.prediction import DEFAULTS, Answers, Options, predicted
from keras_classics.data.arrays import as_pictures
from keras_classics.data.image_list import ImageList
from keras_classics.exporting.exported import Precision

EngineName = Literal["keras", "openvino", "onnxruntime"]
Hint = Literal["throughput", "latency"]
"""What an engine is tuned for: many pictures in little time, or one picture soon."""

ENGINES: tuple[EngineName, ...] = get_args(EngineName)


class Engine(ABC):
    """A network that runs: pictures of its size in, calibrated probabilities out.

    Several threads may ask at a time. An answer depends on its own picture, whatever else is asked.

    Attributes:
        name: of the library behind it.
        precision: that it computes in.
        card: of the network.
        requests: how many calls at a time keep it busy.
        why: it was chosen, where that was left to `open_engine`.
    """

    name: EngineName
    precision: Precision
    card: Card
    requests: int = 1
    why: str = ""

    def probabilities(self, images: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Calibrated class probabilities of decoded images of the network's size.

        Args:
            images: (n, h, w, 3) uint8, red, green and blue, as `data.fit.fit_bytes` makes them of
                files; n of any size, 0 too. Or what else `data.arrays.as_pictures` takes.

        Returns:
            (n, classes) float32, in the order of `card.class_names`.

        Raises:
            ClassicsError: If the images have another size, type or range.
        """
        return self._answers(as_pictures(images, self.card.preprocessing.size))

    def predicted(
        self,
        images: ImageList,
        options: Options = DEFAULTS,
        first: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Answers:
        """A prediction or an error for each image, a batch at a time, as `prediction.predicted`.

        It is to be closed before the engine is: its threads ask it.
        """
        return predicted(
            images,
            self.card,
            self.probabilities,
            options,
            requests=self.requests,
            first=first,
            progress=progress,
        )

    @abstractmethod
    def _answers(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """As `probabilities`, of (n, h, w, 3) uint8 and of nothing else."""

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Give back what is held; nothing is asked afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
