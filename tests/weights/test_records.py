from __future__ import annotations

import inspect
import re

import pytest
from keras.src.applications import inception_v3, resnet, vgg16

from keras_classics.errors import WeightsError
from keras_classics.weights.records import IMAGENET, imagenet


@pytest.mark.parametrize(
    ("network", "module"),
    [("vgg16", vgg16), ("resnet50", resnet), ("inception_v3", inception_v3)],
)
@pytest.mark.parametrize("include_top", [True, False])
def test_addresses_and_hashes_are_those_of_keras(network, module, include_top):
    record = imagenet(network, include_top=include_top)
    source = re.sub(r'"\s+"', "", inspect.getsource(module))  # one literal for two
    assert record.md5 in source
    folder, _, name = record.url.rpartition("/")
    assert folder in source
    assert name == record.file_name
    ending = "" if include_top else "_notop"
    assert name == f"{network}_weights_tf_dim_ordering_tf_kernels{ending}.h5"
    assert record.classes == 1000
    assert record.preprocessing == {"inception_v3": "tf"}.get(network, "caffe")


def test_no_two_records_share_a_file():
    assert len(IMAGENET) == 6
    for key in ("url", "md5"):
        assert len({getattr(record, key) for record in IMAGENET}) == 6
    assert all(re.fullmatch("[0-9a-f]{32}", record.md5) for record in IMAGENET)
    assert all(record.url.startswith("https://") for record in IMAGENET)


@pytest.mark.parametrize("network", ["resnet50_v1_5", "resnet50_d", "mine"])
def test_a_variant_has_no_record_of_another(network):
    with pytest.raises(WeightsError, match=f"known for {network}, only for vgg16, resnet50, incep"):
        imagenet(network, include_top=True)
