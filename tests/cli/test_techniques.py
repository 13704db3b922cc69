import json

from featherweight.cli.options import TECHNIQUES
from featherweight.core import catalog


def test_the_list_names_every_technique_with_a_sentence(call):
    answer = call("techniques")
    assert (answer.code, answer.err) == (0, "")
    for name in catalog.names(TECHNIQUES):
        assert f"  {name}\n      " in answer.out
    assert answer.out.startswith("architecture\n")


def test_the_list_as_json(call):
    found = json.loads(call("techniques", "--json").out)["techniques"]
    assert [item["name"] for item in found] == catalog.names(TECHNIQUES)
    assert all(item["does"].endswith(".") for item in found)


def test_one_technique_shows_settings_reference_and_guard(call):
    answer = call("techniques", "pruning.connection.magnitude")
    assert answer.code == 0
    for words in ("applies to", "[86] Han et al. 2015", "moves density towards 1", "0.1", "share kept"):
        assert words in answer.out


def test_every_technique_can_be_shown_and_documents_its_settings(call):
    for name in catalog.names(TECHNIQUES):
        answer = call("techniques", name, "--json")
        assert answer.code == 0
        about = json.loads(answer.out)
        assert about["survey"], name
        assert [item["name"] for item in about["settings"]] == list(about["schema"]["properties"])
        assert all(item["meaning"] for item in about["settings"]), name


def test_a_name_that_is_none_is_answered_with_the_nearest(call):
    answer = call("techniques", "pruning.connection.magnitud")
    assert (answer.code, answer.out) == (2, "")
    assert "Did you mean 'pruning.connection.magnitude'" in answer.err
    assert answer.err.count("\n") == 1
