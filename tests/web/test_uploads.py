from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from keras_classics.errors import ClassicsError
from keras_classics.web.uploads import UploadError, check_upload, clean_name, too_many_bytes


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def encoded(form, **options):
    file = BytesIO()
    Image.fromarray(noise(40, 60)).save(file, form, **options)
    return file.getvalue()


def check(data, name="a.png", most_bytes=10**6, most_pixels=10**6):
    return check_upload(data, name, most_bytes=most_bytes, most_pixels=most_pixels)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM"])
def test_pixels_are_counted_by_the_head(form):
    data = encoded(form)
    assert check(data, "folder/b.png", most_pixels=2400).path.name == "b.png"
    with pytest.raises(UploadError, match=r"60 x 40 pixels; at most 0\.002399 million") as refusal:
        check(data, most_pixels=2399)
    assert refusal.value.status == 413


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 422, "a.png: empty; choose a picture."),
        (b"hello", 415, "a.png: not an image."),
        (encoded("PNG")[:20], 422, "a.png: "),
        (encoded("PNG") + bytes(10**6), 413, "larger than 0.953674 MB"),
    ],
)
def test_what_is_not_taken(data, status, words):
    with pytest.raises(ClassicsError, match=words) as refusal:
        check(data)
    assert refusal.value.status == status


def test_too_many_bytes():
    assert too_many_bytes(20 * 1024**2).startswith("the file is larger than 20 MB")


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("cat.jpg", "cat.jpg"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\me\\cat.jpg", "cat.jpg"),
        ("..", "picture"),
        ("", "picture"),
        ("a\nb\x1b[31m\u202e.png", "ab[31m.png"),
        ("Käse ☃.png", "Käse ☃.png"),
        ("x" * 300, "x" * 80),
    ],
)
def test_names(given, cleaned):
    assert clean_name(given) == cleaned
