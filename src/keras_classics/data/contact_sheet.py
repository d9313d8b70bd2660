"""A picture of what a network sees while it learns: images, and what chance makes of them."""

from __future__ import annotations

import math
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_classics.data.augment import augment, rng_for
from keras_classics.data.mixing import mix, mixing_rng
from keras_classics.data.views import view
from keras_classics.errors import ImageError
from keras_classics.host.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from keras_classics.data.augment import Augmentation
    from keras_classics.data.fit import CentralCrop, Fit
    from keras_classics.data.mixing import Mixing
    from keras_classics.data.pictures import Pictures

_SMALLEST = 128  # pixels of an image on the sheet; smaller ones are enlarged, pixel by pixel
_GAP, _MARGIN = 10, 24
_PAPER, _INK, _GREY = (255, 255, 255), (25, 25, 28), (110, 110, 118)
_RULE = (205, 205, 210)


def chosen(labels: NDArray[np.integer], number: int, *, seed: int) -> NDArray[np.intp]:
    """Indices of some images, of as many classes as there are places, drawn at random.

    Args:
        labels: (n,) integers.
        number: how many; all are taken where there are fewer.
        seed: of the draw; not negative.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    # The first of every class, then the second of every class, and so on.
    turns = np.empty(len(labels), np.int64)
    seen: dict[int, int] = {}
    for place, index in enumerate(order):
        label = int(labels[index])
        turns[place] = seen[label] = seen.get(label, -1) + 1
    return order[np.argsort(turns, kind="stable")][:number]


def readable(
    pictures: Pictures, order: Iterable[int], number: int
) -> tuple[NDArray[np.intp], tuple[ImageError, ...]]:
    """The first pictures, in an order, that can be read, and the errors of those before them.

    Args:
        pictures: the data set.
        order: indices, in which they are tried.
        number: how many are wanted; all are taken where there are fewer.
    """
    found: list[int] = []
    errors: list[ImageError] = []
    for index in order:
        if len(found) == number:
            break
        try:
            pictures.picture(int(index), 1)
            found.append(int(index))
        except ImageError as error:
            errors.append(error)
    return np.array(found, np.intp), tuple(errors)


def contact_sheet(
    pictures: Pictures,
    labels: NDArray[np.integer],
    classes: Sequence[str],
    *,
    indices: NDArray[np.integer],
    size: tuple[int, int],
    test_size: tuple[int, int] | None = None,
    fit: Fit | CentralCrop = "crop",
    test_fit: Fit | CentralCrop | None = None,
    augmentation: Augmentation | None,
    mixing: Mixing | None = None,
    seed: int = 0,
    draws: int = 6,
    title: str,
) -> Image.Image:
    """Draw a sheet: a row an image, first as it is judged by, then as it is learnt from.

    Each further column is what the epoch of that number makes of the images; where they are mixed,
    those of a column are the batch.

    Args:
        pictures: the data set.
        labels: (n,) indices into `classes`.
        classes: the names.
        indices: of the images to show.
        size: height and width in training, in pixels.
        test_size: in evaluation; None for that in training.
        fit: as in `fit_image`, for pictures that are seen whole in training.
        test_fit: in evaluation; None for that in training.
        augmentation: random changes; None for none.
        mixing: mixup and CutMix; None for none.
        seed: of a run; that run would see the same changes, and other mixtures, as its batches are.
        draws: number of columns besides the first.
        title: the heading.

    Raises:
        ImageError: one of the images cannot be read.
    """
    names = [classes[int(labels[index])] for index in indices]
    judged = [
        view(partial(pictures.picture, int(index)), test_size or size, test_fit or fit, None, None)
        for index in indices
    ]
    columns = [list(zip(judged, names, strict=True))]
    for epoch in range(draws):
        learnt = []
        for index in map(int, indices):
            rng = rng_for(seed, epoch, index)
            image = view(partial(pictures.picture, index), size, fit, augmentation, rng)
            learnt.append(image if augmentation is None else augment(image, augmentation, rng))
        images = np.stack(learnt)
        soft = np.eye(len(classes), dtype=np.float32)[labels[indices]]
        if mixing is not None:
            mixed, soft = mix(images.astype(np.float32), soft, mixing, mixing_rng(seed, epoch, 0))
            images = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
        columns.append(
            [(image, _caption(row, classes)) for image, row in zip(images, soft, strict=True)]
        )
    headings = ["as evaluated", *(f"epoch {epoch + 1}" for epoch in range(draws))]
    note = f"{size[1]} by {size[0]} pixels"  # the font has no multiplication sign
    if test_size not in {None, size}:
        note += f", evaluated at {judged[0].shape[1]} by {judged[0].shape[0]}"
    return _drawn(columns, headings, title, note)


def save(sheet: Image.Image, path: Path) -> None:
    """Write a sheet as PNG: whole, or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with write_atomically(path) as part, part.open("wb") as file:
        sheet.save(file, "PNG")


