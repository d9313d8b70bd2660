from __future__ import annotations

import io

import pytest
from rich.text import Text

from keras_classics.cli import app
from keras_classics.cli.terminal import _harmless, console, new_table, show_table

ODD = "a\x1b[31m\udce9\x07b"
SHOWN = r"a\x1b[31m\udce9"


def printed(*objects, table=False, **options):
    screen = console()
    screen.file = file = io.StringIO()
    if table:
        show_table(screen, *objects)
    else:
        screen.print(*objects, **options)
    return file.getvalue()


def test_what_moves_a_cursor_or_cannot_be_encoded_is_shown_escaped():
    assert printed(f"{ODD}\n2", markup=False) == rf"{SHOWN}\x07b" + "\n2\n"
    assert printed(Text(f"{ODD}\nc")) == f"{SHOWN}b\nc\n"  # a bell is lost in a `Text`
    assert printed(Text.assemble(("a\x1b", "bold"), "\n\x9bc\nd")) == "a\\x1b\n\\x9bc\nd\n"


def test_of_styles_nothing_is_lost():
    shown = _harmless(Text.assemble("x", ("a\x1bb", "bold"), "y"))
    assert shown.plain == r"xa\x1bby"
    assert [str(shown.get_style_at_offset(console(), i)) for i in range(8)] == [
        "none", *["bold"] * 6, "none"
    ]  # fmt: skip


def test_cells_and_headings_are_single_lines():
    table = new_table(["name\n"], ["n\x1b"])
    table.add_row(Text(f"{ODD}\nc"), "1\n2")
    lines = printed(table, table=True).splitlines()
    assert [line for line in lines if "name" in line] == [
        line for line in lines if r"name\n" in line and r"n\x1b" in line
    ]
    (row,) = [line for line in lines if SHOWN in line]
    assert rf"{SHOWN}b\nc" in row  # nothing is cut
    assert r"1\n2" in row


@pytest.mark.parametrize("name", ["no\x1b[31m\udcff", "a\nb"])
@pytest.mark.parametrize(
    "command", ["check", "predict", "export", "report", "summary", "evaluate", "explain", "train"]
)
def test_errors_of_any_command_are_one_line(capsys, command, name):
    more = {"predict": [name], "evaluate": [name], "explain": [name], "export": ["--to", "onnx"]}
    assert app.run([command, name, *more.get(command, [])]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert error[:-1].isprintable()
