"""Measuring in the scene: where a clicked point lies, and how long the way between two is."""

import asyncio
from dataclasses import dataclass
from functools import partial

import numpy as np
import viser
from numpy.typing import ArrayLike, NDArray
from viser import Icon

from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.html import block, escape, lines, muted
from ttt3r_viewer.viewer.layers.inspect_layer import point_on_ray
from ttt3r_viewer.viewer.layers.lane_layer import SHARED_LANES
from ttt3r_viewer.viewer.layers.nodes import Nodes, add_lines
from ttt3r_viewer.viewer.server.clients import client_of
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import Widgets, assign_changed, bind

COLOR = (255, 255, 255)
MARK = 0.02
"""Half the side of a mark's cross, as a share of the scene's median depth."""
HELP = "Click two points of the scene. Esc takes the marks away."
NO_POINT = "No point is there: click on one."
NOT_METRIC = "These weights know no scale: lengths compare with one another, and not with a ruler."


@dataclass(frozen=True, eq=False)
class PickedPoint:
    """A point that was clicked."""

    lane: int
    position: NDArray[np.float64]
    """(3,) in the world of its lane: the first camera's frame, in the scene's unit."""
    frame: int
    """The frame that saw it, from 0."""
    confidence: float


def pick(
    tick: Tick, lanes: tuple[int, ...], origins: ArrayLike, direction: ArrayLike
) -> PickedPoint | None:
    """Return the shown point that a ray hits first; None for none.

    `origins` (lane, 3) are where the ray begins in the world of each of these lanes.
    """
    best: tuple[float, PickedPoint] | None = None
    first = tick.position if tick.drawn.extent != "all" else 0
    for lane, origin in zip(lanes, np.asarray(origins, np.float64), strict=True):
        scene = tick.snapshot.lanes[lane]
        frames = scene.frames[first : tick.position + 1]
        if not frames:
            continue
        least = scene.layout.least_shown(tick.drawn.hidden_bins)
        shown = [frame.points.sureness >= least for frame in frames]
        points = np.concatenate(
            [frame.points.points_world[one] for frame, one in zip(frames, shown, strict=True)]
        ).astype(np.float64)
        hit = point_on_ray(points, origin, direction)
        if hit is None:
            continue
        ends = np.cumsum([np.count_nonzero(one) for one in shown])
        k = int(np.searchsorted(ends, hit, side="right"))
        confidence = frames[k].points.confidence[shown[k]][hit - (ends[k - 1] if k else 0)]
        far = float(np.linalg.norm(points[hit] - origin))
        if best is None or far < best[0]:
            best = far, PickedPoint(lane, points[hit], first + k, float(confidence))
    return None if best is None else best[1]


class MeasurePanel(Part):
    """The switch, the reading, and the marks, which lie below their lane's node."""

    def __init__(self, page: PageContext) -> None:
        self._server, self._controls = page.server, page.controls
        self._tick: Tick | None = None
        self._nodes = Nodes()
        self._on = False
        self._picked: tuple[PickedPoint, ...] = ()
        """Up to two points of one lane; replaced on viser's loop."""
        self._note = ""
        gui, widgets = page.server.gui, Widgets(page.server.gui)
        with gui.add_folder("Measure", expand_by_default=False):
            hint = "Clicks in the scene then pick points. Esc ends it"
            self._switch = gui.add_checkbox("Pick points", False, hint=hint)
            bind(self._switch, self._turn)
            self._text = gui.add_html("")
        widgets.key("Take the marks away", "escape", lambda _: self._turn(False), icon=Icon.X)

    def _turn(self, on: bool) -> None:
        if on == self._on:
            return
        self._on, self._picked, self._note = on, (), ""
        if on:
            # viser awaits callbacks that are coroutines, which its annotation does not say.
            self._server.scene.on_click()(self._click)  # pyright: ignore[reportArgumentType]
        else:
            self._server.scene.remove_click_callback(self._click)
        self._controls.changed.set()

    async def _click(self, event: viser.SceneClickEvent) -> None:
        """Pick the point that was clicked; a third one, or one of another lane, begins again."""
        tick, who = self._tick, client_of(self._server, event.client_id)
        if tick is None or tick.position < 0:
            return
        lanes = tick.visible_lanes if who.lane is None else (who.lane,)
        origins = [
            np.array(event.ray_origin) - [who.offset_of(tick.offsets[lane]), 0.0, 0.0]
            for lane in lanes
        ]
        found = await asyncio.to_thread(pick, tick, lanes, origins, event.ray_direction)
        self._note = "" if found else NO_POINT
        if found is not None and self._on:
            goes_on = len(self._picked) == 1 and self._picked[0].lane == found.lane
            self._picked = (*self._picked, found) if goes_on else (found,)
        self._controls.changed.set()

    def update(self, tick: Tick) -> None:
        """Show the reading and the marks; those of a run before have gone with it."""
        if self._tick is not None and self._tick.snapshot.epoch != tick.snapshot.epoch:
            self._picked = ()
        self._tick, picked = tick, self._picked
        assign_changed(self._switch, value=self._on)
        text = reading_html(tick, picked, self._note) if self._on else ""
        assign_changed(self._text, content=text)
        self._nodes.begin((tick.snapshot.epoch, tick.lane_count))
        if not self._nodes.outdated("marks", picked or None) or not picked:
            return
        lane = picked[0].lane
        segments = mark_segments(picked, MARK * tick.snapshot.lanes[lane].layout.median_depth)
        colors = np.broadcast_to(np.array(COLOR, np.uint8), segments.shape)
        name = f"{SHARED_LANES}/{lane}/measure"
        add = partial(add_lines, self._server.scene, name, segments, colors, 3.0)
        self._nodes.put("marks", add(), picked)

    def probe(self) -> dict[str, object]:
        """Say what is measured."""
        picked = self._picked
        length = length_of(picked) if len(picked) == 2 else None
        return {"measure": {"on": self._on, "points": len(picked), "length": length}}


def length_of(picked: tuple[PickedPoint, ...]) -> float:
    """The length between two points, in the scene's unit."""
    return float(np.linalg.norm(picked[1].position - picked[0].position))


def mark_segments(picked: tuple[PickedPoint, ...], half: float) -> NDArray[np.float32]:
    """Return lines (n, 2, 3): a cross at each point, and the way between two."""
    arms = half * np.stack([-np.eye(3), np.eye(3)], axis=1)
    found = [arms + one.position for one in picked]
    if len(picked) == 2:
        found.append(np.stack([one.position for one in picked])[None])
    return np.concatenate(found).astype(np.float32)


def reading_html(tick: Tick, picked: tuple[PickedPoint, ...], note: str) -> str:
    """Say the length, and each point's place, frame and confidence."""
    said = []
    if len(picked) == 2:
        said.append(f"<b style='font-size:1.5em'>{length_of(picked):.3g} {tick.unit}</b>")
    for one in picked:
        place = ", ".join(f"{value:.2f}" for value in one.position)
        said.append(
            f"({place}) {tick.unit} · frame {one.frame + 1:,} · confidence {one.confidence:.1f}"
        )
    if picked and tick.lane_count > 1:
        said.append(escape(tick.lane_names[picked[0].lane]))
    said.append(muted(escape(note or HELP)))
    if not tick.metric:
        said.append(muted(NOT_METRIC))
    return block("measure", lines(said), size="0.85em", style="padding:0.25em 0.75em")
