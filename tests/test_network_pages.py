"""The pages that teach the networks are what the code makes today, and what they say is so."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import re
import shlex
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer

from keras_classics import CATALOG, RECORDS
from keras_classics.architectures import efficientnet, inception_v3, mobilenet_v2, resnet, vgg
from keras_classics.cli.app import app

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "networks"
PAGES = sorted(FOLDER.glob("*.md"))
FIGURES = sorted((FOLDER / "figures").iterdir())
TEXTS = {page.name: page.read_text("utf-8") for page in PAGES}
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def script(path):
    spec = importlib.util.spec_from_file_location(f"_pages_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def builder():
    return script(FOLDER / "build.py")


@pytest.fixture(scope="module")
def built(builder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    list(builder.pages(folder))
    return folder


def test_the_pages():
    assert {page.stem for page in PAGES} == {"README", *TAUGHT}


def test_what_is_committed_is_what_is_built(built):
    """Else: python docs/networks/build.py."""
    ours = {path.relative_to(FOLDER) for path in (*PAGES, *FIGURES)}
    assert ours == {path.relative_to(built) for path in built.rglob("*") if path.is_file()}
    stale = [
        str(each) for each in ours if (FOLDER / each).read_bytes() != (built / each).read_bytes()
    ]
    assert not stale, f"{', '.join(sorted(stale))}: run `python docs/networks/build.py`"


# --- links ----------------------------------------------------------------------------------------


def without_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M)


@functools.cache
def anchors(path):
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_code(path.read_text("utf-8")), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@by_page
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?:)([^)]+)\)", without_code(TEXTS[page.name]))
    assert targets
    for target in targets:
        path, _, anchor = target.partition("#")
        to = (page.parent / path).resolve() if path else page
        assert to.is_file(), target
        assert to.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(to), target


@by_page
def test_papers_are_linked_by_their_number(page):
    found = re.findall(r"\[arXiv (\S+)\]\((https?:[^)]+)\)", TEXTS[page.name])
    assert found or page.stem == "README"
    for number, address in found:
        assert address == f"https://arxiv.org/abs/{number}"


def test_every_figure_is_shown_and_says_what_it_is():
    shown = {
        (words, target)
        for text in TEXTS.values()
        for words, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text)
    }
    assert {target for _, target in shown} == {f"figures/{path.name}" for path in FIGURES}
    assert all(len(words) > 10 for words, _ in shown)
    for path in FIGURES:
        root = ElementTree.fromstring(path.read_text("utf-8"))
        assert root.find("{http://www.w3.org/2000/svg}title").text
        assert root.find("{http://www.w3.org/2000/svg}desc").text
        style = root.find("{http://www.w3.org/2000/svg}style").text
        assert "prefers-color-scheme:dark" in style, path.name


@by_page
def test_images_stand_in_paragraphs_of_their_own(page):
    for line in TEXTS[page.name].splitlines():
        if "![" in line:
            assert re.fullmatch(r"!\[[^\]]*\]\([^)]*\)", line), line


# --- what a page must have ------------------------------------------------------------------------

TAUGHT = {
    "vgg16": (vgg, ("vgg_block", "features", "top")),
    "resnet50": (resnet, ("identity_block", "convolutional_block", "bottleneck", "stem")),
    "inception_v3": (
        inception_v3,
        ("module_a", "module_b", "module_c", "grid_size_reduction", "auxiliary_head", "stem"),
    ),
    "mobilenet_v2": (mobilenet_v2, ("inverted_residual", "features")),
    "efficientnet": (efficientnet, ("mbconv", "features", "squeeze_excite")),
}


@pytest.mark.parametrize("name", TAUGHT)
def test_the_code_of_every_block_is_the_source(name):
    module, functions = TAUGHT[name]
    for function in functions:
        code = inspect.getsource(getattr(module, function)).rstrip()
        assert code in TEXTS[f"{name}.md"], function


@pytest.mark.parametrize("name", TAUGHT)
def test_no_code_is_copied_into_a_template(name):
    text = (FOLDER / f"{name}.md.jinja").read_text("utf-8")
    assert not re.search(r"^\s*def ", text, flags=re.M)


@pytest.mark.parametrize("name", TAUGHT)
def test_the_parts_of_a_page(name):
    text = TEXTS[f"{name}.md"]
    headings = re.findall(r"^##+ (.*)$", without_code(text), flags=re.M)
    for wanted in (
        "The idea", "How to read the figure", "What each block makes, costs and sees",
        "Deviations from the paper", "Numbers", "Exercises", "Further reading",
    ):  # fmt: skip
        assert wanted in headings
    tried = ("Ablation: ", "Why the bottleneck is linear", "What real weights see")
    assert any(heading.startswith(tried) for heading in headings)
    networks = {record.name: record for record in TAUGHT[name][0].NETWORKS}
    assert next(iter(networks.values())).paper in text
    assert text.count("<details>") == text.count("</details>") >= 3
    numbers = text.split("\n## Numbers\n")[1]
    for record in RECORDS.values():
        if record.network in networks:
            top5 = "-" if record.top5 is None else f"{record.top5:.2f}%"
            assert f"| `{record.name}` | {record.top1:.2f}% | {top5} |" in numbers


@by_page
def test_no_placeholder_is_left(page):
    assert not re.search(
        r"@@|\{\{|\{%|TODO|\bNone\b(?!,|\)|\]| or| =)", without_code(TEXTS[page.name])
    )


# --- examples and commands ------------------------------------------------------------------------


def examples():
    for name, text in TEXTS.items():
        found = re.findall(r"^```python\n(from .*?)^```$", text, flags=re.S | re.M)
        for number, code in enumerate(found):
            yield pytest.param(code, id=f"{name}-{number}")


@pytest.mark.parametrize("code", list(examples()))
def test_python_examples_run(code):
    assert "assert" in code
    exec(code, {})


def commands(program):
    for name, text in TEXTS.items():
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.S | re.M)
        fenced = "".join(code for language, code in blocks if not language).splitlines()
        inline = re.findall(rf"`({program} [^`\n]+)`", without_code(text))
        for line in [line for line in fenced if line.startswith(program)] + inline:
            yield pytest.param(line, id=f"{name}: {line.split('#')[0].strip()}")


@pytest.mark.parametrize("line", list(commands("classics")))
def test_commands_can_be_parsed(line):
    words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app)
    context = command.make_context("classics", words)
    while hasattr(command, "commands") and context._protected_args + context.args:
        name, command, rest = command.resolve_command(
            context, context._protected_args + context.args
        )
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("line", list(commands("classics draw")))
def test_what_is_drawn_exists(line, builder):
    words = shlex.split(line, comments=True)[2:]
    names = [word for word in words[:2] if word in CATALOG]
    assert names
    if "--block" in words:
        builder.cost(names[0], words[words.index("--block") + 1])


@pytest.mark.parametrize("line", list(commands("python")))
def test_scripts_can_be_called(line, monkeypatch):
    _, path, *words = shlex.split(line, comments=True)
    assert (ROOT / path).is_file()
    if path == "benchmarks/ablations.py":
        module = script(ROOT / path)

        def load(*_):
            raise InterruptedError  # the arguments were understood

        monkeypatch.setattr(module, "load", load)
        with pytest.raises(InterruptedError):
            module.main(words)


def test_every_ablation_stands_on_a_page():
    module = script(ROOT / "benchmarks" / "ablations.py")
    for name in module.ABLATIONS:
        line = f"python benchmarks/ablations.py {name}\n"
        assert sum(line in text for text in TEXTS.values()) == 1


# --- the builder ----------------------------------------------------------------------------------


def test_a_source_that_does_not_exist_is_refused(builder):
    with pytest.raises(AttributeError):
        builder.source("vgg.no_such_block")
    with pytest.raises(ValueError, match="no_such"):
        builder.constant("vgg", "no_such")


def test_the_arithmetic_is_that_of_the_model(builder):
    row = builder.arithmetic("vgg16", "fc1").splitlines()[-1]
    assert row == "| `fc1` | 25088 × 4096 | 4096 | 102,764,544 | 1 | 102,760,448 |"


def test_a_whole_constant_is_shown(builder):
    shown = builder.constant("inception_v3", "REDUCTION_17_TO_8")
    lines = shown.splitlines()
    assert lines[1].startswith("REDUCTION_17_TO_8")
    assert lines[-2] == ")"
    assert '"7x7x3"' in shown
