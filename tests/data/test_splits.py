from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from keras_classics.data.listing import Item, Listing
from keras_classics.data.splits import assign_splits
from keras_classics.errors import DataError
from listings import listing_of, tally, together


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fractions", [(0.7, 0.15, 0.15), (0.05, 0.05, 0.9), (0.1, 0.8, 0.1)])
def test_every_class_is_in_every_split(seed, fractions):
    sizes = {str(size): size for size in range(2, 40)}
    listing = listing_of(sizes)
    divided = assign_splits(listing, seed=seed, fractions=fractions)
    assert [item.path for item in divided.items] == [item.path for item in listing.items]
    assert [item.label for item in divided.items] == [item.label for item in listing.items]
    for name, counts in tally(divided).items():
        assert counts["train"] >= 1
        assert counts["test"] >= 1
        assert counts["val"] >= 1 or sizes[name] == 2
        assert counts.total() == sizes[name]
    assert tally(divided)["2"] == {"train": 1, "test": 1}


def test_large_classes_have_the_fractions_and_the_paths_do_not_decide():
    divided = assign_splits(listing_of({"a": 1000, "b": 200}), seed=0)
    assert tally(divided)["a"] == {"train": 700, "val": 150, "test": 150}
    assert tally(divided)["b"] == {"train": 140, "val": 30, "test": 30}
    first = Counter(item.split for item in divided.items[:500])
    assert 45 < first["test"] < 105


def test_splits_depend_on_the_seed_and_nothing_else():
    listing = listing_of({"a": 50, "b": 60})
    once = assign_splits(listing, seed=3)
    assert assign_splits(listing, seed=3) == once
    assert assign_splits(listing, seed=4) != once
    elsewhere = assign_splits(listing_of({"a": 50, "b": 60}, root="other"), seed=3)
    assert elsewhere.items == once.items
    # Known since the first version: an old run's manifest must be reproducible.
    tests = [item.path.stem for item in once.items if item.split == "test" and item.label == 0]
    assert tests == ["0014", "0022", "0024", "0026", "0029", "0030", "0035", "0046"]


def test_one_more_image_moves_few_of_the_others():
    before = assign_splits(listing_of({"a": 200, "b": 200}), seed=0)
    after = assign_splits(listing_of({"a": 201, "b": 200}), seed=0)
    splits = {item.path: item.split for item in after.items}
    assert sum(splits[item.path] != item.split for item in before.items) <= 4


def test_only_train_is_divided_as_if_nothing_were_given():
    divided = assign_splits(listing_of({"a": 100, "b": 20}, "train"), seed=0)
    assert tally(divided)["a"] == {"train": 70, "val": 15, "test": 15}


def test_val_is_drawn_from_train_where_test_is_given():
    given = together(listing_of({"a": 100, "b": 2}, "train"), listing_of({"a": 9, "b": 1}, "test"))
    divided = assign_splits(given, seed=0)
    assert tally(divided)["a"] == {"train": 85, "val": 15, "test": 9}
    assert tally(divided)["b"] == {"train": 1, "val": 1, "test": 1}
    for old, new in zip(given.items, divided.items, strict=True):
        assert (old.split == "test") == (new.split == "test")


def test_given_val_is_held_back_and_another_drawn_where_test_is_missing():
    given = together(listing_of({"a": 100, "b": 1}, "train"), listing_of({"a": 9, "b": 0}, "val"))
    divided = assign_splits(given, seed=0)
    assert tally(divided)["a"] == {"train": 85, "val": 15, "test": 9}
    assert tally(divided)["b"] == {"train": 1}
    for old, new in zip(given.items, divided.items, strict=True):
        assert (old.split == "val") == (new.split == "test")


def test_three_given_splits_are_kept():
    given = together(*(listing_of({"a": 5, "b": 4}, split) for split in ("train", "val", "test")))
    assert assign_splits(given, seed=0) == given


