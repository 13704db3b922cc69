import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featherweight.cli.app import app, main
from featherweight.cli.failures import CODES
from featherweight.core.version import VERSION

VERBS = ["compress", "resume", "show", "evaluate", "report", "techniques", "verify", "decompress"]


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_shows_an_example(call, verb):
    answer = call(verb, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert f"Example: featherweight {verb} " in " ".join(answer.out.split())
    assert "--json" in answer.out
    assert "--debug" in answer.out


def test_the_overview_names_every_verb(call):
    for words in ((), ("--help",), ("-h",)):
        answer = call(*words)
        assert answer.code == 0
        assert all(verb in answer.out for verb in VERBS)


def test_the_verbs_are_all_there():
    assert [command.name for command in app.registered_commands] == VERBS


def test_the_version(call):
    assert call("--version").out == f"featherweight {VERSION}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["--bogus"], "No such option"),
        (["show"], "Missing argument 'FILE.fwt'"),
        (["show", "a", "b"], "unexpected extra argument"),
        (["compress", "a.py:task", "--recipe", "r", "-o", "o.fwt", "--seed", "x"], "--seed"),
        (["compress", "a.py:task", "--recipe", "r", "-o", "o.fwt", "--seed", "-1"], "--seed"),
        (["compress", "a.py:task", "--recipe", "r", "-o", "o.fwt", "--max-drop", "-0.1"], "--max-drop"),
        (["compress", "a.py:task", "-o", "o.fwt"], "Missing option '--recipe'"),
        (["evaluate", "x.fwt", "--task", "a.py", "--split", "train"], "--split"),
    ],
)
def test_wrong_usage_is_one_line_that_leads_to_the_help(call, words, said):
    answer = call(*words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert "--help" in answer.err
    assert answer.err.count("\n") == 1


LIGHT = [
    ["--help"],
    [],
    ["--version"],
    ["techniques"],
    ["techniques", "--json"],
    ["show", "--help"],
    ["compress", "--help"],
    ["report", "--help"],
    ["nothing"],
]


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


def test_help_lists_and_completion_do_not_load_torch():
    """One process for all: whichever loads it first is named."""
    code = f"""
import sys
from featherweight.cli.app import main
for words in {LIGHT!r}:
    sys.argv = ["featherweight", *words]
    try:
        main()
    except SystemExit:
        pass
    heavy = {{"torch", "numpy", "jinja2"}} & set(sys.modules)
    if heavy:
        sys.exit(f"{{words}} loaded {{heavy}}")
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("featherweight tech", ["techniques"]),
        ("featherweight techniques pruning.conn", ["pruning.connection.magnitude"]),
        ("featherweight compress x.py:task --recipe deep", ["deep_compression"]),
        ("featherweight evaluate x.fwt --split ", ["test", "validation"]),
    ],
)
def test_the_shell_completes_without_torch(line, expected):
    code = """
import sys
from featherweight.cli.app import main
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""
    done = python(
        code,
        _FEATHERWEIGHT_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(line.split(" ")) - 1),
    )
    assert [word for word in done.stdout.split() if word in expected] == expected
    assert done.stderr.splitlines()[-1] == "False"


def test_the_process_leaves_with_the_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["featherweight", "verify", "no/such/file.fwt"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 66
    assert capsys.readouterr().err.startswith("featherweight: no/such/file.fwt: there is no such file")


WORDS = st.one_of(
    st.sampled_from(
        [
            *VERBS,
            "--json",
            "--debug-not",
            "--seed",
            "--recipe",
            "-o",
            "--output",
            "--task",
            "--split",
            "--run-dir",
            "--max-drop",
            "--dry-run",
            "--no-extras",
            "--device",
            "--help",
            "--version",
            "deep_compression",
            "pruning.connection.magnitude",
            "missing.fwt",
            "broken.fwt",
            "missing.py:task",
            "missing.safetensors",
            "out.fwt",
            "no/such/out.fwt",
            "/",
            ".",
            "",
            "-",
            "--",
            "0",
            "-1",
            "1e999",
            "nan",
        ]
    ),
    st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=12),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(WORDS, max_size=7))
def test_no_list_of_arguments_breaks_it(call, words, tmp_path_factory, monkeypatch):
    place = tmp_path_factory.getbasetemp() / "arguments"
    place.mkdir(exist_ok=True)
    (place / "broken.fwt").write_bytes(b"not a compressed file")
    monkeypatch.chdir(place)
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    answer = call(*words)
    assert answer.code in CODES
    assert "Traceback" not in answer.out + answer.err
    if answer.code:
        assert answer.out == ""
        assert answer.err.startswith("featherweight: ")
        assert answer.err.count("\n") == 1
