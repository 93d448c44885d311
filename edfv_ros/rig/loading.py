"""Read a rig file, or say in one line what is wrong with it."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from edfv_ros.errors import RigError
from edfv_ros.rig.model import Rig


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML keeps the last of two equal keys; a rig file with a key given twice is a mistake."""

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


def load_rig(path: str | Path) -> Rig:
    """Load and validate a rig file.

    Raises:
        RigError: the file is missing, is not YAML, or describes an impossible rig; the message names file, key,
            value and what is allowed.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RigError(f"{path}: no such rig file; write one after config/rig.yaml") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RigError(f"{path}: cannot read this rig file: {reason}") from None
    try:
        data = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise RigError(f"{path}: not valid YAML: {_yaml_problem(error)}") from None
    except RecursionError:
        raise RigError(f"{path}: not a rig file: it is nested too deeply") from None
    except ValueError as error:  # e.g. an impossible date
        raise RigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise RigError(f"{path}: a rig file is a mapping with the keys {', '.join(Rig.model_fields)}")
    try:
        return Rig.model_validate(data)
    except ValidationError as error:
        raise RigError(f"{path}: {_first_problem(error)}") from None


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else problem


def _first_problem(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    problem = problems[0]
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if problem["type"] == "missing":
        return f"the key {key} is missing{more}"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}{_suggestion(location)}{more}"
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


def _suggestion(location: list[str]) -> str:
    model: Any = Rig
    for part in location[:-1]:
        field = model.model_fields.get(part)
        model = field.annotation if field else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return ""
    allowed = list(model.model_fields)
    close = difflib.get_close_matches(location[-1], allowed, n=1)
    return f": did you mean {close[0]}?" if close else f"; allowed here: {', '.join(allowed)}"
