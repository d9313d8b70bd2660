"""Groups of images that belong together, such as those of one patient or one scene."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from keras_classics.data.listing import Listing, quoted
from keras_classics.errors import DataError


def by_pattern(listing: Listing, pattern: str, *, columns: Sequence[str] = ()) -> Listing:
    r"""Group images by what a regular expression finds in their names.

    Args:
        listing: the images.
        pattern: searched in the name of each image, its path with forward slashes; the first group
            in parentheses that takes part is the key, or else the whole match: `patient(\d+)`.
        columns: of the table, which the pattern could have named; for the messages.

    Returns:
        The same items, each with a group.

    Raises:
        DataError: the pattern is none, or does not find a key in every name, or the same in all.
    """
    begin = f"{listing.source}: group_by={pattern!r}"
    hint = f" (columns of the table: {quoted(columns, most=10)})" if columns else ""
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise DataError(
            f"{begin} is not a regular expression ({error}){hint}; correct it"
        ) from None
    shared: dict[str, str] = {}
    items = []
    missing = []
    for item in listing.items:
        match = search(item.name)
        key = _key(match) if match else ""
        if not key:
            missing.append(item.name)
        items.append(replace(item, group=shared.setdefault(key, key)))
    if len(missing) == len(items):
        raise DataError(f"{begin} is found in no path, such as {missing[0]}{hint}; change it")
    if missing:
        raise DataError(
            f"{begin} is not found in {len(missing)} of {len(items)} paths, such as "
            f"{missing[0]}{hint}; change it so that it is found in all"
        )
    grouped = replace(listing, items=tuple(items))
    check_several(grouped, pattern)
    return grouped


def check_several(listing: Listing, group_by: str) -> None:
    """Raise a DataError where all images are of one group, which leaves nothing to divide."""
    groups = {item.group for item in listing.items}
    if len(groups) == 1:
        raise DataError(
            f"{listing.source}: group_by={group_by!r} puts all {len(listing.items)} images "
            f"into one group, {groups.pop()!r}; change it or leave it out"
        )


def _key(match: re.Match[str]) -> str:
    """The first group that took part, or the whole match."""
    return next((group for group in match.groups() if group), match[0])
