"""The records of published weights: address, hash, and the preprocessing that belongs to them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from keras_classics.errors import WeightsError

_ROOT = "https://storage.googleapis.com/tensorflow/keras-applications"


@dataclass(frozen=True)
class PublishedWeights:
    """One published file of weights."""

    network: str  # name in the catalog: a variant of its own never shares a record
    include_top: bool
    url: str
    md5: str
    preprocessing: str  # mode of `keras_classics.data.preprocess`
    classes: int = 1000

    @property
    def file_name(self) -> str:
        """The file's name in the cache."""
        return self.url.rpartition("/")[2]


def _keras(
    network: str, folder: str, preprocessing: str, md5: str, md5_notop: str
) -> tuple[PublishedWeights, PublishedWeights]:
    stem = f"{_ROOT}/{folder}/{network}_weights_tf_dim_ordering_tf_kernels"
    return (
        PublishedWeights(network, True, f"{stem}.h5", md5, preprocessing),
        PublishedWeights(network, False, f"{stem}_notop.h5", md5_notop, preprocessing),
    )


IMAGENET: tuple[PublishedWeights, ...] = (
    *_keras(
        "vgg16",
        "vgg16",
        "caffe",
        md5="64373286793e3c8b2b4e3219cbf3544b",
        md5_notop="6d6bbae143d832006294945121d1f1fc",
    ),
    *_keras(
        "resnet50",
        "resnet",
        "caffe",
        md5="2cb95161c43110f7111970584f804107",
        md5_notop="4d473c1dd8becc155b73f8504c6f6626",
    ),
    *_keras(
        "inception_v3",
        "inception_v3",
        "tf",
        md5="9a0d58056eeedaa3f26cb7ebd46da564",
        md5_notop="bcbd6486424b2319ff4ef7d526e38f63",
    ),
)


def recognise(path: Path) -> PublishedWeights | None:
    """The record of a file that is one of the published ones, whatever its name."""
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    return next((record for record in IMAGENET if record.md5 == md5), None)


def imagenet(network: str, *, include_top: bool) -> PublishedWeights:
    """The record of a network's ImageNet weights.

    Raises:
        WeightsError: If none are known for exactly this network: a variant is never given the
            weights of another.
    """
    for record in IMAGENET:
        if (record.network, record.include_top) == (network, include_top):
            return record
    known = ", ".join(dict.fromkeys(record.network for record in IMAGENET))
    raise WeightsError(
        f'weights="imagenet": no published weights are known for {network}, only for {known}; '
        "use weights=None or the path of a file."
    )
