"""Run a command and draw what the terminal shows as an SVG: python docs/terminal.py OUT COMMAND...

The pictures of the README are made so; nothing in them is typed by hand.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS = 92


def main(out: Path, command: list[str]) -> None:
    """Run the command in COLUMNS columns, and write its output as an SVG without outside fonts."""
    environment = {
        **os.environ,
        "COLUMNS": str(COLUMNS),
        "FORCE_COLOR": "1",
        "TTY_INTERACTIVE": "0",
    }
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    console = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"))  # noqa: SIM115
    console.print(Text.from_ansi(result.stdout.strip("\n")))
    # The fonts that Rich names are fetched from another host; every system has a monospace one.
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    svg = console.export_svg(
        title=shlex.join(command), theme=MONOKAI, code_format=form, unique_id="terminal"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
