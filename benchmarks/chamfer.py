"""How far the points that a page shows lie from the true surface: as they are chosen, and before.

    ttt3r-view run --input demo:loop --output RECORDING
    python -m benchmarks.chamfer RECORDING... [--truth DIR...] [--max-points 600000]

The truth of a recording lies beside its input's images, or in the folder that `--truth` names for
each: `depth/` (16-bit PNGs in millimetres, and `camera.json`) and `poses_tum.txt`. "Before" is one
point per voxel, the first that came, in voxels whose sides double where the points are too many,
and all of them shown. "Now" is what the page shows by default. Of both, two means: the distance of
the shown points from the true surface that was in view up to then ("off"), which points that are
missing do not raise, and the distance of that surface from the shown points ("missing"), which
does. Both worlds are the first camera's and in metres, so nothing is aligned: drift counts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from ttt3r_viewer.metrics.true_surface import TrueSurface
from ttt3r_viewer.recording.reader import Recording, open_recording
from ttt3r_viewer.runs.known_truth import find_truth
from ttt3r_viewer.scene.seen import thin_points
from ttt3r_viewer.scene.store import LaneScene, SceneStore
from ttt3r_viewer.settings import PAGE_POINTS, InputOptions
from ttt3r_viewer.system.assets import with_demos
from ttt3r_viewer.types import FrameResult, Status
from ttt3r_viewer.viewer.view_settings import FIRST_SETTINGS

MOMENT = 70
"""After so many frames it is measured, at frame 69, and at the end."""
FIRST_SHARE = 0.004
"""Of the first frame's median depth: the side of the voxels, before."""
POINTS_PER_FRAME = 20_000
SAMPLES = 60_000
"""Of the shown points, so many are measured: a random choice with a seed."""


def true_surface(recording: Recording, images: Path) -> TrueSurface:
    """What a recording's frames truly saw; the truth lies beside these images."""
    truth, _ = find_truth(InputOptions(str(images)))
    if truth is None or truth.depth_of is None:
        raise SystemExit(f"{images}: no true poses with depth beside the images")
    surface = TrueSurface(truth)
    for frame in recording.each(lambda sequence: recording.camera(sequence, 0)):
        surface.add(frame)
    return surface


def first_of_voxels(points: NDArray[np.floating], side: float) -> NDArray[np.intp]:
    """Return which of the points (N, 3) are the first in their voxel."""
    cells = np.floor(points / side).astype(np.int64) @ np.array([1, 1 << 21, 1 << 42])
    return np.sort(np.unique(cells, return_index=True)[1])


def chosen_before(results: Sequence[FrameResult], most: int) -> NDArray[np.float64]:
    """Return the first point of each voxel, (n, 3).

    Sides that double are nested: what is left does not depend on when each of them doubled.
    """
    clouds = [thin_points(one, POINTS_PER_FRAME).points_world for one in results]
    side = FIRST_SHARE * float(np.median(clouds[0][:, 2]))
    points = np.concatenate(clouds).astype(np.float64)
    points = points[first_of_voxels(points, side)]
    while len(points) > most:
        side *= 2
        points = points[first_of_voxels(points, side)]
    return points


def shown_now(lane: LaneScene) -> NDArray[np.float64]:
    """Return what a page shows of a lane by default, (n, 3)."""
    least = lane.layout.least_shown(FIRST_SETTINGS.hidden_bins)
    parts = [frame.points.shown(least, FIRST_SETTINGS.edge_filter) for frame in lane.frames]
    return np.concatenate([one.points_world for one in parts]).astype(np.float64)


def distances(points: NDArray[np.float64], surface: NDArray[np.floating]) -> tuple[float, float]:
    """Return the mean distance of points (n, 3) from the surface (m, 3), and of it from them."""
    return _mean_distance(points, surface), _mean_distance(surface, points)


def _mean_distance(points: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    some = np.random.default_rng(0).permutation(len(points))[:SAMPLES]
    return float(KDTree(others).query(points[some])[0].mean())


def measured(
    recording: Recording, surface: TrueSurface, most: int
) -> Iterator[tuple[int, tuple[int, int], NDArray[np.float64]]]:
    """Yield at each moment the number of frames, of both choices the number of points, and what was
    found, (2, 2): off and missing, each before and now.
    """
    store, results = SceneStore(most, POINTS_PER_FRAME, one_per_voxel=True), []
    for result, *_ in recording:
        store.add(result)
        results.append(result)
        ends = len(results) == len(recording)
        if ends:
            store.set_status(Status(phase="finished"))
        if len(results) == MOMENT or ends:
            before, now = chosen_before(results, most), shown_now(store.snapshot().lanes[0])
            true = surface.points(len(results))
            found = np.transpose([distances(before, true), distances(now, true)])
            yield len(results), (len(before), len(now)), found


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chamfer", description=__doc__)
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--truth", type=Path, nargs="+", help="a folder for each recording")
    parser.add_argument("--max-points", type=int, default=PAGE_POINTS)
    given = parser.parse_args(arguments)
    of_moment: dict[str, list[NDArray[np.float64]]] = {}
    for number, path in enumerate(given.recordings):
        recording = open_recording(path)
        folder = Path(with_demos(recording.manifest.settings["input"]))
        surface = true_surface(recording, given.truth[number] if given.truth else folder)
        for frames, counts, found in measured(recording, surface, given.max_points):
            shown = "{:,} points before, {:,} now".format(*counts)
            print(f"{path.name}, frame {frames - 1}: {shown}; {ratios(found)}", flush=True)
            moment = "the end" if frames == len(recording) else f"frame {frames - 1}"
            of_moment.setdefault(moment, []).append(found)
    for moment, several in of_moment.items():
        print(f"mean of {len(several)}, {moment}: {ratios(np.mean(several, axis=0))}")
    return 0


def ratios(found: NDArray[np.float64]) -> str:
    """Say both distances (2, 2) in metres, before and now, and their ratios."""
    return ", ".join(
        f"{name} {100 * before:.2f} cm before, {100 * now:.2f} now: {now / before:.2f}"
        for name, (before, now) in zip(("off", "missing"), found, strict=True)
    )


if __name__ == "__main__":
    sys.exit(main())
