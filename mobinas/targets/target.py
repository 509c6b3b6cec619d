"""A target: under which settings a model is timed. It holds settings only, never results."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from mobinas.errors import TargetError, did_you_mean
from mobinas.files import read_text
from mobinas.targets import FAKE_PROVIDER
from mobinas.toml_text import toml_lines

GraphOptimisation = Literal["none", "basic", "extended", "all"]
Statistic = Literal["median", "minimum"]

_MAX_COUNT = 4096


@dataclass(frozen=True, slots=True)
class Target:
    """Settings for timing a model; precision and opset belong to the model's file instead.

    Attributes:
        name: A label; part of the fingerprint, so that two devices with equal settings stay apart.
        provider: An onnxruntime execution provider, or ``fake`` for latencies computed without a clock.
        threads: Threads within an operator.
        batch: Images per inference; a latency is that of the whole batch.
        graph_optimisation: onnxruntime's level.
        affinity: CPU numbers that the measuring process is bound to; empty for no binding.
        statistic: What stands for a block of samples: its median, or its minimum.
        ssh: Where models run, as ssh names it (``user@host``, or a Host of its configuration); empty for this
            machine.
        python: The Python there, which must have onnxruntime.

    Raises:
        TargetError: A value breaks a rule; the text names both.
    """

    name: str = "local"
    provider: str = "CPUExecutionProvider"
    threads: int = 1
    batch: int = 1
    graph_optimisation: GraphOptimisation = "all"
    affinity: tuple[int, ...] = ()
    statistic: Statistic = "median"
    ssh: str = ""
    python: str = "python3"

    def __post_init__(self) -> None:
        for key in ("name", "provider", "python"):
            text = getattr(self, key)
            if not isinstance(text, str) or not text.strip():
                raise TargetError(f"{key} is {text!r}; a target needs a {key} of at least one letter")
        if not isinstance(self.ssh, str) or self.ssh.startswith("-") or any(map(str.isspace, self.ssh)):
            raise TargetError(f"ssh is {self.ssh!r}; it must be a host or user@host, as ssh takes it")
        for key in ("threads", "batch"):
            count = getattr(self, key)
            if type(count) is not int or not 1 <= count <= _MAX_COUNT:
                raise TargetError(f"{key} is {count!r}; it must be a whole number from 1 to {_MAX_COUNT}")
        for key, choices in (("graph_optimisation", GraphOptimisation), ("statistic", Statistic)):
            value, known = getattr(self, key), get_args(choices)
            if value not in known:
                raise TargetError(f"{key} is {value!r}{did_you_mean(str(value), known)}")
        cpus = self.affinity
        if not isinstance(cpus, tuple) or not all(type(cpu) is int and cpu >= 0 for cpu in cpus):
            raise TargetError(f"affinity is {cpus!r}; it must list CPU numbers such as [0, 1]")
        if len(set(cpus)) != len(cpus):
            raise TargetError(f"affinity {list(cpus)} names a CPU twice; name each once")

    @classmethod
    def local(cls, threads: int = 1) -> "Target":
        """This machine's CPU."""
        return cls(threads=threads)

    @classmethod
    def fake(cls) -> "Target":
        """No device: latencies are computed from the model's structure, the same everywhere."""
        return cls(name="fake", provider=FAKE_PROVIDER)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that differ whenever a setting does; the way to the device is none."""
        settings = {key: value for key, value in self.to_json().items() if key not in ("ssh", "python")}
        spelling = json.dumps(settings, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(spelling.encode()).hexdigest()[:16]

    def stand_in(self) -> "Target":
        """What runs a file here where only its answers matter: itself, or the CPU for another machine."""
        return Target(name=self.name, batch=self.batch) if self.ssh else self

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to an equal target."""
        return {**asdict(self), "affinity": list(self.affinity)}

    @classmethod
    def from_json(cls, data: Any) -> "Target":
        """Reads what `to_json` wrote; settings left out take their defaults.

        Raises:
            TargetError: Not a table, an unknown setting, or a value that breaks a rule.
        """
        if not isinstance(data, Mapping):
            raise TargetError(f"a target is a table of settings, not {type(data).__name__}")
        known = [field.name for field in fields(cls)]
        for key in data:
            if key not in known:
                raise TargetError(f"unknown target setting '{key}'{did_you_mean(str(key), known)}")
        settings = dict(data)
        if isinstance(settings.get("affinity"), list):
            settings["affinity"] = tuple(settings["affinity"])
        return cls(**settings)

    def to_toml(self) -> str:
        """A file that `load` reads back to an equal target."""
        return "".join(f"{line}\n" for line in toml_lines(self.to_json()))

    @classmethod
    def load(cls, path: Path) -> "Target":
        """Reads a target from a TOML file; without a ``name`` in it, the file's own name is taken.

        Raises:
            TargetError: The file is missing, not TOML, or breaks a rule; the text names the file.
        """
        try:
            data = tomllib.loads(read_text(path))
        except OSError as error:
            raise TargetError(f"cannot read target file {path}: {error.strerror}") from error
        except ValueError as error:  # also text that is not UTF-8
            raise TargetError(f"target file {path} is not valid TOML: {error}") from error
        try:
            return cls.from_json({"name": path.stem, **data})
        except TargetError as error:
            raise TargetError(f"target file {path}: {error}") from error
