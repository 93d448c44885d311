"""Models read from YAML files: strict, frozen, and with one line for what is wrong in a file."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edfv_ros.errors import EdfvError

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """A group of keys: unknown keys, wrong types, infinities and NaN are errors; values never change."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=Part)


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML keeps the last of two equal keys; a file with a key given twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key_node.value!r} is given twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def load_yaml_model(path: str | Path, model: type[Model], name: str, error: type[EdfvError], example: str) -> Model:
    """Load and validate a file.

    Args:
        path: the file.
        model: what it holds.
        name: what such a file is called, for messages.
        error: class of the errors to raise.
        example: a file to write one after, for messages.

    Raises:
        EdfvError: of the class ``error``: the file is missing, is not YAML, or holds something impossible; the message
            names file, key, value and what is allowed.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise error(f"{path}: no such {name} file; write one after {example}") from None
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise error(f"{path}: cannot read this {name} file: {reason}") from None
    return parse_yaml_model(text, path, model, name, error)


def parse_yaml_model(text: str, path: str | Path, model: type[Model], name: str, error: type[EdfvError]) -> Model:
    """Validate the content of a file; see :func:`load_yaml_model`."""
    try:
        data = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as problem:
        raise error(f"{path}: not valid YAML: {_yaml_problem(problem)}") from None
    except RecursionError:
        raise error(f"{path}: not a {name} file: it is nested too deeply") from None
    except ValueError as problem:  # e.g. an impossible date
        raise error(f"{path}: not valid YAML: {problem}") from None
    if data is None and not any(field.is_required() for field in model.model_fields.values()):
        data = {}  # only comments: all as usual
    if not isinstance(data, dict):
        raise error(f"{path}: a {name} file is a mapping with the keys {', '.join(model.model_fields)}")
    try:
        return model.model_validate(data)
    except ValidationError as problem:
        raise error(f"{path}: {first_problem(problem, model)}") from None


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else problem


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem of a validation in one line: key, value and what is allowed."""
    problems = error.errors(include_url=False)
    problem = problems[0]
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if problem["type"] == "missing":
        return f"the key {key} is missing{more}"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}{_suggestion(location, model)}{more}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}{more}" if key else f"{message}{more}"
    value = repr(problem["input"])
    value = value if len(value) <= 60 else value[:57] + "..."
    return f"{key} = {value}: {_in_words(problem, message)}{more}"


def _in_words(problem: Mapping[str, Any], message: str) -> str:
    """Pydantic's message, or ours where its is about Python and not about the file."""
    context = problem.get("ctx", {})
    match problem["type"]:
        case "too_short":
            return f"give at least {context['min_length']} values"
        case "too_long":
            return f"give {context['max_length']} values"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "a group of keys must stand here"
        case "tuple_type":
            return "a list of numbers must stand here, e.g. [0.0, 1.0]"
        case "string_pattern_mismatch":
            return "use a letter, then letters, digits and underscores"
    return f"{message[0].lower()}{message[1:]}"


def _suggestion(location: list[str], outermost: type[BaseModel]) -> str:
    model: Any = outermost
    for part in location[:-1]:
        field = model.model_fields.get(part)
        model = field.annotation if field else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return ""
    allowed = list(model.model_fields)
    close = difflib.get_close_matches(location[-1], allowed, n=1)
    return f": did you mean {close[0]}?" if close else f"; allowed here: {', '.join(allowed)}"
