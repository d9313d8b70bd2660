"""Engines whose answers follow from the pixels alone, and servers over them."""

from __future__ import annotations

import io
import json
import threading
import time
from contextlib import contextmanager

import numpy as np
from PIL import Image

from keras_classics.classifier.card import Card, Preprocessing
from keras_classics.engines.engine import Engine
from keras_classics.serving.application import Server
from keras_classics.serving.journal import Journal
from keras_classics.serving.places import Place
from keras_classics.serving.settings import Settings
from keras_classics.serving.shelf import Opened, signature

SIZE = (6, 8)  # height and width
NAMES = ("ant", "bee", "cat", "dog, the", "élan")
CALIBRATION = {
    "temperature": 1.0, "threshold": 0.5, "target": 0.9, "promised": True, "fitted_on": 100,
    "warning": None,
}  # fmt: skip
_WEIGHTS = np.random.default_rng(0).normal(scale=0.3, size=(SIZE[0] * SIZE[1] * 3, len(NAMES)))


def expected(images, seed=0):
    """What an engine answers of images (n, h, w, 3), image by image."""
    rows = []
    for image in np.asarray(images):
        scores = np.roll(image.reshape(-1) / 255.0, seed) @ _WEIGHTS
        powers = np.exp(scores - scores.max())
        rows.append(powers / powers.sum())
    return np.array(rows, np.float32).reshape(-1, len(NAMES))


def card(**changes):
    values = {
        "network": "vgg16",
        "width": 1.0,
        "class_names": NAMES,
        "preprocessing": Preprocessing(SIZE, "stretch", "tf"),
        "calibration": CALIBRATION,
        **changes,
    }
    return Card(**values)


class FakeEngine(Engine):
    """Answers as `expected`; may be slow, held up, or fail on pictures of one grey."""

    name = "keras"
    precision = "f32"
    why = "it is a fake"

    def __init__(self, *, seed=0, seconds=0.0, poison=None, gate=None, requests=1, **changes):
        self.card = card(**changes)
        self.requests = requests
        self.seed, self.seconds, self.poison, self.gate = seed, seconds, poison, gate
        self.batches, self.closed = [], threading.Event()

    def _answers(self, images):
        assert not self.closed.is_set(), "asked after it was closed"
        self.batches.append(len(images))
        if self.gate is not None and images.any():  # the first question of all is black
            assert self.gate.wait(30)
        if self.seconds and images.any():
            time.sleep(self.seconds)
        if self.poison is not None and (images == self.poison).all(axis=(1, 2, 3)).any():
            raise RuntimeError("a picture that the network cannot take")
        return expected(images, self.seed)

    def close(self):
        self.closed.set()


def pictures(count, seed=1):
    """Random pictures of the network's size, all different."""
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


class Log(list):
    """The lines of a journal, as messages."""

    def __call__(self, line):
        self.append(json.loads(line))

    def of(self, event):
        return [line for line in list(self) if line["event"] == event]


def opened(name="fake", version="1", engine=None, path=None):
    place = Place(name, version, path)
    engine = engine or FakeEngine()
    return Opened(place, engine, None if path is None else signature(path))


class Running:
    """A server that runs, and a client of it."""

    def __init__(self, address, server, log):
        import httpx  # not in a program over fakes, which asks nobody

        self.address, self.server, self.log = address, server, log
        self.client = httpx.Client(base_url=address, timeout=60)
        self.host, self.port = self.client.base_url.host, self.client.base_url.port

    def get(self, path, **options):
        return self.client.get(path, **options)

    def post(self, path, **options):
        return self.client.post(path, **options)

    def classify(self, image, path="/classify", **options):
        headers = {"content-type": "image/png"}
        return self.post(path, content=encoded(image), headers=headers, **options)

    def infer(self, images, model="fake", **fields):
        tensor = {
            "name": "image", "shape": list(images.shape), "datatype": "UINT8",
            "data": images.ravel().tolist(),
        }  # fmt: skip
        return self.post(f"/v2/models/{model}/infer", json={"inputs": [tensor], **fields})

    def metric(self, name, **labels):
        """The value of a metric; 0 where it was never counted."""
        from prometheus_client.parser import text_string_to_metric_families

        for family in text_string_to_metric_families(self.get("/metrics").text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return 0


@contextmanager
def running(serving, *models, open_engine=None, keys=(), **settings):
    """A server over some models, each `opened`."""
    log = Log()
    settings = Settings(**{"watch": 0.0, **settings})
    server = Server(
        models or [opened()], open_engine or (lambda _: FakeEngine()),
        settings=settings, keys=keys, journal=Journal(log),
    )  # fmt: skip
    with serving(server) as address:
        found = Running(address, server, log)
        with found.client:
            yield found


@contextmanager
def busy(server):
    """All decoders of a server have something to do that takes long."""
    desk, gate = server.server.desk, threading.Event()
    for _ in range(desk.settings.decoders):
        desk._threads.submit(gate.wait, 60)
    try:
        yield
    finally:
        gate.set()


def until(happened, seconds=20):
    """Wait for something that is about to happen."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
