"""Who runs: our engines, and the libraries that they are compared with.

Every contender gets pictures in the form that it takes at once: ours decoded ones of the network's
size in uint8, the others the float32 batch that their own preprocessing would have made. Scaling is
counted against ours alone.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from keras_classics.architectures import frame
from keras_classics.architectures.catalog import CATALOG
from keras_classics.engines.benchmark.torch_modules import torch_module
from keras_classics.engines.deployment import open_engine
from keras_classics.engines.engine import Engine
from keras_classics.errors import ClassicsError
from keras_classics.exporting.exported import Precision

Library = Literal["openvino", "onnxruntime", "keras", "keras.applications", "torchvision", "timm"]
Images = npt.NDArray[Any]
Run = Callable[[Images, int], None]
"""Runs all images (n, h, w, 3), so many at a time."""


@dataclass(frozen=True)
class Contender:
    """One way to run a network."""

    library: Library
    precision: Precision

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"{self.library} {self.precision}"

    @property
    def is_ours(self) -> bool:
        """Whether it runs our network."""
        return self.library in OURS


OURS: tuple[Library, ...] = ("openvino", "onnxruntime", "keras")
CONTENDERS: tuple[Contender, ...] = (
    Contender("openvino", "int8"),
    Contender("openvino", "bf16"),
    Contender("openvino", "f32"),
    Contender("onnxruntime", "int8"),
    Contender("onnxruntime", "f32"),
    Contender("keras", "f32"),
    Contender("keras.applications", "f32"),
    Contender("torchvision", "bf16"),
    Contender("torchvision", "f32"),
    Contender("timm", "bf16"),
    Contender("timm", "f32"),
)
REFERENCE = Contender("keras.applications", "f32")

# The libraries of other networks, by what records call them.
_PEERS: Mapping[Library, frame.Library] = {
    "keras.applications": "keras",
    "torchvision": "torchvision",
    "timm": "timm",
}

_PACKAGES: Mapping[Library, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime",),
    "keras": ("keras",),
    "keras.applications": ("keras", "tensorflow"),
    "torchvision": ("torch", "torchvision"),
    "timm": ("torch", "timm"),
}


@dataclass(frozen=True)
class Task:
    """What a contender runs."""

    network: str  # of the catalog
    size: int  # height and width in pixels
    classes: int
    artefact: str | None = None  # the folder of ours, for Keras
    exports: Mapping[str, str] = field(default_factory=dict)  # name of a contender -> folder
    threads: int | None = None  # None: as many as the library takes by itself


def why_not(contender: Contender, network: str, width: float) -> str | None:
    """Why a contender does not run a network; None where it does."""
    for package in _PACKAGES[contender.library]:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
    if contender.is_ours:
        return None
    if name_there(contender.library, network) is None:
        return f"has no {network}"
    if width != 1.0:
        return f"has no width {width:g}"
    return None


def name_there(library: Library, network: str) -> str | None:
    """What a network is called in another library; None where it is not there."""
    return CATALOG[network].peer(_PEERS[library])


def build(contender: Contender, task: Task) -> Run:
    """The contender, ready to run.

    Raises:
        ClassicsError: If it cannot be had.
    """
    if contender.library == "keras.applications":
        return _keras_applications(task)
    if contender.is_ours:
        return _engine(contender, task)
    return _torch(contender, task)


def images_for(contender: Contender, task: Task, count: int) -> Images:
    """Pictures as a contender takes them, (count, h, w, 3), the channels first for torch."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, task.size, task.size, 3), np.uint8)
    if contender.is_ours:
        return pixels
    floats = pixels.astype(np.float32) / 127.5 - 1
    if contender.library == "keras.applications":
        return floats
    return floats.transpose(0, 3, 1, 2)  # a view: channels last in memory, as torch is told


def _engine(contender: Contender, task: Task) -> Run:
    folder = task.exports.get(contender.name) or task.artefact
    if folder is None:
        raise ClassicsError(f"{contender.name}: nothing to run.")

    def opened(hint: str) -> Engine:
        return open_engine(
            folder,
            engine=contender.library,
            precision=contender.precision,
            hint=hint,
            threads=task.threads,
        )

    many = opened("throughput")
    # A server of single images would be told so, too.
    single = opened("latency") if contender.library == "openvino" else many

    def run(images: Images, batch: int) -> None:
        engine = single if len(images) == 1 else many
        for start in range(0, len(images), batch):
            engine.probabilities(images[start : start + batch])

    return run


def _keras_applications(task: Task) -> Run:
    applications = importlib.import_module("keras").applications
    make = getattr(applications, str(name_there("keras.applications", task.network)))
    model = make(weights=None, input_shape=(task.size, task.size, 3), classes=task.classes)

    def run(images: Images, batch: int) -> None:
        model.predict(images, batch_size=batch, verbose=0)

    return run


def _torch(contender: Contender, task: Task) -> Run:
    """An eager model in channels_last, in float32 or under autocast's bf16."""
    import torch

    name = str(name_there(contender.library, task.network))
    if contender.library == "timm":
        model = torch_module("timm").create_model(name, pretrained=False, num_classes=task.classes)
    else:
        options: dict[str, Any] = {"weights": None, "num_classes": task.classes}
        if name == "inception_v3":
            options |= {"aux_logits": False, "init_weights": False}
        model = getattr(torch_module("torchvision.models"), name)(**options)
    kind = torch.bfloat16 if contender.precision == "bf16" else torch.float32
    model = model.eval().to(dtype=kind, memory_format=torch.channels_last)
    if task.threads:
        torch.set_num_threads(task.threads)

    def run(images: Images, batch: int) -> None:
        with torch.inference_mode():
            for start in range(0, len(images), batch):
                inputs = torch.from_numpy(images[start : start + batch])
                model(inputs.to(dtype=kind)).softmax(1)

    return run
