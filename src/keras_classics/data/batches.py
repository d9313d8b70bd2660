"""Decoded images as batches for `fit`, `evaluate` and `predict`, with every Keras backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_classics.data.augment import augment, rng_for
from keras_classics.data.preprocess import preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keras_classics.data.augment import Augmentation
    from keras_classics.data.preprocess import Mode


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Batches of preprocessed images and one-hot labels, in an order that can be repeated exactly.

    The order and the augmentation follow from (seed, epoch, index of the image) alone: whether a
    run was interrupted or not, and in whichever thread a batch is made, an epoch is the same.
    Keras' own shuffling would spoil that, so call `fit` with `shuffle=False` and the callback
    `FollowEpochs`.

    Args:
        images: (n, h, w, 3) uint8; not changed, and not copied, as they may be mapped from a file.
        labels: (n,) integers from 0 to classes - 1.
        indices: of the images to give out; None for all.
        classes: number of classes, the width of the one-hot labels.
        batch_size: images in a batch.
        mode: as in `preprocess`.
        augmentation: random changes; None for none.
        shuffle: another order in every epoch.
        seed: of the order and the augmentation; not negative.
        drop_remainder: leave out the last batch of an epoch if it is smaller; it is kept where it
            is the only one. With shuffle, other images are left out every time.

    Raises:
        ValueError: an argument is not as described.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.integer],
        *,
        indices: NDArray[np.integer] | None = None,
        classes: int,
        batch_size: int,
        mode: Mode,
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
        seed: int = 0,
        drop_remainder: bool = False,
    ) -> None:
        # Keras' own workers hand out batches of an abandoned pass: with JAX and torch the first
        # epoch of a new model starts with the second batch, and all later ones are out of step.
        super().__init__(workers=1)
        _check(images, labels, classes, batch_size)
        self.images = images
        self.indices = np.arange(len(images)) if indices is None else indices
        self.labels = labels
        self.classes = classes
        self.batch_size = batch_size
        self.mode: Mode = mode
        self.augmentation = augmentation
        self.shuffle = shuffle
        self.seed = seed
        self.drop_remainder = drop_remainder
        self.epoch = 0

    @property
    def epoch(self) -> int:
        """The epoch whose batches are given out, counted from 0; set it while none are fetched."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._order = self.indices
        if self.shuffle:
            # The key keeps these numbers apart from those of every image's augmentation.
            seeds = np.random.SeedSequence((self.seed, epoch), spawn_key=(1,))
            self._order = np.random.Generator(np.random.PCG64(seeds)).permutation(self._order)

    def __len__(self) -> int:
        full, rest = divmod(len(self.indices), self.batch_size)
        return full if full and self.drop_remainder else full + bool(rest)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One batch: images (b, h, w, 3), or (b, 3, h, w) if Keras is set so, and labels.

        Raises:
            IndexError: there are not so many batches.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        chosen = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        pixels = self.images[chosen]
        if self.augmentation is not None:
            for place, image in zip(chosen, pixels, strict=True):
                numbers = rng_for(self.seed, self.epoch, int(place))
                image[:] = augment(image, self.augmentation, numbers)
        inputs = preprocess(pixels, self.mode)
        if keras.config.image_data_format() == "channels_first":
            inputs = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
        one_hot = np.zeros((len(chosen), self.classes), np.float32)
        one_hot[np.arange(len(chosen)), self.labels[chosen]] = 1
        return inputs, one_hot

    def on_epoch_end(self) -> None:
        """Go on to the next epoch; Keras calls this when no thread is at work.

        It also calls this once before the first epoch, so without `FollowEpochs` the epochs of
        `fit` are counted from `epoch + 1`: another order, but one that can be repeated as well.
        """
        self.epoch += 1


class FollowEpochs(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Gives every epoch of `fit` the batches of that number, also after `initial_epoch`."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002 (Keras' own)
        """Called by Keras before the first batch of an epoch is fetched."""
        self.batches.epoch = epoch


def _check(
    images: NDArray[np.uint8], labels: NDArray[np.integer], classes: int, batch_size: int
) -> None:
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or not len(images):
        raise ValueError(
            f"images must be (n, h, w, 3) uint8 with n at least 1, got {images.shape} "
            f"{images.dtype}"
        )
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be {images.shape[:1]} integers, got {labels.shape} {labels.dtype}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels must be from 0 to classes - 1 = {classes - 1}, "
            f"got {labels.min()} to {labels.max()}"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
