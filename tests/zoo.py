"""The networks of the catalog as parameters of tests: one of each family, all with --slow."""

from __future__ import annotations

import pytest

from keras_classics import CATALOG, build

FAMILIES = ("vgg16", "inception_v3", "resnet50", "mobilenet_v2", "efficientnet_b0")
# Those whose relatives differ in nothing but the numbers of blocks and filters, or not at all.
REPRESENTATIVES = (
    "vgg16",
    "inception_v3",
    "inception_v3_torch",
    "resnet50",
    "resnet50_v1_5",
    "resnet50_d",
    "mobilenet_v2",
    "efficientnet_b0",
    "efficientnet_lite0",
)
WIDTH = 1 / 16


def slow(*values, **options):
    """A case that is run with --slow alone."""
    return pytest.param(*values, marks=pytest.mark.slow, **options)


def networks(chosen, among=CATALOG):
    """All names, to be parametrised over; those that are not chosen are slow."""
    return [name if name in chosen else slow(name, id=name) for name in among]


NETWORKS = networks(FAMILIES)
VARIANTS = networks(REPRESENTATIVES)  # where what tells them apart is tested


def one_each(network):
    """Depths of one block a stage."""
    return (1,) * len(CATALOG[network].depths)


def small(network, **arguments):
    """A network with random weights and few filters."""
    return build(network, **{"width": WIDTH, **arguments})
