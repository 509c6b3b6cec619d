#!/usr/bin/env bash
# What one would guess: ConfigurationSpace({"dropout": (0, 1.0)}) is a range of floats, as in every language where
# an integer and a float make a float; or a mixed pair is refused.
#
# What happens: the type of the first bound decides alone. (0, 1.0) is an integer range, so dropout is only
# ever 0 or 1; (0.0, 1) is a float range. The second bound is rounded to fit: (1, 4.7) goes up to 5, a value
# beyond the bound that was written, and (0, 0.9) goes up to 1. Only (0, 0.4), which rounds to an empty range, is
# refused. Nothing is said in the other cases.
#
# Versions: ConfigSpace 1.2.2, numpy 2.4.6.
#
# Why it matters: ConfigSpace describes the search spaces of SMAC and of many published benchmarks. A search over
# "label smoothing from 0 to 0.9" tries exactly 0 and 1 and reports that the setting does not help.
#
# What to do instead: write both bounds as floats, or use Float("dropout", (0, 1.0)) and Integer by name; print
# the space once before a search.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check ConfigSpace==1.2.2 numpy==2.4.6
cat > "$work/try.py" <<'PY'
import sys
from importlib.metadata import version

from ConfigSpace import ConfigurationSpace, Float

print("versions:", {name: version(name) for name in ("ConfigSpace", "numpy")})


def describe(bounds):
    try:
        space = ConfigurationSpace(seed=3, space={"value": bounds})
    except ValueError:
        return "refused"
    values = {configuration["value"] for configuration in space.sample_configuration(200)}
    kind = type(space["value"]).__name__.removesuffix("Hyperparameter")
    return kind, float(min(values)), float(max(values)), len(values)


print("bounds -> kind, smallest and largest of 200 samples, number of distinct values")
seen = {}
for bounds in ((0, 1.0), (0.0, 1), (0, 0.9), (1, 4.7), (0, 0.4)):
    seen[str(bounds)] = describe(bounds)
    print(f"{bounds!s:9} -> {seen[str(bounds)]}")
named = ConfigurationSpace(seed=3, space=[Float("value", (0, 1.0))])
print("Float by name:", type(named["value"]).__name__)

integers = {"(0, 1.0)": (0, 1, 2), "(0, 0.9)": (0, 1, 2), "(1, 4.7)": (1, 5, 5)}
same = all(seen[bounds] == ("UniformInteger", *rest) for bounds, rest in integers.items())
same &= seen["(0.0, 1)"][0] == "UniformFloat" and seen["(0.0, 1)"][3] > 150 and seen["(0, 0.4)"] == "refused"
if not (same and type(named["value"]).__name__ == "UniformFloatHyperparameter"):
    sys.exit(f"CHANGED: {seen}")
print("AS DESCRIBED: an integer as first bound makes an integer range and rounds the second bound")
PY
"$work/venv/bin/python" "$work/try.py"