def test_a_class_that_cannot_be_divided_is_named():
    with pytest.raises(DataError) as caught:
        assign_splits(listing_of({"a": 5, "lonely": 1}), seed=0)
    message = str(caught.value)
    assert "the class 'lonely' has a single image (lonely/0000.jpg)" in message.replace("/lo", "lo")
    assert message.endswith("add images or remove the folder")
    given = together(listing_of({"a": 5, "b": 0}, "train"), listing_of({"a": 0, "b": 2}, "test"))
    with pytest.raises(DataError, match="'b' has no images for train"):
        assign_splits(given, seed=0)


@pytest.mark.parametrize("fractions", [(0.7, 0.3, 0.0), (0.5, 0.2, 0.2), (1.2, -0.1, -0.1)])
def test_fractions_are_checked(fractions):
    with pytest.raises(ValueError, match="positive with the sum 1"):
        assign_splits(listing_of({"a": 5}), seed=0, fractions=fractions)


# ------------------------------------------------------------------------------ groups and copies


def grouped(groups, *, split=None):
    """Images of one class and group each: {("class", "group"): number}."""
    classes = tuple(sorted({kind for kind, _ in groups}))
    items = [
        Item(f"{kind}/{group}-{i:03}.jpg", classes.index(kind), split, group)
        for (kind, group), number in groups.items()
        for i in range(number)
    ]
    return Listing(Path("root"), classes, tuple(sorted(items, key=lambda item: item.name)))


def sides(listing):
    """The splits of each group."""
    found = defaultdict(set)
    for item in listing.items:
        found[item.group].add(item.split)
    return found


def names(*groups):
    return [[f"/{kind}/{number:04}.jpg" for kind, number in group] for group in groups]


def splits_of(listing):
    return {item.name: item.split for item in listing.items}


def patients(number, rng, classes="ab", least=1, most=12):
    return {(rng.choice(classes), f"p{i}"): rng.randint(least, most) for i in range(number)}


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_never_divided_and_the_fractions_are_kept(seed):
    listing = grouped(patients(80, random.Random(seed)))
    divided = assign_splits(listing, seed=seed)
    assert {len(one) for one in sides(divided).values()} == {1}
    for counts in tally(divided).values():
        assert abs(counts["train"] / counts.total() - 0.7) < 0.06
        assert abs(counts["val"] / counts.total() - 0.15) < 0.05
        assert abs(counts["test"] / counts.total() - 0.15) < 0.05


@pytest.mark.parametrize("seed", range(20))
def test_groups_of_several_classes(seed):
    rng = random.Random(seed)
    scenes = {(kind, f"s{i}"): rng.randint(0, 5) for i in range(60) for kind in "abc"}
    divided = assign_splits(grouped(scenes), seed=seed)
    assert {len(one) for one in sides(divided).values()} == {1}
    for counts in tally(divided).values():
        assert abs(counts["test"] / counts.total() - 0.15) < 0.06
        assert abs(counts["val"] / counts.total() - 0.15) < 0.06


@pytest.mark.parametrize("seed", range(10))
def test_few_large_groups_still_fill_every_part(seed):
    listing = grouped(
        {("a", "p"): 40, ("a", "q"): 30, ("a", "r"): 30, ("b", "s"): 5, ("b", "t"): 90}
    )
    counts = tally(assign_splits(listing, seed=seed))
    assert set(counts["a"]) == {"train", "val", "test"}
    assert counts["b"] == {"test": 5, "train": 90}


def test_a_group_of_one_image_each_is_as_likely_in_every_part():
    alone = assign_splits(grouped({("a", f"p{i}"): 1 for i in range(1000)}), seed=0)
    assert tally(alone)["a"] == {"train": 700, "val": 150, "test": 150}


def test_the_lot_of_a_group_is_its_name():
    one = grouped(patients(60, random.Random(0)))
    moved = replace(one, items=tuple(replace(item, name=f"else/{item.name}") for item in one.items))
    first, second = (assign_splits(listing, seed=3) for listing in (one, moved))
    assert [item.split for item in first.items] == [item.split for item in second.items]
    assert sides(first) != sides(assign_splits(one, seed=4))


def test_one_more_image_of_a_group_moves_few_of_the_others():
    groups = patients(100, random.Random(1))
    more = {**groups, next(iter(groups)): groups[next(iter(groups))] + 1}
    before, after = (sides(assign_splits(grouped(one), seed=0)) for one in (groups, more))
    assert sum(before[group] != after[group] for group in before) <= 6


