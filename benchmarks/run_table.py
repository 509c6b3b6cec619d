"""All trained models of a run as a Markdown table: front, dominated finalists and hand-designed networks.

    python benchmarks/run_table.py runs/fashion

Read from the run folder's own files; nothing is computed but the order.
"""

import argparse
import json
from pathlib import Path

from mobinas import load_front
from mobinas.metrics.confusion import Confusion


def main() -> None:
    """Prints one row a model, fastest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    folder = parser.parse_args().run
    front = json.loads((folder / "front.json").read_text(encoding="utf-8"))
    tested = {
        name: Confusion.from_json(answers).share("accuracy").x
        for name, answers in json.loads((folder / "test.json").read_text(encoding="utf-8")).items()
    }
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    picked = load_front(folder).pick().name
    print("| model | | latency, ms | accuracy on select | test accuracy | parameters | epochs |")
    print("|---|---|---|---|---|---|---|")
    for row in sorted(front["confirmed"], key=lambda row: row["latency_s"]):
        name = row["name"]
        if name in front["members"]:
            kind = "**the pick**" if name == picked else "front"
        else:
            kind = "hand-designed" if (folder / "baselines" / name).is_dir() else "dominated"
        low, high = row["latency_low_s"] * 1e3, row["latency_high_s"] * 1e3
        print(
            f"| {name} | {kind} | {row['latency_s'] * 1e3:.3f} ({low:.3f} to {high:.3f}) | "
            f"{row['accuracy']:.2%} | {tested[name]:.2%} | {row['params']:,} | {plan['epochs'][name]} |"
        )


if __name__ == "__main__":
    main()
