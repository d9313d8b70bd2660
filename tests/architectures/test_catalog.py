from __future__ import annotations

import pytest

from keras_classics import CATALOG
from keras_classics.architectures.catalog import find


def test_names_are_those_of_the_records_in_the_order_of_the_papers():
    assert list(CATALOG) == [
        "vgg16", "inception_v3", "inception_v3_torch", "resnet50", "resnet50_v1_5", "resnet50_d",
        "mobilenet_v2", *(f"efficientnet_b{n}" for n in range(8)),
        *(f"efficientnet_lite{n}" for n in range(5)),
    ]  # fmt: skip
    assert all(record.name == name for name, record in CATALOG.items())
    assert len({record.title for record in CATALOG.values()}) == len(CATALOG)


def test_the_catalog_cannot_be_changed():
    with pytest.raises(TypeError):
        CATALOG["mine"] = CATALOG["vgg16"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("resnet50_d", "resnet50_d"),
        ("ResNet50_D", "resnet50_d"),
        ("ResNet50D", "resnet50_d"),
        ("InceptionV3", "inception_v3"),
        ("VGG16", "vgg16"),
    ],
)
def test_find_in_any_case(name, found):
    assert find(name) is CATALOG[found]


@pytest.mark.parametrize(
    ("name", "nearest"), [("vgg61", "vgg16"), ("inception", "inception_v3"), ("Resnet", "resnet50")]
)
def test_the_error_names_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"{name!r} is not known; did you mean {nearest!r}") as e:
        find(name)
    assert str(e.value).endswith(f"The catalog: {', '.join(CATALOG)}.")


def test_the_error_without_a_nearest():
    with pytest.raises(ValueError, match=r"'zzz' is not known\. The catalog: vgg16, inception_v3,"):
        find("zzz")
