"""Training, measured: ours against keras.applications on each backend and against torchvision.

    python benchmarks/training.py [--networks resnet50 ...] [--quick] [--rounds N] [--steps N]
    python benchmarks/training.py --fine-tuning [--networks efficientnet_lite0 ...] [--quick]
    python benchmarks/training.py --curves

Every configuration trains with the same optimiser (SGD with momentum) and loss on the same random
images, in a process of its own; rounds of all configurations follow each other, so that what else
the machine does hits all alike. Prints a table for each network as soon as it is measured: the
median of images/s over all steps but the first two, the time from the start of the process to the
end of the first step, and the largest memory of the process. What was measured so far is printed on
Ctrl-C, too.

`--fine-tuning` measures networks with trained weights as they are trained further: batch norm is
frozen, in inference mode, or the lower half of the stages besides; against Keras' own layers in the
same step, and timm's network in torch.

`--curves` compares the losses of ours in float32 with those of Keras' own layers from the same
weights on the same batches, and, as a yardstick, with those of Keras' own layers where the weights
to begin with differ by one rounding.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from torch_modules import torch_module

BEGAN = time.monotonic()

SIZES = {"vgg16": 224, "resnet50": 224, "inception_v3": 299}
FINE_TUNED = {"efficientnet_lite0": "tf_efficientnet_lite0", "mobilenet_v2": "mobilenetv2_100"}
SIZES_OF_ALL = SIZES | dict.fromkeys(FINE_TUNED, 224)
CLASSES = 1000
RATE, MOMENTUM = 0.01, 0.9
WARM = 2  # steps that are not counted: the first is built, the second allocates
ENOUGH = 120  # seconds after the first step; a slow configuration takes fewer steps
LIMIT = 1800  # seconds of one process


class Configuration(NamedTuple):
    """What is trained in which way."""

    library: str  # "ours", "Keras' layers", "keras.applications", "torchvision", "timm"
    backend: str
    precision: str
    layout: str = ""
    frozen: str = ""  # "batch norm", "batch norm, lower stages"

    def __str__(self) -> str:
        frozen = f", frozen {self.frozen}" if self.frozen else ""
        return f"{self.library}, {self.layout or self.backend}{frozen} | {self.precision}"


OURS = [Configuration("ours", "tensorflow", p) for p in ("float32", "bfloat16")]
OURS_ELSEWHERE = [Configuration("ours", backend, "float32") for backend in ("jax", "torch")]
DEFAULT = Configuration("keras.applications", "tensorflow", "float32")
KERAS = [
    Configuration("keras.applications", backend, precision)
    for backend in ("tensorflow", "jax", "torch")
    for precision in ("float32", "bfloat16")
]
TORCHVISION = [
    Configuration("torchvision", "torch", "float32", "eager"),
    Configuration("torchvision", "torch", "float32", "channels_last"),
    Configuration("torchvision", "torch", "bfloat16", "channels_last"),
]
QUICK = [*OURS, DEFAULT, TORCHVISION[2]]
NORMS, LOWER = "batch norm", "batch norm, lower stages"
PLAIN = Configuration("Keras' layers", "tensorflow", "float32", frozen=NORMS)
FINE_QUICK = [
    *(each._replace(frozen=NORMS) for each in OURS),
    OURS[1]._replace(frozen=LOWER),
    PLAIN,
    *(Configuration("timm", "torch", p, "channels_last", NORMS) for p in ("float32", "bfloat16")),
]
FINE = [
    *FINE_QUICK,
    OURS[0]._replace(frozen=LOWER),
    *OURS,
    PLAIN._replace(precision="bfloat16"),
    PLAIN._replace(frozen=LOWER),
    *(Configuration("timm", "torch", p, "channels_last") for p in ("float32", "bfloat16")),
    Configuration("timm", "torch", "bfloat16", "channels_last", LOWER),
]


class Job(NamedTuple):
    """What one process does."""

    configuration: Configuration
    network: str
    batch: int
    steps: int
    curve: str = ""  # "", or whose losses are asked for: "ours", "keras", "rounded"


class Result(NamedTuple):
    """What one process measured."""

    seconds: list[float]  # of each step
    first: float  # from the start of the process to the end of the first step
    memory: float  # GB
    losses: list[float]


# --- what runs in the processes


def peak_memory() -> float:
    """The largest memory of this process, GB."""
    import resource  # noqa: PLC0415  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)


def batch_of(job: Job, number: int) -> tuple[Any, Any]:
    """Random images (b, h, w, 3) and labels (b, classes)."""
    import numpy as np  # noqa: PLC0415

    rng = np.random.default_rng(number)
    side = SIZES_OF_ALL[job.network]
    x = rng.standard_normal((job.batch, side, side, 3), dtype=np.float32)
    return x, np.eye(CLASSES, dtype=np.float32)[rng.integers(CLASSES, size=job.batch)]


def fit_keras(model: Any, job: Job) -> Result:
    """Train with `Model.fit`; every step ends when its loss is known.

    As torchvision's loop, it has its one batch ready where losses are not to be compared.
    """
    import keras  # noqa: PLC0415

    different = bool(job.curve)
    batches = [batch_of(job, i) for i in range(job.steps if different else 1)]

    class Data(keras.utils.PyDataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return job.steps

        def __getitem__(self, index: int) -> tuple[Any, Any]:
            return batches[index % len(batches)]

    ends: list[float] = []
    losses: list[float] = []

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            total = (batch + 1) * float(logs["loss"])  # Keras tells the mean of the epoch
            losses.append(total - sum(losses))
            ends.append(time.monotonic())
            model.stop_training = enough(ends) and not different

    options = {"epochs": 1, "shuffle": False, "verbose": 0, "callbacks": [Watch()]}
    if keras.backend.backend() == "tensorflow" and not different:
        import tensorflow as tf

        model.fit(tf.data.Dataset.from_tensors(batches[0]).repeat(job.steps), **options)
    else:
        model.fit(Data(), **options)
    return result(ends, losses)


def enough(ends: list[float]) -> bool:
    """Whether a process has measured for long enough."""
    return len(ends) > WARM and ends[-1] - ends[0] > ENOUGH


def result(ends: list[float], losses: list[float]) -> Result:
    """From the times at which steps ended."""
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    return Result(seconds, ends[0] - BEGAN, peak_memory(), losses)


def train_ours(job: Job) -> Result:
    """With the functions that `classics train` trains with."""
    import dataclasses  # noqa: PLC0415
    from contextlib import nullcontext  # noqa: PLC0415

    import keras  # noqa: PLC0415

    from keras_classics.architectures import catalog  # noqa: PLC0415
    from keras_classics.architectures.stages import stages  # noqa: PLC0415
    from keras_classics.training import speed  # noqa: PLC0415
    from keras_classics.training.batch_norm import batch_norms  # noqa: PLC0415
    from keras_classics.training.fitting import compile_for  # noqa: PLC0415
    from keras_classics.training.optimizer import optimizer_for  # noqa: PLC0415
    from keras_classics.training.recipe import Optimizer, Recipe  # noqa: PLC0415
    from keras_classics.training.start import Shape, start_network  # noqa: PLC0415

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(speed.choose_precision(job.configuration.precision))
    side = SIZES_OF_ALL[job.network]
    recipe = Recipe(
        name="benchmark",
        about="as the others train",
        optimizer=Optimizer(name="sgd", learning_rate=RATE, momentum=MOMENTUM),
    )
    started = start_network(
        catalog.find(job.network), Shape(1.0, side, side, CLASSES), recipe, seed=0, mode="tf"
    )
    model = started.model
    if job.curve == "rounded":
        kernel = model.trainable_weights[0]
        kernel.assign(kernel * (1 + 2.0**-23))
    frozen = {layer.name for layer in batch_norms(model) if job.configuration.frozen}
    if job.configuration.frozen == LOWER:
        parts = stages(model)
        frozen.update(name for stage in parts[: len(parts) // 2] for name in stage.layers)
    for name in frozen:
        model.get_layer(name).trainable = False
    recipe = dataclasses.replace(recipe, batch_size=job.batch)
    rates = {layer.name: 1.0 for layer in model.layers}
    plain = job.curve in ("keras", "rounded") or job.configuration.library == PLAIN.library
    with nullcontext() if plain else speed.fast_training(model):
        optimizer = optimizer_for(recipe.optimizer, RATE, rates)
        compile_for(model, recipe, optimizer, [batch_of(job, 0)])
        return fit_keras(model, job)


def train_keras(job: Job) -> Result:
    """keras.applications, with the defaults of `Model.compile`."""
    import keras  # noqa: PLC0415

    from keras_classics.architectures import catalog  # noqa: PLC0415

    if job.configuration.precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    model = getattr(keras.applications, str(catalog.find(job.network).peer("keras")))(weights=None)
    optimizer = keras.optimizers.SGD(RATE, momentum=MOMENTUM)
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
    return fit_keras(model, job)


def train_torchvision(job: Job) -> Result:
    """Torchvision's network."""
    models = torch_module("torchvision.models")
    more = {"aux_logits": False, "init_weights": False} if job.network == "inception_v3" else {}
    return fit_torch(getattr(models, job.network)(weights=None, **more).train(), job)


