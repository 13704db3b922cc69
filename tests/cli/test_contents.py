import pytest

from featherweight.cli import contents
from featherweight.cli.output import MissingInputError


def test_a_file_is_opened_and_described(finished):
    with contents.opened(finished.file) as reader:
        assert contents.report_of(reader).total_bytes == finished.file.stat().st_size


def test_what_is_not_there_is_not_opened(tmp_path):
    with pytest.raises(MissingInputError, match="no such file"):
        contents.opened(tmp_path / "x.fwt")
