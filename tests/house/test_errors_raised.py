"""What is raised: errors of the house, with the thing and the value in them."""

import ast
import inspect

from featherweight import errors

OURS = {
    name: item
    for name, item in vars(errors).items()
    if inspect.isclass(item) and issubclass(item, errors.FeatherweightError)
}
CARRIES = {"value", "where", "section"}
# What Python itself asks for: attribute look-up, the protocols of containers and iterators, interfaces.
PROTOCOL = {
    "AttributeError": {"__getattr__"},
    "KeyError": {"__getitem__", "__delitem__"},
    "IndexError": {"__getitem__"},
    "KeyboardInterrupt": None,
    "StopIteration": {"__next__"},
    "ConstructorError": {"construct_mapping"},  # of a YAML loader: the error that its parser catches
}


def test_every_error_of_the_house_carries_its_value(sources):
    bare = [
        source.at(call, ast.unparse(call.func))
        for source in sources
        if source.room != "cli"
        for call in _raised_calls(source)
        if (name := ast.unparse(call.func).split(".")[-1]) in OURS
        if not issubclass(OURS[name], errors.FormatError)  # its code and section are positional and required
        if not CARRIES & {keyword.arg for keyword in call.keywords} and None not in {k.arg for k in call.keywords}
    ]
    assert bare == []


def test_only_errors_of_the_house_are_raised(sources):
    foreign = [
        source.at(call, name)
        for source in sources
        if source.room != "cli"
        for function in source.functions()
        for call in _raised_calls_in(function)
        if (name := ast.unparse(call.func).split(".")[-1])[0].isupper() and name not in OURS
        if name not in PROTOCOL or (PROTOCOL[name] is not None and function.name not in PROTOCOL[name])
    ]
    assert foreign == []


def test_every_code_of_a_format_error_looks_like_one(sources):
    wrong = [
        source.at(call, ast.unparse(call.args[0]))
        for source in sources
        for call in source.nodes(ast.Call)
        if ast.unparse(call.func).split(".")[-1] == "FormatError" and call.args
        if isinstance(call.args[0], ast.Constant) and not _is_code(call.args[0].value)
    ]
    assert wrong == []


def _is_code(text: object) -> bool:
    return isinstance(text, str) and text.startswith("E_") and text.isupper() and len(text) > 3


def _raised_calls(source):
    return [node.exc for node in source.nodes(ast.Raise) if isinstance(node.exc, ast.Call)]


def _raised_calls_in(function):
    """Calls raised by a function itself, not by one defined inside it."""
    found, todo = [], list(function.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            found.append(node.exc)
        todo.extend(ast.iter_child_nodes(node))
    return found
