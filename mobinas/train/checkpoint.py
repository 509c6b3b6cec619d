"""States of a training on disk: whole or absent, and never those of another training."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from mobinas.content import is_our_state
from mobinas.errors import TrainingError
from mobinas.files import check_ours, write_atomic
from mobinas.train.splits import Part


def save_state(path: Path, identity: Mapping[str, str], state: Mapping[str, Any]) -> None:
    """Writes tensors and plain data in one step.

    Raises:
        RunFolderError: The file cannot be written, or what lies there is no such state; it stays.
    """
    buffer = io.BytesIO()
    torch.save({"identity": dict(identity), "state": dict(state)}, buffer)
    write_atomic(path, buffer.getvalue(), is_our_state)


def load_state(path: Path, identity: Mapping[str, str]) -> dict[str, Any] | None:
    """Reads what `save_state` wrote.

    Args:
        path: The file.
        identity: Must equal the one saved.

    Returns:
        The state; None where the file is missing or torn.

    Raises:
        TrainingError: The state is of another training; the text names what differs.
        RunFolderError: The file is something else.
    """
    check_ours(path, is_our_state, "a saved state")
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
        found, state = data["identity"], data["state"]
    except (OSError, EOFError, RuntimeError, UnpicklingError, KeyError, ValueError, TypeError):
        return None
    for key, wanted in identity.items():
        if found.get(key) != wanted:
            raise TrainingError(
                f"checkpoint {path} is of another {key} ({found.get(key)} instead of {wanted}); "
                "choose another folder"
            )
    return dict(state)


def identity_of(what: object, settings: object, seed: int, *parts: Part) -> dict[str, str]:
    """What a checkpoint must have in common with the training that goes on from it."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.labels.cpu().numpy().tobytes())
    data = f"{[len(part) for part in parts]} {sha.hexdigest()[:8]}"
    return {"network": str(what), "settings": str(settings), "seed": str(seed), "data": data}
