"""The interfaces that a technique is lent: what they promise to those who implement them."""

import dataclasses
import inspect

import pytest

from featherweight.core.context import Context, FinetuneReport, Finetuning
from featherweight.core.examples import Batch


def test_a_stretch_of_training_needs_length_and_speed():
    with pytest.raises(TypeError, match="epochs"):
        Finetuning(learning_rate=0.1)
    with pytest.raises(TypeError, match="learning_rate"):
        Finetuning(epochs=1)
    with pytest.raises(TypeError):
        Finetuning(1, 0.1)


def test_what_is_left_open_falls_back_to_the_task():
    settings = Finetuning(epochs=0.5, learning_rate=1e-3)
    assert (settings.optimizer, settings.weight_decay) == (None, None)
    assert (settings.final_learning_rate, settings.average) == (0.0, 0.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.epochs = 2


def test_a_report_is_a_value():
    assert FinetuneReport(steps=3, losses=(1.0,)) == FinetuneReport(steps=3, losses=(1.0,))


def test_techniques_can_ask_for_no_test_data():
    """Nothing is chosen on test data: no member of the context takes or gives it, and no default names it."""
    for name, member in inspect.getmembers(Context, inspect.isfunction):
        if name.startswith("_"):
            continue
        for parameter in inspect.signature(member).parameters.values():
            assert parameter.default != "test", f"{name}({parameter})"
        assert "test" not in name


def test_the_context_of_the_house_has_every_member():
    """TaskContext is the one that recipes lend: same names, same parameters as the interface."""
    from featherweight.training.context import TaskContext

    for name, member in inspect.getmembers(Context, inspect.isfunction):
        if name.startswith("_"):
            continue
        wanted = inspect.signature(member).parameters
        given = inspect.signature(getattr(TaskContext, name)).parameters
        assert list(given)[: len(wanted)] == list(wanted), name
        for key, parameter in wanted.items():
            assert given[key].default == parameter.default, f"{name}({key})"
            assert given[key].kind == parameter.kind, f"{name}({key})"


def test_a_batch_unpacks_into_inputs_and_target():
    inputs, target = Batch((1, 2), 3)
    assert (inputs, target) == ((1, 2), 3)
