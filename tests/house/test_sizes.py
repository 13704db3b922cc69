"""Limits of size: what is longer is read by nobody."""

import ast

LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 50
PARAMETERS = 6


def test_no_file_is_longer_than_its_limit(sources):
    long = [f"{source.name}: {lines}" for source in sources if (lines := source.text.count("\n")) > LINES_OF_A_FILE]
    assert long == []


def test_no_function_is_longer_than_its_limit(sources):
    long = [
        source.at(function, f"{function.name}: {lines} lines")
        for source in sources
        for function in source.functions()
        if (lines := function.end_lineno - function.lineno + 1) > LINES_OF_A_FUNCTION
    ]
    assert long == []


def test_no_function_takes_more_parameters_than_its_limit(sources):
    """More belong into a dataclass. The command line's verbs are exempt: each parameter is one option of the verb."""
    many = [
        source.at(function, f"{function.name}: {count} parameters")
        for source in sources
        if source.room != "cli"
        for function in source.functions()
        if (count := len(_parameters(function))) > PARAMETERS
    ]
    assert many == []


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    taken = function.args
    every = [*taken.posonlyargs, *taken.args, *taken.kwonlyargs, taken.vararg, taken.kwarg]
    return [argument.arg for argument in every if argument is not None and argument.arg not in ("self", "cls")]
