from xml.etree import ElementTree

from featherweight.report import svg


def test_a_drawing_is_well_formed_and_its_text_is_no_markup():
    drawing = svg.figure(40, "<b>label</b>")
    svg.text(drawing, (50, 20), '</text><script>alert(1)</script>"&')
    svg.hint(svg.box(drawing, (0, 0), (10, 5), classes="shade0"), "<img src=x onerror=alert(1)>")
    shown = str(svg.markup(drawing))
    assert "<script" not in shown
    assert "<img" not in shown
    assert "<b>" not in shown
    parsed = ElementTree.fromstring(shown)
    assert parsed.find("text").text == '</text><script>alert(1)</script>"&'
    assert parsed.find("rect/title").text == "<img src=x onerror=alert(1)>"


def test_places_are_percent_across_and_pixels_down():
    drawing = svg.figure(40, "x")
    svg.line(drawing, (12.5, 3), (100, 7.25), classes="grid")
    svg.dot(drawing, (50, 10), 4, classes="shade1")
    line, dot = drawing
    assert line.attrib == {"x1": "12.5%", "y1": "3", "x2": "100%", "y2": "7.25", "class": "grid"}
    assert (dot.get("cx"), dot.get("cy"), dot.get("r")) == ("50%", "10", "4")


def test_a_box_has_no_negative_size():
    box = svg.box(svg.figure(1, "x"), (0, 0), (-3, -2), classes="shade0")
    assert (box.get("width"), box.get("height")) == ("0%", "0")


def test_strokes_are_one_element():
    path = svg.strokes(svg.figure(80, "x"), [0, 12.5], (100, 110), classes="centroid")
    assert path.get("d") == "M0 100V110M12.5 100V110"


def test_a_curve_stretches_with_the_figure_but_its_stroke_does_not():
    inner = svg.curve(svg.figure(80, "x"), [(0, 10), (100, 70)], 80, classes="path")
    assert inner.get("preserveAspectRatio") == "none"
    assert inner.find("path").get("d") == "M0.000 10.00 L100.000 70.00"
    assert inner.find("path").get("vector-effect") == "non-scaling-stroke"
