"""Networks of one's own: a function that asks for its choices; a front of trained, verified ONNX files."""

import sys

from torch import nn

from mobinas import search_family


def build(trial):
    """A small CNN; any torch.nn.Module from normalised images to logits will do."""
    layers, channels = [], 1
    for stage in range(trial.suggest_int("stages", 1, 3)):
        width = trial.suggest_int(f"width {stage}", 4, 16, step=4)
        kernel = trial.suggest_categorical(f"kernel {stage}", (1, 3, 5))
        layers += [
            nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels = width
    pool = trial.suggest_categorical("pool", (1, 2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(pool), nn.Flatten(), nn.Linear(channels * pool**2, 10))


if __name__ == "__main__":
    directory = sys.argv[1] if len(sys.argv) > 1 else "runs/own_networks"
    trials = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    result = search_family(build, data="digits", out=directory, n_trials=trials, rounds=2, n_start=6)
    for member in result.front:
        print(f"{member['accuracy']:.1%} {1e3 * member['latency_s']:.3f} ms", dict(member.candidate))
        print("   ", f"{directory}/models/{member.candidate.name}/model.onnx")
