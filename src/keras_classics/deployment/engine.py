"""What runs a network: one interface, whatever is behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from keras_classics.card import Card

EngineName = Literal["keras", "openvino", "onnxruntime"]
Precision = Literal["f32", "bf16", "int8"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class Engine(ABC):
    """A network that runs: pictures of its size in, calibrated probabilities out.

    Several threads may ask at a time.
    """

    name: EngineName
    precision: Precision
    card: Card

    @abstractmethod
    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Calibrated class probabilities of decoded images of the network's size.

        Args:
            images: (n, h, w, 3) uint8, red, green and blue, as `data.fit.fit_bytes` makes them of
                files; n of any size, 0 too.

        Returns:
            (n, classes) float32, in the order of `card.class_names`.
        """

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Give back what is held; nothing is asked afterwards."""
