"""Spaces as plain data, for workers that build candidates from choices."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mobinas.arch.architecture import Task
from mobinas.arch.space import SearchSpace
from mobinas.arch.stage_space import StageSpace
from mobinas.errors import SearchError
from mobinas.search.choice_space import ChoiceSpace, Space


def space_to_json(space: Space[Any]) -> dict[str, Any]:
    """Plain data that `space_from_json` reads back to an equal space.

    Raises:
        SearchError: A space of another class than the three.
    """
    if isinstance(space, ChoiceSpace):
        return {"choices": [[name, _to_json(name, options)] for name, options in space.choices.items()]}
    if isinstance(space, SearchSpace):
        return {"cells": asdict(space)}
    if isinstance(space, StageSpace):
        return {"stages": space.to_json()}
    raise SearchError(
        f"workers cannot rebuild a {type(space).__name__}; use a ChoiceSpace, a SearchSpace or a StageSpace, "
        "or no workers"
    )


def space_from_json(data: Any) -> Space[Any]:
    """Reads what `space_to_json` wrote.

    Raises:
        SearchError: The data are not of that form.
    """
    try:
        if "choices" in data:
            return ChoiceSpace({name: tuple(map(_option, options)) for name, options in data["choices"]})
        if "stages" in data:
            return StageSpace.from_json(data["stages"])
        cells = data["cells"]
        return SearchSpace(
            Task(**cells["task"]),
            tuple(cells["resolutions"]),
            tuple(cells["depths"]),
            tuple(cells["widths"]),
            tuple(tuple(ops) for ops in cells["op_sets"]),
            cells["nodes"],
            cells["stem"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SearchError(f"the study's space cannot be read ({error}); was it written by mobinas?") from None


def _to_json(name: str, options: Sequence[Any]) -> list[Any]:
    """Options as JSON: plain data, lists, and tuples of these as ``{"tuple": [...]}``."""
    found: list[Any] = []
    for option in options:
        if isinstance(option, tuple) and not hasattr(option, "_fields"):
            found.append({"tuple": _to_json(name, option)})
        elif isinstance(option, list):
            found.append(_to_json(name, option))
        elif option is None or type(option) in (bool, int, float, str):
            found.append(option)
        else:
            raise SearchError(
                f"workers cannot be sent the option {option!r:.60} of choice '{name}'; "
                "let the options be names, numbers or tuples, or use no workers"
            )
    return found


def _option(data: Any) -> Any:
    if isinstance(data, dict):
        return tuple(map(_option, data["tuple"]))
    return list(map(_option, data)) if isinstance(data, list) else data
