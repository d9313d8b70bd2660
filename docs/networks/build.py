"""Builds the pages that teach the networks, with their figures.

    python docs/networks/build.py            # beside this file
    python docs/networks/build.py FOLDER     # elsewhere

The words are in the templates, `*.md.jinja`. All else is fetched when the pages are built: the code
of the blocks from the source, figures, shapes and costs from the live models, published accuracies
from the records of the weights, the ablations from `ablations.json`, which `python
benchmarks/ablations.py all --save` writes. A test builds everything and compares it with what is
committed, so that no page can be out of date.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import math
import re
import statistics
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

import keras
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sklearn.datasets import load_sample_image

from keras_classics import CATALOG, RECORDS, Analysis, analyse
from keras_classics.architectures import frame
from keras_classics.architectures.analysis import Cost
from keras_classics.classifier.artefact import Classifier
from keras_classics.classifier.published import published
from keras_classics.data.fit import fit_image
from keras_classics.drawing import draw
from keras_classics.evaluation.charts import Chart, Dot, Line, percent, ticks

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "torch"}
GAP = "\u00a0"  # at which no line is broken
AUXILIARY = "+auxiliary"  # after a network's name: with its side classifier

# A chart for a page of GitHub's, in the reader's light or dark.
STYLE = (
    "text{{fill:{ink};font:12px system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif}}"
    "text.tick,text.note,text.label{{fill:{dim}}}.back{{fill:{paper}}}"
    ".grid{{stroke:{grid};fill:none}}.axis{{stroke:{dim};fill:none}}"
    ".line{{fill:none;stroke-width:2;stroke-linejoin:round}}"
    ".faint.line{{stroke:{dim};stroke-width:1.2;stroke-dasharray:4 3}}text.name.faint{{fill:{dim}}}"
    ".whisker{{fill:none;stroke-width:1.4}}"
    ".start{{text-anchor:start}}.middle{{text-anchor:middle}}.end{{text-anchor:end}}"
    "{lines}"
)
LIGHT = {"ink": "#1b222a", "dim": "#55606c", "paper": "#ffffff", "grid": "#e1e5ea"}
DARK = {"ink": "#edf1f5", "dim": "#a7b3bf", "paper": "#11161c", "grid": "#2b343e"}
LOOKS = ("one", "two", "three", "four")
COLOURS = {
    "light": ("#1f5fbf", "#b4610a", "#2f7d5b", "#8a4fb0"),
    "dark": ("#6fb0ee", "#f0a04b", "#5cc79b", "#c79af0"),
}


# --- the networks, built once ---------------------------------------------------------------------


@cache
def model(name: str) -> keras.Model:
    """A network at the paper's size, by its name in the catalog."""
    network, auxiliary = name.removesuffix(AUXILIARY), name.endswith(AUXILIARY)
    return frame.build(CATALOG[network], auxiliary=auxiliary)


@cache
def measured(name: str) -> Analysis:
    """What its graph tells."""
    return analyse(model(name))


def cost(name: str, part: str = "") -> Cost:
    """Of a whole network, or of one of its blocks or layers."""
    found = measured(name)
    if not part:
        return found.model
    inside = [block for _, block in found.blocks] + list(found.layers)
    return next(each for each in inside if each.name == part)


def of_layer(name: str, layer: str) -> Cost:
    """Of one layer, which may bear the name of the unit that it begins."""
    return next(each for each in measured(name).layers if each.name == layer)


def part(name: str, pattern: str) -> Cost:
    """Of all layers of a network whose names fit a pattern: parameters and multiply-adds."""
    found = [each for each in measured(name).layers if re.search(pattern, each.name)]
    return replace(
        found[0],
        parameters=sum(each.parameters for each in found),
        macs=sum(each.macs for each in found),
    )


# --- what the templates call ----------------------------------------------------------------------


def module(name: str) -> Any:
    """A module of the architectures."""
    return importlib.import_module(f"keras_classics.architectures.{name}")


def family(name: str) -> list[str]:
    """The networks of a module of the architectures."""
    return [record.name for record in module(name).NETWORKS]


