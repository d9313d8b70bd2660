"""Which images train, which choose the epoch, and which measure the result."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from keras_classics.data.listing import Item, Listing, Split
from keras_classics.errors import DataError

Names = Sequence[Sequence[str]]
"""Groups of images that are copies of one another, by their names."""

# A cluster goes into a part if this share of it brings the part nearer to its size. It is 1 for
# single images; 0 would let a part of 15 grow to 29 at once.
_MOST = 0.5


@dataclass(frozen=True)
class _Cluster:
    """Images that are drawn together.

    Attributes:
        lot: decides the order in which clusters are drawn.
        names: of the images.
        counts: images of each class, by its label.
    """

    lot: bytes
    names: tuple[str, ...]
    counts: Mapping[int, int]


def assign_splits(
    listing: Listing,
    *,
    seed: int,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    copies: Names = (),
    near: Names = (),
) -> Listing:
    """Decide for every image whether it trains, chooses the epoch, or measures the result.

    What the source says is kept, and the rest is drawn class by class, so that the images of the
    split "test" are never those by which the epoch was chosen:

    - no split, or only train: all images are divided by the fractions. Every class has at least one
      image in train and in test, and from three images on in val;
    - train and test: val is drawn from train, by its fraction;
    - train and val: the given val becomes test, as it is the one set that the folder holds back,
      and a new val is drawn from train;
    - all three: nothing is drawn.

    Images of one group and copies of one another are drawn together, into the part that they fill
    up best. An image's lot depends on its name and the seed alone, a group's on the name of the
    group: it is the same on every machine, and adding images moves few of the others.

    Args:
        listing: from `scan`.
        seed: another seed draws other images.
        fractions: of train, val and test; positive, with the sum 1.
        copies: images that are the same.
        near: images that are nearly the same. A hash that takes most of a class for one picture
            tells nothing: such groups, of more than half the images of a class, are divided.

    Returns:
        A listing with the same items, each with a split.

    Raises:
        DataError: a class has a single image, picture or group where train and test both need one,
            or none to train; or the groups tie classes together so that it cannot be done.
        ValueError: the fractions are not as described.
    """
    if min(fractions) <= 0 or not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        raise ValueError(f"fractions must be positive with the sum 1, got {fractions}")
    if is_divided(listing):
        return listing
    given = {item.split for item in listing.items if item.split is not None}
    whole = not given & {"val", "test"}
    pool = [item for item in listing.items if whole or item.split == "train"]
    _check_pool(listing, pool, whole=whole)
    clusters = _clusters(pool, seed, copies, near)
    if whole:
        _check_clusters(listing, pool, clusters)
    drawn = _drawn(listing, clusters, fractions, whole=whole)
    return replace(
        listing,
        items=tuple(replace(item, split=drawn.get(item.name, "test")) for item in listing.items),
    )


def is_divided(listing: Listing) -> bool:
    """Whether the source itself says all, so that `assign_splits` has nothing to draw."""
    return {item.split for item in listing.items} == {"train", "val", "test"}


def _check_pool(listing: Listing, pool: Sequence[Item], *, whole: bool) -> None:
    """Every class has images to draw from."""
    counts = Counter(item.label for item in pool)
    for label in sorted({item.label for item in listing.items}):
        if not counts[label]:
            raise DataError(
                f"{listing.source}: the class {listing.classes[label]!r} has no images for "
                "train; add some or remove the class"
            )
        if whole and counts[label] == 1:
            single = next(item for item in pool if item.label == label)
            raise DataError(
                f"{listing.source}: the class {listing.classes[label]!r} has a single image "
                f"({single.name}); add images or remove the folder"
            )


def _check_clusters(listing: Listing, pool: Sequence[Item], clusters: Sequence[_Cluster]) -> None:
    """Every class can be both learnt from and judged by."""
    counts = Counter(label for cluster in clusters for label in cluster.counts)
    for label, count in sorted(counts.items()):
        if count > 1:
            continue
        items = [item for item in pool if item.label == label]
        groups = {item.group for item in items}
        what = "group" if groups != {None} else "picture"
        which = (
            f"({items[0].group!r})"
            if len(groups) == 1 and what == "group"
            else (f"({items[0].name} and its copies)")
        )
        raise DataError(
            f"{listing.source}: the class {listing.classes[label]!r} has a single {what} "
            f"{which} of {len(items)} images, too few to train and test on; add images or "
            "remove the class"
        )


def _clusters(pool: Sequence[Item], seed: int, copies: Names, near: Names) -> list[_Cluster]:
    """What is drawn together, in the order of the lots."""
    label_of = {item.name: item.label for item in pool}
    group_of = {item.name: item.group for item in pool if item.group is not None}
    sizes = Counter(label_of.values())
    sure: dict[str, list[str]] = defaultdict(list)
    for name, group in group_of.items():
        sure[group].append(name)
    leader = _joined({name: name for name in label_of}, [*sure.values(), *copies])
    if near:
        wider = _joined(leader, near)
        held: dict[str, Counter[int]] = defaultdict(Counter)
        for name, first in wider.items():
            held[first][label_of[name]] += 1
        vast = {
            first
            for first, counts in held.items()
            if any(2 * count > sizes[label] for label, count in counts.items())
        }
        leader = {n: leader[n] if first in vast else first for n, first in wider.items()}
    members: dict[str, list[str]] = defaultdict(list)
    for name, first in leader.items():
        members[first].append(name)
    return sorted(
        (
            _Cluster(
                min(_lot(name, group_of.get(name), seed) for name in names),
                tuple(names),
                _counts(label_of[name] for name in names),
            )
            for names in members.values()
        ),
        key=lambda cluster: cluster.lot,
    )


def _counts(labels: Iterable[int]) -> dict[int, int]:
    """How often each label occurs; most clusters are of one image, and a Counter takes longer."""
    counts: dict[int, int] = {}
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
    return counts


def _joined(leader: Mapping[str, str], groups: Iterable[Sequence[str]]) -> dict[str, str]:
    """The first of all that each is linked to, after the members of some groups have been."""
    parent = dict(leader)

    def first(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for group in groups:
        known = [first(name) for name in group if name in parent]
        for other in known:
            parent[first(other)] = first(known[0])
    return {name: first(name) for name in parent}


class _Quota:
    """How many images of each class are in the parts, and how many should be."""

    def __init__(self, wanted: Mapping[int, Mapping[Split, int]], sizes: Mapping[int, int]) -> None:
        self.wanted = wanted
        self.sizes = sizes
        self.there: dict[int, Counter[Split]] = {label: Counter() for label in sizes}

    def gain(self, cluster: _Cluster, split: Split) -> float:
        """How much of a cluster brings a part nearer to its size: 1 all of it, below 0 none."""
        gain = most = 0.0
        for label, count in cluster.counts.items():
            lacking = self.wanted[label][split] - self.there[label][split]
            # A small class counts as much as a large one.
            gain += (abs(lacking) - abs(lacking - count)) / self.sizes[label]
            most += count / self.sizes[label]
        return gain / most

    def leaves_some(self, cluster: _Cluster) -> bool:
        """Whether every class of a cluster keeps something to learn from without it."""
        return all(
            self.there[label].total() + count < self.sizes[label]
            for label, count in cluster.counts.items()
        )

    def add(self, cluster: _Cluster, split: Split, *, times: int = 1) -> None:
        """Take a cluster into a part; -1 times takes it out."""
        for label, count in cluster.counts.items():
            self.there[label][split] += times * count


def _drawn(
    listing: Listing,
    clusters: Sequence[_Cluster],
    fractions: tuple[float, float, float],
    *,
    whole: bool,
) -> dict[str, Split]:
    """The part of every image: first what tests, then what chooses the epoch, the rest trains."""
    quota = _quota(clusters, fractions, whole=whole)
    held_out: list[Split] = ["test", "val"]
    drawn: dict[int, Split] = {}
    for place, cluster in enumerate(clusters):
        for split in held_out:
            if quota.gain(cluster, split) >= _MOST and quota.leaves_some(cluster):
                quota.add(cluster, split)
                drawn[place] = split
                break
    # A group larger than a part brings it no nearer; the part must have one all the same.
    for split in held_out:
        for label in sorted(quota.sizes):
            if quota.wanted[label][split] == 0 or quota.there[label][split]:
                continue
            its = [place for place, cluster in enumerate(clusters) if label in cluster.counts]
            able = [p for p in its if p not in drawn and quota.leaves_some(clusters[p])]
            if split == "test":
                able = able or [p for p in its if p in drawn]
            if able:
                # The first of the best, in the order of the lots.
                best = max(able, key=lambda place: quota.gain(clusters[place], split))
                if best in drawn:
                    quota.add(clusters[best], drawn[best], times=-1)
                quota.add(clusters[best], split)
                drawn[best] = split
            elif split == "test":
                raise DataError(
                    f"{listing.source}: the groups cannot be split so that the class "
                    f"{listing.classes[label]!r} is in both train and test; make smaller groups"
                )
    return {
        name: drawn.get(place, "train")
        for place, cluster in enumerate(clusters)
        for name in cluster.names
    }


def _quota(
    clusters: Sequence[_Cluster], fractions: tuple[float, float, float], *, whole: bool
) -> _Quota:
    sizes: Counter[int] = Counter()
    pieces: Counter[int] = Counter()
    for cluster in clusters:
        for label, count in cluster.counts.items():
            sizes[label] += count
            pieces[label] += 1
    wanted: dict[int, Mapping[Split, int]] = {}
    for label, size in sizes.items():
        tests = _share(size, fractions[2]) if whole else 0
        # A class of two has one to learn from and one to be judged by.
        vals = _share(size, fractions[1]) if pieces[label] >= (3 if whole else 2) else 0
        while size - tests - vals < 1:
            tests, vals = (tests - 1, vals) if tests > vals else (tests, vals - 1)
        wanted[label] = {"test": tests, "val": vals}
    return _Quota(wanted, sizes)


def _share(count: int, fraction: float) -> int:
    """A fraction of some images, but at least one."""
    return max(1, round(count * fraction))


def _lot(name: str, group: str | None, seed: int) -> bytes:
    # No path begins with a null byte, so no group has the lot of an image.
    text = name if group is None else f"\0{group}"
    return hashlib.sha256(b"%d\0%s" % (seed, text.encode("utf-8", "surrogateescape"))).digest()


def limited(
    parts: npt.NDArray[np.str_], labels: npt.NDArray[np.int64], limit: float, *, seed: int
) -> npt.NDArray[np.str_]:
    """The parts, with "spare" for the training images that a limited run does not learn from.

    Of each class as many are left as the limit says, at least one; with the same seed, a larger
    limit adds to a smaller one's.

    Args:
        parts: Of each image.
        labels: Of each image.
        limit: The part of the training images that is left.
        seed: Of the draw.
    """
    if limit == 1:
        return parts
    left = parts.astype("<U5")
    order = np.random.default_rng(seed).permutation(len(parts))
    for label in np.unique(labels):
        drawn = order[(labels[order] == label) & (parts[order] == "train")]
        left[drawn[max(1, math.ceil(limit * len(drawn))) :]] = "spare"
    return left
