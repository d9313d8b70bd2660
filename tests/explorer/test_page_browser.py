"""The page in a real browser, by roles and labels, with every other host out of reach."""

from __future__ import annotations

import re

import cv2
import httpx
import numpy as np
import pytest

from explorer.browser import (
    DESKTOP,
    PHONE,
    Visit,
    chromium,
    focused,
    open_browser,
    press,
    serious,
    settled,
    tab,
    tab_to,
    top_classes,
)

pytest.importorskip("playwright", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(chromium() is None, reason="no chromium is found")

TABS = ("Block", "Picture", "Explain", "Ledger", "Compare", "Quiz")


@pytest.fixture(scope="module")
def address(serving):
    from keras_classics.explorer.application import application
    from keras_classics.explorer.models import Models, open_model
    from keras_classics.explorer.samples import samples

    held = [
        open_model("resnet50", width=0.0625, size=64, classes=12),
        open_model("inception_v3", width=0.125, size=107, classes=10),
    ]
    with serving(application(Models(held), samples(held))) as address:
        yield address


@pytest.fixture(scope="module")
def graphs(address):
    models = httpx.get(f"{address}api/models").json()["models"]
    return {
        model["id"]: httpx.get(f"{address}api/models/{model['id']}/graph").json()
        for model in models
    }


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture
def visit(browser, address):
    """Starts visits, and sees to it at the end that all went well in them."""
    visits = []

    def visit(**options):
        visits.append(Visit(browser, address, **options))
        return visits[-1]

    yield visit
    for one in visits:
        one.close()


@pytest.fixture
def page(visit):
    return visit().go("#model=resnet50")


def node(page, name):
    """A block or layer of the drawing."""
    return page.get_by_role("group", name="Drawing of").get_by_role(
        "button", name=re.compile(rf"^{name}\b")
    )


def frame(page, name):
    """An unfolded block of the drawing."""
    return page.get_by_role("group", name=re.compile(rf"^{name}\b.*unfolded"))


def view_box(page):
    """Left, top, width and height of what is seen of the drawing."""
    drawing = page.get_by_role("group", name="Drawing of")
    return [float(n) for n in drawing.get_attribute("viewBox").split()]


def png(*size, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


# The architecture.


def test_the_first_view(visit):
    """How soon it is there, benchmarks/explorer.py measures."""
    page = visit().go("#model=resnet50")
    page.get_by_role("heading", name="conv2_block1").wait_for()
    node(page, "conv3").wait_for()


@pytest.mark.slow
def test_levels_fold_and_unfold(page):
    node(page, "conv3").wait_for()
    page.get_by_role("radio", name="Blocks").check(force=True)
    frame(page, "conv3").wait_for()
    assert "level=blocks" in page.url
    page.get_by_role("radio", name="Stages").check(force=True)
    node(page, "conv3").dblclick()
    frame(page, "conv3").wait_for()
    assert "opened=conv3&" in f"{page.url}&"
    node(page, "conv3_block1").click()
    page.get_by_role("button", name="Unfold conv3_block1").click()
    frame(page, "conv3_block1").wait_for()
    page.get_by_role("button", name="Fold conv3_block1").click()
    node(page, "conv3_block1").wait_for()
    page.get_by_role("button", name="Draw repeated blocks one by one").click()
    node(page, "conv3_block3").wait_for()


@pytest.mark.slow
def test_pan_and_zoom(page):
    x, y, width, height = view_box(page)
    page.get_by_role("button", name="Zoom in").click()
    assert view_box(page)[2] == pytest.approx(width / 1.25)
    page.get_by_role("button", name="Zoom out").click()
    assert view_box(page) == pytest.approx([x, y, width, height])
    box = page.get_by_role("group", name="Drawing of").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + 30
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1] + 40, steps=4)
    page.mouse.up()
    moved = view_box(page)
    assert moved[0] < x
    assert moved[1] < y
    assert moved[2] == pytest.approx(width)
    page.mouse.wheel(0, -300)
    assert view_box(page)[2] < width
    page.get_by_role("button", name="Fit").click()
    assert view_box(page)[2] >= width * 0.99


@pytest.mark.slow
def test_the_keys_that_pan_and_zoom(page):
    drawing = page.get_by_role("group", name="Drawing of")
    node(page, "conv3").focus()
    press(page, "0")
    fitting = x, y, width, height = view_box(page)
    press(page, ".")
    nearer = [x + 0.1 * width, y + 0.1 * height, 0.8 * width, 0.8 * height]
    assert view_box(page) == pytest.approx(nearer, abs=1e-3)
    press(page, ",")
    assert view_box(page) == pytest.approx(fitting, abs=1e-3)
    step = 60 * width / drawing.bounding_box()["width"]
    for key, dx, dy in (("Right", 1, 0), ("Down", 0, 1), ("Left", -1, 0), ("Up", 0, -1)):
        x, y, *_ = view_box(page)
        press(page, f"Shift+Arrow{key}")
        moved = [x + dx * step, y + dy * step, width, height]
        assert view_box(page) == pytest.approx(moved, abs=1e-3), key
    assert focused(page).startswith("conv3: stage")  # the arrows moved nothing else
    press(page, "Shift+ArrowRight", ".", ".", "0")
    assert view_box(page) == pytest.approx(fitting, abs=1e-3)


