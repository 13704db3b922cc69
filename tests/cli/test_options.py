from featherweight.cli import options
from featherweight.core import catalog
from featherweight.recipes import tiers


def test_techniques_are_completed_from_any_part_of_their_name():
    assert "pruning.connection.magnitude" in options.technique_names("")
    assert options.technique_names("pruning.conn") == ["pruning.connection.magnitude"]
    assert "pruning.connection.magnitude" in options.technique_names("magn")
    assert options.technique_names("zzz") == []


def test_recipes_are_completed_from_the_library_and_from_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deeper.yaml").touch()
    (tmp_path / "deeper.txt").touch()
    found = options.recipe_names("deep")
    assert found == ["deep_compression", "deeper.yaml"]


def test_coders_are_tiers_and_single_ones():
    assert set(options.coder_names("")) == {*tiers.TIERS, *catalog.names(tiers.SOCKET, tiers.NO_CODERS)}
    assert options.coder_names("r") == ["rans", "raw"]


def test_tasks_are_python_files_and_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.py", "a.safetensors", "a.txt", ".a.py"):
        (tmp_path / name).touch()
    (tmp_path / "apart").mkdir()
    assert options.task_names("a") == ["a.py:task", "a.safetensors", "apart/"]


def test_files_are_looked_for_in_the_directory_named(tmp_path):
    (tmp_path / "x.fwt").touch()
    assert options.file_names(f"{tmp_path}/") == [str(tmp_path / "x.fwt")]
    assert options.file_names(str(tmp_path / "x")) == [str(tmp_path / "x.fwt")]
    assert options.file_names(str(tmp_path / "none" / "x")) == []
