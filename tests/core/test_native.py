import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from featherweight.core import native as home
from featherweight.core.native import check_fault
from featherweight.errors import FormatError, UsageError

ROOT = Path(__file__).parents[2]
COMPILER = any(shutil.which(name) for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++"))

needs_native = pytest.mark.skipif(home.native is None, reason="native/ is not built or is switched off")


def _seen_with(**variables):
    """What a new interpreter finds: the word `none` or the instruction set in use, or the last line of its error."""
    program = "from featherweight.core.native import native; print(native.isa() if native else 'none')"
    environment = {**os.environ, **variables}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    return (done.stdout or done.stderr).strip().splitlines()[-1]


@pytest.mark.skipif(os.environ.get("FEATHERWEIGHT_NATIVE") == "0", reason="switched off by hand")
@pytest.mark.skipif(os.environ.get("FEATHERWEIGHT_BUILD") == "pure", reason="installed without it by hand")
@pytest.mark.skipif(not COMPILER, reason="no C++ compiler on this machine")
def test_it_is_there_where_it_can_be_built():
    """An installation that quietly lost its native part would pass every other test, slowly."""
    assert home.native is not None


def test_it_can_be_switched_off():
    assert _seen_with(FEATHERWEIGHT_NATIVE="0") == "none"


@needs_native
def test_every_instruction_set_can_be_forced():
    names = home.native.isas()
    assert names[0] == "scalar"
    assert home.native.isa() in names
    for name in names:
        assert _seen_with(FEATHERWEIGHT_ISA=name) == name


@needs_native
def test_an_instruction_set_that_is_not_there():
    assert not home.native.use_isa("abacus")
    assert "abacus" in _seen_with(FEATHERWEIGHT_ISA="abacus")
    with pytest.raises(UsageError, match=r"FEATHERWEIGHT_ISA.*abacus.*scalar"):
        home._choose(home.native, "abacus")


def test_a_library_that_does_not_load_is_told(monkeypatch):
    def broken(name):
        raise ImportError(f"{name}: undefined symbol")

    monkeypatch.setattr(home, "module_named", broken)
    monkeypatch.delenv("FEATHERWEIGHT_NATIVE", raising=False)
    with pytest.warns(RuntimeWarning, match="undefined symbol"):
        assert home._load() is None


def test_a_library_that_is_not_there_is_nothing_special(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(home, "module_named", missing)
    assert home._load() is None


def test_the_variable_reaches_the_library(monkeypatch):
    asked = []
    fake = SimpleNamespace(use_isa=lambda name: asked.append(name) or True, isas=lambda: ["scalar"])
    monkeypatch.setattr(home, "module_named", lambda name: fake)
    monkeypatch.delenv("FEATHERWEIGHT_NATIVE", raising=False)
    monkeypatch.setenv("FEATHERWEIGHT_ISA", "scalar")
    assert home._load() is fake
    assert asked == ["scalar"]


def test_faults_become_errors():
    check_fault((0, 7, 7))
    with pytest.raises(FormatError, match=r"E_SPAN.*got 3") as caught:
        check_fault((2, 41, 3))
    assert (caught.value.code, caught.value.offset) == ("E_SPAN", 41)


def test_the_codes_are_those_of_the_header():
    """One list in two languages."""
    text = (ROOT / "native/include/featherweight/fault.hpp").read_text()
    written = {int(number): code for number, code in re.findall(r"= (\d+),\s*// (E_\w+):", text)}
    assert written == {number: code for number, (code, _) in enumerate(home._BROKEN) if number}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("scikit_build_core") is None, reason="the build tools are not installed")
@pytest.mark.parametrize("variables", [{"CXX": "no-such-compiler"}, {"FEATHERWEIGHT_BUILD": "pure"}])
def test_an_installation_without_a_compiler(tmp_path, variables):
    """The wheel is there, holds every file of the package, and nothing native."""
    kept = {f"featherweight/{path.relative_to(ROOT / 'src/featherweight').as_posix()}" for path in _kept()}
    (wheel,) = _built(tmp_path, variables, 0)
    assert wheel.name.endswith("-py3-none-any.whl")
    held = zipfile.ZipFile(wheel).namelist()
    assert kept <= set(held)
    assert [name for name in held if name.startswith("featherweight/_native")] == []


@pytest.mark.slow
@pytest.mark.skipif(find_spec("scikit_build_core") is None, reason="the build tools are not installed")
def test_a_native_part_that_was_asked_for_and_fails(tmp_path):
    assert _built(tmp_path, {"CXX": "no-such-compiler", "FEATHERWEIGHT_BUILD": "native"}, 1) == []


def _built(folder, variables, code):
    """The wheels that a build with these variables leaves."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    environment = {key: value for key, value in os.environ.items() if key != "FEATHERWEIGHT_BUILD"} | variables
    command += [f"--config-settings=build-dir={folder / 'build'}", str(ROOT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return list(folder.glob("*.whl"))


def _kept():
    files = (path for path in (ROOT / "src/featherweight").rglob("*") if path.is_file())
    return [path for path in files if "__pycache__" not in path.parts]


@needs_native
def test_golden_and_hostile_streams_without_it():
    """What the other tests show with the native part, for files and coders that everybody keeps, without it."""
    chosen = ["tests/golden/test_coders.py", "tests/attacks/test_hostile.py", "-k", "golden or huffman or rans or raw"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]
    environment = {**os.environ, "FEATHERWEIGHT_NATIVE": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 15