@pytest.mark.slow
def test_home_and_end_come_into_sight(page):
    node(page, "conv3").focus()
    press(page, *".....")
    between = view_box(page)
    tops = []
    for key, first, last in (("Home", "input", "conv1"), ("End", "predictions", "avg_pool")):
        press(page, key)
        assert focused(page).startswith(first)
        seen, room = (
            one.bounding_box()
            for one in (page.locator(":focus"), page.get_by_role("group", name="Drawing of"))
        )
        assert seen["y"] >= room["y"]
        assert seen["y"] + seen["height"] <= room["y"] + room["height"]
        tops.append(view_box(page)[1])
        press(page, "ArrowDown" if key == "Home" else "ArrowUp")
        assert focused(page).startswith(last)
    assert tops[0] < between[1] < tops[1]


@pytest.mark.slow
def test_search_unfolds_what_it_finds(page):
    box = page.get_by_role("combobox", name="Search blocks and layers")
    box.fill("no such thing")
    page.get_by_text("Nothing is called that.").wait_for()
    box.fill("conv4_block2_1_conv")
    page.get_by_role("option", name="conv4_block2_1_conv").click()
    page.get_by_role("heading", name="conv4_block2_1_conv").wait_for()
    frame(page, "conv4").wait_for()


@pytest.mark.slow
def test_free_layout_in_a_worker_of_its_own_host(visit):
    page = visit().go("#model=inception_v3&layout=down&opened=mixed0")
    frame(page, "mixed0").wait_for()
    assert node(page, "mixed0_1x1").is_visible()
    assert any("elk-worker" in worker.url for worker in page.workers)
    page.get_by_role("combobox", name="Layout").select_option("Free →")
    page.wait_for_url(re.compile("layout=right"))
    node(page, "mixed4").dblclick()
    frame(page, "mixed4").wait_for()


@pytest.mark.slow
def test_copy_as_figure_is_the_same_drawing(page, address):
    url = f"{address}api/models/resnet50/drawing.svg?level=stages&theme=light&standalone=1"
    page.get_by_role("button", name="Export").click()
    page.get_by_role("button", name="Copy as figure").click()
    page.get_by_text("Copied as figure").first.wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == httpx.get(url).text
    for kind, start in (("SVG", b"<svg"), ("PNG", b"\x89PNG"), ("PDF", b"%PDF")):
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as waiting:
            page.get_by_role("button", name=f"Save as {kind}").click()
        assert waiting.value.suggested_filename == f"resnet50.{kind.lower()}"
        assert waiting.value.path().read_bytes().startswith(start)


@pytest.mark.slow
def test_an_export_is_as_dark_as_the_page(visit, address):
    page = visit(scheme="dark").go("#model=resnet50")
    url = f"{address}api/models/resnet50/drawing.svg?level=stages&standalone=1&theme="
    page.get_by_role("button", name="Export").click()
    page.get_by_role("button", name="Copy as figure").click()
    page.get_by_text("Copied as figure").first.wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == httpx.get(f"{url}dark").text
    for colours, darker in (("dark", True), ("light", False)):  # whatever the system says
        page.get_by_role("combobox", name="Colours").select_option(colours)
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Save as SVG").click()
        assert waiting.value.path().read_text() == httpx.get(f"{url}{colours}").text
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Save as PNG").click()
        pixels = cv2.imread(str(waiting.value.path()))
        assert (np.median(pixels) < 128) == darker


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["down", "right"])
def test_the_menu_says_that_a_free_layout_is_exported_as_figure(visit, address, layout):
    page = visit().go(f"#model=resnet50&layout={layout}&opened=conv3")
    menu = page.get_by_role("group", name="Export")
    page.get_by_role("button", name="Export").click()
    assert [one.inner_text() for one in menu.get_by_role("button").all()] == [
        "Copy as figure (figure layout)",
        "Save as SVG (figure layout)",
        "Save as PNG (figure layout)",
        "Save as PDF (figure layout)",
    ]
    with page.expect_download() as waiting:
        menu.get_by_role("button", name="Save as SVG (figure layout)").click()
    url = f"{address}api/models/resnet50/drawing.svg?opened=conv3&theme=light&standalone=1"
    assert waiting.value.path().read_text() == httpx.get(url).text
    page.get_by_role("combobox", name="Layout").select_option("As figure")
    page.get_by_role("button", name="Export").click()
    menu.get_by_role("button", name="Save as SVG", exact=True).wait_for()


# The chosen block.


@pytest.mark.slow
def test_a_layer_with_its_arithmetic(visit, graphs):
    page = visit().go("#model=resnet50&block=conv3_block1_2_conv")
    layer = next(x for x in graphs["resnet50"]["layers"] if x["name"] == "conv3_block1_2_conv")
    working = page.get_by_label("Working for conv3_block1_2_conv").inner_text()
    for value in (
        *layer["output_shape"],
        layer["cost"]["parameters"],
        layer["cost"]["macs"],
        layer["field"]["rows"]["last"] - layer["field"]["rows"]["first"] + 1,
    ):
        assert f"= {value:,}\n" in f"{working}\n".replace(" \n", "\n")
    page.get_by_role("region", name="Code and paper").get_by_text("arxiv.org").wait_for()


