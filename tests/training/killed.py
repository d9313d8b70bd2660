"""Trains a run that is killed again and again, beside one that is not, and compares the two.

    python killed.py DATA FOLDER KILLS SEED NETWORK

A process that has only imported everything forks: its children train, and are killed by SIGKILL at
random moments. Prints a line of JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import keras
import numpy as np

from keras_classics.training.config import TrainConfig
from keras_classics.training.events import Resumed, Step
from keras_classics.training.run import resume, train

EPOCHS, STEPS = 3, 5

CHANGES = (
    "optimizer.ema=0.9",
    "optimizer.accumulate=2",
    "mixing.mixup=0.2",
    "mixing.cutmix=1.0",
    "loss.label_smoothing=0.1",
    "network.dropout=0.3",
)


def config(data: Path, network: str, out: Path) -> TrainConfig:
    """A run with everything that has a state: dropout, augmentation, mixing, means, schedule."""
    drops = ("network.drop_path=0.2",) if network.startswith("resnet") else ()
    return TrainConfig(
        folder=data,
        network=network,
        width=0.0625,
        size=32,
        epochs=EPOCHS,
        batch_size=8,
        changes=(*CHANGES, *drops),
        deterministic=True,
        checkpoint_every=0,
        out=out,
    )


def attempt(work, pipe: int) -> None:
    """Train in this process, and tell the one that watches of every step."""

    def tell(event: object) -> None:
        if isinstance(event, Step):
            os.write(pipe, b"s")
        elif isinstance(event, Resumed):
            os.write(pipe, b"r")

    work(tell)


def forked(work, kill_after: tuple[int, float] | None) -> tuple[bool, str]:
    """Work in a child; whether it was killed, and what it told."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            attempt(work, write)
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    os.close(write)
    told = ""
    killed = False
    if kill_after is not None:
        steps, delay = kill_after
        while told.count("s") < steps:
            got = os.read(read, 1).decode()
            if not got:
                break
            told += got
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    while got := os.read(read, 4096).decode():
        told += got
    os.close(read)
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status)
    if not killed and os.waitstatus_to_exitcode(status):
        raise SystemExit("a child failed")
    return killed, told


def main() -> None:
    data, folder, kills, seed, network = sys.argv[1:]
    chance = random.Random(int(seed))
    whole, broken = Path(folder, "whole"), Path(folder, "broken")
    forked(lambda tell: train(config(Path(data), network, whole), tell), None)
    moments = []
    for _ in range(int(kills)):
        # While a step is computed, or a checkpoint written, or before the first step is built.
        moment = chance.choice((0, 1, 1, 1, 2)), chance.uniform(0.0, 0.15)
        if broken.exists():
            killed, told = forked(lambda tell: resume(broken, tell), moment)
        else:
            killed, told = forked(
                lambda tell: train(config(Path(data), network, broken), tell), moment
            )
        moments.append({"killed": killed, "told": told})
        if not killed:
            break
    if (broken / "run.json").exists():
        forked(lambda tell: resume(broken, tell), None)
    one, other = (keras.saving.load_model(run / "model.keras") for run in (whole, broken))
    cards = [json.loads((run / "artefact.json").read_text()) for run in (whole, broken)]
    equal = sum(
        np.array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
        for a, b in zip(one.weights, other.weights, strict=True)
    )
    found = {
        "moments": moments,
        "weights": len(one.weights),
        "equal": equal,
        "history": cards[0]["history"] == cards[1]["history"],
        "left": sorted(path.name for path in broken.iterdir()),
    }
    sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
