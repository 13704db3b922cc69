"""Drawing: SVG elements whose text cannot become markup, placed in percent so that figures stretch and text does not.

A figure is an `svg` as wide as its container and of fixed height. x is in percent of the width, y in pixels; only paths
need a stretched inner viewport (`curve`). Colours come from classes of the page's style sheet.
"""

from collections.abc import Sequence
from xml.etree import ElementTree

from markupsafe import Markup

from featherweight.report.text import visible

Element = ElementTree.Element


def figure(height: float, label: str, *, classes: str = "plot") -> Element:
    """An empty drawing of `height` pixels; `label` is what a screen reader says of it."""
    attributes = {"class": classes, "width": "100%", "height": _px(height), "role": "img", "aria-label": visible(label)}
    return ElementTree.Element("svg", attributes)


def markup(drawing: Element) -> Markup:
    """The drawing as markup for the page; every text in it has been escaped."""
    return Markup(ElementTree.tostring(drawing, encoding="unicode", short_empty_elements=True))


def text(parent: Element, at: tuple[float, float], words: str, *, classes: str = "", dx: float = 0) -> Element:
    """Words at (percent, pixels), moved by `dx` pixels."""
    attributes = {"x": _pc(at[0]), "y": _px(at[1]), "class": classes}
    if dx:
        attributes["dx"] = _px(dx)
    element = ElementTree.SubElement(parent, "text", attributes)
    element.text = visible(words)
    return element


def line(parent: Element, start: tuple[float, float], end: tuple[float, float], *, classes: str) -> Element:
    """A straight line between two places (percent, pixels)."""
    ends = {"x1": _pc(start[0]), "y1": _px(start[1]), "x2": _pc(end[0]), "y2": _px(end[1])}
    return ElementTree.SubElement(parent, "line", {**ends, "class": classes})


def box(
    parent: Element, at: tuple[float, float], size: tuple[float, float], *, classes: str, round_: float = 0
) -> Element:
    """A rectangle: left edge in percent, top in pixels, width in percent, height in pixels."""
    attributes = {"x": _pc(at[0]), "y": _px(at[1]), "width": _pc(max(size[0], 0)), "height": _px(max(size[1], 0))}
    if round_:
        attributes["rx"] = _px(round_)
    return ElementTree.SubElement(parent, "rect", {**attributes, "class": classes})


def dot(parent: Element, at: tuple[float, float], radius: float, *, classes: str) -> Element:
    """A disc at (percent, pixels)."""
    attributes = {"cx": _pc(at[0]), "cy": _px(at[1]), "r": _px(radius), "class": classes}
    return ElementTree.SubElement(parent, "circle", attributes)


def curve(parent: Element, places: Sequence[tuple[float, float]], height: float, *, classes: str) -> Element:
    """A line through places (percent, pixels), stretched with the figure while its stroke keeps its width."""
    inner = ElementTree.SubElement(
        parent,
        "svg",
        {"viewBox": f"0 0 100 {_px(height)}", "preserveAspectRatio": "none", "width": "100%", "height": _px(height)},
    )
    path = " ".join(f"{'L' if index else 'M'}{x:.3f} {y:.2f}" for index, (x, y) in enumerate(places))
    ElementTree.SubElement(inner, "path", {"d": path, "class": classes, "vector-effect": "non-scaling-stroke"})
    return inner


def strokes(parent: Element, places: Sequence[float], ends: tuple[float, float], *, classes: str) -> Element:
    """Upright strokes at places in percent, all from `ends[0]` to `ends[1]` pixels, in one element."""
    height = _px(max(ends))
    view = {"viewBox": f"0 0 100 {height}", "preserveAspectRatio": "none", "width": "100%", "height": height}
    inner = ElementTree.SubElement(parent, "svg", view)
    path = "".join(f"M{_px(place)} {_px(ends[0])}V{_px(ends[1])}" for place in places)
    return ElementTree.SubElement(inner, "path", {"d": path, "class": classes, "vector-effect": "non-scaling-stroke"})


def hint(element: Element, words: str) -> None:
    """What shows when the pointer rests on `element`."""
    title = ElementTree.Element("title")
    title.text = visible(words)
    element.insert(0, title)


def _px(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _pc(value: float) -> str:
    return f"{_px(round(value, 3)) if value else '0'}%"
