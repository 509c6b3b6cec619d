#!/usr/bin/env bash
# What one would guess: nn.AdaptiveAvgPool2d is exported to ONNX as one pooling node for every size of input, or the
# exporter refuses it; a network at 192 pixels has the graph of the same network at 224.
#
# What happens: torch.onnx.export with dynamo=True writes one AveragePool where the output divides the input, and
# up to dozens of nodes (GatherND, Gather, Where, Transpose and so on) where it does not: a map of 14 pixels to 7 is
# 1 node, 14 to 3 is 83 and 6 to 7 is 15, without a warning, and right to 1e-6. So it depends on the resolution of
# the pictures alone whether the last stage of a network (VGG and AlexNet have such pools) is a pool or a heap
# of gathers. The older exporter, dynamo=False, refuses the second kind with an error.
#
# Versions: torch 2.13.0, onnxscript 0.7.2, onnx 1.23.2, onnxruntime 1.32.0.
#
# Why it matters: in a search over resolutions latency jumps at sizes that FLOPs and parameters do not tell of, a
# predictor of latency learns a step that is the exporter's; quantisers and compilers for devices refuse GatherND.
#
# What to do instead: in spaces with a choice of resolution pool to 1, or to a divisor of every map; count the
# nodes of the exported graph, and warn if it depends on the resolution.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 onnxscript==0.7.2 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat > "$work/try.py" <<'PY'
import collections
import contextlib
import io
import logging
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
target = Path(sys.argv[1]) / "net.onnx"
print("versions:", {name: version(name) for name in ("torch", "onnxscript", "onnx", "onnxruntime")})
torch.manual_seed(0)


def export(size, output, dynamo=True):
    picture = torch.randn(1, 3, size, size)
    network = torch.nn.AdaptiveAvgPool2d(output).eval()
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(network, (picture,), target, dynamo=dynamo, verbose=False)
    session = ort.InferenceSession(target, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: picture.numpy()})[0]
    kinds = collections.Counter(node.op_type for node in onnx.load(target).graph.node)
    return kinds, float(np.abs(found - network(picture).numpy()).max())


nodes = {}
for size, output in ((14, 1), (14, 7), (7, 7), (14, 3), (6, 7)):
    kinds, gap = export(size, output)
    nodes[size, output] = sum(kinds.values())
    print(f"a map of {size} to {output}: {sum(kinds.values())} nodes, {dict(kinds.most_common(4))}, gap to PyTorch {gap:.0e}")
    if gap > 1e-5:
        sys.exit("CHANGED: the values differ")
try:
    export(14, 3, dynamo=False)
    older = "exported"
except Exception as error:
    older = "refused" if "not factor of input size" in str(error) else str(error)
print("14 to 3 by the older exporter:", older)

few = all(nodes[pair] <= 1 for pair in ((14, 1), (14, 7), (7, 7)))
if not (few and nodes[14, 3] > 20 and nodes[6, 7] > 10 and older == "refused"):
    sys.exit(f"CHANGED: {nodes}")
print("AS DESCRIBED: one node where the sizes divide, many where they do not")
PY
"$work/venv/bin/python" "$work/try.py" "$work"
