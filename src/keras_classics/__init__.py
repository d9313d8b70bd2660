"""keras-classics: landmark image classifiers, exact, readable, from paper to prediction."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Where each public name lives. They are fetched on first use, so that `classics --help` and error
# messages need not wait for Keras and its backend. The constructors, such as `ResNet50`, are made
# from the records of the networks; editors read all names in `__init__.pyi`.
_HOME = {
    "Analysis": "architectures.analysis",
    "CATALOG": "architectures.catalog",
    "ClassicsError": "errors",
    "Classifier": "classifier.artefact",
    "Deployment": "engines.deployment",
    "Export": "exporting.exported",
    "ExportError": "exporting.exported",
    "RECORDS": "weights.records",
    "adapt_channels": "architectures.surgery",
    "analyse": "architectures.analysis",
    "block_tree": "architectures.catalog",
    "build": "networks",
    "convolutional_block": "architectures.resnet",
    "convolutional_top": "architectures.surgery",
    "decode_predictions": "weights.labels",
    "export": "exporting.export",
    "fold_batch_norm": "architectures.optimise",
    "fold_gamma": "architectures.surgery",
    "fold_scaling": "architectures.optimise",
    "for_inference": "architectures.optimise",
    "grid_size_reduction": "architectures.inception_v3",
    "identity_block": "architectures.resnet",
    "inverted_residual": "architectures.mobilenet_v2",
    "load": "classifier.artefact",
    "mbconv": "architectures.efficientnet",
    "module_a": "architectures.inception_v3",
    "module_b": "architectures.inception_v3",
    "module_c": "architectures.inception_v3",
    "open_engine": "engines.deployment",
    "predict": "engines.bulk",
    "predict_to": "engines.bulk",
    "published": "classifier.published",
    "read_export": "exporting.exported",
    "vgg16_sequential": "architectures.vgg",
    "vgg_block": "architectures.vgg",
    "with_classes": "architectures.surgery",
    "without_auxiliary": "architectures.optimise",
    "without_dropout": "architectures.optimise",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    if name == "__all__" or name[:1].isupper():
        networks = importlib.import_module(f"{__name__}.networks")
        if name == "__all__":
            return sorted([*_HOME, *networks.titles()])
        if name in networks.titles():
            return networks.constructor(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__getattr__("__all__")]
