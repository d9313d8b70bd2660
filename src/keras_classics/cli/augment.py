"""`classics augment`: what a network will see of a folder under a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_classics.architectures import DEFAULT
from keras_classics.cli import options

if TYPE_CHECKING:
    from keras_classics.training.recipe import Recipe


def augment(
    folder: options.Folder,
    root: options.Root = None,
    recipe: Annotated[
        str,
        typer.Option("--recipe", "-r", help="Recipe: a name, `paper`, or a TOML file of your own."),
    ] = "quick",
    changes: options.Changes = None,
    network: Annotated[
        str,
        typer.Option(
            "--network", "-n", help="Network that the recipe is for; see `classics networks`."
        ),
    ] = DEFAULT,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG to write.")] = Path("augment.png"),
    size: Annotated[
        int | None,
        typer.Option(help="Height and width in pixels.", show_default="that of train"),
    ] = None,
    images: Annotated[int, typer.Option(min=1, max=64, help="Number of images.")] = 6,
    columns: Annotated[int, typer.Option(min=1, max=32, help="Augmentations of each image.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
) -> None:
    """Write a contact sheet of images as a recipe augments them."""
    from keras_classics.cli.backend import start

    start()
    import numpy as np

    from keras_classics.architectures import catalog
    from keras_classics.cli.terminal import console, show_left_out, show_skipped
    from keras_classics.data.contact_sheet import chosen, contact_sheet, readable, save
    from keras_classics.data.folder import scan
    from keras_classics.data.formats import not_read
    from keras_classics.data.pictures import StoredPictures
    from keras_classics.errors import DataError
    from keras_classics.training import recipes
    from keras_classics.training.config import TrainConfig, input_sizes

    architecture = catalog.find(network)
    found = recipes.find(recipe, architecture.name, tuple(changes or ()))
    sizes = input_sizes(TrainConfig(folder, network=network, size=size), found, architecture)
    listing = scan(folder, root=root)
    labels = np.array([item.label for item in listing.items])
    pictures = StoredPictures(listing.storage, [item.name for item in listing.items])
    indices, skipped = readable(pictures, chosen(labels, len(labels), seed=seed), images)
    if not len(indices):
        raise DataError(
            f"{listing.source}: none of the {len(labels)} images can be read; first {skipped[0]}"
        )
    sheet = contact_sheet(
        pictures,
        labels,
        listing.classes,
        indices=indices,
        size=(sizes.train, sizes.train),
        test_size=(sizes.test, sizes.test),
        test_fit=sizes.fit,
        augmentation=found.augmentation,
        mixing=found.mixing,
        seed=seed,
        draws=columns,
        title=f"What {architecture.title} sees of {listing.source.name}, recipe {found.name}",
    )
    save(sheet, out)
    screen = console()
    screen.print(f"{out}: {_said(found)}", soft_wrap=True, markup=False)
    remarks = console(error=True)
    show_skipped(remarks, skipped)
    show_left_out(remarks, not_read(listing.ignored))


def _said(recipe: Recipe) -> str:
    """The changes of a recipe in words."""
    spec, mixing = recipe.augmentation, recipe.mixing
    words = {
        "whole": "whole pictures",
        "random_area": "random areas",
        "scale_jitter": "scale jitter",
    }
    said = [words[spec.view]]
    said += ["mirrored"] if spec.flip else []
    said += [
        f"{name} {getattr(spec, name):g}"
        for name in ("shift", "zoom", "rotate", "brightness", "contrast")
        if getattr(spec, name)
    ]
    if spec.policy == "rand_augment":
        said.append(f"RandAugment {spec.magnitude:g}, deviation {spec.magnitude_std:g}")
    elif spec.policy == "trivial_augment":
        said.append("TrivialAugment")
    said += [f"colours along ImageNet's components, {spec.pca:g}"] if spec.pca else []
    said += ["Inception's colour distortion"] if spec.distortion else []
    said += [f"erased with probability {spec.erase:g}"] if spec.erase else []
    said += [f"each image {spec.repeats} times in an epoch"] if spec.repeats > 1 else []
    said += [f"mixup {mixing.mixup:g}"] if mixing.mixup else []
    said += [f"CutMix {mixing.cutmix:g}"] if mixing.cutmix else []
    return ", ".join(said)
