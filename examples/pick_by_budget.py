"""The main job from Python, and the choice of a model for a latency budget."""

import sys

from mobinas import load_config, load_front, run

if __name__ == "__main__":
    directory = sys.argv[1] if len(sys.argv) > 1 else "runs/smoke"
    run(load_config("smoke", {"seed": 1}), directory)
    front = load_front(directory)
    for row in front.rows:
        print(f"{row.name:<26} {row.test_accuracy:6.1%} {row.latency_ms:8.3f} ms")
    slowest_ms = max(row.latency_ms for row in front.rows)
    chosen = front.pick(max_latency_ms=slowest_ms)
    print("most accurate within", f"{slowest_ms:.3f} ms:", front.directory / chosen.onnx)
