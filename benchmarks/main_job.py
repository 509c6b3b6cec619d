"""The embedded default over several seeds: time, memory, front size, latency span and test accuracy.

    python benchmarks/main_job.py --seeds 5

Each run is a fresh process, as a user starts it; peak memory is that of the process and its workers together,
sampled. The machine should do nothing else meanwhile. Asked: at most 240 s, at most 2.5 GB, at least 5 models
spanning at least 3x in latency, at least 98 % test accuracy of the model best on `select`, as means.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mobinas import load_front

ASKED = {
    "seconds": ("<=", 240.0),
    "peak_gb": ("<=", 2.5),
    "models": (">=", 5.0),
    "span": (">=", 3.0),
    "test_accuracy": (">=", 0.98),
}


def main() -> None:
    """Runs the default once per seed and prints a row each, then the means beside what was asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--job", default="digits")
    parser.add_argument("--keep", type=Path, help="folder for the runs; a temporary one without")
    options = parser.parse_args()
    print(f"machine: {cpu_model()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(options.seeds):
            rows.append(one_run(options.job, seed, (options.keep or Path(scratch)) / f"seed{seed}"))
            print(f"seed {seed}: {rows[-1]}", file=sys.stderr, flush=True)
    print(f"| | {' | '.join(f'seed {seed}' for seed in range(options.seeds))} | mean | asked | |")
    print("|---|" + "---|" * (options.seeds + 3))
    for name, (relation, asked) in ASKED.items():
        values = [row[name] for row in rows]
        mean = statistics.mean(values)
        verdict = "reached" if (mean <= asked if relation == "<=" else mean >= asked) else "not reached"
        cells = " | ".join(f"{value:.4g}" for value in (*values, mean))
        print(f"| {name} | {cells} | {relation} {asked:g} | {verdict} |")


def cpu_model() -> str:
    """What Linux calls the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next(
        (x.partition(":")[2].strip() for x in lines if x.startswith("model name")), platform.machine()
    )


def one_run(job: str, seed: int, directory: Path) -> dict[str, float]:
    """Runs one job and reads its front."""
    if directory.exists():
        raise SystemExit(f"{directory} exists; its run would only be read, not timed. Name another --keep")
    command = [sys.executable, "-m", "mobinas", "run", job, "--out", str(directory), "--set", f"seed={seed}"]
    started = time.perf_counter()
    peak_kb = 0
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        while process.poll() is None:
            # Pages that processes share count in each, so this is an upper bound.
            peak_kb = max(peak_kb, sum(_resident_kb(pid) for pid in _family(process.pid)))
            time.sleep(0.2)
        seconds = time.perf_counter() - started
        if process.returncode != 0:
            log.seek(0)
            raise SystemExit(log.read().decode())
    rows = load_front(directory).rows
    latencies_ms = [row.latency_ms for row in rows]
    best = max(rows, key=lambda row: (row.accuracy, -row.latency_ms))
    return {
        "seconds": seconds,
        "peak_gb": peak_kb / 1e6,
        "models": float(len(rows)),
        "span": max(latencies_ms) / min(latencies_ms),
        "test_accuracy": best.test_accuracy,
    }


def _family(pid: int) -> list[int]:
    """The process and its descendants (Linux)."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []
    return [pid, *(member for child in children for member in _family(int(child)))]


def _resident_kb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0)


if __name__ == "__main__":
    main()
