"""A predictor for a device that only told the latencies of ten models."""

import random

from mobinas import LatencyPredictor, SearchSpace, Target, Task, measure

OPS = ("skip_connect", "sep_conv_3x3", "dil_conv_3x3", "max_pool_3x3")
SPACE = SearchSpace(Task(classes=10), resolutions=(16, 24), depths=(3, 5), widths=(8, 16), op_sets=(OPS,))


def main() -> None:
    rng = random.Random(0)
    models = [SPACE.sample(rng) for _ in range(24)]
    here = Target.local(threads=1)
    predictor = LatencyPredictor.fit(models, measure(models, here, rounds=2, max_rounds=2))
    print("\n".join(predictor.report.lines()))

    # Ten of them also ran on a phone; here its numbers are made up, four times slower.
    on_the_phone_s = 4 * predictor.predict(models[:10]).mean_s
    phone = predictor.adapt(models[:10], on_the_phone_s, target=Target(name="phone"))
    predicted = phone.predict([SPACE.sample(rng) for _ in range(3)])
    for mean_s, std_s in zip(predicted.mean_s, predicted.std_s, strict=True):
        print(f"{1e3 * mean_s:.2f} ms, give or take {1e3 * std_s:.2f}")


if __name__ == "__main__":
    main()
