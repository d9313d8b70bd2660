"""Which engine a model is opened with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keras_classics.engines.deployment import Deployment
from keras_classics.engines.engine import Engine


@dataclass(frozen=True)
class Choice:
    """Engine, precision and threads, as they were asked for.

    Attributes:
        engine: "auto", "keras", "openvino" or "onnxruntime".
        precision: to compute in; None for that of an export, else f32.
        threads: of each engine; None for all processors.
        before_keras: called before Keras is imported, if it is.
    """

    engine: str = "auto"
    precision: str | None = None
    threads: int | None = None
    before_keras: Callable[[], None] | None = None

    def open(self, path: Path) -> Engine:
        """An engine over an artefact or an export.

        Raises:
            ClassicsError: If it is torn, or the engine not to be had.
        """
        return Deployment(
            path=path,
            engine=self.engine,
            precision=self.precision,
            threads=self.threads,
            before_keras=self.before_keras,
        ).open()
