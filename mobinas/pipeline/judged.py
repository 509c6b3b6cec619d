"""What judges a classifier, as the job's `search.metric` says: on which images, and with which deviation."""

import torch

from mobinas.metrics.confusion import Confusion
from mobinas.metrics.evaluation import Source, Value
from mobinas.metrics.objective import Metric
from mobinas.pipeline.load import subset
from mobinas.train.splits import Part


def judged_value(answers: Confusion, metric: Metric, source: Source) -> Value:
    """The metric of what was answered, with its standard deviation."""
    share = answers.share(metric)
    return Value(share.x, std=share.std, source=source)


def judging_subset(part: Part, n: int, metric: Metric, seed: int) -> Part:
    """About so many images that a metric is taken on, drawn from the seed.

    A mean of recalls is known best from equally many images of each class, and needs one of each.

    Args:
        part: Where they are drawn from.
        n: How many at most; for a balanced accuracy at least one of each class.
        metric: What is taken.
        seed: Of the draw.
    """
    if metric == "accuracy" or n >= len(part):
        return subset(part, n, seed)
    labels = part.labels.cpu()
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))
    own = [order[labels[order] == label] for label in torch.unique(labels).tolist()]
    chosen, left = [], n
    for rank, positions in enumerate(sorted(own, key=len)):
        # What small classes cannot fill is shared by the others.
        taken = positions[: max(1, left // (len(own) - rank))]
        chosen.append(taken)
        left -= len(taken)
    return part.subset(torch.cat(chosen).sort().values)
