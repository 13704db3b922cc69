import pytest

from featherweight.errors import ConformanceError
from featherweight.testing._expect import expect


def test_a_broken_promise_is_named():
    expect(True, "shape", where="Dense")
    with pytest.raises(ConformanceError, match=r"Dense: does not keep its promise: shape \(got 3\)"):
        expect(False, "shape", where="Dense", value=3)
