import sys

import pytest

from featherweight.cli.late import Late


def test_nothing_is_imported_until_an_attribute_is_asked_for():
    sys.modules.pop("wave", None)
    late = Late("wave")
    assert "wave" not in sys.modules
    assert late.Error is sys.modules["wave"].Error


def test_a_missing_module_or_attribute_says_so():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        _ = Late("no_such_module").anything
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = Late("json").nothing_like_it
