"""keras-classics: VGG16, ResNet50 and Inception V3, exact, readable, from paper to prediction."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_classics.architectures.analysis import Analysis, analyse
    from keras_classics.architectures.catalog import CATALOG, block_tree
    from keras_classics.architectures.inception_v3 import (
        grid_size_reduction,
        module_a,
        module_b,
        module_c,
        without_auxiliary,
    )
    from keras_classics.architectures.resnet import convolutional_block, identity_block
    from keras_classics.architectures.vgg import vgg16_sequential, vgg_block
    from keras_classics.artefact import Classifier, load
    from keras_classics.errors import ClassicsError
    from keras_classics.networks import (
        VGG16,
        InceptionV3,
        ResNet50,
        ResNet50D,
        ResNet50V1_5,
        build,
    )

__version__ = "0.1.0"

# Where each public name lives. They are fetched on first use, so that `classics --help` and error
# messages need not wait for Keras and its backend.
_HOME = {
    "CATALOG": "architectures.catalog",
    "Analysis": "architectures.analysis",
    "Classifier": "artefact",
    "ClassicsError": "errors",
    "InceptionV3": "networks",
    "ResNet50": "networks",
    "ResNet50D": "networks",
    "ResNet50V1_5": "networks",
    "VGG16": "networks",
    "analyse": "architectures.analysis",
    "block_tree": "architectures.catalog",
    "build": "networks",
    "convolutional_block": "architectures.resnet",
    "grid_size_reduction": "architectures.inception_v3",
    "identity_block": "architectures.resnet",
    "load": "artefact",
    "module_a": "architectures.inception_v3",
    "module_b": "architectures.inception_v3",
    "module_c": "architectures.inception_v3",
    "vgg16_sequential": "architectures.vgg",
    "vgg_block": "architectures.vgg",
    "without_auxiliary": "architectures.inception_v3",
}

__all__ = [
    "CATALOG",
    "VGG16",
    "Analysis",
    "ClassicsError",
    "Classifier",
    "InceptionV3",
    "ResNet50",
    "ResNet50D",
    "ResNet50V1_5",
    "analyse",
    "block_tree",
    "build",
    "convolutional_block",
    "grid_size_reduction",
    "identity_block",
    "load",
    "module_a",
    "module_b",
    "module_c",
    "vgg16_sequential",
    "vgg_block",
    "without_auxiliary",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
