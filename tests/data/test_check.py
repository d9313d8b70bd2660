"""What a check of a folder finds, and that it finds nothing where nothing is."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from keras_classics.data import copies
from keras_classics.data.check import run
from keras_classics.data.check.findings import RULES
from keras_classics.data.check.run import quick_check
from keras_classics.data.copies import NEAR, near_groups, perceptual_hash
from keras_classics.data.decode import read_image
from keras_classics.data.folder import scan
from keras_classics.data.pixels import MEMORY_BUDGET, decode_all
from keras_classics.data.splits import assign_splits
from keras_classics.data.storage import Folder
from keras_classics.errors import DataError, ImageError
from pictures import state, write_pictures

SIZE = 64


def check(folder, **options):
    return run.check(folder, **{"size": SIZE, **options})


def scene(seed, size=(160, 120)):
    """A picture with large and small shapes, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    return Image.fromarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC))


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Two sound classes of 12 pictures, in two splits."""
    root = tmp_path_factory.mktemp("scenes")
    for offset, split in ((0, "train"), (500, "test")):
        for label, kind in enumerate(("cat", "dog")):
            (root / split / kind).mkdir(parents=True)
            for i in range(12):
                scene(offset + 100 * label + i).save(root / split / kind / f"{i:02d}.png")
    return root


@pytest.fixture
def parts(scenes, tmp_path):
    """A folder with two sound classes of 12 pictures in each of two splits."""
    return shutil.copytree(scenes, tmp_path / "parts")


@pytest.fixture
def folder(scenes, tmp_path):
    """A folder with two sound classes of 12 pictures."""
    return shutil.copytree(scenes / "train", tmp_path / "data")


def dim(path, brightest, dtype=np.uint8):
    """Write a grey ramp from 0, with a few stray pixels that are as bright as can be."""
    ramp = np.linspace(0, brightest, 10_000).astype(dtype)
    ramp[:5] = np.iinfo(dtype).max
    Image.fromarray(ramp.reshape(100, 100)).save(path)


def found(result):
    """The findings as kind -> what stands where."""
    findings = result if isinstance(result, tuple) else result.findings
    return {finding.kind: [place.paths for place in finding.places] for finding in findings}


def notes(result, kind):
    (finding,) = (finding for finding in result.findings if finding.kind == kind)
    return {place.paths[0]: place.note for place in finding.places}


def test_a_sound_folder(folder):
    result = check(folder)
    assert result.findings == ()
    assert result.sound
    assert (result.images, result.classes, result.splits) == (24, {"cat": 12, "dog": 12}, {})
    assert result.folder == str(folder)


def test_splits_are_counted(parts):
    result = check(parts)
    assert result.findings == ()
    assert result.splits == {"train": 24, "test": 24}
    assert result.classes == {"cat": 24, "dog": 24}


# ---------------------------------------------------------------------- files that cannot be read


def bomb():
    def chunk(kind, body):
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize("part", [0.05, 0.3, 0.7, 0.97])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".gif"])
def test_truncated_files(folder, suffix, part):
    torn = folder / "cat" / f"torn{suffix}"
    scene(50).save(torn)
    torn.write_bytes(torn.read_bytes()[: int(part * torn.stat().st_size)])
    result = check(folder)
    assert found(result) == {"unreadable": [(f"cat/torn{suffix}",)]}
    assert not result.sound
    with pytest.raises(ImageError) as caught:
        read_image(torn, at_least=SIZE)
    assert notes(result, "unreadable") == {f"cat/torn{suffix}": caught.value.reason}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"Dear reader", "not an image"),
        (bomb(), "60000x60000 pixels, more than the limit of 178,956,970"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC or AVIF"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "damaged ("),
    ],
)
def test_what_is_no_image(folder, content, reason):
    (folder / "dog" / "bad.jpg").write_bytes(content)
    result = check(folder)
    assert found(result) == {"unreadable": [("dog/bad.jpg",)]}
    assert notes(result, "unreadable")["dog/bad.jpg"].startswith(reason)
    assert result.images == 25
    assert sum(result.classes.values()) == 24


@pytest.mark.skipif(os.name == "nt" or not os.getuid(), reason="the administrator may read all")
def test_a_file_without_permission(folder):
    (folder / "cat" / "00.png").chmod(0)
    assert notes(check(folder), "unreadable") == {"cat/00.png": "permission denied"}


def test_check_and_training_agree_on_what_can_be_read(folder):
    rng = np.random.default_rng(0)
    for suffix in (".jpg", ".png", ".gif", ".webp", ".tif", ".bmp"):
        scene(1, (40, 40)).save(folder / "cat" / f"x{suffix}")
        whole = np.frombuffer((folder / "cat" / f"x{suffix}").read_bytes(), np.uint8)
        for i in range(12):
            damaged = whole.copy()
            damaged[rng.integers(8, min(300, len(damaged)), 6)] = rng.integers(0, 256, 6)
            (folder / "cat" / f"damaged{i}{suffix}").write_bytes(damaged.tobytes())
    decoded = decode_all(Folder(folder), scan(folder).items, (SIZE, SIZE), "crop")
    expected = {
        error.path.relative_to(folder).as_posix(): error.reason for error in decoded.skipped
    }
    assert len(expected) > 10
    assert notes(check(folder, near=False), "unreadable") == expected


# ----------------------------------------------------------------------------- what is special


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    scene(60).save(path, exif=exif)


def behind_the_pixels(path):
    exif = b"II*\0" + struct.pack("<IHHHIHH", 8, 1, 0x0112, 3, 1, 6, 0)
    scene(60).save(path)
    data = path.read_bytes()
    body = b"eXIf" + exif
    chunk = struct.pack(">I", len(exif)) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(data[:-12] + chunk + data[-12:])


def grey_16(path):
    values = np.asarray(scene(60).convert("L")).astype(np.uint16) * 257
    Image.fromarray(values).save(path)


def colour_16(path):
    values = np.asarray(scene(60)).astype(np.uint16) * 257
    cv2.imwrite(str(path), values[..., ::-1])


def in_mode(mode, **options):
    return lambda path: scene(60).convert(mode).save(path, **options)


def of_width(width):
    return lambda path: scene(60, (width, 80)).save(path)


def moving(path):
    scene(60).save(path, save_all=True, append_images=[scene(61), scene(62)])


@pytest.mark.parametrize(
    ("name", "write", "kinds"),
    [
        ("x.jpg", turned, {"rotated"}),
        ("x.tif", turned, {"rotated"}),
        ("x.webp", turned, {"rotated"}),
        ("x.png", turned, {"rotated"}),
        ("x.png", behind_the_pixels, {"rotated"}),
        ("x.jpg", in_mode("L"), {"greyscale"}),
        ("x.png", in_mode("1"), {"greyscale"}),
        ("x.png", in_mode("LA"), {"greyscale", "transparent"}),
        ("x.png", in_mode("P"), {"palette"}),
        ("x.png", in_mode("P", transparency=0), {"palette", "transparent"}),
        ("x.jpg", in_mode("CMYK"), {"cmyk"}),
        ("x.tif", in_mode("CMYK"), {"cmyk"}),
        ("x.png", in_mode("RGBA"), {"transparent"}),
        ("x.png", grey_16, {"greyscale", "16-bit"}),
        ("x.tif", grey_16, {"greyscale", "16-bit"}),
        ("x.png", colour_16, {"16-bit"}),
        ("x.tif", colour_16, {"16-bit"}),
        ("x.bmp", of_width(160), set()),  # the bytes of a row, and places, say nothing
        ("x.tif", of_width(160), set()),
        ("x.gif", moving, {"palette", "animated"}),
        ("x.webp", moving, {"animated"}),
        ("x.png", moving, {"animated"}),
        ("x.tif", moving, {"animated"}),
        ("x.jpg", in_mode("RGB", format="PNG"), {"wrong-ending"}),
        ("x.png", in_mode("RGB", format="JPEG"), {"wrong-ending"}),
        ("x.JPE", in_mode("RGB", format="JPEG"), set()),
        ("x.pgm", in_mode("RGB", format="PPM"), set()),
        (".hidden.jpg", lambda path: path.write_text("x"), set()),
        ("x.jpg", lambda path: Image.new("RGB", (1, 1)).save(path), {"tiny", "flat"}),
        ("x.png", lambda path: dim(path, 63), {"flat", "greyscale"}),
        ("x.png", lambda path: dim(path, 65), {"greyscale"}),
        ("x.png", lambda path: dim(path, 4095, np.uint16), {"flat", "greyscale", "16-bit"}),
        ("x.jpg", lambda path: scene(60, (200, 63)).save(path), {"tiny"}),
        ("x.jpg", lambda path: scene(60, (200, 64)).save(path), set()),
        (
            "x.png",
            lambda path: Image.new("1", (6000, 6000)).save(path),
            {"huge", "greyscale", "flat"},
        ),
    ],
)
def test_what_is_special_about_a_file(folder, name, write, kinds):
    write(folder / "cat" / name)
    result = check(folder)
    assert found(result) == {kind: [(f"cat/{name}",)] for kind in kinds}
    look = {"tiny", "wrong-ending", "flat"}
    assert all(RULES[kind][0] == ("look" if kind in look else "know") for kind in kinds)
    assert result.sound


def test_the_notes_say_format_and_size(folder):
    scene(60).save(folder / "cat" / "x.jpg", "PNG")
    scene(61, (50, 70)).save(folder / "cat" / "y.png")
    result = check(folder)
    assert notes(result, "wrong-ending") == {"cat/x.jpg": "PNG"}
    assert notes(result, "tiny") == {"cat/y.png": "50×70"}
    assert "tiny" not in found(check(folder, size=50))
    assert len(found(check(folder, size=121))["tiny"]) == 26  # all, as they are 120 high


# ------------------------------------------------------------------------------------- copies


def test_copies_within_a_class(folder):
    shutil.copy(folder / "cat" / "03.png", folder / "cat" / "again.png")
    result = check(folder)
    assert found(result) == {"copies": [("cat/03.png", "cat/again.png")]}
    assert result.sound


def test_copies_across_classes_and_splits(parts):
    shutil.copy(parts / "train/cat/03.png", parts / "train/dog/other.png")
    shutil.copy(parts / "train/cat/04.png", parts / "test/cat/leak.png")
    shutil.copy(parts / "train/cat/05.png", parts / "test/dog/both.png")
    result = check(parts)
    assert found(result) == {
        "copies-across-splits": [
            ("test/cat/leak.png", "train/cat/04.png"),
            ("test/dog/both.png", "train/cat/05.png"),
        ],
        "copies-across-classes": [
            ("test/dog/both.png", "train/cat/05.png"),
            ("train/cat/03.png", "train/dog/other.png"),
        ],
    }
    assert not result.sound


def test_the_same_picture_saved_twice_is_a_copy(folder):
    scene(0).save(folder / "cat" / "slow.png", compress_level=1, pnginfo=None)
    scene(0).save(folder / "cat" / "plain.bmp")
    assert found(check(folder, near=False)) == {
        "copies": [("cat/00.png", "cat/plain.bmp", "cat/slow.png")]
    }


def test_pictures_of_other_shapes_with_the_same_bytes_are_no_copies(folder):
    Image.new("RGB", (64, 128), "red").save(folder / "cat" / "tall.png")
    Image.new("RGB", (128, 64), "red").save(folder / "cat" / "wide.png")
    assert check(folder).findings == ()


ALTERED = {
    "compressed.jpg": lambda image, path: image.save(path, quality=30),
    "resized.png": lambda image, path: image.resize((320, 240)).save(path),
    "squeezed.png": lambda image, path: image.resize((160, 90)).save(path),
    "brighter.png": lambda image, path: ImageEnhance.Brightness(image).enhance(1.1).save(path),
    "cropped.png": lambda image, path: image.crop((1, 1, 159, 119)).save(path),
    "grey.png": lambda image, path: image.convert("L").save(path),
}


@pytest.mark.parametrize("name", ALTERED)
def test_near_copies_across_splits(parts, name):
    ALTERED[name](scene(7), parts / "test" / "cat" / name)
    result = check(parts)
    expected = {"near-copies-across-splits": [(f"test/cat/{name}", "train/cat/07.png")]}
    assert {k: v for k, v in found(result).items() if k != "greyscale"} == expected
    assert not result.sound
    without = check(parts, near=False)
    assert without.sound
    assert not without.near


def test_near_copies_within_and_across_classes_are_only_worth_a_look(folder):
    scene(3).save(folder / "cat" / "again.jpg")
    scene(104).save(folder / "cat" / "other.jpg")
    result = check(folder)
    assert found(result) == {
        "near-copies": [("cat/03.png", "cat/again.jpg")],
        "near-copies-across-classes": [("cat/other.jpg", "dog/04.png")],
    }
    assert result.sound


def test_copies_of_a_near_copy_are_in_its_group(parts):
    scene(3).save(parts / "train" / "cat" / "again.jpg")
    shutil.copy(parts / "train/cat/again.jpg", parts / "test/cat/leak.jpg")
    group = ("test/cat/leak.jpg", "train/cat/03.png", "train/cat/again.jpg")
    assert found(check(parts)) == {
        "copies-across-splits": [("test/cat/leak.jpg", "train/cat/again.jpg")],
        "near-copies-across-splits": [group],
    }


def test_pictures_of_one_colour_are_not_near_one_another(folder):
    for name, colour in (("a", "white"), ("b", "black"), ("c", (250, 250, 250))):
        Image.new("RGB", (80, 80), colour).save(folder / "cat" / f"{name}.png")
    assert set(found(check(folder))) == {"flat"}


@pytest.mark.parametrize("side", [31, 32])
def test_pictures_too_small_for_a_hash(side):
    hashed = perceptual_hash(np.asarray(scene(1, (40, side))))
    assert (hashed is None) == (side == 31)


def flipped(base, number):
    """A hash with some bits changed, evenly over all of it."""
    bits = np.unpackbits(base)
    bits[np.linspace(0, 255, number).astype(int)] ^= 1
    return np.packbits(bits)


@pytest.mark.parametrize("block", [(1024, 4096), (300, 500)])
def test_groups_are_those_of_all_pairs(monkeypatch, block):
    monkeypatch.setattr(copies, "_ROWS_AT_A_TIME", block[0])
    monkeypatch.setattr(copies, "_COLUMNS_AT_A_TIME", block[1])
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (3000, 32)).astype(np.uint8)
    near, far = flipped(base[0], NEAR), flipped(base[1], NEAR + 1)
    pairs = [flipped(base[i], 20) for i in range(100, 140)]
    hashes = np.concatenate([base, [near, far, base[2], base[2]], pairs])
    expected = [[0, 3000], [2, 3002, 3003], *([100 + i, 3004 + i] for i in range(40))]
    assert near_groups(hashes) == expected
    shuffled = rng.permutation(len(hashes))
    groups = near_groups(hashes[shuffled])
    assert sorted(sorted(shuffled[group].tolist()) for group in groups) == near_groups(hashes)
    assert near_groups(hashes[:0]) == []


def test_chains_are_one_group():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (1, 256)).astype(np.uint8).repeat(5, axis=0)
    for i in range(5):
        bits[i, 64 : 64 + 30 * i] ^= 1
    assert near_groups(np.packbits(bits, axis=1)) == [[0, 1, 2, 3, 4]]
    assert near_groups(np.packbits(bits[[0, 2, 4]], axis=1)) == []


# ------------------------------------------------------------------------- classes and folders


def test_a_class_with_few_images(folder):
    for i in range(9):
        (folder / "bird").mkdir(exist_ok=True)
        scene(900 + i).save(folder / "bird" / f"{i}.png")
    assert found(check(folder)) == {"few-images": [("bird",)]}
    scene(909).save(folder / "bird" / "9.png")
    assert check(folder).findings == ()


def test_images_that_cannot_be_read_do_not_count(folder):
    for i in range(3):
        (folder / "cat" / f"{i:02d}.png").write_text("x")
    result = check(folder)
    assert set(found(result)) == {"unreadable", "few-images"}
    assert notes(result, "few-images") == {"cat": "9, 9 to learn from"}


def test_too_few_to_learn_from(parts):
    for i in range(4, 12):
        (parts / "train" / "cat" / f"{i:02d}.png").unlink()
    assert notes(check(parts), "few-images") == {"cat": "16, 4 to learn from"}


@pytest.mark.parametrize(("number", "uneven"), [(47, False), (48, True)])
def test_imbalance(folder, number, uneven):
    for i in range(12, number):
        scene(2000 + i, (64, 64)).save(folder / "dog" / f"{i}.png")
    result = check(folder)
    assert found(result) == ({"imbalance": [("dog",), ("cat",)]} if uneven else {})
    assert result.sound


def test_imbalance_names_what_a_run_can_do_or_does(folder):
    for i in range(12, 60):
        scene(2000 + i, (64, 64)).save(folder / "dog" / f"{i}.png")
    listing = scan(folder)
    plain, weights, sampling = (
        quick_check(listing, balance=balance)[0] for balance in ("none", "weights", "sampling")
    )
    assert {finding.kind for finding in (plain, weights, sampling)} == {"imbalance"}
    assert "--balance weights or --balance sampling" in plain.advice
    assert "every image equally" in plain.text
    assert weights.text.endswith("; this run weights images of small classes higher")
    assert sampling.text.endswith("; this run shows images of small classes more often")
    for finding in (weights, sampling):
        assert finding.places == plain.places
        assert "--balance" not in finding.advice
        assert "alike" not in finding.text


def test_names_that_differ_by_capitals_or_spaces(folder):
    for number, name in enumerate((" Cat", "CAT")):
        (folder / name).mkdir()
        for i in range(10):
            scene(3000 + 100 * number + i).save(folder / name / f"{i}.png")
    try:
        result = check(folder)
    except DataError:
        pytest.skip("this file system does not tell capitals")
    assert [sorted(paths) for paths in found(result)["similar-names"]] == [[" Cat", "CAT", "cat"]]


def test_what_stands_beside_the_classes(folder):
    (folder / "bird").mkdir()
    (folder / ".cache").mkdir()
    (folder / "notes.txt").write_text("x")
    (folder / "cat" / "deep" / "er").mkdir(parents=True)
    scene(70).save(folder / "stray.png")
    scene(71).save(folder / "cat" / "photo", "JPEG")
    (folder / "cat" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (folder / "cat" / "film.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(40))
    result = check(folder)
    assert found(result) == {
        "empty-folder": [("bird",)],
        "overlooked": [("cat/phone.heic",), ("cat/photo",)],
        "outside-classes": [("stray.png",)],
        "other-files": [("cat/film.mp4",), ("notes.txt",)],
    }
    assert notes(result, "overlooked") == {"cat/photo": "JPG", "cat/phone.heic": "HEIC or AVIF"}


def test_a_class_that_is_missing_in_a_split(parts):
    shutil.rmtree(parts / "test" / "dog")
    (parts / "test" / "dog").mkdir()
    result = check(parts)
    assert found(result) == {"empty-folder": [("test/dog",)], "missing-in-split": [("dog",)]}
    assert notes(result, "missing-in-split") == {"dog": "test"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_dangling_links_and_circles(folder):
    os.mkfifo(folder / "cat" / "pipe")
    os.mkfifo(folder / "cat" / "pipe.jpg")
    (folder / "cat" / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "cat" / "circle").symlink_to(folder / "cat")
    result = check(folder)
    assert found(result) == {
        "unreadable": [("cat/gone.jpg",), ("cat/pipe.jpg",)],
        "other-files": [("cat/pipe",)],
    }
    assert notes(result, "unreadable") == {
        "cat/gone.jpg": "a symbolic link that leads to no file",
        "cat/pipe.jpg": "a named pipe, not a regular file",
    }


def test_what_scan_refuses_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        check(tmp_path / "nowhere")
    with pytest.raises(DataError, match="contains no images"):
        check(tmp_path)


def test_size_must_be_positive(folder):
    with pytest.raises(ValueError, match="size must be at least 1"):
        check(folder, size=0)


# ------------------------------------------------------------------------------- the whole thing


@pytest.fixture
def messy(parts):
    shutil.copy(parts / "train/cat/03.png", parts / "train/dog/other.png")
    scene(7).save(parts / "test" / "cat" / "leak.jpg")
    (parts / "train" / "dog" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    turned(parts / "test" / "dog" / "phone.jpg")
    moving(parts / "test" / "dog" / "moving.gif")
    (parts / "notes.txt").write_text("x")
    return parts


def test_nothing_is_written_printed_or_left(messy, capfd):
    before, threads = state(messy), threading.active_count()
    check(messy)
    quick_check(scan(messy))
    assert state(messy) == before
    assert threading.active_count() == threads
    assert capfd.readouterr() == ("", "")


def test_the_number_of_threads_and_the_order_of_the_files_change_nothing(messy, tmp_path):
    one = check(messy, workers=1)
    assert one.findings == check(messy, workers=7).findings
    other = tmp_path / "other"
    files = [path.relative_to(messy) for path in messy.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: path.as_posix()[::-1]):
        (other / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(messy / path, other / path)
    assert check(other).findings == one.findings


def test_each_file_is_read_once(messy, monkeypatch):
    reads = []
    read_bytes = Path.read_bytes

    def counted(path):
        reads.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    result = check(messy)
    assert len(reads) == len(set(reads)) == result.images


def test_progress(folder):
    calls = []
    check(folder, progress=lambda done, total: calls.append((done, total)))
    assert calls == [*((done, 24) for done in range(1, 25)), (24, 24)]
    calls.clear()
    check(folder, near=False, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 24) for done in range(1, 25)]


def test_plain_data(messy):
    result = check(messy)
    plain = result.to_dict()
    assert json.loads(json.dumps(plain))["images"] == 53
    assert plain["sound"] is False
    assert plain["findings"][0] == {
        **asdict(result.findings[0]),
        "kind": "unreadable",
        "severity": "mend",
    }
    ranks = ["mend", "look", "know"]
    severities = [ranks.index(finding["severity"]) for finding in plain["findings"]]
    assert severities == sorted(severities)


def test_cost(folder):
    cost = check(folder, size=32, workers=2).cost
    assert (cost.size, cost.image_bytes, cost.mapped) == (32, 24 * 32 * 32 * 3, False)
    assert 0 < cost.seconds < 5
    large = check(folder, size=8000).cost
    assert large.mapped
    assert large.image_bytes > MEMORY_BUDGET


def test_checking_loads_no_keras():
    command = "import sys, keras_classics.data.check.run; print('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
    assert done.stdout.strip() == b"False"


# ------------------------------------------------------------------------------- the quick part


def test_the_quick_part(messy):
    listing = scan(messy)
    skipped = [ImageError(messy / "train/dog/torn.jpg", "truncated")]
    assert found(quick_check(listing, skipped)) == {
        "unreadable": [("train/dog/torn.jpg",)],
        "copies-across-classes": [("train/cat/03.png", "train/dog/other.png")],
    }


def test_the_quick_part_sees_the_splits_that_a_run_draws(folder):
    shutil.copy(folder / "cat" / "03.png", folder / "cat" / "again.png")
    listing = assign_splits(scan(folder), seed=0)
    split_of = {item.path.as_posix(): item.split for item in listing.items}
    same = split_of["cat/03.png"] == split_of["cat/again.png"]
    kind = "copies" if same else "copies-across-splits"
    assert found(quick_check(listing)) == {kind: [("cat/03.png", "cat/again.png")]}
    seeds = {
        next(iter(found(quick_check(assign_splits(scan(folder), seed=seed))))) for seed in range(20)
    }
    assert seeds == {"copies", "copies-across-splits"}


def test_the_quick_part_opens_only_files_of_one_size(folder, monkeypatch):
    opened = []
    read_bytes = Path.read_bytes

    def counted(path):
        opened.append(path.name)
        return read_bytes(path)

    (folder / "cat" / "same.png").write_bytes((folder / "cat" / "05.png").read_bytes()[::-1])
    sizes = [path.stat().st_size for path in folder.rglob("*.png")]
    monkeypatch.setattr(Path, "read_bytes", counted)
    quick_check(scan(folder))
    assert {"05.png", "same.png"} <= set(opened)
    assert len(opened) == sum(sizes.count(size) > 1 for size in sizes)


def test_the_quick_part_survives_files_that_vanish(folder):
    listing = scan(folder)
    for path in (folder / "cat").iterdir():
        path.unlink()
    assert quick_check(listing) == ()


def test_a_folder_of_pictures_too_small_for_a_hash(tmp_path):
    for kind in "ab":
        (tmp_path / kind).mkdir()
        for i in range(3):
            scene(i, (28, 28)).save(tmp_path / kind / f"{i}.png")
    assert "near-copies-across-classes" not in found(check(tmp_path))
    assert len(found(check(tmp_path))["copies-across-classes"]) == 3


def test_groups_across_splits(parts):
    result = check(parts, group_by=r"/0(\d)\.png|/(1\d)\.png")
    assert len(found(result)["groups-across-splits"]) == 12
    assert found(result)["groups-across-splits"][3] == ("test/cat/03.png", "train/cat/03.png")
    assert notes(result, "groups-across-splits")["test/cat/03.png"] == "3"
    assert not result.sound
    assert check(parts, group_by=r"^\w+/\w+").sound
    quick = quick_check(scan(parts, group_by=r"/\d\d\."))
    assert len(found(quick)["groups-across-splits"]) == 12


def test_copies_that_are_known_are_not_looked_for(folder, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", None)
    known = [["cat/03.png", "dog/03.png"], ["cat/04.png", "cat/gone.png"]]
    assert found(quick_check(scan(folder), copies=known)) == {
        "copies-across-classes": [("cat/03.png", "dog/03.png")]
    }


def test_the_pictures_of_the_tests_are_no_near_copies(tmp_path):
    write_pictures(tmp_path / "shapes", each=10)
    assert set(found(check(tmp_path / "shapes"))) <= {"tiny"}


(EXAMPLE,) = re.findall(
    r"```python\n(.*?)```",
    (Path(__file__).parents[2] / "docs" / "check.md").read_text("utf-8"),
    flags=re.DOTALL,
)


def test_the_example_of_the_guide(parts, capsys, monkeypatch):
    monkeypatch.chdir(parts.parent)
    shutil.copytree(parts, "photos")
    exec(EXAMPLE, {})
    first, tiny = capsys.readouterr().out.splitlines()
    assert first == "True 48 {'cat': 24, 'dog': 24}"
    assert tiny.startswith("look tiny [('test/cat/00.png',), ")


def test_altered_copies_are_near(folder, capsys, monkeypatch):
    """The benchmark behind the table of the guide, on other pictures."""
    script = Path(__file__).parents[2] / "benchmarks" / "near_copies.py"
    monkeypatch.setattr("sys.argv", [script.name, str(folder)])
    runpy.run_path(str(script), run_name="__main__")
    rows = [line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    shares = {name.strip(): share for name, share in rows}
    assert shares.pop("cropped by 5 %") != "100.0%"
    assert len(shares) == 11
    # These pictures have hardly any detail, which makes them the hardest.
    assert all(float(share.rstrip("%")) >= 70 for share in shares.values())
    assert list(shares.values()).count("100.0%") >= 8
