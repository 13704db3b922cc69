import json

import pytest
import torch

from featherweight.container import pack
from featherweight.frontends.resolve import read_task


@pytest.mark.parametrize(("split", "count"), [("test", 297), ("validation", 300)])
def test_the_score_is_that_of_the_decoded_network(call, finished, task_file, split, count):
    answer = call("evaluate", finished.file, "--task", task_file, "--split", split, "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    inputs, target = getattr(read_task(str(task_file)), split)
    with torch.no_grad():
        right = (pack.load(finished.file)(inputs).argmax(1) == target).float().mean()
    assert found["score"] == pytest.approx(float(right))
    assert found["examples"] == count


def test_the_test_split_is_the_default_and_is_named(call, finished, task_file):
    answer = call("evaluate", finished.file, "-t", f"{task_file}:task")
    assert answer.out.rstrip().endswith("% on 297 test examples")


def test_weights_alone_are_judged_in_the_tasks_network(call, task_file, tmp_path):
    model = read_task(str(task_file)).build()
    pack.save(tmp_path / "weights.fwt", model)
    answer = call("evaluate", tmp_path / "weights.fwt", "--task", task_file, "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["score"] > 0.8


def test_a_task_without_the_split(call, finished, tmp_path, task_file):
    bare = tmp_path / "bare.py"
    bare.write_text(task_file.read_text().replace("test=(inputs[1500:], target[1500:]),", ""))
    answer = call("evaluate", finished.file, "--task", bare)
    assert (answer.code, answer.out) == (66, "")
    assert "no test data" in answer.err
