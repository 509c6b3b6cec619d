"""The energy of a stretch of work, from the counters of the processor packages (Linux, intel-rapl)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from mobinas.targets.resources import Reading, reading

_COUNTERS = Path("/sys/class/powercap")
# Counters move about once a millisecond.
_LEAST_S = 0.1


def energy_of(run: Callable[[int], object], once_s: float, counters: Path = _COUNTERS) -> Reading:
    """Joules per inference, of all processor packages as a whole.

    Args:
        run: Runs that many inferences.
        once_s: Seconds of one of them, roughly.
        counters: Where the system shows its counters.
    """
    # Parts of a package, such as its cores, have names with a second number.
    packages = [path for path in sorted(counters.glob("intel-rapl:*")) if path.name.count(":") == 1]
    if not packages:
        return Reading(None, "this system shows no energy counters (intel-rapl)")
    runs = max(1, math.ceil(_LEAST_S / once_s))
    try:
        before_uj = [_number(path / "energy_uj") for path in packages]
        run(runs)
        after_uj = [_number(path / "energy_uj") for path in packages]
        ranges_uj = [_number(path / "max_energy_range_uj") for path in packages]
    except PermissionError:
        return Reading(None, f"the energy counters in {counters} may be read by the administrator alone")
    except (OSError, ValueError) as error:
        return Reading(None, f"the energy counters in {counters} cannot be read: {error}")
    used_uj = sum(
        after - before if after >= before else after - before + most
        for before, after, most in zip(before_uj, after_uj, ranges_uj)
    )
    return reading(1e-6 * used_uj / runs)


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))
