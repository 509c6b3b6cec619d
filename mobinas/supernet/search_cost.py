"""What each method cost and found in the benchmark whose results ship with the package."""

import json
import statistics
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def _record() -> dict[str, Any]:
    record: dict[str, Any] = json.loads(files("mobinas.supernet").joinpath("search_cost.json").read_text())
    return record


def figures() -> dict[str, str]:
    """By method, one line: seconds of a search, peak memory, accuracy of the cell that it found."""
    lines = {}
    for name, searches in _record()["searches"].items():
        seconds = statistics.median(one["seconds"] for one in searches)
        peak_gb = max(one["peak_gb"] for one in searches)
        accuracy = statistics.mean(one["accuracy"] for one in searches)
        lines[name] = f"measured: {seconds:.0f} s a search, {peak_gb:.2f} GB, found {accuracy:.1%}"
    return lines


def measured_where() -> str:
    """Where the figures come from."""
    record = _record()
    return f"Measured by {record['made_by']} (scikit-learn's digits) on {record['machine']}."
