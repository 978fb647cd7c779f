"""Pictures: where texts stand."""

from __future__ import annotations

import re

from chainrule.pictures import Dot, Plane, planes


def test_a_text_stands_where_no_other_stands() -> None:
    near = [Dot((0.0, 0.0)), Dot((0.5, 0.5), text="left"), Dot((0.52, 0.5), text="right"), Dot((1.0, 1.0))]
    drawn = planes("two words", [Plane("near each other", dots=near)])
    anchors = dict(re.findall(r'text-anchor="(\w+)"[^>]*>(left|right)<', drawn))
    assert sorted(anchors) == ["end", "start"], "one of them is on the other side"
