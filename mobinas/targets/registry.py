"""Targets that a user has named: one folder each, with its settings and what its profile measured.

They lie in ``~/.mobinas/targets``, or where the environment variable MOBINAS_HOME says.
"""

import os
import re
from pathlib import Path

from mobinas.errors import TargetError, did_you_mean
from mobinas.files import is_leftover, write_atomic
from mobinas.targets.target import Target

_HOME_VARIABLE = "MOBINAS_HOME"
_SETTINGS = "target.toml"
_BUILT_IN = {"local": Target.local, "fake": Target.fake}


def folder_of(name: str) -> Path:
    """Where settings, measurements and predictor of a named target lie.

    Raises:
        TargetError: A name that is no plain folder name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name.endswith(".toml"):
        raise TargetError(
            f"target name '{name}' must be of letters, digits, '.', '_' and '-', a letter or digit first, "
            "and must not end in .toml"
        )
    return _targets() / name


def known_targets() -> dict[str, Target]:
    """The built-in targets and those added, by name.

    Raises:
        TargetError: The file of one is broken; the text names it.
    """
    return {name: locate(name)[0] for name in _names()}


def add_target(target: Target) -> Path:
    """Names a target; its file may be edited later.

    Returns:
        The file of its settings.

    Raises:
        TargetError: The name is taken, or no plain folder name, or its folder holds something else.
        RunFolderError: The file cannot be written.
    """
    folder = folder_of(target.name)
    path = folder / _SETTINGS
    if target.name in _BUILT_IN or os.path.lexists(path):
        where = "built in" if target.name in _BUILT_IN else f"in {path}"
        raise TargetError(f"there is a target '{target.name}' already ({where}); choose another name")
    if os.path.lexists(folder) and not folder.is_dir():
        raise TargetError(f"{folder} is no folder; choose another name, or another {_HOME_VARIABLE}")
    others = [one.name for one in folder.iterdir() if not is_leftover(one)] if folder.is_dir() else []
    if others:
        raise TargetError(
            f"{folder} holds something other than a target ({min(others)}); choose another name, or another "
            f"{_HOME_VARIABLE}"
        )
    write_atomic(path, target.to_toml())
    return path


def locate(spec: str) -> tuple[Target, Path]:
    """Resolves how a user names a target, and where its profile lies.

    Args:
        spec: ``local``, ``fake``, a name given to `add_target`, or the path of a TOML file; the profile of
            such a one lies beside it.

    Raises:
        TargetError: Neither a known name nor a readable file.
    """
    if spec in _BUILT_IN:
        return _BUILT_IN[spec](), folder_of(spec)
    if spec in _names():
        target = Target.load(folder_of(spec) / _SETTINGS)
        if target.name != spec:
            raise TargetError(f"{folder_of(spec) / _SETTINGS}: name is '{target.name}'; it must be '{spec}'")
        return target, folder_of(spec)
    if spec.endswith(".toml") or Path(spec).is_file():
        path = Path(spec)
        return Target.load(path), path.with_suffix(".profile")
    raise TargetError(
        f"unknown target '{spec}'{did_you_mean(spec, _names())}; or give the path of a .toml file, "
        "or name one with 'mobinas target add'"
    )


def find_target(spec: str) -> Target:
    """The target that `locate` finds."""
    return locate(spec)[0]


def is_target_name(spec: str) -> bool:
    """Whether this is the name of a target, built in or added."""
    return spec in _names()


def _names() -> list[str]:
    return [*_BUILT_IN, *sorted(path.parent.name for path in _targets().glob(f"*/{_SETTINGS}"))]


def _targets() -> Path:
    home = os.environ.get(_HOME_VARIABLE)
    return (Path(home) if home else Path.home() / ".mobinas") / "targets"