def train_timm(job: Job) -> Result:
    """Timm's network; what is frozen is in inference mode and gets no gradients."""
    import torch

    timm = torch_module("timm")
    model = timm.create_model(FINE_TUNED[job.network], num_classes=CLASSES).train()
    frozen: list[Any] = []
    if job.configuration.frozen:
        frozen = [x for x in model.modules() if isinstance(x, torch.nn.BatchNorm2d)]
    if job.configuration.frozen == LOWER:
        # Stem and half of its stages, as of ours.
        frozen += [model.conv_stem, *model.blocks[: len(model.blocks) // 2]]
    for module in frozen:
        module.eval().requires_grad_(False)
    return fit_torch(model, job)


def fit_torch(model: Any, job: Job) -> Result:
    """A loop as in torchvision's references."""
    import torch

    x, y = (torch.from_numpy(array) for array in batch_of(job, 0))
    x, labels = x.permute(0, 3, 1, 2).contiguous(), y.argmax(1)
    if job.configuration.layout == "channels_last":
        model, x = (each.to(memory_format=torch.channels_last) for each in (model, x))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=RATE, momentum=MOMENTUM)
    criterion = torch.nn.CrossEntropyLoss()
    half = job.configuration.precision == "bfloat16"
    ends, losses = [], []
    for _ in range(job.steps):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = criterion(model(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        ends.append(time.monotonic())
        if enough(ends):
            break
    return result(ends, losses)


TRAIN = {
    "ours": train_ours,
    PLAIN.library: train_ours,
    "keras.applications": train_keras,
    "torchvision": train_torchvision,
    "timm": train_timm,
}

# --- what starts them


def run(job: Job) -> Result | None:
    """Measure in a process of its own; None if it fails, such as for want of memory."""
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    env = {
        **os.environ,
        "KERAS_BACKEND": job.configuration.backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    env.setdefault("PYTHONWARNINGS", "ignore")
    try:
        done = subprocess.run(
            command, check=False, env=env, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        say(f"{job.network}, {job.configuration}: not done after {LIMIT} s\n")
        return None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        say(f"{job.network}, {job.configuration}: ended with {done.returncode}: {last}\n")
        return None
    measured = Result(*json.loads(done.stdout.splitlines()[-1]))
    rate = f", {job.batch / median(measured):.2f} images/s" if not job.curve else ""
    say(f"{job.network}, {job.configuration}: first {measured.first:.0f} s{rate}\n")
    return measured


def say(text: str) -> None:
    """Tell how it goes on."""
    sys.stderr.write(text)
    sys.stderr.flush()


def median(*results: Result) -> float:
    """Seconds of a step."""
    return statistics.median(s for each in results for s in each.seconds[WARM - 1 :])


def table(batch: int, results: dict[Configuration, list[Result]]) -> str:
    """The table of a network."""
    rate = {c: batch / median(*found) for c, found in results.items() if found}
    keras = DEFAULT if DEFAULT in rate else PLAIN
    default = rate.get(keras)
    # The best of those that train as much.
    torch = max(
        (r for c, r in rate.items() if c.backend == "torch" and c.frozen != LOWER and c.layout),
        default=None,
    )
    lines = [
        f"| | precision | images/s | of {keras.library} | of torch's best | first step, s | GB |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for configuration, found in results.items():
        if not found:
            lines.append(f"| {configuration} | failed | | | | |")
            continue
        value = rate[configuration]
        shares = [f"{value / other:.2f}" if other else "" for other in (default, torch)]
        first = statistics.median(each.first for each in found)
        memory = max(each.memory for each in found)
        lines.append(
            f"| {configuration} | {value:.2f} | {shares[0]} | {shares[1]} | {first:.0f} | "
            f"{memory:.1f} |"
        )
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Hardware and versions."""
    name = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        lines = facts.read_text(encoding="utf-8").splitlines()
        name = next((each.split(":")[1].strip() for each in lines if "model name" in each), name)
    versions = []
    for package in ("keras", "tensorflow", "jax", "torch", "torchvision", "timm"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"no {package}")
    return f"{os.cpu_count()} cores of {name}; {', '.join(versions)}"


def measure(network: str, configurations: list[Configuration], asked: Any) -> None:
    """Rounds over all configurations, then the table; also on Ctrl-C."""
    batch = asked.batch
    results: dict[Configuration, list[Result]] = {each: [] for each in configurations}
    try:
        for _ in range(asked.rounds):
            for configuration in configurations:
                found = run(Job(configuration, network, batch, asked.steps + WARM))
                results[configuration] += [found] if found else []
    finally:
        title = f"\n### {network}, {SIZES_OF_ALL[network]} pixels, batches of {batch}\n\n"
        if any(results.values()):
            sys.stdout.write(title + table(batch, results))
            sys.stdout.flush()


def compare_curves(network: str, asked: Any) -> None:
    """One line: how far losses are apart."""
    curves = {}
    for curve in ("ours", "keras", "rounded"):
        found = run(Job(OURS[0], network, asked.batch, asked.steps, curve))
        if found is None:
            return
        curves[curve] = found.losses
    apart = {
        curve: max(abs(a - b) / abs(b) for a, b in zip(curves[curve], curves["keras"], strict=True))
        for curve in ("ours", "rounded")
    }
    sys.stdout.write(
        f"| {network} | {asked.steps} | {curves['keras'][0]:.3f} to {curves['keras'][-1]:.3f} | "
        f"{apart['ours']:.1e} | {apart['rounded']:.1e} |\n"
    )
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Training speed against peers.")
    parser.add_argument("--networks", nargs="+", choices=SIZES_OF_ALL)
    parser.add_argument("--fine-tuning", action="store_true", help="with frozen batch norm")
    parser.add_argument("--quick", action="store_true", help="four configurations of each network")
    parser.add_argument("--curves", action="store_true", help="compare losses, not speed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="measured in a process; 8, or 20 with --curves")
    parser.add_argument("--batch", type=int, help="16; 32 to fine-tune; 8 with --curves")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        configuration, *rest = json.loads(asked.job)
        job = Job(Configuration(*configuration), *rest)
        sys.stdout.write(json.dumps(TRAIN[job.configuration.library](job)) + "\n")
        return
    asked.steps = asked.steps or (20 if asked.curves else 8)
    asked.batch = asked.batch or (8 if asked.curves else 32 if asked.fine_tuning else 16)
    asked.networks = asked.networks or (["efficientnet_lite0"] if asked.fine_tuning else [*SIZES])
    if asked.fine_tuning:
        chosen = FINE_QUICK if asked.quick else FINE
    else:
        chosen = QUICK if asked.quick else [*OURS, *OURS_ELSEWHERE, *KERAS, *TORCHVISION]
    sys.stdout.write(machine() + "\n")
    sys.stdout.flush()
    try:
        if asked.curves:
            sys.stdout.write(
                "\n| network | steps | losses | ours, largest relative difference | Keras' own, "
                "weights rounded otherwise |\n|---|---:|---:|---:|---:|\n"
            )
            for network in asked.networks:
                compare_curves(network, asked)
            return
        for network in asked.networks:
            measure(network, chosen, asked)
    except KeyboardInterrupt:
        say("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