def source(*names: str) -> str:
    """The code of functions and classes of the architectures, `module.name`, from the source."""
    texts = []
    for name in names:
        thing: Any = module(name.split(".")[0])
        for part in name.split(".")[1:]:
            thing = getattr(thing, part)
        texts.append(textwrap.dedent(inspect.getsource(thing)).rstrip())
    code = "\n\n\n".join(texts)
    file = f"src/keras_classics/architectures/{names[0].split('.')[0]}.py"
    return f"From [`{Path(file).name}`](../../{file}):\n\n```python\n{code}\n```"


def constant(home: str, *names: str) -> str:
    """The lines of a module that give constants their values, with the comments above them."""
    text = inspect.getsource(module(home))
    lines, found = text.splitlines(), dict[str, list[str]]()
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name) and target.id in names:
                first = node.lineno - 1
                while lines[first - 1].startswith("#"):
                    first -= 1
                found[target.id] = lines[first : node.end_lineno]
    if missing := set(names) - found.keys():
        raise ValueError(f"{home}.{min(missing)} is not a constant.")
    return "\n".join(["```python", *(line for name in names for line in found[name]), "```"])


def momentum(network: str) -> float:
    """That of all of a network's batch norms."""
    (found,) = {each.momentum for each in model(network).layers if hasattr(each, "momentum")}
    return float(found)


