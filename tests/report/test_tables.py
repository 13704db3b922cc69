from dataclasses import replace

from featherweight.report import tables
from featherweight.report.story import Attempt, Guard, Step
from featherweight.report.text import MINUS, TIMES


def test_steps_say_what_was_done(story):
    first = tables.steps(story)[0]
    assert first["settings"] == "density 0.08, rounds 5, epochs 12"
    assert (first["before"], first["after"], first["change"]) == ("99.21 %", "99.08 %", f"{MINUS}0.13")
    assert (first["seconds"], first["verdict"]) == ("2 min 22 s", "backed_off")
    assert first["ratio"] == f"9.53{TIMES}"


def test_guards_say_what_was_tried(story):
    rows = tables.guards(story)
    assert [row["index"] for row in rows] == ["1", "2"]
    assert rows[0]["attempts"] == "as asked → 98.01 %; 0.3 → 99.25 %; 0.08 → 99.08 %"
    assert (rows[0]["limit"], rows[0]["meaning"]) == ("0.30 points", "kept, less strong")


def test_only_guarded_steps_are_in_the_table_of_guards(story):
    assert tables.guards(replace(story, steps=[replace(step, guard=None) for step in story.steps])) == []


def test_a_guard_with_nothing_known(story):
    step = Step(1, "a.b", {}, None, None, None, None, None, Guard(None, "strange", (Attempt(None, None),)))
    row = tables.guards(replace(story, steps=[step]))[0]
    assert (row["limit"], row["attempts"], row["verdict"], row["meaning"]) == ("none", "as asked → —", "", "strange")


def test_layers_end_with_their_total(story):
    rows = tables.layers(story)
    assert len(rows) == len(story.layers) + 1
    assert rows[-1]["weights"] == "431,080"
    assert rows[0]["shape"] == f"20 {TIMES} 1 {TIMES} 5 {TIMES} 5"
    shares = [float(row["share"][:-2]) for row in rows[:-1]]
    assert abs(sum(shares) - 100) < 0.5


def test_no_layers_no_rows(story):
    assert tables.layers(replace(story, layers=[])) == []


def test_settings_are_short():
    assert tables.settings_text({}) == "defaults"
    assert (
        tables.settings_text({"a": 1, "b": 0.5, "c": "x", "d": [1, 2], "e": None})
        == "a 1, b 0.5, c x, d [1, 2], e null"
    )
    assert len(tables.settings_text({"long": list(range(500))})) < 100


def test_facts_flatten_what_is_nested():
    assert list(tables.facts({"a": 1, "b": {"c": "x", "d": {}}})) == [("a", "1"), ("b.c", "x"), ("b.d", "{}")]


def test_names_in_tables_are_visible(story):
    hostile = replace(story.layers[0], name="a\u202eb", encoding="\x1b[0m")
    row = tables.layers(replace(story, layers=[hostile]))[0]
    assert (row["name"], row["encoding"]) == ("a\\u202eb", "\\x1b[0m")