@pytest.mark.slow
def test_a_feature_map_pixel_and_its_receptive_field(visit, graphs):
    page = visit().go("#model=resnet50&block=conv1_conv")
    span = next(x for x in graphs["resnet50"]["layers"] if x["name"] == "conv1_conv")["field"]
    first, last, stride = (span["rows"][part] for part in ("first", "last", "stride"))
    feature_map = page.get_by_role("application", name=re.compile("Channel 0 of conv1_conv"))
    feature_map.focus()
    press(page, "Home")
    page.get_by_text("Position (0, 0)").wait_for()
    page.get_by_text(f"rows {first} to {last}, columns {first} to {last}").wait_for()
    page.get_by_text(f"{-first} px over the top").wait_for()
    press(page, "ArrowDown", "ArrowDown", "ArrowRight")
    page.get_by_text(
        f"rows {first + 2 * stride} to {last + 2 * stride}, "
        f"columns {first + stride} to {last + stride}"
    ).wait_for()
    box = feature_map.bounding_box()
    feature_map.hover(position={"x": box["width"] - 1, "y": box["height"] / 2})
    page.get_by_text("Position (16, 31)").wait_for()
    channel = page.get_by_role("radio", name="Channel 2", exact=True)
    channel.click()
    assert channel.get_attribute("aria-checked") == "true"
    assert "channel=2" in page.url


@pytest.mark.slow
def test_one_ring_for_each_branch_of_a_module(visit):
    page = visit().go("#model=inception_v3&block=mixed4")
    picture = page.get_by_role("img", name=re.compile("The picture as the network sees it"))
    picture.wait_for()
    rings = picture.locator("[data-ring]")
    assert [ring.get_attribute("data-ring") for ring in rings.all()] == [
        "mixed4_1x1_relu",
        "mixed4_7x7_3_relu",
        "mixed4_7x7dbl_5_relu",
        "mixed4_pool_relu",
    ]


def test_the_rings_of_all_branches_move_by_the_stride(visit, graphs):
    page = visit().go("#model=inception_v3&block=mixed4")
    layers = {layer["name"]: layer for layer in graphs["inception_v3"]["layers"]}
    branches = layers["mixed4"]["inputs"]
    rows, columns, _ = layers["mixed4"]["output_shape"]
    feature_map = page.get_by_role("application", name=re.compile("Channel 0 of mixed4"))
    feature_map.focus()
    picture = page.get_by_role("img", name=re.compile("The picture as the network sees it"))

    def rings(row, column):
        page.get_by_text(f"Position ({row}, {column})").wait_for()
        found = {}
        for ring in picture.locator("[data-ring]").all():
            whole = ring.locator(".whole")
            found[ring.get_attribute("data-ring")] = [
                float(whole.get_attribute(side)) for side in ("x", "y", "width", "height")
            ]
        return found

    def moved(before, after, down, right):
        assert list(before) == list(after) == branches
        for name, (x, y, width, height) in before.items():
            field = layers[name]["field"]
            by = down * field["rows"]["stride"], right * field["columns"]["stride"]
            assert min(field["rows"]["stride"], field["columns"]["stride"]) > 1
            assert after[name] == pytest.approx([x + by[1], y + by[0], width, height]), name

    press(page, "Home")
    corner = rings(0, 0)
    for name, (x, y, width, height) in corner.items():
        field = layers[name]["field"]
        assert width == field["columns"]["last"] - field["columns"]["first"] + 1
        assert height == field["rows"]["last"] - field["rows"]["first"] + 1
        assert (x, y) == (field["columns"]["first"], field["rows"]["first"])
    press(page, "ArrowRight")
    moved(corner, rings(0, 1), 0, 1)
    press(page, "ArrowDown", "ArrowDown")
    moved(corner, rings(2, 1), 2, 1)
    box = feature_map.bounding_box()
    half = box["height"] / rows / 2, box["width"] / columns / 2
    feature_map.hover(position={"x": box["width"] - half[1], "y": 3 * half[0]})
    moved(corner, rings(1, columns - 1), 1, columns - 1)
    press(page, "End")
    moved(corner, rings(rows - 1, columns - 1), rows - 1, columns - 1)


@pytest.mark.slow
def test_a_step_while_the_address_is_written_is_not_undone(visit):
    page = visit().go("#model=resnet50&block=stage2_block1")
    feature_map = page.get_by_role("application", name=re.compile("Channel 0 of"))
    feature_map.focus()
    press(page, "Home")
    page.get_by_text("Position (0, 0)").wait_for()
    # So busy that the time to write (0, 0) into the address is over before (0, 1) is drawn.
    feature_map.evaluate(
        """map => {
            map.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
            const end = performance.now() + 500;
            while (performance.now() < end);
        }"""
    )
    page.wait_for_function("() => location.hash.includes('position=0,1')")
    page.get_by_text("Position (0, 1)").wait_for()


# The picture.


def upload(page, file, data):
    file.write_bytes(data)
    page.get_by_label("Picture file").set_input_files(file)


