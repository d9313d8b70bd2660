from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import keras
import matplotlib
import pytest
from keras import layers
from PIL import Image

from keras_classics import ClassicsError, build, convolutional_block, grid_size_reduction
from keras_classics.architectures.analysis import analyse
from keras_classics.architectures.inception_v3 import REDUCTION_35_TO_17
from keras_classics.drawing import draw, stylesheet
from keras_classics.drawing.diagram import subject, walk
from keras_classics.drawing.scene import Group, Rect, Words, text_width
from keras_classics.drawing.theme import DARK, LIGHT
from keras_classics.errors import OutputError

SVG = "{http://www.w3.org/2000/svg}"
FIGURES = [  # those of the founding document
    ("vgg16", None, "layers"),
    ("resnet50", "conv2_block2", "blocks"),
    ("resnet50", "conv3_block1", "blocks"),
    ("resnet50", None, "blocks"),
    ("inception_v3", "mixed0", "blocks"),
    ("inception_v3", "mixed4", "blocks"),
    ("inception_v3", "mixed9", "blocks"),
    ("inception_v3", "mixed3", "blocks"),
    ("inception_v3", "mixed8", "blocks"),
    ("inception_v3", None, "layers"),
    ("resnet50_d", "conv3_block1", "layers"),
]
SIZES = {"vgg16": 64, "resnet50": 64, "resnet50_d": 64, "inception_v3": 96}


@pytest.fixture(scope="module")
def networks():
    return {
        name: build(name, width=0.125, input_shape=(size, size, 3))
        for name, size in SIZES.items()
    }  # fmt: skip


def mine():
    """A graph that is no series of parallels."""
    x = inputs = keras.Input((32, 32, 3), name="image")
    taps = []
    for i in range(4):
        joined = layers.Concatenate(name=f"join{i}")([x, *taps]) if taps else x
        taps.append(layers.Conv2D(4, 3, padding="same", name=f"conv{i}")(joined))
    end = layers.Multiply(name="product")([taps[1], layers.Add(name="sum")([taps[0], taps[3]])])
    return keras.Model(inputs, [end, taps[2]], name="mine & yours <1>")


def placed(scene):
    """Every mark of a scene with the place of its group, and the data of the groups around."""

    def walk(marks, x, y, around):
        for mark in marks:
            if isinstance(mark, Group):
                inner = [*around, mark] if mark.data else around
                yield from walk(mark.marks, x + mark.x, y + mark.y, inner)
            else:
                yield mark, x, y, around

    return list(walk(scene.marks, 0, 0, []))


def boxes(scene):
    """The rectangle of each node and frame by its name, sheets of a pile aside.

    A module and the layer that ends it have one name: inside, a dot stands behind it.
    """
    found = {}

    def key(group):
        open_too = group.data["name"] in outer and "block" not in group.data
        return group.data["name"] + "." * open_too

    for mark, x, y, around in placed(scene):
        if isinstance(mark, Rect) and around and "name" in around[-1].data:
            if mark.style in ("badge", "projection") and mark.width < 40:
                continue
            outer = [group.data["name"] for group in around[:-1] if "name" in group.data]
            found[key(around[-1])] = (
                (x + mark.x, y + mark.y, x + mark.x + mark.width, y + mark.y + mark.height),
                outer,
            )
    return found


