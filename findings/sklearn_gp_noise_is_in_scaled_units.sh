#!/usr/bin/env bash
# What one would guess: GaussianProcessRegressor(alpha=noise, normalize_y=True) takes alpha as the variance
# of the measurements in their own unit, ms**2 here, as its documentation of alpha says; normalize_y is a matter of
# numerics, which is undone in the predictions and so needs no change of alpha.
#
# What happens: y is divided by its standard deviation, alpha is not divided by its square. So alpha counts in
# units of the variance of y: latencies from 60 to 140 ms, repeated with a standard deviation of 2 ms, are
# treated as if they had one of 54 ms. The curve is flattened towards the mean, off by 19 ms at a point
# where the same process, scaled by hand, is off by 0.3 ms. An array of alphas, one for each network, is
# taken the same way. Measured in seconds instead of ms, the same data give the opposite: noise is ignored.
#
# Versions: scikit-learn 1.9.1, numpy 2.4.6.
#
# Why it matters: a predictor of latency is given the spread of its repeated measurements as alpha, and normalize_y
# because latencies are not around 0. The unit then decides the result, without a word.
#
# What to do instead: pass alpha=variance / y.std()**2 with normalize_y=True, or scale y and the noise together
# before; a WhiteKernel is in scaled units as well.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
cat > "$work/try.py" <<'PY'
import sys
from importlib.metadata import version

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

print("versions:", {name: version(name) for name in ("scikit-learn", "numpy")})
width = np.linspace(0, 1, 8)[:, None]
curve = lambda x: 100 + 40 * np.sin(6 * x)
latency_ms = curve(width[:, 0])
noise_ms = 2.0
asked = [[0.4]]


def predict(alpha, y, normalize_y):
    process = GaussianProcessRegressor(RBF(0.2), alpha=alpha, normalize_y=normalize_y, optimizer=None)
    mean, spread = process.fit(width, y).predict(asked, return_std=True)
    return float(mean[0]), float(spread[0])


spread_ms = latency_ms.std()
guess = predict(noise_ms**2, latency_ms, True)
array = predict(np.full(8, noise_ms**2), latency_ms, True)
scaled = predict(noise_ms**2 / spread_ms**2, (latency_ms - latency_ms.mean()) / spread_ms, False)
by_hand = scaled[0] * spread_ms + latency_ms.mean(), scaled[1] * spread_ms
divided = predict(noise_ms**2 / spread_ms**2, latency_ms, True)
in_s = predict((noise_ms / 1000) ** 2, latency_ms / 1000, True)
true = float(curve(0.4))
print(f"true latency {true:.1f} ms; the latencies spread by {spread_ms:.1f} ms, the noise is {noise_ms} ms")
for name, (mean, spread) in {
    "alpha = noise**2, normalize_y": guess,
    "the same as an array": array,
    "scaled by hand": by_hand,
    "alpha = noise**2 / y.std()**2, normalize_y": divided,
    "alpha = noise**2, in seconds": (in_s[0] * 1000, in_s[1] * 1000),
}.items():
    print(f"   {name:43}: {mean:6.1f} ms, standard deviation {spread:6.3f} ms, off by {abs(mean - true):4.1f} ms")

flat = abs(guess[0] - true) > 15 and np.allclose(guess, array) and abs(by_hand[0] - true) < 1
same = np.allclose(by_hand, divided) and in_s[1] * 1000 < by_hand[1] / 4
if not (flat and same):
    sys.exit("CHANGED: alpha no longer counts in units of the scaled target")
print("AS DESCRIBED: with normalize_y=True alpha counts in units of the variance of y, not in ms**2")
PY
"$work/venv/bin/python" "$work/try.py"
