"""The section that says why."""

from typing import Any

import pytest

from mobinas.errors import MobinasError
from mobinas.report.palette import BLUE, GREY
from mobinas.report.why import Decider, WhyInfo, draw_why, why

INFO = WhyInfo(
    (
        ("for accuracy", (Decider("width", 0.7, 0.2), Decider("conv_3x3 edges", 0.05, 0.1))),
        ("for latency", (Decider("conv_3x3 edges", 0.8, 0.1), Decider("width", 0.02, 0.1))),
    ),
    n=104,
    parts=(("the size of the knee alone", "93.1 % of <the search's> hypervolume"),),
)


def test_what_is_noise_is_grey_and_rows_agree_between_panels() -> None:
    first, second = draw_why(INFO).figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["conv 3×3 edges", "width"]

    def bars(axes: Any) -> list[tuple[float, str]]:
        from matplotlib.colors import to_hex

        return [(bar.get_width(), to_hex(bar.get_facecolor())) for bar in axes.patches]

    assert bars(first) == [(0.05, GREY), (0.7, BLUE)]
    assert bars(second) == [(0.8, BLUE), (0.02, GREY)]
    assert second.get_position().x0 > first.get_position().x1


def test_the_section_escapes_and_says_what_stands_out() -> None:
    section = str(why(INFO))
    assert "for accuracy: width; for latency: conv 3×3 edges" in section
    assert "&lt;the search's&gt;" in section or "&lt;the search&#x27;s&gt;" in section
    assert "104 judged" in section
    nothing = WhyInfo((("for accuracy", (Decider("width", 0.1, 0.2),)),), n=60)
    assert "nothing stands out of the noise" in str(why(nothing))


def test_without_anything_there_is_no_section() -> None:
    assert str(why(None)) == str(why(WhyInfo())) == ""
    with pytest.raises(MobinasError, match="at least one objective"):
        draw_why(WhyInfo())