@pytest.mark.parametrize(("name", "block", "level"), FIGURES)
def test_boxes_keep_apart_and_words_inside(networks, name, block, level):
    scene = draw(networks[name], block=block, level=level).scene
    found = boxes(scene)
    assert len(found) >= 5
    for (one, (a, outer_a)), (other, (b, outer_b)) in itertools.combinations(found.items(), 2):
        if one in outer_b or other in outer_a:  # one is drawn inside the other
            inner, outer = (b, a) if one in outer_b else (a, b)
            assert outer[0] <= inner[0]
            assert outer[1] <= inner[1]
            assert inner[2] <= outer[2]
            assert inner[3] <= outer[3]
        else:
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            assert apart, (one, other)
    for mark, x, y, around in placed(scene):
        if isinstance(mark, Words):
            width = text_width(mark.text, mark.size, mark.weight)
            left = x + mark.x - {"start": 0, "middle": width / 2, "end": width}[mark.anchor]
            assert left >= 0
            assert left + width <= scene.width
            assert scene.height >= y + mark.y >= 0
            name = around[-1].data.get("name") if around else None
            if name in found and f"{name}." not in found and mark.style == "text":
                box, _ = found[name]
                assert box[0] <= left
                assert left + width <= box[2]


@pytest.mark.parametrize(("name", "block", "level"), FIGURES)
def test_the_same_bytes_every_time(networks, name, block, level):
    drawn = [draw(networks[name], block=block, level=level).svg() for _ in range(2)]
    assert drawn[0] == drawn[1]
    ElementTree.fromstring(drawn[0])


