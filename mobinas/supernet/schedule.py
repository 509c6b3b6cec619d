"""What both trainings of a supernet share: their identity and their learning rates."""

import math
from typing import Any

from mobinas.train.splits import Part


def identity_of(space: Any, settings: Any, seed: int, *parts: Part) -> dict[str, str]:
    """What a checkpoint must have in common with the training that goes on from it."""
    sizes = ", ".join(f"{len(part)} images, labels {int(part.labels.sum())}" for part in parts)
    return {"space": str(space), "settings": str(settings), "seed": str(seed), "data": sizes}


def cosine(start: float, end: float, step: float, steps: float) -> float:
    """Half a cosine from `start` at step 0 towards `end` at step `steps`."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(max(step, 0.0) / max(steps, 1.0), 1.0)))
