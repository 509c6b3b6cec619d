"""Where a job's images, target and genotypes lie: which texts are paths, and which of them are the same."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mobinas.arch.genotype import published_names
from mobinas.functions import is_function_name
from mobinas.targets.registry import is_target_name

Place = Callable[[str, Path], str]


def place_of_data(spec: str, base: Path) -> str:
    """As `load_data` takes it, with an absolute path; names of data sets and of modules stay.

    Args:
        spec: As the user gives it.
        base: The folder from which paths go; where nothing lies there, they go from the working directory.
    """
    if script := _script_of(spec):
        return _absolute(script, base) + spec[len(script) :]
    if not spec or "://" in spec or is_function_name(spec):
        return spec
    if _is_spelled_as_path(spec) or spec.endswith(".npz"):
        return _absolute(spec, base)
    return _absolute(spec, base) if _exists(spec, base) and not _is_data_name(spec) else spec


def place_of_target(spec: str, base: Path) -> str:
    """As `find_target` takes it, with an absolute path; names of targets stay."""
    if not spec or is_target_name(spec):
        return spec
    is_path = spec.endswith(".toml") or _is_spelled_as_path(spec) or _exists(spec, base)
    return _absolute(spec, base) if is_path else spec


def place_of_genotype(spec: str, base: Path) -> str:
    """A genotype's file with an absolute path; published names stay."""
    is_path = spec.endswith(".json") or _is_spelled_as_path(spec)
    if not is_path and (not spec or spec in published_names()):
        return spec
    return _absolute(spec, base) if is_path or _exists(spec, base) else spec


def is_same_place(old: Any, new: Any) -> bool:
    """Whether two places, already absolute where they are paths, are one; or the old one is gone.

    What is gone may have been moved; that it is the same, its content tells, which a run checks anyway.
    """
    if not isinstance(old, str) or not isinstance(new, str):
        return bool(old == new)
    if old == new or os.path.realpath(_script_of(old) or old) == os.path.realpath(_script_of(new) or new):
        return old.rpartition(":")[2] == new.rpartition(":")[2] or not _script_of(new)
    gone = not Path(_script_of(old) or old).exists() and not is_target_name(old)
    return gone and Path(new).is_absolute() and not is_function_name(old) and not _is_data_name(old)


def portable(place: str, folder: Path) -> str:
    """A place as a file in this folder names it: relative where both lie in the working directory.

    So it stays right when the whole project is moved.
    """
    path = Path(place)
    here, home = Path.cwd().resolve(), folder.resolve()
    if not path.is_absolute() or not path.is_relative_to(here) or not home.is_relative_to(here):
        return place
    relative = os.path.relpath(path, home)
    return f".{os.sep}{relative}" if os.sep not in relative and _is_data_name(relative) else relative


def short(place: str) -> str:
    """For titles: without the folders above."""
    return Path(place).name if Path(place).is_absolute() else place


def _script_of(spec: str) -> str:
    """The file of ``path/file.py:function``."""
    where, _, name = spec.rpartition(":")
    return where if where.endswith(".py") and name.isidentifier() else ""


def _is_spelled_as_path(spec: str) -> bool:
    return "/" in spec or os.sep in spec or spec.startswith("~") or spec in (".", "..")


def _exists(spec: str, base: Path) -> bool:
    return (base / spec).exists() or Path(spec).exists()


def _absolute(spec: str, base: Path) -> str:
    path = Path(spec).expanduser()
    if not (base / path).exists() and path.exists():
        base = Path.cwd()
    found = base / path
    # Above its last part, links are followed: a/../photos is beside what a links to. The last one keeps its
    # name, which is the run's.
    if found.name in ("", ".."):
        return os.path.realpath(found)
    return str(Path(os.path.realpath(found.parent)) / found.name)


def _is_data_name(spec: str) -> bool:
    # Loads torch, which the command line must not.
    from mobinas.train.adapters import ADAPTERS

    return any(spec in adapter.names for adapter in ADAPTERS)
