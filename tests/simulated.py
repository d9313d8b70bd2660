"""Answers of networks that are not there, whose truth is known."""

from __future__ import annotations

import numpy as np

from keras_classics.evaluation.assessment import Judged


def answers(images, classes=5, *, temperature=1.0, spread=2.0, seed=0):
    """Calibrated probabilities, sharpened by a temperature, and labels drawn by the calibrated."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (images, classes))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) > rng.random((images, 1))).argmax(axis=1)
    sharp = np.exp(logits * temperature)
    return (sharp / sharp.sum(axis=1, keepdims=True)).astype(np.float32), labels


def parts(images=300, classes=5, *, temperature=1.0, seed=0, pictures=True, names=None):
    """Judged parts; their pictures are of the colour of their class."""
    found = {}
    for i, split in enumerate(("train", "val", "test")):
        p, labels = answers(
            images, classes, temperature=temperature, spread=3.0, seed=10 * seed + i
        )
        found[split] = Judged(
            paths=[names(split, j) if names else f"{split}/{j:04d}.png" for j in range(images)],
            labels=labels,
            probabilities=None if split == "train" else p,
            pictures=coloured(labels, seed) if pictures else None,
        )
    return found


def coloured(labels, seed=0):
    """Pictures of 12 × 10 pixels that a linear classifier can tell by their colour."""
    palette = np.random.default_rng(99).integers(0, 255, (1000, 3))
    rng = np.random.default_rng(seed)

    def pictures(places):
        colours = palette[labels[np.asarray(places)]][:, None, None]
        noise = rng.normal(0, 25, (len(colours), 12, 10, 3))
        return np.clip(colours + noise, 0, 255).astype(np.uint8)

    return pictures


def history(epochs=4):
    """The history of a run that learnt."""
    return [
        {
            "loss": 2.0 / (i + 1),
            "accuracy": 1 - 0.8 / (i + 1),
            "val_loss": 2.1 / (i + 1),
            "val_accuracy": 1 - 0.85 / (i + 1),
        }
        for i in range(epochs)
    ]


def about(classes=("a", "b", "c", "d", "e"), **changes):
    """What a card says, as plain values."""
    return {
        "network": "vgg16",
        "width": 0.25,
        "class_names": list(classes),
        "preprocessing": {"size": [32, 32], "fit": "crop", "mode": "tf", "channels": 3},
        "recipe": {"name": "quick", "epochs": 4, "seed": 7, "weights": None},
        "data": {
            "source": "photos",
            "fingerprint": "f" * 64,
            "images": {"train": 300, "val": 300, "test": 300},
            "skipped": [],
        },
        "history": history(),
        "completed": True,
        "versions": {"keras-classics": "0.1.0", "keras": "3.15.1"},
        **changes,
    }