@pytest.mark.slow
def test_the_same_bytes_in_another_process(networks, tmp_path):
    """Whatever the seed of Python's hashes is, and with no other program or Graphviz at hand."""
    networks["vgg16"].save(tmp_path / "model.keras")
    (tmp_path / "nothing").mkdir()
    code = (
        "import sys;"
        "sys.modules.update(dict.fromkeys(('graphviz', 'pydot', 'pygraphviz', 'cairosvg')));"
        "import keras; from keras_classics.drawing import draw;"
        "d = draw(keras.models.load_model('model.keras'), level='layers');"
        "[d.save(sys.argv[1] + form) for form in ('.svg', '.png', '.pdf')]"
    )
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PATH": str(tmp_path / "nothing")}
    done = subprocess.run(
        [sys.executable, "-c", code, "there"], check=False, cwd=tmp_path, env=environment,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    drawing = draw(networks["vgg16"], level="layers")
    for form in ("svg", "png", "pdf"):
        drawing.save(tmp_path / f"here.{form}")
        here, there = ((tmp_path / f"{name}.{form}").read_bytes() for name in ("here", "there"))
        assert here == there


def test_a_network_under_its_name_in_keras_has_its_title():
    model = build("mobilenet_v2", width=0.125, depths=(1,) * 7, input_shape=(32, 32, 3))
    assert model.name == "mobilenetv2_0.12_32"
    assert ElementTree.fromstring(draw(model).svg()).find(f"{SVG}title").text == "MobileNetV2"


def test_every_box_says_what_it_is(networks):
    root = ElementTree.fromstring(draw(networks["resnet50"]).svg())
    assert root.get("role") == "img"
    assert root.get("aria-label") == root.find(f"{SVG}title").text == "ResNet50"
    assert root.find(f"{SVG}desc").text.startswith("Diagram of the network ResNet50: input 64 × 64")
    nodes = [g for g in root.iter(f"{SVG}g") if "node" in (g.get("class") or "").split()]
    assert all(node.find(f"{SVG}title").text.startswith(node.get("data-name")) for node in nodes)
    folded = next(node for node in nodes if node.get("data-name") == "conv4_block2")
    assert folded.get("data-members") == "conv4_block3 conv4_block4 conv4_block5 conv4_block6"
    said = folded.find(f"{SVG}title").text
    assert "identity block (figure 5)" in said
    assert "stands for 5, exactly equal" in said
    assert "receptive field 291 pixels" in said


def test_text_is_text_and_shapes_are_on_the_edges(networks):
    root = ElementTree.fromstring(draw(networks["resnet50"], block="conv3_block2").svg())
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert "3×3 conv, 16" in words
    assert words.count("8 × 8 × 16") == 2
    assert words.count("8 × 8 × 64") >= 3
    skips = [g for g in root.iter(f"{SVG}g") if g.get("class") == "edge skip"]
    assert [(skip.get("data-from"), skip.get("data-to")) for skip in skips] == [
        ("", "conv3_block2_add")
    ]


def is_a(group, kind):
    return kind in group.get("class", "").split()


def costs_of(model):
    """By name, and whether it is a block: a module and the layer that ends it have one name."""
    analysis = analyse(model)
    return {
        **{(cost.name, False): cost for cost in analysis.layers},
        **{(cost.name, True): cost for _, cost in analysis.blocks},
    }


def told(number):
    """Three digits and a unit."""
    digits, power = f"{number:.2e}".split("e")
    thousands, rest = divmod(int(power), 3)
    return f"{float(digits) * 10**rest:.3g} {' kMG'[thousands]}".rstrip()


def seen(field):
    sides = " × ".join(map(str, dict.fromkeys(field.size)))
    return f"RF {sides}" if field.exact else f"RF up to {sides}"


# They have no weights and see what is seen above them: their boxes say what they are, and no more.
SILENT = {"InputLayer", "Activation", "Flatten", "ZeroPadding2D", "Add", "Concatenate"}


@pytest.mark.parametrize(("name", "block", "level"), FIGURES)
def test_every_box_shows_its_figures(networks, name, block, level):
    """Parameters, multiply-adds and receptive field, as `analyse` measures them."""
    costs = costs_of(networks[name])
    root = ElementTree.fromstring(draw(networks[name], block=block, level=level).svg())
    named = [group for group in root.iter(f"{SVG}g") if group.get("data-name")]
    assert len(named) >= 5
    for group in named:
        words = [text.text for text in group.findall(f"{SVG}text")]
        members = [group.get("data-name"), *group.get("data-members", "").split()]
        found = [costs[member, group.get("data-block") == "1"] for member in members]
        parameters, macs = sum(cost.parameters for cost in found), sum(cost.macs for cost in found)
        field = found[-1].field
        figures = [
            *([told(parameters)] if parameters else []),
            *([told(macs)] if macs else []),
            *([seen(field)] if field else []),
        ]
        if group.get("data-kind") in SILENT:
            assert not {"RF", "·"} & set(" ".join(words).split())
        elif is_a(group, "frame"):
            assert {f"{told(parameters)} params", f"{told(macs)} MACs", seen(field)} <= set(words)
        elif figures:
            assert " · ".join(figures) in words
    whole = analyse(networks[name]).model if block is None else costs[block, True]
    facts = f" · {told(whole.parameters)} parameters · {told(whole.macs)} multiply-adds"
    assert sum(text.text.endswith(facts) for text in root.findall(f"{SVG}text")) == 1


def labelled(root):
    """The lines from a box to a box, each with the shapes that stand beside lines of its box."""
    ends, shapes = set(), {}
    for parent in root.iter():
        texts = [
            (float(text.get("x")), float(text.get("y")), text.text)
            for text in parent.findall(f"{SVG}text")
        ]
        for edge in (group for group in parent.findall(f"{SVG}g") if is_a(group, "edge")):
            source = edge.get("data-from")
            ends.add((source, edge.get("data-to")))
            pairs = re.findall(r"(-?[\d.]+) (-?[\d.]+)", edge.find(f"{SVG}path").get("d"))
            points = [(float(x), float(y)) for x, y in pairs]
            shapes.setdefault(source, set()).update(
                text
                for (x, top), (below, bottom) in itertools.pairwise(points)
                for left, y, text in texts
                if x == below and left == pytest.approx(x + 6, abs=0.2) and top < y < bottom
            )
    return ends, shapes


@pytest.mark.parametrize(("name", "block", "level"), FIGURES)
def test_every_shape_stands_beside_the_line_of_its_tensor(networks, name, block, level):
    """Those of layers, as `analyse` gives them, and that of what enters a block drawn alone."""
    model = networks[name]
    costs = costs_of(model)
    shown = subject(model, block=block, level=level).root
    items = sorted(walk(shown.items), key=lambda item: item.is_block)
    last = {item.name: (item.members[-1], item.is_block) for item in items}
    root = ElementTree.fromstring(draw(model, block=block, level=level).svg())
    ends, shapes = labelled(root)
    within = [shown, *(item.inside for item in items if item.inside)]
    edges = {(e.source, e.target) for diagram in within for e in diagram.edges}
    between = {(source, target) for source, target in edges if source and target}
    assert len(between) >= 4
    assert between <= ends
    for source, _ in between:
        assert " × ".join(map(str, costs[last[source]].output_shape)) in shapes[source]
    if block is not None:
        first = next(each for each in analyse(model).tree.walk() if each.name == block).layers[0]
        entering = model.get_layer(first).input.shape[1:]
        assert " × ".join(map(str, entering)) in shapes[""]
        (end,) = {edge.source for edge in shown.edges if edge.target is None}
        assert " × ".join(map(str, costs[block, True].output_shape)) in shapes[end]


@pytest.mark.parametrize(
    ("name", "same"), [("vgg16", True), ("inception_v3", True), ("resnet50", False)]
)
def test_of_networks_without_stages_the_blocks_are_the_outermost(networks, name, same):
    """As the guide says."""
    stages, blocks = (draw(networks[name], level=level).svg() for level in ("stages", "blocks"))
    assert (stages == blocks) == same


def skips_of(model, **options):
    """The titles of closed boxes' skips, and the lines that are drawn as skips."""
    root = ElementTree.fromstring(draw(model, **options).svg())
    closed = [g.find(f"{SVG}title").text for g in root.iter(f"{SVG}g") if is_a(g, "skips")]
    return closed, [g for g in root.iter(f"{SVG}g") if is_a(g, "skip")]


@pytest.mark.parametrize(
    ("level", "unfolded", "drawn"),
    [
        ("stages", False, 4),
        ("stages", True, 4),
        ("blocks", False, 4 + 4),  # of a stage, its first block and the pile of the others
        ("blocks", True, 16),
    ],
)
def test_closed_boxes_show_all_skips(networks, level, unfolded, drawn):
    """ResNet50 has 3 + 4 + 6 + 3 sums, of which the first of each stage has a projection."""
    model = networks["resnet50"]
    sums = [layer.name for layer in model.layers if isinstance(layer, layers.Add)]
    projections = [layer.name for layer in model.layers if layer.name.endswith("_0_conv")]
    assert (len(sums), len(projections)) == (16, 4)
    closed, lines = skips_of(model, level=level, unfolded=unfolded)
    assert (len(closed), len(lines)) == (drawn, 0)
    counts = {
        kind: sum(int(n) for said in closed for n in re.findall(rf"(\d+) {kind}", said))
        for kind in ("identity", "projection")
    }
    assert counts == {"identity": 12, "projection": 4}


@pytest.mark.parametrize(("unfolded", "identities"), [(False, 4), (True, 12)])
def test_open_blocks_show_each_skip_as_a_line(networks, unfolded, identities):
    """From the input to the sum; with a projection, to the convolution and on to the sum."""
    closed, lines = skips_of(networks["resnet50"], level="layers", unfolded=unfolded)
    ends = [(line.get("data-from"), line.get("data-to")) for line in lines]
    stages = [f"conv{i}" for i in range(2, 6)]
    assert not closed
    assert len(ends) == identities + 2 * 4
    for stage in stages:
        assert ends.count(("", f"{stage}_block1_0")) == 1
        assert ends.count((f"{stage}_block1_0", f"{stage}_block1_add")) == 1
        assert ends.count(("", f"{stage}_block2_add")) == 1
    straight = {to for source, to in ends if not source and to.endswith("_add")}
    assert len(straight) == identities


def test_a_concatenation_lies_below_all_of_its_branches(networks):
    found = boxes(draw(networks["inception_v3"], block="mixed4").scene)
    left, top, right, _ = found["mixed4"][0]
    for name, (box, _) in found.items():
        if name != "mixed4":
            assert box[3] < top
            assert left < (box[0] + box[2]) / 2 < right


def test_any_graph_is_drawn():
    drawing = draw(mine())
    found = boxes(drawing.scene)
    assert set(found) == {layer.name for layer in mine().layers}
    for (a, _), (b, _) in itertools.combinations(found.values(), 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    for edge in (mark for mark in groups(drawing.scene.marks) if mark.kind.startswith("edge")):
        if edge.data["from"] and edge.data["to"]:
            assert found[edge.data["from"]][0][3] <= found[edge.data["to"]][0][1]
    title = ElementTree.fromstring(drawing.svg()).find(f"{SVG}title").text
    assert title == "mine & yours <1>"


def groups(marks):
    for mark in marks:
        if isinstance(mark, Group):
            yield mark
            yield from groups(mark.marks)


def test_a_network_of_one_s_own_from_the_blocks():
    inputs = keras.Input((35, 35, 8))
    x = convolutional_block(inputs, filters=4, strides=1, name="first")
    x = grid_size_reduction(x, branches=REDUCTION_35_TO_17, width=0.1, name="second")
    svg = draw(keras.Model(inputs, x, name="own")).svg()
    assert 'data-name="first" data-kind="convolutional_block"' in svg
    assert 'data-name="second" data-kind="grid_size_reduction"' in svg


def test_two_networks_are_aligned_by_resolution(networks):
    scene = draw(networks["vgg16"], level="layers", beside=networks["resnet50"]).scene
    bands = [
        (y + mark.y, y + mark.y + mark.height)
        for mark, _, y, _ in placed(scene)
        if isinstance(mark, Rect) and mark.style == "band"
    ]
    assert len(bands) == 7  # 64, 32, 16, 8, 4, 2 pixels, and the classifier

    def band_of(name):
        top, bottom = boxes(scene)[name][0][1::2]
        return next(i for i, (a, b) in enumerate(bands) if a <= top <= bottom <= b)

    assert band_of("conv1") == band_of("block1") == 1
    assert band_of("conv2") == band_of("block2") == 2
    assert band_of("conv5") == band_of("block5") == 5
    assert band_of("fc1") == band_of("avg_pool") == 6


def test_another_network_of_another_input_size(networks):
    drawing = draw(networks["resnet50"], beside=networks["inception_v3"])
    labels = [m.text for m, _, _, around in placed(drawing.scene)
              if isinstance(m, Words) and m.weight == "SemiBold" and not around]  # fmt: skip
    assert {"64", "96", "47 – 45", "classifier"} <= set(labels)
    assert "ResNet50 and InceptionV3" in drawing.svg()


def test_themes():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3)])
    light, dark, auto = (draw(model, theme=theme).svg() for theme in ("light", "dark", "auto"))
    assert LIGHT["paper"].fill in light
    assert DARK["paper"].fill not in light
    assert DARK["paper"].fill in dark
    assert LIGHT["paper"].fill not in dark
    assert "@media (prefers-color-scheme:dark)" in auto
    assert auto.replace(stylesheet("auto"), "") == dark.replace(stylesheet("dark"), "")


