"""One hostile file a rule of docs/format.md: each is refused with the code and the place that the rule names."""

import re
from pathlib import Path

import pytest
from cases import CASES, FOLDER

from featherweight.container.limits import Limits
from featherweight.container.pack import load, load_bytes, open_file
from featherweight.errors import FormatError

SPEC = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
RULES = dict(re.findall(r"^\| ([A-Z]\d+) \| .*\| (`E_[^|]*) \|[^|]*\|$", SPEC, re.MULTILINE))


def options(case):
    load_options = dict(case.load)
    if "limits" in load_options:
        load_options["limits"] = Limits(**load_options["limits"])
    return load_options


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_file_is_refused(case):
    with pytest.raises(FormatError) as caught:
        load(case.path, **options(case))
    assert (caught.value.code, caught.value.offset) == (case.code, case.offset)
    assert str(caught.value).count("\n") == 0
    assert caught.value.exit_code == 65


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_same_from_memory_and_piece_by_piece(case):
    with pytest.raises(FormatError) as caught:
        load_bytes(case.path.read_bytes(), **options(case))
    assert caught.value.code == case.code
    with pytest.raises(FormatError) as caught, open_file(case.path, **options(case)) as reader:
        reader.verify()
    assert caught.value.code == case.code


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_file_is_what_its_builder_gives(case):
    assert case.path.read_bytes() == case.build()


def test_no_file_is_left_without_a_case():
    assert {path.name for path in FOLDER.iterdir()} == {case.path.name for case in CASES}
    assert len(CASES) >= 40


def test_every_rule_of_the_specification_is_attacked_and_every_attack_breaks_a_rule():
    assert {case.rule for case in CASES} == set(RULES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_specification_names_code_and_file(case):
    assert case.code in RULES[case.rule]
    assert f"`{case.name}`" in SPEC
