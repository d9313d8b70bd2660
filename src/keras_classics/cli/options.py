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
        help="Sub-folders are classes; folders named train, val and test are honoured at any "
        "depth. Or a .zip of such a folder, or a .csv with columns path and label. Without "
        "any: the digits that come with scikit-learn.",
        show_default=False,
    ),
]
Folder = Annotated[
    Path,
    typer.Argument(help="Sub-folders are classes, or a .zip or .csv, as for `classics train`."),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        help="Never divide images of one group: a column of the .csv, or a regular expression "
        "that is found in every path, such as 'patient(\\d+)'.",
        show_default="no groups",
    ),
]
Root = Annotated[
    Path | None,
    typer.Option(
        help="Folder or .zip that the paths of a .csv begin in.", show_default="that of the .csv"
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
        help="Multiplies the number of filters; 1 is the paper. Begins with random weights.",
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
        help="Where to begin: imagenet or another published name, a file of weights, an "
        "artefact, or none for random weights. The head is new.",
        show_default="imagenet; none for the digits, with --width, and by recipe",
    ),
]
Unfreeze = Annotated[
    Literal["none", "stage", "all"] | None,
    typer.Option(
        help="With trained weights, what is fine-tuned after the head is fitted: nothing, one "
        "stage after the other from the top down, or all at once.",
        show_default="all",
    ),
]
BatchNorm = Annotated[
    Literal["frozen", "train"] | None,
    typer.Option(
        help="With trained weights: batch norm of what is fine-tuned keeps its statistics, or "
        "learns from yours.",
        show_default="frozen",
    ),
]
Preprocessing = Annotated[
    Literal["tf", "torch", "caffe", "lite", "raw"] | None,
    typer.Option(help="From pixels to inputs.", show_default="that of the weights, else tf"),
]
Fit = Annotated[Literal["crop", "pad", "stretch"], typer.Option(help="How images become square.")]

# How it is trained.
Recipe = Annotated[
    str | None,
    typer.Option(
        help="How to train: see `classics recipes`; or a TOML file of your own.",
        show_default="transfer; quick for random weights",
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="LINE=VALUE",
        help="A line of the recipe, such as optimizer.learning_rate=1e-3; several times.",
        show_default=False,
    ),
]
BatchSize = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER|auto",
        help="Images in a step; auto tries some, and scales the learning rate.",
        show_default="the recipe's, 32 for quick",
    ),
]
Balance = Annotated[
    Literal["none", "weights", "sampling"] | None,
    typer.Option(
        help="For classes of different size: images of small ones weigh more, or are shown "
        "more often.",
        show_default="the recipe's, none for quick",
    ),
]
Monitor = Annotated[
    Literal["val_accuracy", "val_loss", "val_f1"] | None,
    typer.Option(
        help="What the best epoch is chosen by.", show_default="the recipe's, val_accuracy"
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Stop after so many epochs without a better one; 0 trains all.",
        show_default="the recipe's, 0 for quick",
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        help="With trained weights: fine-tune for as many epochs as fit, so that the whole run "
        "takes no longer.",
        show_default="all epochs of the recipe",
    ),
]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    typer.Option(help="What the network computes in; auto is what this machine is fast at."),
]
Deterministic = Annotated[
    bool,
    typer.Option("--deterministic", help="The same run gives the same weights; slower on a GPU."),
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="Of the split, the weights and the order.")
]

# What has been trained.
Run = Annotated[Path, typer.Argument(help="The folder that `classics train` wrote.")]
ImagesAtATime = Annotated[int, typer.Option("--batch-size", min=1, help="Images at a time.")]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# A network that is looked at, not trained.
Shown = Annotated[
    str, typer.Argument(help="A network of the catalog, an artefact, or a .keras file.")
]
ShownSize = Annotated[
    int | None, typer.Option(min=1, help="Height and width of the input, pixels.")
]
ShownWidth = Annotated[
    float | None, typer.Option(help="Multiplies the number of filters.", show_default="1")
]
ShownClasses = Annotated[int | None, typer.Option(show_default="1000")]
