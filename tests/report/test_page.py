import base64
import hashlib
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from featherweight.report.page import render
from featherweight.report.story import Story

HOSTILE = [
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<svg onload=alert(1)>",
    "</svg></text></title><script>alert(1)</script>",
    "{{7*7}}",
    "{% raw %}",
    "${7*7}",
    "<!--",
    "]]>",
    "&lt;script&gt;",
    "javascript:alert(1)",
    "\u202etxt.exe",
    "a\x00b\x1b[31m",
    "\ud800",
    "<a href='//example.org'>x</a>",
    "x" * 300,
    "名前 · weights 🪶",
]


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.words, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_the_page_tells_the_story(story):
    page = Page(render(story))
    for words in (
        "lenet5",
        "deep_compression",
        "2 steps in 3 min 10 s took 1.72 MB of weights to 43.0 KB",
        "pruning.connection.magnitude",
        "kept, less strong",
        "fc1.weight",
        "32 shared values",
        "examples/lenet5.py:task",
        "use: pruning.connection.magnitude",
    ):
        assert words in page.text


def test_the_page_holds_every_figure(story):
    rows = 2 * len(story.layers) + 1  # a row and a share bar each, and the axis
    assert Page(render(story)).tags.count("svg") >= rows + len(story.curves) + len(story.histograms) + 2


def test_nothing_runs_and_nothing_is_fetched(story):
    page = Page(render(story))
    assert not {"script", "img", "iframe", "object", "embed", "link", "base", "form", "a"} & set(page.tags)
    assert [item for item in page.attributes if item[1].startswith("on") or item[1] in ("style", "src", "href")] == []
    assert "://" not in render(story)
    assert "url(" not in render(story)


def test_the_policy_allows_the_style_sheet_and_nothing_else(story):
    text = render(story)
    style = re.search(r"<style>(.*?)</style>", text, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text).group(1)
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def hostile_names():
    """Some 200: each trick alone, twice, and inside of what a layer may be called."""
    return [
        f"{before}{name}{after}" for name in HOSTILE for before in ("", "a.", '"', "<b>") for after in ("", ".w", "-->")
    ]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
def test_a_browser_runs_nothing_fetches_nothing_and_complains_about_nothing(story, tmp_path):
    names = hostile_names()
    layers = [replace(story.layers[0], name=name, encoding=name) for name in names]
    curves = [replace(story.curves[0], name=name) for name in names[:24]]
    page = tmp_path / "report.html"
    page.write_text(render(replace(story, title=names[0], layers=layers, curves=curves)), encoding="utf-8")
    log = tmp_path / "net.json"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", "--dump-dom"]
    done = subprocess.run(
        ["chromium", *options, f"--log-net-log={log}", f"--user-data-dir={tmp_path / 'user'}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "All 240 tensors" in done.stdout
    assert "CONSOLE" not in done.stderr
    dom = Page(done.stdout)
    assert not {"script", "img", "iframe", "a"} & set(dom.tags)
    assert "example.org" not in log.read_text()


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_markup(story, name):
    plain = Page(render(story))
    curves = [replace(curve, name=name) for curve in story.curves]
    hostile = replace(
        story,
        title=name,
        recipe=name,
        layers=[replace(layer, name=name, encoding=name) for layer in story.layers],
        histograms=[replace(item, name=name) for item in story.histograms],
        curves=curves,
        steps=[replace(step, technique=name, settings={name: name}) for step in story.steps],
        stages=[name, *story.stages[1:]],
        provenance={name: {name: name}},
        recipe_text=name,
        notes=[name],
    )
    text = render(hostile)
    page = Page(text)
    assert set(page.tags) - {"wbr"} == set(plain.tags) - {"wbr"}  # a place to break after each dot of a name
    assert {item[:2] for item in page.attributes} == {item[:2] for item in plain.attributes}
    assert not {"\u202e", "\x00", "\x1b"} & set(text)
    text.encode("utf-8")
    assert "{{" not in name or "{{7*7}}" in page.text


def test_of_many_tensors_the_largest_are_pictured_and_all_are_listed(story):
    layers = [replace(layer, name=f"{layer.name}.{block}") for block in range(20) for layer in story.layers]
    text = render(replace(story, layers=layers, histograms=story.histograms * 20, curves=story.curves * 20))
    page = Page(text)
    for words in (
        "The first 24 of 80 are shown.",
        "The 24 largest of 80 are shown.",
        "The 24 largest of 160 tensors.",
        "All 160 tensors",
    ):
        assert words in page.text
    assert text.count('class="layer"') == 24 + 1
    assert text.count('class="tensor"') == 160 + 1
    pictured = re.findall(r'<span class="name" title="([^"]*)"', text)
    assert pictured[:4] == ["conv2.weight.0", "fc1.weight.0", "conv2.weight.1", "fc1.weight.1"]


def test_a_run_without_scores_has_no_columns_for_them(story):
    steps = [replace(step, score_before=None, score_after=None, guard=None) for step in story.steps]
    page = Page(render(replace(story, steps=steps, score_before=None, score_after=None, curves=[])))
    assert "Score" not in page.text
    assert "pruning.connection.magnitude" in page.text


def test_a_story_of_nothing_is_a_page():
    page = Page(render(Story("empty", "none", notes=("This run is not finished.",))))
    assert "empty" in page.text
    assert "This run is not finished." in page.text
    assert "table" not in page.tags


def test_the_same_story_gives_the_same_page(story):
    assert render(story) == render(story)


def test_the_page_is_small(story):
    assert len(render(story).encode()) < 200_000
