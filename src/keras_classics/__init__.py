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
    )
    from keras_classics.architectures.optimise import (
        fold_batch_norm,
        fold_scaling,
        for_inference,
        without_auxiliary,
        without_dropout,
    )
    from keras_classics.architectures.resnet import convolutional_block, identity_block
    from keras_classics.architectures.surgery import (
        adapt_channels,
        convolutional_top,
        fold_gamma,
        with_classes,
    )
    from keras_classics.architectures.vgg import vgg16_sequential, vgg_block
    from keras_classics.artefact import Classifier, load
    from keras_classics.deployment.bulk import predict, predict_to
    from keras_classics.deployment.engines import Deployment, open_engine
    from keras_classics.errors import ClassicsError
    from keras_classics.networks import (
        VGG16,
        InceptionV3,
        InceptionV3Torch,
        ResNet50,
        ResNet50D,
        ResNet50V1_5,
        build,
    )
    from keras_classics.published import published
    from keras_classics.weights.labels import decode_predictions
    from keras_classics.weights.records import RECORDS

__version__ = "0.1.0"

# Where each public name lives. They are fetched on first use, so that `classics --help` and error
# messages need not wait for Keras and its backend.
_HOME = {
    "Analysis": "architectures.analysis",
    "CATALOG": "architectures.catalog",
    "ClassicsError": "errors",
    "Classifier": "artefact",
    "Deployment": "deployment.engines",
    "InceptionV3": "networks",
    "InceptionV3Torch": "networks",
    "RECORDS": "weights.records",
    "ResNet50": "networks",
    "ResNet50D": "networks",
    "ResNet50V1_5": "networks",
    "VGG16": "networks",
    "adapt_channels": "architectures.surgery",
    "analyse": "architectures.analysis",
    "block_tree": "architectures.catalog",
    "build": "networks",
    "convolutional_block": "architectures.resnet",
    "convolutional_top": "architectures.surgery",
    "decode_predictions": "weights.labels",
    "fold_batch_norm": "architectures.optimise",
    "fold_gamma": "architectures.surgery",
    "fold_scaling": "architectures.optimise",
    "for_inference": "architectures.optimise",
    "grid_size_reduction": "architectures.inception_v3",
    "identity_block": "architectures.resnet",
    "load": "artefact",
    "module_a": "architectures.inception_v3",
    "module_b": "architectures.inception_v3",
    "module_c": "architectures.inception_v3",
    "open_engine": "deployment.engines",
    "predict": "deployment.bulk",
    "predict_to": "deployment.bulk",
    "published": "published",
    "vgg16_sequential": "architectures.vgg",
    "vgg_block": "architectures.vgg",
    "with_classes": "architectures.surgery",
    "without_auxiliary": "architectures.optimise",
    "without_dropout": "architectures.optimise",
}

__all__ = [
    "CATALOG",
    "RECORDS",
    "VGG16",
    "Analysis",
    "ClassicsError",
    "Classifier",
    "Deployment",
    "InceptionV3",
    "InceptionV3Torch",
    "ResNet50",
    "ResNet50D",
    "ResNet50V1_5",
    "adapt_channels",
    "analyse",
    "block_tree",
    "build",
    "convolutional_block",
    "convolutional_top",
    "decode_predictions",
    "fold_batch_norm",
    "fold_gamma",
    "fold_scaling",
    "for_inference",
    "grid_size_reduction",
    "identity_block",
    "load",
    "module_a",
    "module_b",
    "module_c",
    "open_engine",
    "predict",
    "predict_to",
    "published",
    "vgg16_sequential",
    "vgg_block",
    "with_classes",
    "without_auxiliary",
    "without_dropout",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