@pytest.mark.parametrize("seed", range(20))
def test_copies_stay_together(seed):
    listing = listing_of({"a": 40, "b": 40})
    copies = names([("a", 1), ("a", 2), ("a", 3)], [("a", 9), ("b", 9)], [("b", 1), ("b", 2)])
    near = names([("a", 3), ("a", 20)], [("b", 2), ("b", 30), ("b", 31)])
    split_of = splits_of(assign_splits(listing, seed=seed, copies=copies, near=near))
    for group in [*copies, *near, [*copies[0], *near[0]], [*copies[2], *near[1]]]:
        assert len({split_of[name] for name in group}) == 1


def test_what_has_no_copies_keeps_its_part():
    listing = listing_of({"a": 200})
    before = splits_of(assign_splits(listing, seed=0))
    after = splits_of(assign_splits(listing, seed=0, copies=names([("a", 1), ("a", 2)])))
    assert sum(before[name] != after[name] for name in before) <= 4
    same = assign_splits(listing, seed=0, copies=[["elsewhere.jpg", "/a/0001.jpg"]])
    assert splits_of(same) == before


def test_copies_join_groups_and_the_pool_alone_counts():
    train = listing_of({"a": 30}, "train")
    given = together(train, listing_of({"a": 5}, "test"))
    copies = [["test/a/0000.jpg", "train/a/0000.jpg", "train/a/0001.jpg"]]
    for seed in range(20):
        split_of = splits_of(assign_splits(given, seed=seed, copies=copies))
        assert split_of["train/a/0000.jpg"] == split_of["train/a/0001.jpg"] != "test"
        assert split_of["test/a/0000.jpg"] == "test"
    listing = grouped({("a", f"p{i}"): 3 for i in range(10)})
    across = [["a/p0-000.jpg", "a/p1-000.jpg"]]
    for seed in range(20):
        divided = sides(assign_splits(listing, seed=seed, copies=across))
        assert divided["p0"] == divided["p1"]
        assert len(divided["p0"]) == 1


def test_a_hash_that_takes_most_of_a_class_for_one_picture_is_not_followed():
    listing = listing_of({"a": 20, "b": 20})
    before = assign_splits(listing, seed=0)
    most = names([("a", i) for i in range(11)])
    assert assign_splits(listing, seed=0, near=most) == before
    half = names([("a", i) for i in range(10)])
    split_of = splits_of(assign_splits(listing, seed=0, near=half))
    assert len({split_of[name] for name in half[0]}) == 1


def test_a_class_of_one_group_or_picture_is_named():
    one = grouped({("a", "p"): 4, ("b", "p"): 3, ("b", "q"): 3})
    with pytest.raises(DataError) as caught:
        assign_splits(one, seed=0)
    assert str(caught.value) == (
        "root: the class 'a' has a single group ('p') of 4 images, too few to train and test on; "
        "add images or remove the class"
    )
    copies = names([("a", 0), ("a", 1)])
    with pytest.raises(DataError, match=r"'a' has a single picture \(/a/0000.jpg and its copies\)"):
        assign_splits(listing_of({"a": 2, "b": 5}), seed=0, copies=copies)


def test_groups_that_tie_all_classes_together_are_refused():
    """Of three groups, each in two of three classes, no two leave something of all to learn."""
    tied = grouped({(kind, group): 2 for group in ("ab", "ac", "bc") for kind in group})
    with pytest.raises(DataError, match=r"the groups cannot be split so that the class '\w' is in"):
        assign_splits(tied, seed=0)


def test_val_does_not_keep_from_test_what_it_needs():
    for seed in range(50):
        rng = random.Random(seed)
        groups = {(kind, f"s{i}"): rng.randint(0, 3) for i in range(9) for kind in "abcd"}
        for kind in "abcd":
            groups |= {(kind, f"{kind}{i}"): rng.randint(1, 9) for i in range(2)}
        counts = tally(assign_splits(grouped(groups), seed=seed))
        assert all(one["train"] and one["test"] for one in counts.values())
