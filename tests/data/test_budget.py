from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_classics.data import budget, decode
from keras_classics.data.budget import Budget, default_budget
from keras_classics.data.decode import decode_image
from keras_classics.errors import ClassicsError, ImageError
from keras_classics.host.memory import total_memory


def test_no_more_than_the_budget_is_used_at_a_time():
    shared, lock = Budget(100), threading.Lock()
    used, most = 0, 0

    def take(size):
        nonlocal used, most
        with shared.room(size):
            with lock:
                used += size
                most = max(most, used)
            time.sleep(0.002)
            with lock:
                used -= size

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, [30, 50, 70, 20, 100, 10] * 10))
    assert used == 0
    assert 70 < most <= 100


def test_what_is_larger_than_the_budget_waits_until_it_is_alone_and_is_not_overtaken():
    shared, order = Budget(100), []

    def take(name, size):
        with shared.room(size):
            order.append(name)

    with ThreadPoolExecutor(2) as pool:
        with shared.room(60):
            large = pool.submit(take, "large", 1000)
            while len(shared._waiting) < 1:
                time.sleep(0.001)
            small = pool.submit(take, "small", 10)  # for which there would be room
            while len(shared._waiting) < 2:
                time.sleep(0.001)
            assert order == []
        large.result(10)
        small.result(10)
    assert order == ["large", "small"]


def test_processes_take_turns_with_what_is_larger():
    held = []

    @contextmanager
    def alone():
        held.append("in")
        yield
        held.append("out")

    shared = Budget(100, alone=alone())
    with shared.room(100):
        assert held == []
    with shared.room(101):
        assert held == ["in"]
    assert held == ["in", "out"]


def test_what_no_machine_has_is_refused(tmp_path, monkeypatch):
    with pytest.raises(MemoryError), Budget(100).room(total_memory() + 1):
        pass
    file = BytesIO()
    Image.new("RGB", (60, 40)).save(file, "PNG")
    monkeypatch.setattr(budget, "_budget", Budget(10_000))
    monkeypatch.setattr(budget, "total_memory", lambda: 20_000)
    with pytest.raises(ImageError) as caught:
        decode_image(file.getvalue(), tmp_path / "x.png")
    assert caught.value.reason == "60x40 pixels, too large for the memory of this machine"


def test_the_environment_states_the_budget(monkeypatch):
    monkeypatch.delenv(budget.VARIABLE, raising=False)
    assert default_budget() == total_memory() // 8
    monkeypatch.setenv(budget.VARIABLE, "300")
    assert Budget().size == 300 * 1024**2
    for wrong in ("0", "-1", "much", "1.5"):
        monkeypatch.setenv(budget.VARIABLE, wrong)
        with pytest.raises(ClassicsError, match=f"{budget.VARIABLE}='{wrong}': a whole number of"):
            default_budget()


@pytest.mark.parametrize(
    ("form", "mode", "each"),
    [("WEBP", "RGB", 20), ("PNG", "L", 7), ("PNG", "I;16", 8), ("JPEG", "RGB", 10)],
)
def test_room_is_asked_for_before_the_decoder_runs(tmp_path, monkeypatch, form, mode, each):
    asked = []

    @contextmanager
    def room(size):
        asked.append(size)
        raise MemoryError
        yield

    file = BytesIO()
    Image.new(mode, (60, 40)).save(file, form)
    monkeypatch.setattr(decode, "room", room)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    with pytest.raises(ImageError):
        decode_image(file.getvalue(), tmp_path / "x")
    assert asked == [each * 60 * 40]


# Prints by how many megabytes the process grew at most.
MEASURED = """
import sys
from pathlib import Path
from keras_classics.data.check.run import check
from keras_classics.data.folder import scan
from keras_classics.data.pixels import decode_all

def now(line):
    with open("/proc/self/status") as status:
        return next(int(each.split()[1]) for each in status if each.startswith(line)) / 1024

folder, how = Path(sys.argv[1]), sys.argv[2]
decode_all(scan(folder / "small").storage, scan(folder / "small").items, (32, 32), "crop")
Path("/proc/self/clear_refs").write_text("5")
before = now("VmRSS")
if how == "check":
    images = check(folder / "large", size=32, workers=8).images
else:
    listing = scan(folder / "large")
    images = len(decode_all(listing.storage, listing.items, (32, 32), "crop", workers=8).items)
print(images, now("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells of memory")
@pytest.mark.parametrize("how", ["check", "decode_all"])
def test_large_pictures_among_small_ones_take_turns(tmp_path, monkeypatch, how):
    """Six small files of large pictures among photos, with eight threads."""
    file = BytesIO()
    Image.new("RGB", (2500, 2000), "red").save(file, "WEBP", method=0)
    assert len(file.getvalue()) < 50_000
    rng = np.random.default_rng(0)
    for part in ("small", "large"):
        for i in range(26):
            folder = tmp_path / part / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            noise = rng.integers(0, 256, (50, 60, 3), np.uint8)
            Image.fromarray(noise).save(folder / f"{i}.jpg")
    for i in range(6):
        (tmp_path / "large" / "a" / f"bomb{i}.webp").write_bytes(file.getvalue())
    monkeypatch.setenv(budget.VARIABLE, "120")
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path), how],
        capture_output=True,
        text=True,
        check=True,
    )
    images, grown = re.fullmatch(r"(\d+) ([\d.]+)\n", done.stdout).groups()
    assert int(images) == 32
    assert 60 < float(grown) < 160  # one takes 80, and all of them at a time 480
