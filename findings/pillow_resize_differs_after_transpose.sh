#!/usr/bin/env bash
# What one would guess: to resize a square picture and to resize its transpose and turn it back is the same up to
# one grey level of rounding, since the filters are separable; and an 8-bit resize is the float one, rounded
# and clipped.
#
# What happens: Pillow resizes rows first and stores that half-done picture in 8 bits, clipped to 0..255, before
# it does the columns. BICUBIC and LANCZOS overshoot at edges, and what was clipped after the rows is missing
# for the columns. On black and white noise enlarged 3.5 times about half of the pixels differ by more than one
# level between the two orders, by up to 29 with BICUBIC and 55 with LANCZOS; mode "F" does not have it, nor
# BILINEAR, BOX and HAMMING, which do not overshoot. It happens when shrinking as well, by less.
#
# Versions: Pillow 13.0.0, numpy 2.4.6.
#
# Why it matters: small pictures (digits, icons, scans, masks as grey) are enlarged to a network's input. A resize
# inside the exported graph, in OpenCV or in float tensors, can't repeat these values, and flips by transposing
# or turning by 90 degrees before the resize are not the pictures that turning after it gives.
#
# What to do instead: resize with BILINEAR or BOX, or convert to mode "F" first, and clip once at the end; augment
# by turning after the resize; check a deployed preprocessing on real pictures with a tolerance.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check Pillow==13.0.0 numpy==2.4.6
cat > "$work/try.py" <<'PY'
import sys
from importlib.metadata import version

import numpy as np
from PIL import Image

print("versions:", {name: version(name) for name in ("Pillow", "numpy")})
turn = Image.Transpose.TRANSPOSE
pixels = (np.random.default_rng(5).integers(0, 2, (64, 64)) * 255).astype(np.uint8)


def compare(picture, side, method):
    rows_first = np.asarray(picture.resize((side, side), method), dtype=float)
    columns_first = np.asarray(picture.transpose(turn).resize((side, side), method).transpose(turn), dtype=float)
    gap = np.abs(rows_first - columns_first)
    return float(gap.max()), float((gap > 1).mean())


seen = {}
for side in (48, 224):
    for name in ("BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS"):
        method = Image.Resampling[name]
        grey = compare(Image.fromarray(pixels), side, method)
        exact = compare(Image.fromarray(pixels.astype(np.float32)), side, method)
        seen[side, name] = (grey, exact[0])
        print(f"64 -> {side} {name:8}: 8 bits differ by up to {grey[0]:3.0f} levels, {grey[1]:4.0%} by more than one;", end="")
        print(f" mode F by up to {exact[0]:.3f}")

kind = all(seen[side, name][0][0] <= 1 for side in (48, 224) for name in ("BOX", "BILINEAR", "HAMMING"))
exact = all(found[1] < 0.01 for found in seen.values())
harsh = seen[224, "LANCZOS"][0][0] >= 40 and seen[224, "BICUBIC"][0][0] >= 20 and seen[48, "LANCZOS"][0][0] >= 20
often = seen[224, "LANCZOS"][0][1] > 1 / 3 and seen[224, "BICUBIC"][0][1] > 1 / 3
if not (kind and exact and harsh and often):
    sys.exit(f"CHANGED: {seen}")
print("AS DESCRIBED: BICUBIC and LANCZOS on 8 bits depend on which axis is resized first")
PY
"$work/venv/bin/python" "$work/try.py"
