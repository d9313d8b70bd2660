r"""Run a command and draw what the terminal shows as an SVG.

    python docs/terminal.py [--beside PATH] OUT COMMAND...

With PATH the command runs in an empty temporary folder with a link to PATH in it: its words stay
short, and what it writes is gone afterwards. The pictures of the README are made so; nothing in
them is typed by hand. That of its first screen, with DATA the place of the photos:

    python docs/terminal.py --beside DATA/hymenoptera docs/images/train.svg \
        classics train hymenoptera
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS = 92


def shown(command: list[str], folder: Path) -> str:
    """What a command writes on its standard output, in COLUMNS columns and in colour."""
    environment = {
        **os.environ,
        "COLUMNS": str(COLUMNS),
        "FORCE_COLOR": "1",
        "TTY_INTERACTIVE": "0",
    }
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env=environment, check=True, cwd=folder
    ).stdout


def draw(text: str, title: str) -> str:
    """The SVG of a terminal, without fonts from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"))  # noqa: SIM115
    console.print(Text.from_ansi(text.strip("\n")))
    # The fonts that Rich names are fetched from another host; every system has a monospace one.
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title=title, theme=MONOKAI, code_format=form, unique_id="terminal")


def main() -> None:
    """Run the command and write its picture."""
    parser = argparse.ArgumentParser(description="What the terminal shows of a command, as an SVG.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--beside", type=Path, help="linked to from the folder that it runs in")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path.cwd()
        if asked.beside:
            folder = Path(place)
            (folder / asked.beside.name).symlink_to(asked.beside.resolve(strict=True))
        text = shown(asked.command, folder)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(draw(text, shlex.join(asked.command)), encoding="utf-8")


if __name__ == "__main__":
    main()
