"""How many altered copies of pictures the check finds: JPEG, other sizes, light, blur, crops.

    python benchmarks/near_copies.py FOLDER

alters 300 images of the folder in twelve ways and prints the part of the copies whose perceptual
hash is near that of the original; FOLDER is searched at any depth.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from keras_classics.data.copies import NEAR, perceptual_hash


def cropped(image: Image.Image, part: float) -> Image.Image:
    """The middle of a picture, with so much of its sides cut off."""
    x, y = round(image.width * part / 2), round(image.height * part / 2)
    return image.crop((x, y, image.width - x, image.height - y))


ALTERED = {
    "JPEG of quality 50": lambda i: i,
    "JPEG of quality 20": lambda i: i,
    "half the size": lambda i: i.resize((i.width // 2, i.height // 2)),
    "twice the size": lambda i: i.resize((i.width * 2, i.height * 2)),
    "squeezed to 80 % of the height": lambda i: i.resize((i.width, i.height * 4 // 5)),
    "brightness +20 %": lambda i: ImageEnhance.Brightness(i).enhance(1.2),
    "brightness -20 %": lambda i: ImageEnhance.Brightness(i).enhance(0.8),
    "contrast +30 %": lambda i: ImageEnhance.Contrast(i).enhance(1.3),
    "grey": lambda i: i.convert("L").convert("RGB"),
    "blurred": lambda i: i.filter(ImageFilter.GaussianBlur(i.width / 150)),
    "cropped by 2 %": lambda i: cropped(i, 0.02),
    "cropped by 5 %": lambda i: cropped(i, 0.05),
}


def bits(image: Image.Image, quality: int = 90) -> np.ndarray:
    """The bits of the hash of a picture that is saved as JPEG."""
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    pixels = np.asarray(Image.open(file))
    return np.unpackbits(np.frombuffer(perceptual_hash(pixels) or bytes(32), np.uint8))


def main(folder: Path) -> None:
    """Measure and print."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    chosen = np.random.default_rng(0).choice(len(files), min(300, len(files)), replace=False)
    photos = [Image.open(files[i]).convert("RGB") for i in chosen]
    for name, alter in ALTERED.items():
        quality = int(name[-2:]) if name.startswith("JPEG") else 90
        found = [(bits(photo, 95) != bits(alter(photo), quality)).sum() <= NEAR for photo in photos]
        sys.stdout.write(f"{name:32}{np.mean(found):6.1%}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
