"""Folders of images: classes by name, parts by folder."""

import pytest

from featherweight.data.places import Lookup
from featherweight.data.sources.folder import Folder
from featherweight.errors import DataError

Image = pytest.importorskip("PIL.Image")
LOOKUP = Lookup((), download=False)


def picture(path, shade, size=(5, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path)


@pytest.fixture
def tree(tmp_path):
    for part, count in (("train", 3), ("val", 1), ("test", 2)):
        for label, name in enumerate(("cat", "dog")):
            for index in range(count):
                picture(tmp_path / part / name / f"{index}.png", 100 * label + index)
    return tmp_path


def test_parts_and_classes_come_from_the_folders(tree):
    parts = Folder(path=tree).parts(LOOKUP)
    assert parts.classes == ("cat", "dog")
    assert parts.train.target.tolist() == [0, 0, 0, 1, 1, 1]
    assert parts.train.inputs[:, 0, 0, 0].tolist() == [0, 1, 2, 100, 101, 102]
    assert len(parts.validation.target) == 2
    assert parts.test.target.tolist() == [0, 0, 1, 1]
    assert parts.transform.mean[0] == pytest.approx(51 / 255)


def test_folders_of_classes_alone_are_for_training(tree):
    parts = Folder(path=tree / "train").parts(LOOKUP)
    assert len(parts.train.target) == 6
    assert parts.test is None
    assert parts.validation is None


def test_gray_and_size(tree):
    parts = Folder(path=tree, gray=True, size=3).parts(LOOKUP)
    assert tuple(parts.train.inputs.shape) == (6, 1, 3, 3)
    assert len(parts.transform.mean) == 1


def test_other_files_and_hidden_folders_are_passed_over(tree):
    (tree / "train" / "cat" / "notes.txt").write_text("x")
    (tree / "train" / ".cache").mkdir()
    assert len(Folder(path=tree).parts(LOOKUP).train.target) == 6


def test_a_class_that_only_the_test_part_has_is_refused(tree):
    picture(tree / "test" / "emu" / "0.png", 1)
    with pytest.raises(DataError, match="emu"):
        Folder(path=tree).parts(LOOKUP)


def test_a_folder_without_images_or_none_at_all_is_refused(tmp_path):
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="no images"):
        Folder(path=tmp_path / "empty").parts(LOOKUP)
    with pytest.raises(DataError, match="gone"):
        Folder(path=tmp_path / "gone").parts(LOOKUP)
