#!/usr/bin/env bash
# What one would guess: a point of which one objective is NaN (accuracy measured, latency not) is worse than, or not
# comparable with, a measured one: it can't push a measured point off the Pareto front; and all tools agree.
#
# What happens: "dominated" is tested as "better somewhere and worse nowhere", and NaN is never worse. So in moocore
# and in pymoo the point (NaN, 1) dominates (2, 2): the measured one leaves the front, the unmeasured one
# stays. A point of which nothing but a small first number is known, (1, NaN), drives off every
# point with a larger one. The hypervolume of both libraries passes over the NaN point without a word, so the
# front and its own hypervolume speak of different points. Optuna refuses NaN when a trial is told.
#
# Versions: moocore 0.3.2, pymoo 0.6.2, optuna 5.0.0, numpy 2.4.6.
#
# Why it matters: results of searches are merged from tables, where a failed measurement is NaN. One failure
# can delete the best measured network from the front that is shipped.
#
# What to do instead: drop rows with NaN before asking for a front, or put +inf (for minimised values) there: with
# +inf all of them keep the measured points.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    moocore==0.3.2 pymoo==0.6.2 optuna==5.0.0 numpy==2.4.6
cat > "$work/try.py" <<'PY'
import sys
from importlib.metadata import version

import moocore
import numpy as np
import optuna
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

optuna.logging.set_verbosity(optuna.logging.CRITICAL)
print("versions:", {name: version(name) for name in ("moocore", "pymoo", "optuna", "numpy")})
reference = np.array([10.0, 10.0])


def find_fronts(points):
    by_moocore = np.flatnonzero(moocore.is_nondominated(points)).tolist()
    by_pymoo = NonDominatedSorting().do(points, only_non_dominated_front=True).tolist()
    return by_moocore, sorted(by_pymoo)


seen = {}
for name, bad in {"nan": np.nan, "inf": np.inf}.items():
    points = np.array([[bad, 1.0], [2.0, 2.0], [1.0, 3.0]])
    volumes = float(moocore.hypervolume(points, ref=reference)), float(HV(ref_point=reference)(points))
    seen[name] = (*find_fronts(points), *volumes)
    print(f"minimise {points.tolist()}: front by moocore {seen[name][0]}, by pymoo {seen[name][1]};")
    print(f"   hypervolume {volumes[0]} and {volumes[1]}")
measured = float(moocore.hypervolume(np.array([[2.0, 2.0], [1.0, 3.0]]), ref=reference))
print(f"   hypervolume of the two measured points alone: {measured}")
seen["unknown second"] = find_fronts(np.array([[1.0, np.nan], [2.0, 2.0], [3.0, 1.0]]))
print("minimise [[1, nan], [2, 2], [3, 1]]: fronts", seen["unknown second"])

study = optuna.create_study(directions=["minimize", "minimize"])
study.optimize(lambda trial: (float("nan"), 1.0), n_trials=1)
seen["optuna"] = study.trials[0].state.name
print("the same as an Optuna trial is", seen["optuna"])

expected = {
    "nan": ([0], [0], measured, measured),
    "inf": ([0, 1, 2], [0, 1, 2], measured, measured),
    "unknown second": ([0], [0]),
    "optuna": "FAIL",
}
if seen != expected:
    sys.exit(f"CHANGED: {seen}, expected {expected}")
print("AS DESCRIBED: a point with NaN removes measured points from the front")
PY
"$work/venv/bin/python" "$work/try.py"
