"""What a classifier answers to the images of each class, and the shares that follow from it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mobinas.errors import SearchError
from mobinas.metrics.interval import mean_interval, mean_std, proportion_interval
from mobinas.metrics.objective import Metric


@dataclass(frozen=True, slots=True)
class Share:
    """An accuracy of some kind.

    Attributes:
        x: In [0, 1].
        low: Lower end of its 95 % interval.
        high: Upper end.
        std: Its standard deviation.
    """

    x: float
    low: float
    high: float
    std: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """A confusion matrix, without its zeros.

    Attributes:
        classes: How many there are, whether they occur or not.
        cells: (class, answered class, number of images), in this order, each number above 0.

    Raises:
        SearchError: No images, or a class outside of the range.
    """

    classes: int
    cells: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if not self.cells:
            raise SearchError("a confusion matrix needs at least one answered image")
        for label, answer, count in self.cells:
            if not (0 <= label < self.classes and 0 <= answer < self.classes and count > 0):
                raise SearchError(f"{count} images of class {label} answered {answer}: no such cell")

    @classmethod
    def of(cls, labels: Sequence[int], answers: Sequence[int], classes: int) -> "Confusion":
        """Counts pairs of label and answer, both [n]."""
        counts = Counter(zip(labels, answers, strict=True))
        return cls(classes, tuple((*pair, count) for pair, count in sorted(counts.items())))

    def __add__(self, other: "Confusion") -> "Confusion":
        """The counts of both."""
        counts = Counter({(a, b): n for a, b, n in self.cells})
        counts.update({(a, b): n for a, b, n in other.cells})
        return Confusion(self.classes, tuple((*pair, n) for pair, n in sorted(counts.items())))

    @property
    def n(self) -> int:
        """Images."""
        return sum(count for _, _, count in self.cells)

    @property
    def images(self) -> list[int]:
        """Images of each class."""
        return self._sums((label, n) for label, _, n in self.cells)

    @property
    def answered(self) -> list[int]:
        """How often each class was the answer."""
        return self._sums((answer, n) for _, answer, n in self.cells)

    @property
    def right(self) -> list[int]:
        """Images of each class that were answered rightly."""
        return self._sums((label, n) for label, answer, n in self.cells if label == answer)

    def _sums(self, counts: Iterable[tuple[int, int]]) -> list[int]:
        sums = [0] * self.classes
        for k, n in counts:
            sums[k] += n
        return sums

    @property
    def recalls(self) -> list[Share | None]:
        """By class the share of its images that were answered rightly; None where it has none."""
        return [
            Share(right / n, *proportion_interval(right, n), mean_std([(right, n)])) if n else None
            for right, n in zip(self.right, self.images, strict=True)
        ]

    @property
    def is_even(self) -> bool:
        """Whether all classes have equally many images, so that both metrics are one."""
        return len(set(self.images)) == 1

    def taken_for(self, label: int) -> tuple[int, int] | None:
        """The wrong answer that a class got most often, and how often; None where there is none."""
        wrong = [(count, -answer) for k, answer, count in self.cells if k == label != answer]
        return None if not wrong else (-max(wrong)[1], max(wrong)[0])

    def share(self, metric: Metric) -> Share:
        """The accuracy, or the balanced accuracy: the mean recall of those classes that have images.

        The balanced accuracy is that of Brodersen et al., 2010 (doi:10.1109/ICPR.2010.764). Its deviation and
        interval come from classes as strata: one image of a rare class moves it more than one of a common
        class, whatever their sum.
        """
        right = sum(self.right)
        if metric == "accuracy":
            x = right / self.n
            return Share(x, *proportion_interval(right, self.n), (x * (1 - x) / self.n) ** 0.5)
        strata = [(k, n) for k, n in zip(self.right, self.images, strict=True) if n]
        even = len({n for _, n in strata}) == 1  # then it is the accuracy, to the last bit
        x = right / self.n if even else sum(k / n for k, n in strata) / len(strata)
        return Share(x, *mean_interval(strata), mean_std(strata))

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to an equal matrix."""
        return {"classes": self.classes, "cells": [list(cell) for cell in self.cells]}

    @classmethod
    def from_json(cls, data: Any) -> "Confusion":
        """Reads what `to_json` wrote.

        Raises:
            SearchError: The data are not of that form.
        """
        try:
            return cls(int(data["classes"]), tuple((int(a), int(b), int(n)) for a, b, n in data["cells"]))
        except (KeyError, TypeError, ValueError) as error:
            raise SearchError(f"no confusion matrix: {error!r}; it has 'classes' and 'cells'") from None