def test_a_page_brings_its_own_font_and_colours():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3)])
    svg = draw(model).svg(standalone=False)
    assert "<style" not in svg
    assert len(svg) < len(draw(model).svg()) - 20_000


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_can_be_read(theme):
    """The contrast that WCAG 2.1 asks of text: 4.5 to 1 on whatever it stands on."""
    styles = LIGHT if theme == "light" else DARK

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one, other):
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    grounds = [
        style.fill for name, style in styles.items()
        if name in ("paper", "frame", "band") or (style.fill and style.stroke)
    ]  # fmt: skip
    assert len(grounds) > 10
    for ground in grounds:
        for ink in ("text", "dim"):
            assert contrast(styles[ink].fill, ground) >= 4.5, (ink, ground)
    assert contrast(styles["badge-text"].fill, styles["badge"].fill) >= 4.5
    assert contrast(styles["skip-text"].fill, styles["paper"].fill) >= 4.5


def test_png(networks):
    drawing = draw(networks["resnet50"], block="conv2_block2", theme="dark")
    with Image.open(BytesIO(drawing.png(scale=2))) as image:
        assert image.size == tuple(
            pytest.approx(2 * side, abs=1) for side in (drawing.scene.width, drawing.scene.height)
        )
        pixels = image.convert("RGB")
        assert "#{:02x}{:02x}{:02x}".format(*pixels.getpixel((2, 2))) == DARK["paper"].fill
        assert len(pixels.getcolors(1 << 24)) > 50


