import time

import pytest

from featherweight.container import limits
from featherweight.container.limits import Deadline, Limits
from featherweight.errors import FormatError, UsageError


def test_the_default_budget_is_half_thefree_memory_and_at_most_16_gib(monkeypatch):
    monkeypatch.setattr(limits, "free_memory", lambda: 10 * 2**30)
    assert Limits().budget() == 5 * 2**30
    monkeypatch.setattr(limits, "free_memory", lambda: 2**40)
    assert Limits().budget() == 16 * 2**30
    assert Limits(decoded_bytes=7).budget() == 7


def testfree_memory_is_read_from_the_system():
    assert 2**20 < limits.free_memory() < 2**50


@pytest.mark.parametrize("name", ["header_bytes", "tensors", "rank", "dimension", "elements", "decoded_bytes", "depth"])
@pytest.mark.parametrize("value", [-1, 2**60])
def test_limits_have_hard_bounds(name, value):
    with pytest.raises(UsageError, match=f"Limits.{name}"):
        Limits(**{name: value})


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_deadline_is_positive(seconds):
    with pytest.raises(UsageError, match="deadline"):
        Limits(seconds=seconds)


def test_untrusted_is_nowhere_wider_and_can_be_changed():
    tight, wide = Limits.untrusted(), Limits()
    for name in ("header_bytes", "header_items", "tensors", "name_bytes", "dimension", "elements", "extra_bytes"):
        assert getattr(tight, name) < getattr(wide, name)
    assert tight.decoded_bytes == 512 * 2**20
    assert Limits.untrusted(tensors=5, seconds=2.0) == Limits.untrusted(tensors=5, seconds=2.0)
    assert Limits.untrusted(tensors=5).tensors == 5
    with pytest.raises(UsageError, match="no such limit"):
        Limits.untrusted(tensor=5)


def test_a_deadline_that_is_over(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    deadline, never = Deadline(2.0), Deadline(None)
    now[0] = 101.9
    deadline.check("a", 5)
    now[0] = 102.1
    never.check("a", 5)
    with pytest.raises(FormatError) as caught:
        deadline.check("fc.weight", 77)
    assert (caught.value.code, caught.value.section, caught.value.offset) == ("E_DEADLINE", "fc.weight", 77)
