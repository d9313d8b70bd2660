"""The arguments and options that several commands share, each told once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from keras_classics.architectures import DEFAULT, TRAINED

# The images.
Data = Annotated[
    Path | None,
    typer.Argument(
        help="Folder with a sub-folder per class; train, val and test folders at any depth set "
        "the split. Or a .zip of such a folder, or a .csv with the columns path and label. "
        "Default: scikit-learn's handwritten digits.",
        show_default=False,
    ),
]
Folder = Annotated[
    Path,
    typer.Argument(
        help="Folder with a sub-folder per class, or a .zip or .csv, as for `classics train`."
    ),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        help="Keep the images of a group in the same part: a column of the .csv, or a regular "
        "expression that matches every path, such as 'patient(\\d+)'.",
        show_default="no groups",
    ),
]
Root = Annotated[
    Path | None,
    typer.Option(
        help="Folder or .zip that the paths in a .csv are relative to.",
        show_default="that of the .csv",
    ),
]

# The network, and where it begins.
Network = Annotated[
    str | None,
    typer.Option(
        help="See `classics networks`.",
        show_default=f"{TRAINED}; {DEFAULT} for random weights",
    ),
]
Width = Annotated[
    float | None,
    typer.Option(
        help="Multiplier of the number of filters; 1 is the paper's. Implies random weights.",
        show_default="that of the weights, else the recipe's, 0.25 for quick",
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        help="Height and width in pixels.", show_default="the recipe's or the weights', else 64"
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="Initial weights: imagenet or another published name, a weights file, an artefact, "
        "or none for random weights. The head is always new.",
        show_default="imagenet; none for the digits, with --width, and by recipe",
    ),
]
Unfreeze = Annotated[
    Literal["none", "stage", "all"] | None,
    typer.Option(
        help="With trained weights, what is fine-tuned after the head: nothing, one stage at a "
        "time from the top down, or everything at once.",
        show_default="all",
    ),
]
BatchNorm = Annotated[
    Literal["frozen", "train"] | None,
    typer.Option(
        help="With trained weights: keep the batch norm of the fine-tuned layers frozen, or "
        "train it on your images.",
        show_default="frozen",
    ),
]
Preprocessing = Annotated[
    Literal["tf", "torch", "caffe", "lite", "raw"] | None,
    typer.Option(help="How pixels are scaled.", show_default="that of the weights, else tf"),
]
Fit = Annotated[Literal["crop", "pad", "stretch"], typer.Option(help="How images are made square.")]

# How it is trained.
Recipe = Annotated[
    str | None,
    typer.Option(
        help="Training recipe: see `classics recipes`, or a TOML file of your own.",
        show_default="transfer; quick for random weights",
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="LINE=VALUE",
        help="Override a line of the recipe, such as optimizer.learning_rate=1e-3; repeatable.",
        show_default=False,
    ),
]
BatchSize = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER|auto",
        help="Batch size; auto tries several and scales the learning rate.",
        show_default="the recipe's, 32 for quick",
    ),
]
Balance = Annotated[
    Literal["none", "weights", "sampling"] | None,
    typer.Option(
        help="For imbalanced classes: weight images of small classes higher, or show them more "
        "often.",
        show_default="the recipe's, none for quick",
    ),
]
Monitor = Annotated[
    Literal["val_accuracy", "val_loss", "val_f1"] | None,
    typer.Option(
        help="Metric that the best epoch is chosen by.", show_default="the recipe's, val_accuracy"
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Stop after this many epochs without improvement; 0 never stops early.",
        show_default="the recipe's, 0 for quick",
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        help="With trained weights: limit the whole run to this many minutes; fine-tunes for as "
        "many epochs as fit.",
        show_default="all epochs of the recipe",
    ),
]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    typer.Option(help="Number format of the computation; auto picks the fastest on this machine."),
]
Deterministic = Annotated[
    bool,
    typer.Option("--deterministic", help="Make runs reproducible bit for bit; slower on a GPU."),
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Random seed.")]

# What has been trained.
Run = Annotated[Path, typer.Argument(help="Folder written by `classics train`.")]
ImagesAtATime = Annotated[int, typer.Option("--batch-size", min=1, help="Batch size.")]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# A network that is looked at, not trained.
Shown = Annotated[
    str, typer.Argument(help="A network of the catalog, an artefact, or a .keras file.")
]
ShownSize = Annotated[
    int | None, typer.Option(min=1, help="Height and width of the input, in pixels.")
]
ShownWidth = Annotated[
    float | None, typer.Option(help="Multiplier of the number of filters.", show_default="1")
]
ShownClasses = Annotated[int | None, typer.Option(show_default="1000")]