def _caption(soft: NDArray[np.float32], classes: Sequence[str]) -> str:
    """The class, or the parts of the classes that are mixed."""
    parts = np.argsort(-soft, kind="stable")[:2]
    first, second = (f"{100 * soft[part]:.0f} %" for part in parts) if len(parts) > 1 else ("", "")
    if len(parts) == 1 or second == "0 %":
        return classes[int(parts[0])]
    return f"{first} {classes[int(parts[0])]}\n{second} {classes[int(parts[1])]}"


def _drawn(
    columns: list[list[tuple[NDArray[np.uint8], str]]],
    headings: Sequence[str],
    title: str,
    note: str,
) -> Image.Image:
    """Lay out images with captions, all enlarged by the same whole number."""
    times = max(1, math.ceil(_SMALLEST / columns[-1][0][0].shape[1]))
    widths = [times * max(image.shape[1] for image, _ in column) for column in columns]
    heights = [
        times * max(column[row][0].shape[0] for column in columns) for row in range(len(columns[0]))
    ]
    body = max(13, min(20, min(widths) // 11))
    mixed = any("\n" in caption for column in columns for _, caption in column)
    caption_height = round(body * 1.45 * (2 if mixed else 1)) + 6
    note += f", each drawn {times} times as large" if times > 1 else ""
    top = _MARGIN + round(body * 5.3)
    # The first column is set apart, as it shows what is not learnt from.
    lefts = [_MARGIN]
    for width in widths[:-1]:
        lefts.append(lefts[-1] + width + (_GAP if len(lefts) > 1 else 3 * _GAP))
    sheet_width = max(
        lefts[-1] + widths[-1] + _MARGIN,
        2 * _MARGIN + round(_font(round(body * 1.6)).getlength(title)),
    )
    sheet_height = top + sum(heights) + len(heights) * (caption_height + _GAP) + _MARGIN - _GAP
    sheet = Image.new("RGB", (sheet_width, sheet_height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 4), title, _INK, _font(round(body * 1.6)))
    draw.text((_MARGIN, _MARGIN + round(body * 1.9)), note, _GREY, _font(body))
    for left, width, heading in zip(lefts, widths, headings, strict=True):
        line = _shortened(heading, width, body)
        draw.text((left, top - round(body * 1.5)), line, _GREY, _font(body))
    if len(lefts) > 1:
        middle = lefts[1] - 3 * _GAP // 2
        draw.line([(middle, top), (middle, sheet_height - _MARGIN)], _RULE)
    for left, width, column in zip(lefts, widths, columns, strict=True):
        y = top
        for (image, caption), height in zip(column, heights, strict=True):
            shown = Image.fromarray(image)
            shown = shown.resize((shown.width * times, shown.height * times), 0)
            sheet.paste(shown, (left, y))
            for line_number, line in enumerate(caption.split("\n")):
                place = (left, y + shown.height + 3 + round(line_number * body * 1.3))
                draw.text(place, _shortened(line, width, body), _INK, _font(body))
            y += height + caption_height + _GAP
    return sheet


def _shortened(text: str, width: int, size: int) -> str:
    """As much of a text as a column holds."""
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."  # the font has no ellipsis


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
