#!/usr/bin/env bash
# What one would guess: suggest_categorical("bias", [1, True]) or [0, False, None] either has as many choices as
# the list, or is refused; and what the objective was given is what the study stores.
#
# What happens: Optuna accepts the list and hands both values to the objective, but finds the stored index by
# ==, so the study keeps the first equal choice: a trial that trained with True is stored with 1. Half of
# the results belong to another network than the study says. enqueue_trial({"c": True}) runs True and stores 1. And
# BruteForceSampler, which stops by itself after all choices, never sees the later one as tried: it goes on to
# whatever n_trials says (with ["1", 1], which differ, it stops after two).
#
# Versions: optuna 5.0.0.
#
# Why it matters: "off, or a width" is written as [False, 0.25, 0.5] and also as [0, False, ...] or [1, True]
# (bias, batch norm, squeeze and excite with one group). The best trial can't be trained again from its params.
#
# What to do instead: use strings for kinds ("off", "0.25") or None for "off", and check that the choices differ
# by == as well.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check optuna==5.0.0
cat > "$work/try.py" <<'PY'
import sys
import warnings
from importlib.metadata import version

import optuna

warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)

optuna.logging.set_verbosity(optuna.logging.ERROR)
print("versions:", {"optuna": version("optuna")})


def search(choices, sampler, n_trials, enqueue=None):
    study = optuna.create_study(sampler=sampler)
    if enqueue is not None:
        study.enqueue_trial({"c": enqueue})
    given = []

    def objective(trial):
        given.append(trial.suggest_categorical("c", choices))
        return 0.0

    study.optimize(objective, n_trials=n_trials)
    stored = [trial.params["c"] for trial in study.trials]
    return given, stored


def show(values):
    return sorted({repr(value) for value in values})


seen = {}
for choices in ([1, True], [0, False, None]):
    given, stored = search(choices, optuna.samplers.RandomSampler(seed=1), 40)
    differ = sum(repr(a) != repr(b) for a, b in zip(given, stored, strict=True))
    seen[str(choices)] = (show(given), show(stored), differ > 0)
    print(f"{choices}: the objective was given {show(given)}, the study stores {show(stored)};")
    print(f"   {differ} of 40 trials are stored with another value than they ran with")
given, stored = search([1, True], optuna.samplers.RandomSampler(seed=1), 1, enqueue=True)
seen["enqueued"] = (repr(given[0]), repr(stored[0]))
print(f"enqueue_trial of True runs with {given[0]!r} and stores {stored[0]!r}")
for choices in ([1, True], ["1", 1]):
    _, stored = search(choices, optuna.samplers.BruteForceSampler(seed=1), 25)
    seen[f"brute {choices}"] = len(stored)
    print(f"BruteForceSampler over {choices} with n_trials=25 stops after {len(stored)}")

expected = {
    "[1, True]": (["1", "True"], ["1"], True),
    "[0, False, None]": (["0", "False", "None"], ["0", "None"], True),
    "enqueued": ("True", "1"),
    "brute [1, True]": 25,
    "brute ['1', 1]": 2,
}
if seen != expected:
    sys.exit(f"CHANGED: {seen}, expected {expected}")
print("AS DESCRIBED: equal choices are accepted, run, and stored as the first of them")
PY
"$work/venv/bin/python" "$work/try.py"
