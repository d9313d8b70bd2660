"""Images as batches for `fit`, `evaluate` and `predict`, with every Keras backend."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

import keras
import numpy as np

from keras_classics.data.augment import augment, rng_for
from keras_classics.data.lookahead import CHUNK, LookAhead, Work
from keras_classics.data.mixing import mix, mixing_rng
from keras_classics.data.pictures import ArrayPictures
from keras_classics.data.pixels import processors
from keras_classics.data.views import view
from keras_classics.weights.preprocess import preprocess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from keras_classics.data.augment import Augmentation
    from keras_classics.data.fit import CentralCrop, Fit
    from keras_classics.data.mixing import Mixing
    from keras_classics.data.pictures import Pictures
    from keras_classics.weights.preprocess import Mode

    Targets = NDArray[np.float32] | tuple[NDArray[np.float32], ...]
    Batch = tuple[NDArray[np.float32], Targets] | tuple[NDArray[np.float32], Targets, Targets]

Sampling = Literal["each", "balanced"]
"""What an epoch shows: each image once, or as many of every class, drawn with replacement."""


@dataclass(frozen=True)
class _Epoch:
    """What one epoch gives out, in order."""

    number: int
    indices: NDArray[np.integer]
    repetitions: NDArray[np.integer] | None  # None where no image comes again


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Batches of preprocessed images and one-hot labels, in an order that can be repeated exactly.

    The order, the augmentation and the mixing follow from (seed, epoch, index of the image or
    number of the batch) alone: whether a run was interrupted or not, and in whichever thread a
    batch is made, an epoch is the same. Keras' own shuffling would spoil that, so call `fit` with
    `shuffle=False` and the callback `FollowEpochs`.

    Threads make the coming few batches while the network works on one.

    Args:
        pictures: (n, h, w, 3) uint8; not changed, and not copied, as they may be mapped from a
            file. Or pictures of any size that are read when needed.
        labels: (n,) integers from 0 to classes - 1.
        indices: of the images to give out; None for all.
        classes: number of classes, the width of the one-hot labels.
        batch_size: images in a batch.
        mode: as in `preprocess`.
        size: height and width of the images given out; None for those of an array.
        fit: as in `fit_image`, for pictures seen whole.
        augmentation: random changes; None for none.
        mixing: mixup and CutMix; None for none.
        class_weights: one a class; each image then weighs as much as the classes that its label,
            which may be mixed, is made of. None for no weights.
        sampling: "each" image once; or "balanced": as many images of every class that has any,
            drawn with replacement. An epoch is of the same length either way.
        repeats: how often an epoch shows the same image, each time augmented differently; so many
            times fewer images are seen. None for the number that `augmentation` says.
        shuffle: another order in every epoch.
        seed: of everything that is random; not negative.
        drop_remainder: leave out the last batch of an epoch if it is smaller; it is kept where it
            is the only one. With shuffle, other images are left out every time.
        outputs: how many outputs of the network learn from the labels; 2 gives them twice, for a
            network with an auxiliary head.
        epoch: the first one, from 0.
        first: the batch with which that epoch begins, to go on in the middle of it. Later epochs
            are whole; as Keras takes the length once in a call of `fit`, they need a call of their
            own.
        threads: that make the batches; None for one a processor, or two where pictures are read
            when needed, as some wait for a disk. Their number changes nothing.

    Raises:
        ValueError: an argument is not as described.
    """

    def __init__(
        self,
        pictures: NDArray[np.uint8] | Pictures,
        labels: NDArray[np.integer],
        *,
        indices: NDArray[np.integer] | None = None,
        classes: int,
        batch_size: int,
        mode: Mode,
        size: tuple[int, int] | None = None,
        fit: Fit | CentralCrop = "crop",
        augmentation: Augmentation | None = None,
        mixing: Mixing | None = None,
        class_weights: Sequence[float] | NDArray[np.floating] | None = None,
        sampling: Sampling = "each",
        repeats: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        drop_remainder: bool = False,
        outputs: int = 1,
        epoch: int = 0,
        first: int = 0,
        threads: int | None = None,
    ) -> None:
        # Keras' own workers hand out batches of an abandoned pass: with JAX and torch the first
        # epoch of a new model starts with the second batch, and all later ones are out of step.
        super().__init__(workers=1)
        if isinstance(pictures, np.ndarray):
            _check_array(pictures)
            size = size or pictures.shape[1:3]
            pictures = ArrayPictures(pictures)
        if size is None:
            raise ValueError("size must be given where pictures are read when needed, got None")
        _check_labels(labels, len(pictures), classes)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.pictures: Pictures = pictures
        self.indices = np.arange(len(pictures)) if indices is None else indices
        self.labels = labels
        self.classes = classes
        self.batch_size = batch_size
        self.mode: Mode = mode
        self.size = size
        self.fit: Fit | CentralCrop = fit
        self.augmentation = augmentation
        self.mixing = mixing
        self.class_weights = _checked_weights(class_weights, classes)
        self.sampling = sampling
        own = 1 if augmentation is None else augmentation.repeats
        self.repeats = own if repeats is None else repeats
        self.shuffle = shuffle
        self.seed = seed
        self.drop_remainder = drop_remainder
        self.outputs = outputs
        self._start = (epoch, first)
        self._check_choices()
        if threads is None:
            threads = processors() * (1 if isinstance(pictures, ArrayPictures) else 2)
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self._look_ahead: LookAhead[Batch] = LookAhead(threads)
        # Enough to keep all threads at work, as one batch may take longer than the others.
        self._depth = max(1, math.ceil(2 * self._look_ahead.threads * CHUNK / batch_size))
        self.epoch = epoch

    def _check_choices(self) -> None:
        if self.sampling not in get_args(Sampling):
            allowed = ", ".join(get_args(Sampling))
            raise ValueError(f"sampling must be one of {allowed}; got {self.sampling!r}")
        for name in ("repeats", "outputs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.shuffle and (self.sampling == "balanced" or self.repeats > 1):
            raise ValueError("shuffle must be True with balanced sampling and with repeats")
        if self.sampling == "balanced" and self.repeats > 1:
            raise ValueError(
                "repeats must be 1 with balanced sampling, which repeats images itself"
            )
        if not 0 <= self._start[1] <= self.steps:
            raise ValueError(f"first must be from 0 to {self.steps}, got {self._start[1]}")

    @property
    def epoch(self) -> int:
        """The epoch whose batches are given out, counted from 0; set it while none are fetched."""
        return self._epoch.number

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        current = getattr(self, "_epoch", None)
        if current is None or current.number != epoch:
            self._look_ahead.clear()
            self._epoch = self._drawn(epoch)
        self._last = self.first - 1  # the batch before the one that is expected next

    @property
    def first(self) -> int:
        """The batch of the epoch that is given out as the first one."""
        return self._start[1] if self.epoch == self._start[0] else 0

    @property
    def steps(self) -> int:
        """Batches in a whole epoch."""
        full, rest = divmod(len(self.indices), self.batch_size)
        return full if full and self.drop_remainder else full + bool(rest)

    def __len__(self) -> int:
        return self.steps - self.first

    def __getitem__(self, index: int) -> Batch:
        """One batch: images (b, h, w, 3), or (b, 3, h, w) if Keras is set so, and labels.

        With `class_weights`, the weights (b,) of the images follow.

        Raises:
            IndexError: there are not so many batches.
            ImageError: a picture of this batch cannot be read.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        epoch, number = self._epoch, self.first + index
        follows, self._last = number in {self.first, self._last + 1}, number
        end = min(number + 1 + self._depth, self.steps) if follows else number + 1
        following = [(epoch.number, ahead) for ahead in range(number + 1, end)]
        prepare = partial(self._prepare, epoch)
        return self._look_ahead.get((epoch.number, number), following, prepare)

    def on_epoch_end(self) -> None:
        """Go on to the next epoch; Keras calls this when no thread is at work.

        It also calls this once before the first epoch, so without `FollowEpochs` the epochs of
        `fit` are counted from `epoch + 1`: another order, but one that can be repeated as well.
        """
        self.epoch += 1

    def close(self) -> None:
        """End the threads that make batches; they begin anew when another batch is asked for."""
        self._look_ahead.close()

    def _drawn(self, epoch: int) -> _Epoch:
        if not self.shuffle:
            return _Epoch(epoch, self.indices, None)
        # The key keeps these numbers apart from those of every image's augmentation.
        seeds = np.random.SeedSequence((self.seed, epoch), spawn_key=(1,))
        rng = np.random.Generator(np.random.PCG64(seeds))
        if self.sampling == "balanced":
            order = _balanced(self.indices, self.labels, rng)
        else:
            order = rng.permutation(self.indices)
            if self.repeats == 1:
                return _Epoch(epoch, order, None)
            # One after the other, so that a batch holds all of them, as Hoffer et al. have it.
            order = np.repeat(order, self.repeats)[: len(order)]
        return _Epoch(epoch, order, _repetitions(order))

    def _prepare(self, epoch: _Epoch, key: tuple[int, int]) -> Work[Batch]:
        """The work of one batch."""
        number = key[1]
        places = range(len(epoch.indices))[
            number * self.batch_size : (number + 1) * self.batch_size
        ]
        pixels = np.empty((len(places), *self.size, 3), np.uint8)

        def part(start: int) -> None:
            for row in range(start, min(start + CHUNK, len(places))):
                self._make(epoch, places[row], pixels[row])

        def whole() -> Batch:
            return self._finish(epoch, number, pixels, epoch.indices[places.start : places.stop])

        return Work([partial(part, start) for start in range(0, len(places), CHUNK)], whole)

    def _make(self, epoch: _Epoch, place: int, pixels: NDArray[np.uint8]) -> None:
        """One image, into `pixels` (h, w, 3)."""
        index = int(epoch.indices[place])
        spec = self.augmentation
        rng = None
        if spec is not None:
            repetition = 0 if epoch.repetitions is None else int(epoch.repetitions[place])
            rng = rng_for(self.seed, epoch.number, index, repetition)
        image = view(partial(self.pictures.picture, index), self.size, self.fit, spec, rng)
        pixels[:] = image if spec is None or rng is None else augment(image, spec, rng)

    def _finish(
        self, epoch: _Epoch, number: int, pixels: NDArray[np.uint8], chosen: NDArray[np.integer]
    ) -> Batch:
        inputs = preprocess(pixels, self.mode)
        labels = np.zeros((len(chosen), self.classes), np.float32)
        labels[np.arange(len(chosen)), self.labels[chosen]] = 1
        if self.mixing is not None:
            rng = mixing_rng(self.seed, epoch.number, number)
            inputs, labels = mix(inputs, labels, self.mixing, rng)
        if keras.config.image_data_format() == "channels_first":
            inputs = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
        if self.class_weights is None:
            return inputs, self._for_outputs(labels)
        return inputs, self._for_outputs(labels), self._for_outputs(labels @ self.class_weights)

    def _for_outputs(self, values: NDArray[np.float32]) -> Targets:
        return values if self.outputs == 1 else (values,) * self.outputs


class FollowEpochs(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Gives every epoch of `fit` the batches of that number, also after `initial_epoch`."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002 (Keras' own)
        """Called by Keras before the first batch of an epoch is fetched."""
        self.batches.epoch = epoch


def _balanced(
    indices: NDArray[np.integer], labels: NDArray[np.integer], rng: np.random.Generator
) -> NDArray[np.integer]:
    """As many indices as there are, the same number of each class or one more, in random order."""
    own = labels[indices]
    present = rng.permutation(np.unique(own))  # so that no class is always the one with one more
    each, more = divmod(len(indices), len(present))
    drawn = [
        rng.choice(indices[own == label], each + (place < more))
        for place, label in enumerate(present)
    ]
    return rng.permutation(np.concatenate(drawn))


def _repetitions(order: NDArray[np.integer]) -> NDArray[np.integer]:
    """How often each index stands before this place already."""
    by_index = np.argsort(order, kind="stable")
    values = order[by_index]
    begins = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    lengths = np.diff(np.r_[begins, len(order)])
    counts = np.empty(len(order), np.int64)
    counts[by_index] = np.arange(len(order)) - np.repeat(begins, lengths)
    return counts


def _check_array(images: NDArray[np.uint8]) -> None:
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or not len(images):
        raise ValueError(
            f"images must be (n, h, w, 3) uint8 with n at least 1, got {images.shape} "
            f"{images.dtype}"
        )


def _check_labels(labels: NDArray[np.integer], pictures: int, classes: int) -> None:
    if labels.shape != (pictures,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be {(pictures,)} integers, got {labels.shape} {labels.dtype}"
        )
    if not pictures:
        raise ValueError("pictures must be at least one, got 0")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels must be from 0 to classes - 1 = {classes - 1}, "
            f"got {labels.min()} to {labels.max()}"
        )


def _checked_weights(
    weights: Sequence[float] | NDArray[np.floating] | None, classes: int
) -> NDArray[np.float32] | None:
    if weights is None:
        return None
    checked = np.asarray(weights, np.float32)
    if checked.shape != (classes,) or not np.isfinite(checked).all() or checked.min() < 0:
        raise ValueError(
            f"class_weights must be {classes} numbers, none below 0, got {list(weights)}"
        )
    return checked
