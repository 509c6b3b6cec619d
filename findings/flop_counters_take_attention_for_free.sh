#!/usr/bin/env bash
# What one would guess: a counter of FLOPs may forget a rare layer, but not attention, and it gives one number for
# one computation, however it is written; PyTorch's own counter sees every operation that runs.
#
# What happens: with F.scaled_dot_product_attention on a CPU all five ways of counting (thop, fvcore, ptflops with
# both backends, torch.utils.flop_counter) give the two matrix products as 0. Written out with @ and
# softmax, the same numbers cost 65,536 multiply-adds, more than all of the linear layer, and three of the five then
# see them. PyTorch's counter sees them also when dropout is on, since another kernel runs then. And a whole
# TransformerEncoderLayer, with its linear layers, counts as 0 in eval mode under no_grad, where one fused kernel
# runs: the network that is measured for deployment is the one that counts nothing.
#
# Versions: torch 2.13.0, thop 0.1.1.post2209072238, fvcore 0.1.5.post20221221, ptflops 0.7.5.
#
# Why it matters: a search with FLOPs as an objective, or a predictor of latency with FLOPs as its input, finds
# that attention is free and fills networks with it; networks whose code writes it out can't be compared.
#
# What to do instead: count on the exported ONNX graph, where attention is MatMul nodes below opset 23, or set
# torch.nn.attention.sdpa_kernel(SDPBackend.MATH) around the count and stay in train mode without dropout.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 thop==0.1.1.post2209072238 fvcore==0.1.5.post20221221 ptflops==0.7.5 numpy==2.4.6
cat > "$work/try.py" <<'PY'
import contextlib
import io
import logging
import sys
import warnings
from importlib.metadata import version

import thop
import torch
from fvcore.nn import FlopCountAnalysis
from ptflops import get_model_complexity_info
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
print("versions:", {name: version(name) for name in ("torch", "thop", "fvcore", "ptflops")})
torch.manual_seed(0)
tokens = torch.randn(1, 2, 32, 16)


class Attention(nn.Module):
    def __init__(self, fused):
        super().__init__()
        self.project = nn.Linear(16, 48, bias=False)
        self.fused = fused

    def forward(self, x):
        query, key, value = self.project(x).chunk(3, -1)
        if self.fused:
            return functional.scaled_dot_product_attention(query, key, value)
        return torch.softmax(query @ key.transpose(-1, -2) / 4, -1) @ value


def count_by_torch(run):
    """Multiply-adds: the counter gives two operations for each."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


def count(fused):
    def ptflops(backend):
        with contextlib.redirect_stdout(io.StringIO()):
            found = get_model_complexity_info(
                Attention(fused).eval(), (2, 32, 16), as_strings=False, print_per_layer_stat=False, backend=backend
            )
        return int(found[0])

    network = Attention(fused).eval()
    return {
        "thop": int(thop.profile(Attention(fused).eval(), (tokens,), verbose=False)[0]),
        "fvcore": int(FlopCountAnalysis(network, tokens).total()),
        "ptflops pytorch": ptflops("pytorch"),
        "ptflops aten": ptflops("aten"),
        "torch": count_by_torch(lambda: network(tokens)),
    }


fused, written = Attention(True).eval(), Attention(False).eval()
written.load_state_dict(fused.state_dict())
print("the two ways of writing give the same:", torch.allclose(fused(tokens), written(tokens), atol=1e-5))
linear, products = 2 * 32 * 16 * 48, 2 * 2 * 32 * 32 * 16
print(f"multiply-adds by hand: linear layer {linear}, attention {products}")
seen = {"fused": count(True), "written out": count(False)}
for way, counts in seen.items():
    print(f"   {way:11}: {counts}")

query = torch.randn(1, 2, 32, 16)
attend = functional.scaled_dot_product_attention
layer = nn.TransformerEncoderLayer(16, 4, 64, dropout=0.0, batch_first=True)
sequence = torch.randn(1, 32, 16)
seen["dropout"] = count_by_torch(lambda: attend(query, query, query, dropout_p=0.1))
with sdpa_kernel(SDPBackend.MATH):
    seen["math"] = count_by_torch(lambda: attend(query, query, query))
layer.eval()
with torch.no_grad():
    seen["layer in eval mode"] = count_by_torch(lambda: layer(sequence))
print(f"torch's counter: attention with dropout {seen['dropout']}, with the MATH kernel {seen['math']},")
print(f"   a whole encoder layer in eval mode under no_grad {seen['layer in eval mode']}")

expected = {
    "fused": dict.fromkeys(seen["fused"], linear),
    "written out": {
        "thop": linear,
        "fvcore": linear + products,
        "ptflops pytorch": linear,
        "torch": linear + products,
    },
    "dropout": products,
    "math": products,
    "layer in eval mode": 0,
}
aten = seen["written out"].pop("ptflops aten")
if seen != expected or not linear + products <= aten < linear + 1.1 * products:
    sys.exit(f"CHANGED: {seen}, {aten}, expected {expected}")
print("AS DESCRIBED: no counter sees the fused attention on a CPU")
PY
"$work/venv/bin/python" "$work/try.py"
