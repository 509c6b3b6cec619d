"""How numbers and names are written in pictures and pages. SI inside, milliseconds and percent only here."""

import math

from mobinas.metrics.objective import Metric

METRIC_WORDS: dict[Metric, str] = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
ELLIPSIS = "…"
_SPACE = "\N{NO-BREAK SPACE}"  # between a number and its unit


def plain(text: str, limit: int = 200) -> str:
    """A text from data as one printable line.

    Control characters, line breaks and lone surrogates (undecodable file names) become visible placeholders.

    Args:
        text: Anything.
        limit: Characters kept; the rest becomes an ellipsis in the middle.
    """
    line = "".join(c if c.isprintable() or c == _SPACE else "\N{REPLACEMENT CHARACTER}" for c in text)
    if len(line) <= limit:
        return line
    keep = limit - 1
    return line[: keep - keep // 2] + ELLIPSIS + line[len(line) - keep // 2 :]


def significant(x: float, digits: int = 3) -> str:
    """A number with at least so many significant digits, never in exponential form."""
    if x == 0 or not math.isfinite(x):
        return "0" if x == 0 else str(x)
    exponent = int(f"{x:.{digits - 1}e}".split("e")[1])  # of the rounded number: 0.09996 is written 0.100
    decimals = digits - 1 - exponent
    return f"{x:.{max(decimals, 0)}f}"


def milliseconds(seconds: float) -> str:
    """A time as milliseconds with three significant digits, such as ``0.163 ms``."""
    return f"{significant(seconds * 1e3)}{_SPACE}ms"


def milliseconds_range(low_s: float, high_s: float) -> str:
    """An interval in milliseconds, such as ``0.158 to 0.171``."""
    return f"{significant(low_s * 1e3)} to {significant(high_s * 1e3)}"


def percent(share: float) -> str:
    """A share as percent with one decimal, such as ``4.5 %``."""
    return f"{100 * share:.1f}{_SPACE}%"


def accuracy(share: float) -> str:
    """An accuracy as percent with two decimals: members of a front often differ by less than a tenth."""
    return f"{100 * share:.2f}{_SPACE}%"


def percent_range(low: float, high: float) -> str:
    """An interval of shares in percent, such as ``97.9 to 99.4``."""
    return f"{100 * low:.1f} to {100 * high:.1f}"


def count(n: int) -> str:
    """A count in thousands, millions or billions, such as ``1.24 M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return significant(n / size) + _SPACE + unit
    return str(n)


def counted(n: int, noun: str) -> str:
    """A number of things: ``1 picture``, ``1,200 pictures``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def op_words(op: str) -> str:
    """An op's name for reading: ``sep_conv_3x3`` becomes ``sep conv 3×3``."""
    if op == "skip_connect":
        return "skip"
    return op.replace("x", "×").replace("ma×", "max").replace("_", " ")


def test_words(metric: Metric) -> str:
    """A metric on the test part: ``balanced test accuracy``."""
    return METRIC_WORDS[metric].replace("accuracy", "test accuracy")


def shortened(names: list[str], most: int = 5) -> list[str]:
    """A list's beginning, and how many more there are."""
    return names if len(names) <= most + 1 else [*names[:most], f"{len(names) - most} more"]


def listed(names: list[str]) -> str:
    """Names joined for a sentence: ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
