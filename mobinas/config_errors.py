"""What is wrong with a job, in one line and in its users' words."""

import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from mobinas.errors import did_you_mean

# What pydantic finds wrong, in our words; by the start of its name for it.
_RULES = {
    "finite_number": "it must be a finite number",
    "greater_than_equal": "it must be at least {ge:g}",
    "greater_than": "it must be greater than {gt:g}",
    "less_than_equal": "it must be at most {le:g}",
    "less_than": "it must be less than {lt:g}",
    "int_": "it must be a whole number",
    "float_": "it must be a number",
    "bool_": "it must be true or false",
    "string_": "it must be a text",
    "tuple_": "it must be a list",
    "model_": "it must be a section, such as [{name}]",
}


def explained(error: ErrorDetails, job: type[BaseModel]) -> str:
    """One line that names key, rule and value; nearest words instead of patterns.

    Args:
        error: What pydantic found.
        job: Whose keys are known.
    """
    location = [str(part) for part in error["loc"] if not str(part).startswith(("tuple", "str", "function"))]
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        known = _keys_beside(location, job)
        return f"unknown key '{key}' in the job{did_you_mean(location[-1], known)}"
    if error["type"] == "value_error":
        message = error["msg"].removeprefix("Value error, ")
        return f"job key '{key}': {message}" if key else message
    given = error["input"]
    shown = "" if isinstance(given, Mapping) else f" (given: {given!r})"
    return f"job key '{key}': {_rule(error, location)}{shown}"


def _rule(error: ErrorDetails, location: Sequence[str]) -> str:
    context = {**error.get("ctx", {}), "name": location[-1] if location else "train"}
    if error["type"] == "literal_error":
        words = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"unknown word{did_you_mean(str(error['input']), words)}"
    for kind, rule in _RULES.items():
        if error["type"].startswith(kind):
            return rule.format(**context)
    return f"it cannot be meant: {error['msg']}"


def _keys_beside(location: Sequence[str], model: type[BaseModel]) -> list[str]:
    for part in location[:-1]:
        annotation = model.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return [part]
        model = annotation
    return list(model.model_fields)