def test_pdf_is_text_in_embedded_fonts(networks):
    pdf = draw(networks["resnet50"], block="conv2_block2").pdf()
    assert pdf.startswith(b"%PDF")
    assert b"CreationDate" not in pdf
    assert b"/FontFile2" in pdf
    assert b"/Image" not in pdf.replace(b"/ImageB", b"").replace(b"/ImageC", b"").replace(
        b"/ImageI", b""
    )
    streams = re.findall(rb"stream\r?\n(.*?)endstream", pdf, flags=re.DOTALL)
    text = b"".join(inflated(stream) for stream in streams)
    assert text.count(b"Tj") + text.count(b"TJ") > 20


def inflated(stream):
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


def test_the_same_bytes_whatever_the_user_s_settings_and_other_threads_are(networks):
    drawing = draw(networks["resnet50"], block="conv2_block2")
    expected = drawing.png(scale=1), drawing.pdf()
    own = {"savefig.bbox": "tight", "savefig.transparent": True, "pdf.fonttype": 3}
    with matplotlib.rc_context(own):
        assert (drawing.png(scale=1), drawing.pdf()) == expected
        assert matplotlib.rcParams["pdf.fonttype"] == 3
    before = dict(matplotlib.rcParams)
    with ThreadPoolExecutor(4) as pool:
        pages = list(pool.map(lambda _: drawing.pdf(), range(12)))
    assert set(pages) == {expected[1]}
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"theme": "pink"}, "theme='pink': one of auto, light, dark is needed"),
        ({"level": "all"}, "level='all'"),
        ({"size": 7}, "size"),
    ],
)
def test_errors(networks, options, message):
    with pytest.raises(ClassicsError, match=message):
        draw(networks["vgg16"], **options)


