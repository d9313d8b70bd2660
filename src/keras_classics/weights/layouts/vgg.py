"""VGG16 in torchvision and timm."""

from __future__ import annotations

from keras_classics.weights.layouts import Layout, Rules

# The places in torchvision's `features`, which counts the ReLUs and poolings, too.
_BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_FEATURES: Rules = tuple(
    (f"block{block}_conv{convolution}", f"features.{place}")
    for block, places in enumerate(_BLOCKS, 1)
    for convolution, place in enumerate(places, 1)
)
_FLATTENED = frozenset({"fc1"})
_TOP = (("fc1", "classifier.0"), ("fc2", "classifier.3"), ("predictions", "classifier.6"))
_TOP_OF_TIMM = (("(fc[12])", "pre_logits.{1}"), ("predictions", "head.fc"))

LAYOUTS = (
    Layout("torchvision", "vgg16", (*_FEATURES, *_TOP), flattened=_FLATTENED),
    Layout(
        "timm",
        "vgg16",
        (*_FEATURES, *_TOP_OF_TIMM),
        flattened=_FLATTENED,
        convolved=frozenset({"fc1", "fc2"}),
    ),
)
