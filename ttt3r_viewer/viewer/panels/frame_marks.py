"""Marks along the frames: resets, changed rules, and where frames of the input were left out."""

from itertools import groupby, pairwise

from ttt3r_viewer.scene.store import SceneSnapshot
from ttt3r_viewer.viewer.html import counted
from ttt3r_viewer.viewer.panels.chart_series import marks_between

MOST_PLACES = 200
"""Marks of one kind that fall into the same of so many equal stretches of the bar become one."""


class FrameMarks:
    """Finds the marks of every frame once, when it is new. One thread at a time."""

    def __init__(self) -> None:
        self._run: object = None
        self._indices: list[int] = []
        """Of every frame in the input."""
        self._found: list[tuple[int, str, str]] = []
        """Frame from 0, kind and text of resets and changes."""

    def update(self, snapshot: SceneSnapshot) -> list[dict[str, object]]:
        """Return the marks of all frames, in their order, few enough to be told apart."""
        if self._run != (snapshot.epoch, len(snapshot.lanes)):
            self._run = (snapshot.epoch, len(snapshot.lanes))
            self._indices, self._found = [], []
        for k in range(len(self._indices), len(snapshot.frames)):
            self._indices.append(snapshot.frames[k].index)
            if k == 0:
                continue
            before, now = ([lane.frames[at] for lane in snapshot.lanes] for at in (k - 1, k))
            self._found += [(k, one.kind, one.text) for one in marks_between(before, now)]
        marks = sorted([*self._found, *left_out(self._indices)])
        return merged(marks, len(self._indices))


def left_out(indices: list[int]) -> list[tuple[int, str, str]]:
    """Find where the input's frames have a gap wider than the smallest, which is the stride."""
    steps = [now - before for before, now in pairwise(indices)]
    stride = max(min(steps, default=1), 1)
    return [
        (k, "skipped", counted(step // stride - 1, "frame") + " left out before it")
        for k, step in enumerate(steps, start=1)
        if step >= 2 * stride
    ]


def merged(marks: list[tuple[int, str, str]], count: int) -> list[dict[str, object]]:
    """Make one mark of those of a kind that stand at nearly the same place."""
    stretch = max(count // MOST_PLACES, 1)
    by_place = sorted(marks, key=lambda one: (one[0] // stretch, one[1]))
    result: list[dict[str, object]] = []
    for (_, kind), group in groupby(by_place, key=lambda one: (one[0] // stretch, one[1])):
        found = list(group)
        text = found[0][2] if len(found) == 1 else f"{len(found)} times near here"
        result.append({"frame": found[0][0], "kind": kind, "text": text})
    return result
