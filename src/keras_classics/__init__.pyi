"""The public names, for editors and type checkers. Written by tools/record.py."""

from collections.abc import Callable
from typing import ParamSpec

import keras

from keras_classics.architectures.frame import Arguments
from keras_classics.architectures.analysis import Analysis as Analysis
from keras_classics.architectures.analysis import analyse as analyse
from keras_classics.architectures.catalog import CATALOG as CATALOG
from keras_classics.architectures.catalog import block_tree as block_tree
from keras_classics.architectures.efficientnet import mbconv as mbconv
from keras_classics.architectures.inception_v3 import grid_size_reduction as grid_size_reduction
from keras_classics.architectures.inception_v3 import module_a as module_a
from keras_classics.architectures.inception_v3 import module_b as module_b
from keras_classics.architectures.inception_v3 import module_c as module_c
from keras_classics.architectures.mobilenet_v2 import inverted_residual as inverted_residual
from keras_classics.architectures.optimise import fold_batch_norm as fold_batch_norm
from keras_classics.architectures.optimise import fold_scaling as fold_scaling
from keras_classics.architectures.optimise import for_inference as for_inference
from keras_classics.architectures.optimise import without_auxiliary as without_auxiliary
from keras_classics.architectures.optimise import without_dropout as without_dropout
from keras_classics.architectures.resnet import convolutional_block as convolutional_block
from keras_classics.architectures.resnet import identity_block as identity_block
from keras_classics.architectures.surgery import adapt_channels as adapt_channels
from keras_classics.architectures.surgery import convolutional_top as convolutional_top
from keras_classics.architectures.surgery import fold_gamma as fold_gamma
from keras_classics.architectures.surgery import with_classes as with_classes
from keras_classics.architectures.vgg import vgg16_sequential as vgg16_sequential
from keras_classics.architectures.vgg import vgg_block as vgg_block
from keras_classics.classifier.artefact import Classifier as Classifier
from keras_classics.classifier.artefact import load as load
from keras_classics.classifier.published import published as published
from keras_classics.engines.bulk import predict as predict
from keras_classics.engines.bulk import predict_to as predict_to
from keras_classics.engines.deployment import Deployment as Deployment
from keras_classics.engines.deployment import open_engine as open_engine
from keras_classics.errors import ClassicsError as ClassicsError
from keras_classics.exporting.export import export as export
from keras_classics.exporting.exported import Export as Export
from keras_classics.exporting.exported import ExportError as ExportError
from keras_classics.exporting.exported import read_export as read_export
from keras_classics.networks import build as build
from keras_classics.weights.labels import decode_predictions as decode_predictions
from keras_classics.weights.records import RECORDS as RECORDS

P = ParamSpec("P")
def _constructor(arguments: Callable[P, Arguments]) -> Callable[P, keras.Model]: ...

__version__: str
VGG16 = _constructor(Arguments)
"""VGG16, https://arxiv.org/abs/1409.1556."""
InceptionV3 = _constructor(Arguments)
"""InceptionV3, https://arxiv.org/abs/1512.00567."""
InceptionV3Torch = _constructor(Arguments)
"""InceptionV3Torch, https://arxiv.org/abs/1512.00567."""
ResNet50 = _constructor(Arguments)
"""ResNet50, https://arxiv.org/abs/1512.03385."""
ResNet50V1_5 = _constructor(Arguments)
"""ResNet50V1_5, https://arxiv.org/abs/1512.03385."""
ResNet50D = _constructor(Arguments)
"""ResNet50D, https://arxiv.org/abs/1812.01187."""
MobileNetV2: Callable[..., keras.Model] = ...
"""MobileNetV2, https://arxiv.org/abs/1801.04381."""
EfficientNetB0 = _constructor(Arguments)
"""EfficientNetB0, https://arxiv.org/abs/1905.11946."""
EfficientNetB1 = _constructor(Arguments)
"""EfficientNetB1, https://arxiv.org/abs/1905.11946."""
EfficientNetB2 = _constructor(Arguments)
"""EfficientNetB2, https://arxiv.org/abs/1905.11946."""
EfficientNetB3 = _constructor(Arguments)
"""EfficientNetB3, https://arxiv.org/abs/1905.11946."""
EfficientNetB4 = _constructor(Arguments)
"""EfficientNetB4, https://arxiv.org/abs/1905.11946."""
EfficientNetB5 = _constructor(Arguments)
"""EfficientNetB5, https://arxiv.org/abs/1905.11946."""
EfficientNetB6 = _constructor(Arguments)
"""EfficientNetB6, https://arxiv.org/abs/1905.11946."""
EfficientNetB7 = _constructor(Arguments)
"""EfficientNetB7, https://arxiv.org/abs/1905.11946."""
EfficientNetLite0 = _constructor(Arguments)
"""EfficientNetLite0, https://arxiv.org/abs/1905.11946."""
EfficientNetLite1 = _constructor(Arguments)
"""EfficientNetLite1, https://arxiv.org/abs/1905.11946."""
EfficientNetLite2 = _constructor(Arguments)
"""EfficientNetLite2, https://arxiv.org/abs/1905.11946."""
EfficientNetLite3 = _constructor(Arguments)
"""EfficientNetLite3, https://arxiv.org/abs/1905.11946."""
EfficientNetLite4 = _constructor(Arguments)
"""EfficientNetLite4, https://arxiv.org/abs/1905.11946."""
