from __future__ import annotations

from xml.etree import ElementTree

import pytest

from keras_classics.evaluation.charts import Bar, Chart, Dot, Line, Mark, bars, span, ticks

SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg):
    return ElementTree.fromstring(
        str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    )


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 2.3, [0, 0.5, 1, 1.5, 2]),
        (1, 12, [5, 10]),
        (3, 3, [3]),
        (0, 0.013, [0, 0.005, 0.01]),
    ],
)
def test_round_ticks(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_points_stand_where_they_should():
    chart = Chart("c", "title", "text", (0, 10), (0, 1), "x", "y", width=460, height=280)
    svg = parsed(chart.lines([Line("name", "one", [(0, 0), (10, 1)])]).svg())
    path = next(e for e in svg.iter(f"{SVG}path") if e.get("class") == "one line")
    assert path.get("d") == "M46.0 240.0L384.0 24.0"
    assert svg.find(f"{SVG}title").text == "title"
    assert svg.find(f"{SVG}desc").text == "text"
    assert svg.get("aria-labelledby") == "c-t c-d"


def test_what_lies_outside_stays_within_the_axes():
    chart = Chart("c", "t", "d", (0, 1), (0, 1), "x", "y").dots([Dot(0.5, 2.0, -1, 3)], "one")
    circle = parsed(chart.svg()).find(f"{SVG}circle")
    assert float(circle.get("cy")) == 24.0


def test_names_of_lines_do_not_overlap():
    chart = Chart("c", "t", "d", (0, 1), (0, 1), "x", "y")
    chart.lines([Line(n, "one", [(0, 0), (1, y)]) for n, y in (("a", 0.5), ("b", 0.501))])
    names = [e for e in parsed(chart.svg()).iter(f"{SVG}text") if "name" in e.get("class")]
    first, second = sorted(float(e.get("y")) for e in names)
    assert second - first >= 14


def test_text_is_escaped():
    evil = "<script>alert('x')</script>&\""
    chart = Chart("c", evil, evil, (0, 1), (0, 1), evil, evil)
    svg = chart.lines([Line(evil, "one", [(0, 0), (1, 1)])]).marks([Mark(0.5, evil)]).svg()
    for markup in (svg, bars("b", evil, evil, [Bar(evil, 0.5, (0.4, 0.6), "one")])):
        assert "<script" not in markup
        texts = [e.text for e in parsed(markup).iter(f"{SVG}text")]
        assert evil in texts


def test_edge_cases_are_drawn():
    one = Chart("c", "t", "d", (1, 2), (0, 1), "x", "y").lines([Line("a", "one", [(1, 0.5)])])
    assert parsed(one.svg()).find(f"{SVG}circle") is not None
    assert parsed(
        Chart("c", "t", "d", (1, 2), (0, 1), "x", "y").lines([Line("a", "one", [])]).svg()
    )
    doubled = Chart("c", "t", "d", (90, 3200), (0, 1), "x", "y", log_x=True)
    labels = [e.text for e in parsed(doubled.svg()).iter(f"{SVG}text")]
    assert labels[6:12] == ["100", "200", "400", "800", "1,600", "3,200"]
    assert parsed(span(0.5, (0.2, 0.9))).find(f"{SVG}circle").get("cx") == "50"
    assert parsed(span(0.9, (0.8, 1.0), 0.8)).find(f"{SVG}circle").get("cx") == "50"


def test_names_of_lines_that_end_at_the_bottom_stand_apart():
    chart = Chart("c", "title", "text", (0, 10), (0, 1), "x", "y", width=460, height=280)
    lines = [Line(f"line {i}", "one", [(0, 1), (10, 0.01 * i)]) for i in range(4)]
    svg = parsed(chart.lines(lines).svg())
    places = {
        e.text: float(e.get("y")) for e in svg.iter(f"{SVG}text") if (e.text or "")[:4] == "line"
    }
    assert len(places) == 4
    ordered = [places[f"line {i}"] for i in range(4)]
    assert all(above - below >= 12 for below, above in zip(ordered[1:], ordered, strict=False))
    assert max(ordered) <= 240
