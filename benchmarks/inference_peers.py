"""A network on our engines, beside those of keras.applications, torchvision and timm, in one run.

python benchmarks/inference_peers.py NETWORK [--rounds 5] [--seconds 2] [-o FIGURE.svg|.png|.pdf]

As `classics benchmark NETWORK`, with torch's models besides: eager, in the channels_last memory
format, softmax included. They get the float32 batch that their own preprocessing would have made.
Prints the table of docs/benchmark.md; ratios are medians of those of the rounds.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_classics.engines.benchmark.contenders import CONTENDERS, Contender, Run, Task
from torch_modules import torch_module

if TYPE_CHECKING:
    from keras_classics.engines.benchmark.measuring import Results


def open_torch(name: str, contender: Contender, task: Task) -> Run:
    """A model of torchvision or timm with random weights, by its name there."""
    import torch

    if contender.library == "timm":
        model = torch_module("timm").create_model(name, num_classes=task.classes)
    else:
        options: dict[str, Any] = {"num_classes": task.classes}
        if name == "inception_v3":
            options |= {"aux_logits": False, "init_weights": False}
        model = getattr(torch_module("torchvision.models"), name)(**options)
    kind = torch.bfloat16 if contender.precision == "bf16" else torch.float32
    model = model.eval().to(dtype=kind, memory_format=torch.channels_last)
    if task.threads:
        torch.set_num_threads(task.threads)
    floats = task.images().astype(np.float32) / 127.5 - 1
    images = torch.from_numpy(floats.transpose(0, 3, 1, 2))  # a view: channels last in memory

    def run(count: int) -> None:
        with torch.inference_mode():
            for batch in images[:count].split(task.batch):
                model(batch.to(dtype=kind)).softmax(1)

    return run


def peers_of(network: str) -> list[Contender]:
    """The models of torch that are a network's peers."""
    from keras_classics.architectures.catalog import find  # noqa: PLC0415

    return [
        Contender(library, precision, partial(open_torch, name))
        for library, name in find(network).peers
        if library != "keras"
        for precision in ("bf16", "f32")
    ]


def table(found: Results) -> str:
    """The figures in Markdown."""
    torchvision = [row for row in found.rows if row.library == "torchvision"]  # fastest first
    lines = [
        "| library | p50 ms | p95 | p99 | images/s | × keras.applications | × torchvision's best |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found.rows:
        ratios = [row.to_reference]
        ratios += [np.median(np.divide(row.rates, best.rates)) for best in torchvision[:1]]
        cells = [
            *(f"{value:.1f}" for value in (row.p50_ms, row.p95_ms, row.p99_ms, row.images_per_s)),
            *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        ]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    lines += [f"left out: {name}: {why}" for name, why in found.missing.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    # Here, as each contender's process reads this file, and would hold Keras, too.
    from keras_classics.engines.benchmark.measuring import benchmark  # noqa: PLC0415
    from keras_classics.engines.benchmark.plot import draw  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network")
    parser.add_argument("--size", type=int)
    parser.add_argument("--classes", type=int)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()

    def say(what: str) -> None:
        sys.stderr.write(f"{what}\n")

    found = benchmark(
        asked.network,
        contenders=(*CONTENDERS, *peers_of(asked.network)),
        size=asked.size,
        classes=asked.classes,
        batch=asked.batch_size,
        rounds=asked.rounds,
        seconds=asked.seconds,
        threads=asked.threads,
        foresee=lambda seconds: say(f"about {seconds / 60:.0f} minutes"),
        tell=say,
    )
    sys.stdout.write(f"{found.machine['processor']}, {found.machine['cores']} cores\n\n")
    sys.stdout.write(table(found) + "\n")
    if asked.output:
        asked.output.write_bytes(draw(found, asked.output))


if __name__ == "__main__":
    main()
