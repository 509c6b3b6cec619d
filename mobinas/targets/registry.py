"""Targets that a user has named: one folder each, with its settings and all that was measured on it.

They lie in ``~/.mobinas/targets``, or where the environment variable MOBINAS_HOME says.
"""

import os
import re
from pathlib import Path

from mobinas.errors import TargetError, did_you_mean
from mobinas.files import write_atomic
from mobinas.targets.target import Target

_HOME_VARIABLE = "MOBINAS_HOME"
_SETTINGS = "target.toml"
_BUILT_IN = {"local": Target.local, "fake": Target.fake}


def folder_of(name: str) -> Path:
    """Where settings, measurements and predictor of a named target lie.

    Raises:
        TargetError: A name that is no plain folder name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise TargetError(
            f"target name '{name}' must be letters, digits, '.', '_' and '-', a letter or digit first"
        )
    return _targets() / name


def known_targets() -> dict[str, Target]:
    """The built-in targets and those added, by name.

    Raises:
        TargetError: The file of one is broken; the text names it.
    """
    added = sorted(_targets().glob(f"*/{_SETTINGS}"))
    return {name: make() for name, make in _BUILT_IN.items()} | {
        path.parent.name: Target.load(path) for path in added
    }


def add_target(target: Target) -> Path:
    """Names a target; its file may be edited later.

    Returns:
        The file of its settings.

    Raises:
        TargetError: The name is taken, or no plain folder name.
        RunFolderError: The file cannot be written.
    """
    path = folder_of(target.name) / _SETTINGS
    if target.name in _BUILT_IN or path.exists():
        where = "built in" if target.name in _BUILT_IN else f"in {path}"
        raise TargetError(f"there is a target '{target.name}' already ({where}); choose another name")
    write_atomic(path, target.to_toml())
    return path


def find_target(spec: str) -> Target:
    """Resolves how a user names a target.

    Args:
        spec: ``local``, ``fake``, a name given to `add_target`, or the path of a TOML file.

    Raises:
        TargetError: Neither a known name nor a readable file.
    """
    if spec in _BUILT_IN:
        return _BUILT_IN[spec]()
    if spec.endswith(".toml") or Path(spec).is_file():
        return Target.load(Path(spec))
    known = [*_BUILT_IN, *(path.parent.name for path in _targets().glob(f"*/{_SETTINGS}"))]
    if spec in known:
        return Target.load(folder_of(spec) / _SETTINGS)
    raise TargetError(
        f"unknown target '{spec}'{did_you_mean(spec, known)}; or give the path of a .toml file, "
        "or name one with 'mobinas target add'"
    )


def _targets() -> Path:
    home = os.environ.get(_HOME_VARIABLE)
    return (Path(home) if home else Path.home() / ".mobinas") / "targets"
