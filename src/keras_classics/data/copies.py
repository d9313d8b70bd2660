"""Pictures that are nearly the same, told by a perceptual hash.

The hash is pHash (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions,
2010): the signs of the lowest frequencies of a small grey picture about their median. With the
usual 64 bits, photos taken in series look like copies; with 256 they do not: docs/check.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

NEAR = 32
"""Bits of 256 in which the hashes of near copies differ at most."""

FLATTEST = 2.0
"""Grey levels of standard deviation, below which a picture has too little in it to be told."""

LEAST_SIDE = 32
"""Pixels of the shorter side, below which a picture has too little in it to be told."""

_SIDE = 16
_BITS = _SIDE * _SIDE
HASH_BYTES = _BITS // 8
"""Bytes of a hash. All zeros is none: about half of the bits are set."""

# Two hashes are compared in their lowest 64 frequencies first: of the pairs within NEAR that
# CIFAR-10 holds, none differs there in more than 12.
_COARSE = 64
_COARSE_NEAR = 12
# Hashes compared at a time: the products of 1024 and 4096 take 16 MB.
_ROWS_AT_A_TIME = 1024
_COLUMNS_AT_A_TIME = 4096

# The lowest frequencies first, those of both directions alike.
_ROWS, _COLUMNS = np.indices((_SIDE, _SIDE)).reshape(2, -1)
_ORDER = np.lexsort((_ROWS, _ROWS + _COLUMNS, np.maximum(_ROWS, _COLUMNS)))


def perceptual_hash(image: NDArray[np.uint8]) -> bytes | None:
    """A hash that changes in few bits when a picture is resized, compressed, blurred or brightened.

    Args:
        image: (h, w, 3) uint8.

    Returns:
        32 bytes; None for a picture that is too small, or of one colour or nearly so.
    """
    if min(image.shape[:2]) < LEAST_SIDE:
        return None
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (2 * _SIDE, 2 * _SIDE), interpolation=cv2.INTER_AREA)
    if cv2.meanStdDev(small)[1][0, 0] < FLATTEST:
        return None
    frequencies = cv2.dct(small.astype(np.float32))[:_SIDE, :_SIDE].ravel()
    # Their median; np.median takes as long as all the rest together.
    bits = frequencies > np.partition(frequencies[1:], _BITS // 2 - 1)[_BITS // 2 - 1]
    return np.packbits(bits[_ORDER]).tobytes()


def equal_groups(digests: NDArray[np.uint8]) -> list[list[int]]:
    """Groups of rows (n, bytes) that are the same.

    Returns:
        The indices of each group of two or more, in ascending order, as are the groups.
    """
    groups: dict[bytes, list[int]] = {}
    for index, digest in enumerate(digests):
        groups.setdefault(digest.tobytes(), []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def near_groups(
    hashes: NDArray[np.uint8], *, progress: Callable[[int, int], None] | None = None
) -> list[list[int]]:
    """Groups of hashes that lie near one another, or are linked by others that do.

    The time grows with the square of the number, the memory in proportion to it.

    Args:
        hashes: (n, 32), of `perceptual_hash`.
        progress: called after each block, with how many hashes are done and their number.

    Returns:
        The indices of each group of two or more, in ascending order, as are the groups.
    """
    hashes, same = np.unique(hashes, axis=0, return_inverse=True)
    same = same.reshape(-1)  # which NumPy 2.0 gave another shape
    number = len(hashes)
    # A product of signs counts the bits that agree, exactly, at the speed of matrix products.
    signs = np.where(np.unpackbits(hashes[:, : _COARSE // 8], axis=1), 1, -1).astype(np.float32)
    root = np.arange(number)
    for start in range(0, number, _ROWS_AT_A_TIME):
        block = signs[start : start + _ROWS_AT_A_TIME]
        for other in range(start, number, _COLUMNS_AT_A_TIME):
            agreeing = block @ signs[other : other + _COLUMNS_AT_A_TIME].T
            found = np.flatnonzero(agreeing >= _COARSE - 2 * _COARSE_NEAR)
            first, second = np.divmod(found, agreeing.shape[1])
            first, second = first + start, second + other
            # Many pictures alike would give pairs by the million, nearly all of one group.
            new = (first < second) & (root[first] != root[second])
            first, second = first[new], second[new]
            near = _distances(hashes[first], hashes[second]) <= NEAR
            if near.any():
                root = _joined(root, first[near], second[near])
        if progress is not None:
            progress(min(start + _ROWS_AT_A_TIME, number), number)
    groups: dict[int, list[int]] = {}
    for index, group in enumerate(root[same].tolist()):
        groups.setdefault(group, []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def _distances(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The number of bits in which rows (n, 32) differ."""
    counts: NDArray[np.int64] = np.unpackbits(first ^ second, axis=1).sum(axis=1, dtype=np.int64)
    return counts


def _joined(
    root: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The group of every index after some pairs have been joined."""
    # Which every start of a server would wait for.
    from scipy.sparse import coo_array  # noqa: PLC0415
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    number = len(root)
    rows = np.concatenate([np.arange(number), first])
    links = coo_array(
        (np.ones(len(rows), bool), (rows, np.concatenate([root, second]))), shape=(number, number)
    )
    joined: NDArray[np.int64] = connected_components(links, directed=False)[1]
    # The label of a component is no index; its first member stands for it.
    leaders = np.unique(joined, return_index=True)[1]
    return leaders[joined]
