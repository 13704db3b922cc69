"""Every error says what, where, with which value, and the way out."""

import inspect

import pytest

from featherweight import errors
from featherweight.errors import FeatherweightError, FormatError, GuardError, StorageError, UsageError

ALL = sorted(
    (item for item in vars(errors).values() if inspect.isclass(item) and issubclass(item, FeatherweightError)),
    key=lambda item: item.__name__,
)


def test_message_with_every_part():
    error = UsageError("density must lie in 0..1", where="conv1", value=1.5, fix="Give a share, 0.1 for 10 %.")
    assert str(error) == "conv1: density must lie in 0..1 (got 1.5). Give a share, 0.1 for 10 %."
    assert (error.what, error.where, error.value, error.fix) == (
        "density must lie in 0..1",
        "conv1",
        1.5,
        "Give a share, 0.1 for 10 %.",
    )


@pytest.mark.parametrize("what", ["nothing to do", "nothing to do."])
def test_message_with_the_sentence_alone_ends_in_one_full_stop(what):
    assert str(FeatherweightError(what)) == "nothing to do."


@pytest.mark.parametrize("value", [0, False, "", ()])
def test_a_value_that_is_false_is_shown(value):
    assert f"(got {value!r})" in str(FeatherweightError("no", value=value))


@pytest.mark.parametrize(("length", "shown"), [(118, 120), (119, 120), (5000, 120)])
def test_a_long_value_is_cut(length, shown):
    message = str(FeatherweightError("no", value="x" * length))
    assert len(message) == len("no (got ).") + shown
    assert message.endswith("...)." if length > 118 else "x').")


def test_a_format_error_names_code_section_and_offset():
    error = FormatError("E_CHECKSUM", "the sum differs", section="fc1.weight", offset=96, value=7, fix="Save it again.")
    assert str(error) == "fc1.weight at byte 96: E_CHECKSUM: the sum differs (got 7). Save it again."
    assert (error.code, error.section, error.offset) == ("E_CHECKSUM", "fc1.weight", 96)


def test_a_format_error_about_the_whole_file():
    assert str(FormatError("E_MAGIC", "this is no .fwt file")) == "file at byte 0: E_MAGIC: this is no .fwt file."


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.FeatherweightError, 1),
        (errors.UsageError, 2),
        (errors.ConfigError, 2),
        (errors.UnknownNameError, 2),
        (errors.FormatError, 65),
        (errors.TaskError, 66),
        (errors.DataError, 66),
        (errors.TraceError, 1),
        (errors.TechniqueError, 1),
        (errors.EncodingError, 1),
        (errors.GuardError, 1),
        (errors.StorageError, 74),
        (errors.LockedError, 74),
        (errors.MissingExtraError, 1),
        (errors.InterruptedRunError, 130),
    ],
)
def test_exit_codes(kind, code):
    assert kind.exit_code == code


def test_every_error_is_caught_by_the_base_and_documented():
    assert len(ALL) >= 15
    for kind in ALL:
        assert kind.__doc__
        made = kind("E_X", "what") if kind is FormatError else kind("what")
        with pytest.raises(FeatherweightError, match="what"):
            raise made


def test_errors_of_one_sort_can_be_caught_together():
    assert issubclass(errors.ConfigError, UsageError)
    assert issubclass(errors.UnknownNameError, UsageError)
    assert issubclass(errors.LockedError, StorageError)
    assert not issubclass(GuardError, UsageError)
