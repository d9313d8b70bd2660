from __future__ import annotations

import numpy as np

from keras_classics.data.erasing import MEAN_COLOUR, erase

WHITE = np.full((100, 50, 3), 255, np.uint8)
LIMITS = {"area": (0.02, 0.33), "aspect": (0.3, 3.3)}


def rectangles(probability: float, number: int) -> list[tuple[int, int, int, int]]:
    """Top, left, height and width of what is erased; all else is as it was."""
    found = []
    for seed in range(number):
        image = erase(WHITE, np.random.default_rng(seed), probability=probability, **LIMITS)
        rows, columns = np.nonzero(image[..., 0] != 255)
        if len(rows):
            top, left = rows.min(), columns.min()
            height, width = rows.max() - top + 1, columns.max() - left + 1
            assert len(rows) == height * width
            assert (image[rows, columns] == MEAN_COLOUR).all()
            found.append((top, left, height, width))
    return found


def test_a_rectangle_is_erased_with_the_probability():
    assert 70 < len(rectangles(0.25, 400)) < 130
    assert rectangles(0.0, 50) == []
    assert (WHITE == 255).all()


def test_areas_and_aspects_are_those_of_torchvision():
    """Which draws until the rectangle is smaller than the image in both directions."""
    import torch

    from weights.references import torch_module

    erasing = torch_module("torchvision.transforms.v2").RandomErasing(p=1)
    torch.manual_seed(0)
    theirs = []
    for _ in range(1000):
        parameters = erasing.make_params([torch.zeros(3, 100, 50)])
        theirs.append([parameters[key] for key in "ijhw"])
    ours = np.array(rectangles(1.0, 1000), float)
    theirs = np.array(theirs, float)
    assert len(ours) == 1000
    for numbers in (
        lambda r: r[:, 2] * r[:, 3] / 5000,
        lambda r: np.log(r[:, 2] / r[:, 3]),
        lambda r: r[:, 0] / (100 - r[:, 2]),
        lambda r: r[:, 1] / (50 - r[:, 3]),
    ):
        np.testing.assert_allclose(
            np.quantile(numbers(ours), [0.1, 0.5, 0.9]),
            np.quantile(numbers(theirs), [0.1, 0.5, 0.9]),
            atol=0.08,
        )
    assert (ours[:, 2] * ours[:, 3] / 5000).min() > 0.017
    assert (ours[:, 2] * ours[:, 3] / 5000).max() < 0.34