@pytest.mark.slow
def test_uploads_that_are_no_pictures_get_a_message(visit, tmp_path):
    page = visit(expected=("status of 4",)).go("#model=resnet50&view=picture")
    frames = [cv2.imdecode(np.frombuffer(png(8, 8, seed=n), np.uint8), 1) for n in (1, 2)]
    whole = png(64, 64)
    for name, data, said in (
        ("notes.txt", b"nothing to be seen here", "notes.txt"),
        ("huge.png", b"\x89PNG" + bytes(21 * 1024**2), "at most"),
        ("torn.png", whole[: len(whole) // 2], "torn.png"),
        ("wide.png", bomb(9000, 9000), "pixels"),
    ):
        upload(page, tmp_path / name, data)
        alert = page.get_by_role("alert").filter(has_text=said)
        alert.wait_for()
        page.get_by_role("button", name="Close the message").first.click()
        alert.wait_for(state="detached")
    upload(page, tmp_path / "film.gif", gif(frames))
    page.get_by_text("the first one is used").first.wait_for()
    page.get_by_role("heading", name="film.gif").wait_for()


def bomb(height, width):
    """A small file of a very large picture."""
    return cv2.imencode(".png", np.zeros((height, width), np.uint8))[1].tobytes()


def gif(frames):
    from io import BytesIO

    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    file = BytesIO()
    images[0].save(file, "GIF", save_all=True, append_images=images[1:])
    return file.getvalue()


@pytest.mark.slow
def test_upload_paste_and_drop(page, tmp_path):
    panel = tab(page, "Picture")
    first = panel.get_by_role("heading", level=2).inner_text()
    before = top_classes(page, "Most probable classes")
    upload(page, tmp_path / "mine.png", png(40, 60, seed=3))
    panel.get_by_role("heading", name="mine.png").wait_for()
    assert "picture=u-" in page.url
    panel.get_by_text("60 × 40 pixels").wait_for()
    assert top_classes(page, "Most probable classes") != before
    for n, kind in enumerate(("paste", "drop")):
        page.evaluate(
            """([kind, bytes]) => {
                const data = new DataTransfer();
                const type = "image/png";
                data.items.add(new File([new Uint8Array(bytes)], `${kind}.png`, {type}));
                const event = kind === "paste"
                    ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true})
                    : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
                document.body.dispatchEvent(event);
            }""",
            [kind, list(png(20, 20, seed=10 + n))],
        )
        panel.get_by_role("heading", name=f"{kind}.png").wait_for()
    panel.get_by_role("button", name=first).click()
    panel.get_by_role("heading", name=first).wait_for()
    assert top_classes(page, "Most probable classes") == before


# What it looks at, and what carries it.


@pytest.mark.slow
def test_the_scrubber_with_control_second_class_and_curves(visit):
    page = visit().go("#model=resnet50&view=explain")
    panel = page.get_by_role("tabpanel", name="Explain")
    panel.get_by_role("img", name=re.compile("^Map of .*random weights")).wait_for()
    slider = panel.get_by_role("slider", name=re.compile("^Block"))
    slider.focus()
    last = slider.get_attribute("aria-valuetext")
    press(page, "Home")
    assert slider.get_attribute("aria-valuetext").startswith("conv1, 1 of ")
    assert last.startswith("conv5_block3, ")
    assert "at=conv1" in page.url
    press(page, "ArrowRight", "ArrowRight", "ArrowRight")
    assert slider.get_attribute("aria-valuetext").startswith("conv2_block2, 4 of ")
    panel.get_by_label("Second class").select_option("3")
    panel.get_by_role("img", name=re.compile("second class")).wait_for()
    panel.get_by_role("checkbox", name="Random weights beside it").uncheck()
    panel.get_by_role("img", name=re.compile("random weights")).wait_for(state="detached")
    assert "second=3" in page.url
    assert "control=0" in page.url
    panel.get_by_role("button", name="Measure the deletion and insertion curves").click()
    panel.get_by_role("img", name=re.compile("^Curves")).wait_for()
    panel.get_by_text("The curves as a table").click()
    table = panel.get_by_role("region", name="Table of the curves")
    heads = table.get_by_role("columnheader").all_inner_texts()
    assert heads == [
        "pixels",
        "deletion",
        "insertion",
        "deletion, random weights",
        "insertion, random weights",
    ]
    assert table.get_by_role("row").count() > 5


def test_cutting_a_shortcut_changes_the_answer_at_once(visit):
    page = visit().go("#model=resnet50&view=ledger")
    whole = "Most probable classes, whole network"
    cut = "Most probable classes, with cuts"
    before = top_classes(page, whole)
    assert top_classes(page, cut) == before
    switch = page.get_by_role("switch", name="Cut the shortcut of conv2_block1")
    switch.click()
    page.get_by_role("region", name="With 1 cut").wait_for()
    page.wait_for_function(
        """([name, before]) => document.querySelector(`[aria-label="${name}"]`)
            ?.innerText !== before""",
        arg=[cut, "\n".join(before)],
    )
    assert switch.get_attribute("aria-checked") == "true"
    assert "cuts=conv2_block1_add:0" in page.url
    page.get_by_role("switch", name="Cut the residual of conv5_block3").click()
    page.get_by_role("region", name="With 2 cuts").wait_for()
    page.get_by_role("button", name="Mend all").click()
    page.get_by_role("region", name="With 0 cuts").wait_for()
    page.wait_for_function(
        "([name, n]) => document.querySelectorAll(`[aria-label='${name}'] .tag`).length === n",
        arg=[cut, 0],
    )


@pytest.mark.slow
def test_cutting_a_branch(visit):
    page = visit().go("#model=inception_v3&view=ledger")
    page.get_by_role("switch", name="Cut branch mixed0_1x1_relu of mixed0").click()
    page.get_by_role("region", name="With 1 cut").wait_for()
    assert "cuts=mixed0:" in page.url


@pytest.mark.slow
@pytest.mark.parametrize("view", ["Explain", "Compare"])
def test_cuts_that_are_not_in_force_are_said(visit, view):
    cuts = "conv2_block1_add:0,conv5_block3_add:1"
    page = visit().go(f"#model=resnet50&other=inception_v3&view=ledger&cuts={cuts}")
    panel = page.get_by_role("tabpanel", name="Ledger")
    whole = top_classes(panel, "Most probable classes, whole network")
    with_cuts = top_classes(panel, "Most probable classes, with cuts")
    said = tab(page, view).get_by_text("of the ledger")
    assert said.inner_text().startswith("2 cuts of the ledger are not in force here")
    if view == "Compare":
        shown = top_classes(page, "Most probable classes, ResNet50")
        assert shown == whole != with_cuts
    tab(page, "Ledger").get_by_role("switch", name="Cut the shortcut of conv2_block1").click()
    tab(page, view)
    assert said.inner_text().startswith("1 cut of the ledger is not in force here")
    tab(page, "Ledger").get_by_role("button", name="Mend all").click()
    tab(page, view).get_by_role("heading", level=2).wait_for()
    assert said.count() == 0


@pytest.mark.slow
def test_two_networks_on_one_picture(page, graphs):
    panel = tab(page, "Compare")
    panel.get_by_label(re.compile("^Compare")).select_option(label="InceptionV3, random weights")
    panel.get_by_role("list", name="Most probable classes, InceptionV3").wait_for()
    assert panel.get_by_role("img", name=re.compile("^Map of")).first.is_visible()
    row = panel.get_by_role("row", name=re.compile("^parameters"))
    first, second = (graphs[name]["blocks"][0]["cost"] for name in ("resnet50", "inception_v3"))
    cells = row.get_by_role("cell").all_inner_texts()
    assert cells[:2] == [f"{first['parameters']:,}", f"{second['parameters']:,}"]
    panel.get_by_role("region", name="Drawing of both networks").locator("svg").wait_for()
    assert "other=inception_v3" in page.url


DIVERGING = """canvas => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const white = [247, 247, 247], ends = [[33, 102, 172], [178, 24, 43]];
    // Whether every pixel is on the way from white to blue or to red.
    const between = (end, i) => {
        const way = (white[0] - data[i]) / (white[0] - end[0]);
        return end.every((e, c) => Math.abs(white[c] + way * (e - white[c]) - data[i + c]) < 6);
    };
    for (let i = 0; i < data.length; i += 4)
        if (!ends.some(end => between(end, i))) return false;
    return true;
}"""


def diverging(panel):
    """Of each map, whether its colours are those of signed maps."""
    maps = panel.get_by_role("img", name=re.compile("^Map of"))
    maps.first.wait_for()
    return [one.evaluate(DIVERGING) for one in maps.all()]


@pytest.mark.slow
def test_maps_have_the_scale_of_the_method_that_made_them(visit):
    page = visit().go("#model=resnet50&other=inception_v3&view=explain&at=conv5_block3")
    panel = page.get_by_role("tabpanel", name="Explain")
    panel.get_by_role("img", name=re.compile("^Map of")).first.wait_for()
    panel.get_by_label("Method").select_option("occlusion")
    panel.get_by_text("against").wait_for()
    settled(page)
    assert diverging(panel) == [True, True]  # the map and its control
    panel = tab(page, "Compare")  # which has no map of every block by occlusion
    panel.get_by_role("heading", name="Where they look, by Grad-CAM").wait_for()
    settled(page)
    assert diverging(panel) == [False, False]


# The quiz.


def truth(graphs, prompt):
    """The right answer from the server's graph."""
    layers = {layer["name"]: layer for layer in graphs["resnet50"]["layers"]}
    layer = next(layers[word.strip("?:")] for word in prompt.split() if word.strip("?:") in layers)
    field = layer["field"] and layer["field"]["rows"]
    for words, answer in (
        ("What shape", lambda: " x ".join(map(str, layer["output_shape"]))),
        ("parameters", lambda: f"{layer['cost']['parameters']:,}"),
        ("multiply-adds", lambda: str(layer["cost"]["macs"])),
        ("receptive field", lambda: str(field["last"] - field["first"] + 1)),
        ("further", lambda: str(field["stride"])),
    ):
        if words in prompt:
            return answer()
    raise LookupError(prompt)


@pytest.mark.slow
def test_quiz_of_the_live_graph(visit, graphs):
    page = visit().go("#model=resnet50&view=quiz&seed=7")
    panel = page.get_by_role("tabpanel", name="Quiz")
    box = panel.get_by_role("textbox", name="Your answer")
    prompts = []
    for number in range(1, 6):
        panel.get_by_text(f"question {number};").wait_for()
        prompts.append(panel.locator("#quiz-prompt").inner_text())
        box.fill(truth(graphs, prompts[-1]))
        press(page, "Enter")
        panel.get_by_text("Right.").wait_for()
        panel.get_by_text(f"right so far: {number} of {number}").wait_for()
        press(page, "Enter")  # which now goes on
    assert len(set(prompts)) == 5
    box.fill("many")
    press(page, "Enter")
    panel.get_by_role("alert").wait_for()
    box.fill("1 x 2 x 3" if "shape" in panel.locator("#quiz-prompt").inner_text() else "1")
    press(page, "Enter")
    panel.get_by_text("Not quite.").wait_for()
    panel.get_by_label("How it comes about").wait_for()


# The address.


@pytest.mark.slow
def test_the_view_is_in_the_address(visit):
    state = "#model=inception_v3&block=mixed3&view=block&level=blocks&picture=china&channel=5"
    page = visit().go(state)
    page.get_by_role("heading", name="mixed3").wait_for()
    page.get_by_role("button", name="Picture: china").wait_for()
    tab(page, "Ledger")
    page.get_by_role("heading", name="Residual ledger").wait_for()
    page.go_back()
    page.get_by_role("heading", name="mixed3").wait_for()
    page.go_forward()
    page.get_by_role("heading", name="Residual ledger").wait_for()
    page.reload()
    page.get_by_role("heading", name="Residual ledger").wait_for()
    page.get_by_role("combobox", name="Network").select_option("resnet50")
    page.get_by_role("switch", name="Cut the shortcut of conv2_block1").wait_for()


@pytest.mark.slow
def test_position_measure_and_depth_are_in_the_address(visit, address):
    state = "#model=resnet50&block=conv2_block1&other=inception_v3"
    page = visit().go(state)
    page.get_by_text("Position (8, 8)").wait_for()
    feature_map = page.get_by_role("application", name=re.compile("Channel 0 of conv2_block1_out"))
    feature_map.focus()
    press(page, "Home", "ArrowRight", "ArrowRight", "ArrowDown")
    page.wait_for_url(re.compile("position=1,2&"))
    panel = tab(page, "Ledger")
    panel.get_by_role("radio", name="Euclidean norm").check(force=True)
    panel = tab(page, "Compare")
    panel.get_by_role("img", name=re.compile("^Map of ResNet50.*conv5_block3")).wait_for()
    panel.get_by_role("slider", name="Depth").focus()
    press(page, "Home", "ArrowRight")
    panel.get_by_role("img", name=re.compile("^Map of ResNet50.*: conv1$")).wait_for()
    assert page.url.endswith("&position=1,2&measure=l2&other=inception_v3&depth=2")

    again = visit().go(page.url.removeprefix(address))  # by somebody else
    again.get_by_role("img", name=re.compile("^Map of ResNet50.*: conv1$")).wait_for()
    assert again.get_by_role("slider", name="Depth").input_value() == "2"
    panel = tab(again, "Ledger")
    row = panel.get_by_role("row", name=re.compile("^conv2_block1"))
    asked = {"model": "resnet50", "picture": "flower"}
    norms = httpx.post(f"{address}api/ledger", json=asked).json()["rows"][0]["norms"]["sum"]
    shown = float(row.get_by_role("cell").nth(2).inner_text())
    assert shown == pytest.approx(norms["l2"], rel=1e-3)
    assert shown != pytest.approx(norms["rms"], rel=1e-3)
    tab(again, "Block").get_by_text("Position (1, 2)").wait_for()
    node(again, "conv3").click()  # another map, which begins at its middle
    again.get_by_text("Position (4, 4)").wait_for()
    again.wait_for_timeout(500)  # longer than a position rests before it is in the address
    assert "position" not in again.url
    again.go_back()
    again.get_by_text("Position (1, 2)").wait_for()


@pytest.mark.slow
def test_what_an_address_says_wrongly_is_left_out_with_a_message(visit):
    wrong = "#model=nothing&block=conv9&wings=2&cuts=conv1_conv:7&class=99999&position=99,0"
    page = visit().go(f"{wrong}&view=block")
    alert = page.get_by_role("alert").filter(has_text="left out of the address")
    alert.wait_for()
    for word in ("nothing", "conv9", "wings=2", "conv1_conv:7", "99999", "99,0"):
        assert word in alert.inner_text()
    page.get_by_role("heading", name="conv2_block1").wait_for()
    assert "nothing" not in page.url
    assert "model=resnet50" in page.url


@pytest.mark.slow
def test_a_server_that_is_gone_is_said(visit):
    one = visit(expected=("ERR_FAILED",))
    page = one.go("#model=resnet50")
    one.context.route("**/api/predict", lambda route: route.abort())
    tab(page, "Picture")
    page.get_by_role("alert").filter(has_text="Is `classics explore` still running?").wait_for()


# Keyboard alone.


@pytest.mark.slow
def test_everything_by_keyboard(page):
    press(page, "/")
    assert focused(page) == "Search blocks and layers"
    page.keyboard.type("conv3")
    press(page, "Enter")
    assert focused(page).startswith("conv3: stage")
    press(page, "ArrowUp")
    assert focused(page).startswith("conv2: stage")
    press(page, "ArrowDown", "Space")
    frame(page, "conv3").wait_for()
    assert focused(page).startswith("conv3: stage")
    press(page, "ArrowRight")
    assert focused(page).startswith("conv3_block1")
    press(page, "Enter")
    page.get_by_role("heading", name="conv3_block1").wait_for()
    press(page, "+")
    frame(page, "conv3_block1").wait_for()
    press(page, "-")
    node(page, "conv3_block1").wait_for()
    press(page, "ArrowLeft", "Space")
    node(page, "conv3").wait_for()
    assert focused(page).startswith("conv3: stage")
    press(page, "?")
    page.get_by_role("dialog", name="Keys").wait_for()
    press(page, "Escape")
    page.get_by_role("dialog", name="Keys").wait_for(state="hidden")
    press(page, "4")
    assert focused(page) == "Ledger"
    press(page, "ArrowRight")
    assert focused(page) == "Compare"
    press(page, "ArrowLeft", "Tab", "Tab")
    page.get_by_role("switch", name="Cut the shortcut of conv2_block1").wait_for()
    for _ in range(12):
        if focused(page) == "Cut the shortcut of conv2_block1":
            break
        press(page, "Tab")
    press(page, "Space")
    page.get_by_role("region", name="With 1 cut").wait_for()


@pytest.mark.slow
def test_the_export_menu_by_keyboard(page, address):
    url = f"{address}api/models/resnet50/drawing.svg?level=stages&theme=light&standalone=1"
    tab_to(page, "Export")
    press(page, "Enter", "Tab")
    assert focused(page) == "Copy as figure"
    press(page, "Enter")
    page.get_by_text("Copied as figure").first.wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == httpx.get(url).text
    assert focused(page).startswith("Export")
    menu = page.get_by_role("group", name="Export")
    assert not menu.is_visible()
    press(page, "Space", "Tab", "Tab")
    assert focused(page) == "Save as SVG"
    with page.expect_download() as waiting:
        press(page, "Space")
    assert waiting.value.path().read_text() == httpx.get(url).text
    menu.wait_for(state="hidden")
    press(page, "Enter", "Tab")
    assert menu.is_visible()
    press(page, "Escape")
    assert not menu.is_visible()
    assert focused(page).startswith("Export")
    press(page, "Enter", *["Tab"] * 5)  # past its last entry
    assert not menu.is_visible()


@pytest.mark.slow
def test_pictures_by_keyboard(page, tmp_path):
    press(page, "2")
    panel = page.get_by_role("tabpanel", name="Picture")
    panel.get_by_role("heading", level=2, name="flower").wait_for()
    before = top_classes(page, "Most probable classes")
    tab_to(page, "china")
    press(page, "Space")
    panel.get_by_role("heading", level=2, name="china").wait_for()
    assert focused(page) == "china"
    assert panel.get_by_role("button", name="china").get_attribute("aria-pressed") == "true"
    assert "picture=china" in page.url
    assert top_classes(page, "Most probable classes") != before
    file = tmp_path / "mine.png"
    file.write_bytes(png(30, 50, seed=4))
    press(page, "2")
    tab_to(page, "Upload a picture")
    with page.expect_file_chooser() as waiting:
        press(page, "Enter")
    waiting.value.set_files(file)
    panel.get_by_role("heading", level=2, name="mine.png").wait_for()
    assert focused(page) == "Upload a picture"


@pytest.mark.slow
def test_the_tab_key_comes_to_every_control(page):
    seen = []
    for _ in range(60):
        press(page, "Tab")
        seen.append(focused(page))
    for name in (
        "Network",
        "Stages",
        "Zoom in",
        "Search blocks",
        "Export",
        "Keys",
        "Block",
        "Channel 0",
    ):
        assert any(name in one for one in seen), (name, seen)


# Light and dark, phone and desktop.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "size"),
    [
        pytest.param("light", DESKTOP, id="desktop-light"),
        pytest.param("dark", PHONE, id="phone-dark"),
        pytest.param("dark", DESKTOP, id="desktop-dark", marks=pytest.mark.slow),
        pytest.param("light", PHONE, id="phone-light", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing_serious(visit, scheme, size):
    page = visit(size=size, scheme=scheme).go("#model=resnet50&other=inception_v3&seed=3")
    assert page.locator("html").get_attribute("data-theme") == scheme
    for name in TABS:
        tab(page, name)
        page.wait_for_load_state("networkidle")
        found = serious(page)
        assert not found, (name, found)
        wide = page.evaluate("document.scrollingElement.scrollWidth")
        assert wide <= size[0], name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "size"), [("light", DESKTOP), ("dark", PHONE)], ids=["desktop", "phone"]
)
def test_axe_finds_nothing_serious_in_what_opens(visit, scheme, size):
    one = visit(size=size, scheme=scheme, expected=("status of 4",))
    page = one.go("#model=resnet50&view=explain&seed=3&cuts=conv2_block1_add:0")
    button = page.get_by_role("button", name="Export")

    def clean(where):
        found = serious(page)
        assert not found, (where, found)

    button.click()
    page.get_by_role("button", name="Copy as figure").wait_for()
    clean("export menu")
    button.click()
    page.get_by_role("combobox", name="Search").fill("conv3")
    page.get_by_role("option", name="conv3_block1_1").wait_for()
    clean("found")
    page.get_by_role("combobox", name="Search").fill("no such thing")
    page.get_by_text("Nothing is called that.").wait_for()
    clean("nothing found")
    press(page, "Escape", "?")
    page.get_by_role("dialog", name="Keys").wait_for()
    clean("keys")
    press(page, "Escape")
    page.get_by_role("button", name="Measure the deletion and insertion curves").click()
    page.get_by_text("The curves as a table").click()
    page.get_by_role("region", name="Table of the curves").wait_for()
    clean("curves")
    panel = tab(page, "Quiz")
    box = panel.get_by_role("textbox", name="Your answer")
    box.fill("many")
    press(page, "Enter")
    panel.get_by_role("alert").wait_for()
    clean("unclear answer")
    box.fill("1 x 2 x 3" if "shape" in panel.locator("#quiz-prompt").inner_text() else "1")
    press(page, "Enter")
    panel.get_by_text("Not quite.").wait_for()
    clean("wrong answer")
    tab(page, "Picture")
    page.get_by_label("Picture file").set_input_files(
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"nothing to be seen here"}
    )
    page.get_by_role("alert").filter(has_text="notes.txt").wait_for()
    clean("alert")
    page.get_by_role("combobox", name="Layout").select_option("down")
    page.wait_for_url(re.compile("layout=down"))
    page.wait_for_function("() => !document.querySelector('.stage').ariaBusy.includes('true')")
    assert any("elk-worker" in worker.url for worker in page.workers)
    clean("free layout")


@pytest.mark.slow
def test_a_quiz_answer_that_is_right_is_legible(visit, graphs):
    page = visit(scheme="dark").go("#model=resnet50&view=quiz&seed=7")
    panel = page.get_by_role("tabpanel", name="Quiz")
    answer = truth(graphs, panel.locator("#quiz-prompt").inner_text())
    panel.get_by_role("textbox", name="Your answer").fill(answer)
    press(page, "Enter")
    panel.get_by_text("Right.").wait_for()
    assert not serious(page)


# A finger.


@pytest.mark.slow
def test_a_phone_in_the_hand(visit):
    page = visit(size=PHONE, touch=True).go("#model=resnet50")
    node(page, "conv2").tap()
    page.get_by_role("heading", name="conv2", exact=True).wait_for()
    page.get_by_role("button", name="Unfold conv2").tap()
    frame(page, "conv2").wait_for()
    page.get_by_role("tab", name="Ledger").tap()
    panel = page.get_by_role("tabpanel", name="Ledger")
    before = top_classes(page, "Most probable classes, with cuts")
    switch = panel.get_by_role("switch", name="Cut the residual of conv2_block2")
    switch.tap()
    panel.get_by_role("region", name="With 1 cut").wait_for()
    assert switch.get_attribute("aria-checked") == "true"
    assert "cuts=conv2_block2_add:1" in page.url
    assert top_classes(page, "Most probable classes, with cuts") != before
    page.get_by_role("tab", name="Picture").tap()
    page.get_by_text("Cuts of the ledger are in force: 1.").wait_for()
    page.get_by_role("button", name="china").tap()
    page.get_by_role("heading", level=2, name="china").wait_for()
    assert page.evaluate("[innerWidth, scrollX, visualViewport.scale]") == [PHONE[0], 0, 1]


@pytest.mark.slow
def test_one_finger_moves_the_drawing_and_two_zoom_it(visit):
    one = visit(size=PHONE, touch=True)
    page = one.go("#model=resnet50")
    hand = one.context.new_cdp_session(page)
    box = page.get_by_role("group", name="Drawing of").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def touch(kind, *places):
        points = [{"x": x + dx, "y": y + dy, "id": n} for n, (dx, dy) in enumerate(places)]
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    before = view_box(page)
    scale = box["width"] / before[2]
    touch("touchStart", (0, 0))
    for n in range(1, 5):
        touch("touchMove", (10 * n, -15 * n))
    touch("touchEnd")
    after = view_box(page)
    assert after[0] == pytest.approx(before[0] - 40 / scale, abs=1)
    assert after[1] == pytest.approx(before[1] + 60 / scale, abs=1)
    assert after[2:] == pytest.approx(before[2:])
    touch("touchStart", (-40, 0), (40, 0))
    for n in range(1, 5):
        touch("touchMove", (-40 - 10 * n, 0), (40 + 10 * n, 0))
    touch("touchEnd")
    assert view_box(page)[2] == pytest.approx(after[2] / 2, rel=0.02)
    assert page.evaluate("[scrollY, visualViewport.scale]") == [0, 1]
    assert page.get_by_role("heading", name="conv2_block1").is_visible()  # nothing was chosen


@pytest.mark.slow
def test_the_switch_of_light_and_dark_outlives_a_reload(page):
    page.get_by_role("combobox", name="Colours").select_option("dark")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.reload()
    node(page, "conv2").wait_for()
    assert page.locator("html").get_attribute("data-theme") == "dark"
