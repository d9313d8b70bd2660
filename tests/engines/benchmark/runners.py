"""Contenders that need no library, for processes to import."""

from __future__ import annotations

import os
import signal
import sys
import time

from keras_classics.engines.benchmark.contenders import Task
from keras_classics.errors import ClassicsError

TASK = Task(
    artefact="none",
    exports="none",
    network="vgg16",
    size=32,
    width=1.0,
    classes=5,
    macs=10**6,
    image_s=0.001,
    peer=None,
    peer_width=1.0,
    batch=4,
    threads=None,
)


def steady(*_):
    """Takes 10 ms for a call of any size."""
    sys.stdout.write("libraries print")
    sys.stderr.write("and warn")
    assert os.environ["TOLD"] == "yes"
    return lambda _: time.sleep(0.01)


def refusing(_, task):
    """Cannot be had."""
    raise ClassicsError(f"has no {task.network}.")


def failing(*_):
    """Breaks at the first image."""
    return lambda count: {}[count]


def killed(*_):
    """Takes more memory than there is."""
    os.kill(os.getpid(), signal.SIGKILL)