def blocks_table(name: str, *, top: Sequence[str] = ()) -> str:
    """A table of a network's outermost blocks and of the layers of its top."""
    rows = [
        "| | makes | feature maps | parameters | multiply-adds | memory | sees | step |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    blocks = [block for depth, block in measured(name).blocks if depth == 1]
    for each in [*blocks, *(cost(name, layer) for layer in top)]:
        cells = (
            f"`{each.name}`",
            each.kind.replace("_", " "),
            _shape(each.output_shape).replace(" ", GAP),
            f"{each.parameters:,}",
            macs(each.macs),
            mebibytes(each.activation_bytes),
            _seen(each),
            str(each.field.stride[0]) if each.field else "-",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _shape(shape: Sequence[int | None]) -> str:
    return " × ".join(map(str, shape))


def _seen(each: Cost) -> str:
    if each.field is None:
        return "all"
    rows, columns = each.field.size
    sides = str(rows) if rows == columns else f"{rows} × {columns}"
    return sides if each.field.exact else f"up to {sides}"


def arithmetic(name: str, *names: str) -> str:
    """Parameters and multiply-adds of convolutions and dense layers, as one works them out."""
    rows = [
        "| layer | kernel × in × out | + bias | = parameters | positions | multiply-adds |",
        "|---|---|---:|---:|---|---:|",
    ]
    for each in names:
        layer = model(name).get_layer(each)
        kernel, of = layer.kernel.shape, of_layer(name, each)
        bias = layer.bias.shape[0] if layer.use_bias else 0
        weights = math.prod(kernel)
        places = of.output_shape[:-1]
        if weights + bias != of.parameters or weights * math.prod(places) != of.macs:
            raise ValueError(f"{each}: what is worked out is not what is measured.")
        rows.append(
            f"| `{each}` | {_shape(kernel)} | {bias or '-'} | {of.parameters:,} | "
            f"{_shape(places) if places else '1'} | {of.macs:,} |"
        )
    return "\n".join(rows)


def weights_table(*networks: str) -> str:
    """The published weights of networks, with the protocol of each accuracy."""
    rows = [
        "| weights | top-1 | top-5 | shorter side | crop | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    rows += [
        f"| `{record.name}` | {record.top1:.2f}% | "
        f"{'-' if record.top5 is None else f'{record.top5:.2f}%'} | {record.protocol.resize} | "
        f"{record.protocol.crop} | {record.note} |"
        for record in RECORDS.values()
        if record.network in networks
    ]
    return "\n".join(rows)


def listed(network: str) -> list[str]:
    """A network's row in the README's table of all, which a test compares with the graphs."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    row = next(line for line in readme if line.startswith(f"| `{network}` |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def scaling_table(module_name: str, scales: str, weights: str) -> str:
    """Networks of one family: their factors, costs from the README, published top-1."""
    rows = [
        "| | width | depth | pixels | dropout | parameters | multiply-adds | top-1 |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, (width, depth, size, dropout) in getattr(module(module_name), scales).items():
        cells = listed(f"{module_name}_{name}")
        top1 = RECORDS[weights.format(name)].top1 if weights.format(name) in RECORDS else None
        rows.append(
            f"| {CATALOG[f'{module_name}_{name}'].title} | {width} | {depth} | {size} | {dropout} "
            f"| {cells[3]} | {float(cells[4]):.2f} G | {'-' if top1 is None else f'{top1:.1f}%'} |"
        )
    return "\n".join(rows)


def separable_table(name: str, *pairs: tuple[str, str]) -> str:
    """A depthwise and a 1x1 convolution, and what one convolution in their place would cost."""
    rows = [
        "| layers | kernel | channels | depthwise | 1×1 | both | one convolution | factor |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for depthwise, pointwise in pairs:
        wide, out = (of_layer(name, each) for each in (depthwise, pointwise))
        size = model(name).get_layer(depthwise).kernel.shape[0]
        channels = wide.output_shape[-1]
        whole = size**2 * channels * math.prod(out.output_shape)
        both = wide.macs + out.macs
        rows.append(
            f"| `{depthwise}`, `{pointwise}` | {size}{GAP}×{GAP}{size} | {channels} to "
            f"{out.output_shape[-1]} | {macs(wide.macs)} | {macs(out.macs)} | {macs(both)} | "
            f"{macs(whole)} | {whole / both:.1f} |"
        )
    return "\n".join(rows)


def survives(needed: int, channels: int) -> str:
    """The chance that ReLU leaves at least so many of some channels positive, each by a coin."""
    ways = sum(math.comb(channels, count) for count in range(needed, channels + 1))
    chance = ways / 2**channels
    if chance > 0.999:
        return "over 99.9%"
    return f"{100 * chance:.1f}%" if chance > 1e-3 else f"1 in {round(1 / chance):,}"


@cache
def trained(weights: str) -> Classifier:
    """A network with the weights of an installed package."""
    return published(weights)


def answers(weights: str, *pictures: str) -> str:
    """What it says of scikit-learn's two photographs."""
    classifier = trained(weights)
    how = classifier.card.preprocessing
    rows = ["| photograph | first | second | third |", "|---|---|---|---|"]
    for picture in pictures:
        fitted = fit_image(load_sample_image(picture), how.size, how.fit)
        (said,) = classifier.probabilities(fitted[None])
        first = [
            f"{classifier.card.class_names[at].replace('_', ' ')} {said[at]:.0%}"
            for at in np.argsort(-said)[:3]
        ]
        rows.append(f"| `{picture}` | {' | '.join(first)} |")
    return "\n".join(rows)


def own_runs(network: str) -> str:
    """The rows of the README's table of what was measured."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(readme) if line.startswith("| images | network |"))
    found = [line for line in readme[first:] if re.match(rf"\| \S+ \| {network} \|", line)]
    return "\n".join([*readme[first : first + 2], *found])


def dense(name: str, names: Sequence[str]) -> int:
    """Parameters of some layers together."""
    return sum(cost(name, each).parameters for each in names)


def kernels(name: str) -> int:
    """How many convolutions and dense layers a network has."""
    kinds = ("Conv2D", "DepthwiseConv2D", "Dense")
    return sum(each.kind in kinds for each in measured(name).layers)


def macs(number: int) -> str:
    """Multiply-adds in millions."""
    return f"{number / 1e6:,.1f} M" if number else "-"


def mebibytes(number: int) -> str:
    """Bytes in MiB."""
    return f"{number / 2**20:,.1f} MiB" if number >= 2**20 / 20 else "-"


def share(part: float, whole: float) -> str:
    """In per cent."""
    return f"{100 * part / whole:.0f}%"


# --- the ablations --------------------------------------------------------------------------------


@cache
def ablations() -> dict[str, Any]:
    """What `benchmarks/ablations.py --save` wrote."""
    saved: dict[str, Any] = json.loads((HERE / "ablations.json").read_text(encoding="utf-8"))
    return saved


def rows_of(name: str, data: str) -> list[dict[str, Any]]:
    """The rows of an ablation."""
    rows: list[dict[str, Any]] = ablations()[name][data]["rows"]
    return rows


def result(name: str, data: str, network: str, setting: str, figure: str) -> str:
    """One figure of an ablation, for a sentence."""
    row = next(
        row
        for row in rows_of(name, data)
        if row["network"] == network and row["setting"] == setting
    )
    values = row[figure]
    if figure in ("accuracy", "train_error"):
        return f"{100 * statistics.mean(values):.1f}%"
    return f"{statistics.mean(values):.2f}" if isinstance(values, list) else f"{values:,}"


def relative(name: str, data: str, networks: tuple[str, str], setting: str, figure: str) -> str:
    """A figure of the first network, divided by that of the second."""
    means = {
        row["network"]: statistics.mean(values if isinstance(values, list) else [values])
        for row in rows_of(name, data)
        if row["setting"] == setting
        for values in [row[figure]]
    }
    return f"{means[networks[0]] / means[networks[1]]:.2f}"


def projections() -> int:
    """By how many parameters the ablation's residual networks are larger than the plain ones."""
    found = {
        (row["network"], row["setting"]): row["parameters"] for row in rows_of("residual", "digits")
    }
    (more,) = {
        number - found["plain", at] for (name, at), number in found.items() if name == "residual"
    }
    return int(more)


def conditions(name: str, data: str) -> str:
    """On what, how long and with what it was measured: a sentence."""
    of = ablations()[name][data]
    how = of["measured_with"]
    what = "scikit-learn's digits" if data == "digits" else f"part of `{data}`"
    return (
        f"{what[0].upper()}{what[1:]}, {of['train_images']:,} training images and "
        f"{of['test_images']:,} held out, {of['size']} pixels, {of['epochs']} epochs, "
        f"{of['seeds']} seeds; {how['cpu']}, {how['cores']} cores, Keras {how['keras']} on "
        f"{BACKENDS[how['backend']]} {how[how['backend']]}; {of['cpu_seconds']} CPU seconds in all"
    )


def ablation_table(name: str, data: str, setting: str) -> str:
    """All rows: means over the seeds ± standard deviation."""
    rows = rows_of(name, data)
    first = {row["setting"]: row for row in reversed(rows)}
    head = f"{setting} | network | parameters | multiply-adds | sees | training error"
    lines = [
        f"| {head} | right, held out | CPU time, relative |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        seen = row["receptive_field"]
        ratio = statistics.mean(row["cpu_ms"]) / statistics.mean(first[row["setting"]]["cpu_ms"])
        lines.append(
            f"| {row['setting']} | {row['network']} | {row['parameters']:,} | {macs(row['macs'])} "
            f"| {seen[0] if seen else '-'} | {_spread(row['train_error'])} | "
            f"{_spread(row['accuracy'])} | {ratio:.2f} |"
        )
    return "\n".join(lines)


def grid_table(name: str, data: str, figure: str, corner: str) -> str:
    """One figure: a row for each network, a column for each setting."""
    rows = rows_of(name, data)
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    lines = [
        f"| {corner} | " + " | ".join(settings) + " |",
        "|---|" + "---:|" * len(settings),
    ]
    for network in dict.fromkeys(row["network"] for row in rows):
        cells = [
            _spread(row[figure]) + (" †" if row["diverged"] else "")
            for row in rows
            if row["network"] == network
        ]
        lines.append(f"| {network} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.1f}{GAP}±{GAP}{100 * deviation:.1f}%"


# --- the charts -----------------------------------------------------------------------------------


def document(chart: Chart | str) -> str:
    """A chart as a file, in light and dark."""

    def style(theme: Literal["light", "dark"], palette: dict[str, str]) -> str:
        lines = "".join(
            f".{look}.line,.{look}.whisker{{stroke:{colour}}}.{look}.dot{{fill:{colour}}}"
            f"text.name.{look}{{fill:{colour}}}"
            for look, colour in zip(LOOKS, COLOURS[theme], strict=True)
        )
        return STYLE.format(lines=lines, **palette)

    css = f"{style('light', LIGHT)}@media (prefers-color-scheme:dark){{{style('dark', DARK)}}}"
    head, _, body = (chart if isinstance(chart, str) else str(chart.svg())).partition(">")
    width, height = (
        1.3 * float(side) for side in head.split('viewBox="0 0 ')[1].split('"')[0].split()
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f"{head.removeprefix('<svg')}><style>{css}</style>"
        f'<rect class="back" width="100%" height="100%"/>{body}\n'
    )


def ablation_chart(name: str, data: str, figure: str, x_label: str, y_label: str) -> str:
    """One figure by the settings: a line for each network, whiskers from the least to the most."""
    rows = rows_of(name, data)
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    most = max(max(row[figure]) for row in rows)
    chart = Chart(
        name=f"{name}-{data}",
        title=f"{y_label.capitalize()} by {x_label}",
        text="; ".join(
            f"{row['network']}, {row['setting']}: {_spread(row[figure])}" for row in rows
        ),
        x=(-0.15, len(settings) - 0.85),
        y=(0.0, min(1.0, most * 1.05)),
        x_label=x_label,
        y_label=y_label,
        x_format=lambda value: settings[round(value)],
        y_format=percent,
        whole_x=True,
        right=128,
    )
    names = dict.fromkeys(row["network"] for row in rows)
    legend = []  # above each other: names at the ends of the lines would be, too, on each other
    for i, (look, network) in enumerate(zip(LOOKS, names, strict=False)):
        own = [row for row in rows if row["network"] == network]
        means = [statistics.mean(row[figure]) for row in own]
        chart.dots(
            [
                Dot(x, mean, min(row[figure]), max(row[figure]))
                for x, (mean, row) in enumerate(zip(means, own, strict=True))
            ],
            look,
        ).lines([Line("", look, list(enumerate(means)))])
        x, y = chart.width - chart.right + 14, 40 + 20 * i
        legend.append(f'<circle class="{look} dot" cx="{x}" cy="{y - 4}" r="4"/>')
        legend.append(f'<text class="name {look}" x="{x + 9}" y="{y}">{escape(network)}</text>')
    return str(chart.svg()).replace("</svg>", f"{''.join(legend)}</svg>")


def cost_chart(name: str, data: str) -> str:
    """Held-out accuracy with the cost beside it: a line of dots for each row."""
    rows = rows_of(name, data)
    values = [value for row in rows for value in row["accuracy"]]
    room = max(0.002, 0.08 * (max(values) - min(values)))
    low, high = min(values) - room, max(values) + room
    left, right, width, step, head = 190.0, 100.0, 580.0, 26.0, 24.0
    bottom = head + step * len(rows)

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - right)

    def words(text: str, x: float, y: float, look: str) -> str:
        return f'<text class="{look}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'

    parts = [words("million multiply-adds", width - 2, 13, "label end")]
    for value in (each for each in ticks(low, high) if each <= 1):
        parts.append(f'<path class="grid" d="M{at(value):.1f} {head}V{bottom}"/>')
        parts.append(words(percent(value), at(value), bottom + 17, "tick middle"))
    parts.append(
        words("right, of the held-out images", at((low + high) / 2), bottom + 35, "label middle")
    )
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    for number, row in enumerate(rows):
        look, y = LOOKS[settings.index(row["setting"])], head + step * (number + 0.5)
        least, mean, most = (f(row["accuracy"]) for f in (min, statistics.mean, max))
        parts += [
            words(row["network"], left - 12, y + 4, f"name {look} end"),
            f'<path class="{look} whisker" d="M{at(least):.1f} {y}H{at(most):.1f}"/>',
            f'<circle class="{look} dot" cx="{at(mean):.1f}" cy="{y}" r="4"/>',
            words(f"{row['macs'] / 1e6:.1f}", width - 2, y + 4, "tick end"),
        ]
    title = "Held-out accuracy and multiply-adds"
    text = "; ".join(
        f"{row['network']}: {macs(row['macs'])}, {_spread(row['accuracy'])}" for row in rows
    )
    return (
        f'<svg class="chart" viewBox="0 0 {width:.0f} {bottom + 42:.0f}" role="img">'
        f"<title>{title}</title><desc>{escape(text)}</desc>{''.join(parts)}</svg>"
    )


def field_chart(*names: str) -> Chart:
    """How the receptive field grows along the longest way of convolutions, image to last map."""
    lines = []
    for look, name in zip(LOOKS, names, strict=False):
        sizes = [1]
        for each in measured(name).layers:
            windowed = each.kind.endswith("Conv2D") or "Pooling2D" in each.kind
            if windowed and each.field and max(each.field.size) > sizes[-1]:
                sizes.append(max(each.field.size))
        title = CATALOG[name.removesuffix(AUXILIARY)].title
        lines.append(Line(title, look, [(float(i), float(s)) for i, s in enumerate(sizes)]))
    longest = max(len(line.points) for line in lines) - 1
    image = float(CATALOG[names[0]].default_size)
    tallest = max(image, *(line.points[-1][1] for line in lines))
    chart = Chart(
        name="field-" + "-".join(names),
        title="Growth of the receptive field",
        text="; ".join(
            f"{line.name}: {line.points[-1][1]:.0f} pixels after {len(line.points) - 1} windows"
            for line in lines
        ),
        x=(0.0, float(longest)),
        y=(0.0, tallest * 1.04),
        x_label="convolutions and poolings that widen it, one after the other",
        y_label="receptive field, pixels",
        right=100,
    )
    edge = Line("the image", "faint", [(0.0, image), (float(longest), image)])
    return chart.lines([*lines, edge])


def stem_kernels(weights: str, conv: str, norm: str) -> str:
    """The first convolution's kernels as colours, batch norm's factor included: grey is zero."""
    network = trained(weights).model
    gamma, _, _, variance = network.get_layer(norm).get_weights()
    kernels = network.get_layer(conv).get_weights()[0] * gamma / np.sqrt(variance + 1e-3)
    kernels = np.moveaxis(kernels, -1, 0)
    rows, columns, _ = kernels.shape[1:]
    cell, gap, across = 12, 10, 8
    parts = []
    for number, kernel in enumerate(kernels):
        top, left = (gap + (rows * cell + gap) * at for at in divmod(number, across))
        levels = np.rint(127.5 + 127 * kernel / np.abs(kernel).max()).astype(int)
        for y, line in enumerate(levels):
            for x, (red, green, blue) in enumerate(line):
                parts.append(
                    f'<path fill="#{red:02x}{green:02x}{blue:02x}" '
                    f'd="M{left + x * cell} {top + y * cell}h{cell}v{cell}h-{cell}z"/>'
                )
    width = gap + (columns * cell + gap) * across
    height = gap + (rows * cell + gap) * -(-len(kernels) // across)
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" shape-rendering="crispEdges">'
        f"<title>Kernels of {conv}</title>"
        f"<desc>{len(kernels)} kernels of {rows} × {columns} pixels, each scaled to its largest "
        f"weight; red, green and blue are the weights of these channels, grey is zero.</desc>"
        f"{''.join(parts)}</svg>"
    )


# --- the pages ------------------------------------------------------------------------------------


def figures(folder: Path) -> Callable[..., str]:
    """The function by which a template draws a figure and shows it."""

    def figure(
        file: str, words: str, network: str, *, beside: str | None = None, **how: Any
    ) -> str:
        other = model(beside) if beside else None
        draw(model(network), beside=other, **how).save(folder / f"{file}.svg")
        return f"![{words}](figures/{file}.svg)"

    return figure


def charts(folder: Path) -> Callable[..., str]:
    """The function by which a template puts a chart into a file and shows it."""

    def chart(file: str, words: str, drawn: Chart | str) -> str:
        (folder / f"{file}.svg").write_text(document(drawn), encoding="utf-8")
        return f"![{words}](figures/{file}.svg)"

    return chart


def pages(folder: Path) -> Iterator[Path]:
    """Write the pages and their figures."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    environment = Environment(
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )
    environment.filters["n"] = lambda number: f"{number:,}"
    environment.filters["macs"] = macs
    environment.filters["mib"] = mebibytes
    environment.filters["giga"] = lambda number: f"{number / 1e9:.2f} G"
    environment.filters["mega"] = lambda number: f"{number / 1e6:.1f} M"
    environment.globals.update(
        figure=figures(folder / "figures"),
        chart=charts(folder / "figures"),
        **{
            function.__name__: function
            for function in (
                ablation_chart, ablation_table, ablations, answers, arithmetic, blocks_table,
                conditions, constant, cost, cost_chart, dense, family, field_chart, grid_table,
                kernels, listed, momentum, own_runs, part, projections, relative, result,
                scaling_table, separable_table, share, source, stem_kernels, survives,
                weights_table,
            )
        },
        records=RECORDS,
        catalog=CATALOG,
    )  # fmt: skip
    for template in sorted(HERE.glob("*.md.jinja")):
        page = folder / template.stem
        page.write_text(environment.get_template(template.name).render(), encoding="utf-8")
        yield page


if __name__ == "__main__":
    for written in pages(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE):
        sys.stdout.write(f"{written}\n")
