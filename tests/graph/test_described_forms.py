"""What values of settings must look like."""

import pytest

from featherweight.graph import _described_forms as forms


@pytest.mark.parametrize(
    ("form", "right", "wrong"),
    [
        (forms.SIZE, [0, 2**31], [-1, 2**31 + 1, True, 1.0, "1", None]),
        (forms.WHOLE, [-5, 5], [2**32, -(2**32), False]),
        (forms.DEPTH, [1, 4096], [0, 4097]),
        (forms.NUMBER, [1, -0.5], [True, float("inf"), float("nan"), "1"]),
        (forms.FLAG, [True, False], [0, 1, None]),
        (forms.SIZES, [[1], [2, 3]], [[], [1] * 9, (1,), [True], 3]),
        (forms.GAPS, [[1, None]], [[1.5]]),
        (forms.INDICES, [[0, 5, 5]], [[], [-1], [0] * (2**20 + 1)]),
        (forms.SHAPE, [[], [3, 1]], [None, [-1]]),
        (forms.EXTENT, [3, [3, 1]], [None, "same"]),
        (forms.PADDING_MODE, ["zeros"], ["same", None]),
    ],
)
def test_forms_tell_right_from_wrong(form, right, wrong):
    assert all(form.fits(value) for value in right)
    assert not any(form.fits(value) for value in wrong)
    assert form.wants
