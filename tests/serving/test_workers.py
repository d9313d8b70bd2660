"""Several processes: killed, started again, told what to do, and counted together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest
from filelock import FileLock

from keras_classics.data.budget import Budget
from keras_classics.serving import workers as module
from serving.fakes import expected, pictures, until
from serving.test_process import PROGRAM, folder, program

__all__ = ["folder"]


def workers(found):
    """The processes that serve."""
    return [
        child
        for child in psutil.Process(found.process.pid).children()
        if "spawn_main" in " ".join(child.cmdline())
    ]


def test_killed_workers_are_replaced_and_nobody_gets_a_wrong_answer(folder):
    images = pictures(20)
    wanted = [float(p) for p in expected(images, 1).max(axis=1)]
    wrong, right, lost = [], [0], [0]
    ended = threading.Event()

    def ask(turn):
        index = turn
        while not ended.is_set():
            index = (index + 3) % len(images)
            try:
                answer = found.ask(images[index])
            except httpx.HTTPError:  # its worker was killed
                lost[0] += 1
                continue
            found_one = answer.json()["predictions"][0]["probability"]
            if answer.status_code != 200 or found_one != wanted[index]:
                wrong.append((index, answer.text))
            right[0] += 1

    with program(folder, "--workers", 2, "--seconds", 0.01) as found:
        assert len(workers(found)) == 2
        killed = set()
        asking = [threading.Thread(target=ask, args=(turn,)) for turn in range(6)]
        for thread in asking:
            thread.start()
        for times in (1, 2):
            time.sleep(0.3)
            victim = workers(found)[0].pid
            killed.add(victim)
            os.kill(victim, signal.SIGKILL)
            until(lambda times=times: len(found.of("worker")) == times)
            before = right[0]
            until(lambda before=before: right[0] > before + 20)  # the other one goes on
        until(lambda: len(found.of("start")) == 4)  # two at first, and one for each that died
        before = right[0]
        until(lambda: right[0] > before + 50)
        ended.set()
        for thread in asking:
            thread.join()
        assert wrong == []
        assert right[0] > 100
        assert lost[0] < right[0] / 2
        assert {line["code"] for line in found.of("worker")} == {-signal.SIGKILL}
        alive = {child.pid for child in workers(found)}
        assert (len(killed), len(alive), killed & alive) == (2, 2, set())
        assert {line["pid"] for line in found.of("worker")} == killed
        found.process.terminate()
        assert found.ends() == (0, "ended.\n")


def test_all_workers_hear_signals_and_count_together(folder):
    image = pictures(1)[0]
    with program(folder, "--workers", 2) as found:
        for _ in range(20):
            assert found.answered(image, 1)
        pattern = 'classics_requests_total{code="200",endpoint="classify"} 20.0'
        assert pattern in httpx.get(f"{found.address}metrics").text
        text = httpx.get(f"{found.address}metrics").text
        assert 'model="fake"' in text
        (folder / "model.seed").write_text("2")
        found.process.send_signal(signal.SIGHUP)
        until(lambda: len(found.of("reload")) == 2)
        for _ in range(10):
            assert found.answered(image, 2)
        # A terminal sends Ctrl-C to all of a group.
        os.killpg(found.process.pid, signal.SIGINT)
        assert found.ends() == (0, "ended.\n")
        assert len(found.of("end")) == 2


def test_who_comes_while_they_end_is_refused(folder):
    """And does not wait at a socket that nobody listens at any more."""
    options = ("--workers", 2, "--linger", 0.5, "--seconds", 1.8)
    with program(folder, *options) as found, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(found.ask, pictures(1)[0])
        time.sleep(0.5)
        found.process.terminate()
        until(lambda: len(found.of("drain")) == 2)
        with httpx.Client() as client:
            assert client.get(f"{found.address}v2/health/ready").status_code == 503  # it lingers
        time.sleep(0.7)
        assert not asked.done()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{found.address}v2", timeout=10)
        assert asked.result().status_code == 200
        assert found.ends() == (0, "ended.\n")


def test_workers_end_when_their_parent_is_killed(folder):
    with program(folder, "--workers", 1) as found:
        children = workers(found)
        found.process.kill()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert alive == []


def test_a_second_signal_kills_them(folder):
    with program(folder, "--workers", 1, "--linger", 30) as found:
        children = workers(found)
        found.process.terminate()
        until(lambda: found.of("drain"))
        found.process.terminate()
        assert found.ends()[0] == 128 + signal.SIGTERM
        _, alive = psutil.wait_procs(children, timeout=20)
        assert alive == []


@pytest.mark.parametrize(("file", "words"), [("model.seed", "torn"), ("crash", "it died with 9")])
def test_workers_that_cannot_start(folder, file, words):
    (folder / file).write_text("torn")
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), "--workers", "1"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_workers_share_the_memory_for_decoding(tmp_path):
    """Each has its part; pictures that are larger than that are decoded one at a time."""
    budgets = [
        Budget(100, alone=FileLock(str(tmp_path / "lock"))),
        Budget(100, alone=FileLock(str(tmp_path / "lock"))),
    ]
    inside, most = [], 0

    def take(turn):
        nonlocal most
        with budgets[turn % 2].room(101):
            inside.append(turn)
            most = max(most, len(inside))
            time.sleep(0.01)
            inside.remove(turn)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(take, range(12)))
    assert most == 1
    with pytest.MonkeyPatch.context() as patch:
        taken = []
        patch.setattr(module, "set_budget", taken.append)
        module._Share(77, str(tmp_path / "other")).take()
    assert taken[0].size == 77
    with taken[0].room(78):
        assert (tmp_path / "other").exists()
