from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_classics.data.fit import CentralCrop, fit_bytes
from keras_classics.explorer import pictures as module
from keras_classics.explorer.pictures import Pictures, read_picture
from keras_classics.web.uploads import UploadError


def encoded(form, image=None, **options):
    image = noise(40, 60) if image is None else image
    file = BytesIO()
    Image.fromarray(image).save(file, form, **options)
    return file.getvalue()


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def animation(form, **options):
    frames = [Image.fromarray(noise(20, 30, seed)) for seed in range(3)]
    file = BytesIO()
    frames[0].save(
        file, form, save_all=True, append_images=frames[1:], **{"duration": 50, **options}
    )
    return file.getvalue()


def bomb(width, height):
    """A PNG of a few bytes that claims to be huge."""

    def chunk(kind, data):
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def webp_bomb(width, height):
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + canvas
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def upload(server, data, name="picture.png", **options):
    return server.post("/api/pictures", content=data, headers={"X-Name": name}, **options)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_pictures_of_every_format(server, pixels, form):
    told = upload(server, encoded(form), status=201)
    assert (told["width"], told["height"]) == (60, 40)
    assert (told["sample"], told["animated"], told["note"]) == (False, False, None)
    assert told in server.get("/api/pictures")["pictures"]
    shown = server.client.get(f"/api/pictures/{told['id']}.png")
    assert shown.headers["content-type"] == "image/png"
    assert pixels(shown.content).shape == (40, 60, 3)


def test_the_picture_as_a_model_sees_it(server, held, pixels):
    data = encoded("JPEG", noise(90, 70))
    told = upload(server, data, status=201)
    for one in held:
        shape = one.card.preprocessing
        expected = fit_bytes(data, Path("x"), shape.size, shape.fit)
        shown = server.client.get(f"/api/pictures/{told['id']}.png?model={one.id}")
        assert (pixels(shown.content) == expected).all()


def test_a_large_picture_is_shown_smaller(server, pixels):
    told = upload(server, encoded("PNG", noise(50, 2048)), status=201)
    assert (told["width"], told["height"]) == (2048, 50)
    shown = pixels(server.client.get(f"/api/pictures/{told['id']}.png").content)
    assert shown.shape == (25, 1024, 3)


def test_upright_by_its_metadata(server, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    told = upload(server, encoded("JPEG", exif=exif), status=201)
    assert (told["width"], told["height"]) == (40, 60)
    assert pixels(server.client.get(f"/api/pictures/{told['id']}.png").content).shape == (60, 40, 3)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (animation("GIF"), "frames"),
        (animation("WEBP", lossless=True), "frames"),
        (animation("PNG"), "frames"),
        (animation("TIFF"), "pages"),
    ],
    ids=["gif", "webp", "apng", "tiff"],
)
def test_of_an_animation_the_first_frame(server, pixels, data, what):
    told = upload(server, data, status=201)
    assert told["animated"]
    assert told["note"] == f"it has several {what}; the first one is used"
    shown = pixels(server.client.get(f"/api/pictures/{told['id']}.png").content)
    first = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    assert (shown == first).all()


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (b"", 422, "photo.png: empty; choose a picture."),
        (b"not a picture at all", 415, "photo.png: not an image."),
        (b"\0\0\0\x18ftypheic\0\0\0\0", 415, "HEIC or AVIF, which is not supported"),
        (b"%PDF-1.7\n", 415, "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "SVG, which is not supported"),
        (encoded("PNG")[:200], 422, "photo.png: truncated."),
        (encoded("JPEG", noise(200, 200))[:3000], 422, "truncated"),
        (encoded("PNG")[:40], 422, "photo.png: "),
        (b"GIF89a", 422, "photo.png: "),
        (b"RIFF\0\0\0\0WEBP", 422, "photo.png: "),
        (bomb(50_000, 50_000), 413, "photo.png: 50000 x 50000 pixels; at most 50 million"),
        (bomb(2**31 - 1, 2**31 - 1), 413, "at most 50 million"),
        (bomb(0, 5), 422, "photo.png: "),
        (webp_bomb(16_384, 16_384), 413, "16384 x 16384 pixels"),
        (webp_bomb(20, 20), 422, "photo.png: "),
    ],
    ids=lambda value: None if isinstance(value, int) else f"{value[:12]!r}",
)
def test_what_is_not_taken(server, data, status, message):
    held_before = server.get("/api/pictures")
    assert message in upload(server, data, "../folder\\photo.png", status=status)
    assert server.get("/api/pictures") == held_before


def test_too_many_bytes(server):
    too_much = b"\x89PNG" + bytes(module.UPLOAD_BYTES)
    message = "the file is larger than 20 MB"
    assert message in upload(server, too_much, status=413)

    def in_pieces():
        for start in range(0, len(too_much), 1 << 20):
            yield too_much[start : start + (1 << 20)]

    assert message in upload(server, in_pieces(), status=413)  # without a Content-Length
    with pytest.raises(UploadError, match="20 MB"):
        read_picture(too_much, "x")
    assert upload(server, encoded("PNG"), status=201)  # the server goes on


def test_pixels_are_counted_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(module, "decode_image", lambda *_, **__: pytest.fail("was decoded"))
    monkeypatch.setattr(module, "UPLOAD_PIXELS", 2399)
    for form in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        with pytest.raises(UploadError, match="60 x 40 pixels") as refusal:
            read_picture(encoded(form), "x")
        assert refusal.value.status == 413


def test_uploads_make_room_for_each_other(monkeypatch):
    monkeypatch.setattr(module, "MOST_UPLOADS", 3)
    sample = module.Picture("sample", "sample", encoded("PNG"), 60, 40, sample=True)
    pictures = Pictures([sample])
    added = [read_picture(encoded("PNG", noise(8, 8, seed)), f"{seed}.png") for seed in range(4)]
    for picture in added:
        pictures.add(picture)
    pictures.add(added[3])  # the same again is one picture
    assert [each.id for each in pictures] == ["sample", *(each.id for each in added[1:])]
    with pytest.raises(KeyError):
        pictures[added[0].id]


def test_a_picture_that_is_gone(server, held):
    message = "picture 'u-0' is not held, or not any more; upload it again."
    assert server.get("/api/pictures/u-0.png", status=404) == message
    request = {"model": held[0].id, "picture": "u-0"}
    assert server.post("/api/predict", request, status=404) == message
    assert "model 'x' is not held" in server.get("/api/pictures/flower.png?model=x", status=404)


def test_a_name_that_is_no_text(server):
    told = upload(server, encoded("PNG", noise(5, 5)), "%ff%00%0a", status=201)
    assert "\n" not in told["name"]


def test_a_published_protocol_sees_the_whole_picture():
    """No upload is stored smaller than it is: accuracies are measured on what the file holds."""
    picture = read_picture(encoded("JPEG", noise(600, 900)), "x.jpg")
    from keras_classics.classifier.card import Preprocessing

    shape = Preprocessing((224, 224), CentralCrop(256, "opencv-cubic"), "caffe")
    expected = fit_bytes(picture.data, Path("x"), shape.size, shape.fit)
    assert (picture.fitted(shape) == expected).all()