def test_a_block_is_drawn_alone(networks):
    with pytest.raises(ClassicsError, match="block and beside"):
        draw(networks["vgg16"], block="block1", beside=networks["resnet50"])


def test_saving(tmp_path):
    drawing = draw(keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3)]))
    for form in ("svg", "png", "pdf"):
        assert drawing.save(tmp_path / f"a.{form}").stat().st_size > 1000
    with pytest.raises(ClassicsError, match=r"a.gif: a name that ends with .svg, .png or .pdf"):
        drawing.save(tmp_path / "a.gif")
    with pytest.raises(OutputError, match=r"nowhere/a.svg: cannot be written"):
        drawing.save(tmp_path / "nowhere" / "a.svg")
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == ["a.pdf", "a.png", "a.svg"]


@pytest.mark.backends
def test_channels_first_and_last_are_drawn_alike(monkeypatch):
    drawings = []
    for order in ("channels_last", "channels_first"):
        monkeypatch.setattr(keras.config, "image_data_format", lambda order=order: order)
        keras_order = keras.backend.image_data_format()
        keras.backend.set_image_data_format(order)
        try:
            shape = (64, 64, 3) if order == "channels_last" else (3, 64, 64)
            model = build("resnet50", width=0.125, input_shape=shape)
        finally:
            keras.backend.set_image_data_format(keras_order)
        drawings.append(boxes(draw(model).scene))
    assert list(drawings[0]) == list(drawings[1])
