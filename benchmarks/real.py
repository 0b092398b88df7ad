"""What the network makes of real footage, as it is: a picture, and numbers where there is a truth.

    python -m benchmarks.real INPUT [INPUT ...] [--frames 120] [--picture FILE]

True poses that lie beside an input (docs/evaluation.md) are looked up by times of `--fps`; true
depth is taken from 16-bit PNGs in millimetres that are named as the frames, in a folder `depth*`
beside it. Nothing is aligned but the paths that are drawn, by a similarity: to the true one, or
else to the first rule's. Depth is that of the last rule.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from training.evaluate import pose_measures
from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.frames.source import open_source
from ttt3r_viewer.geometry import umeyama
from ttt3r_viewer.metrics.dense import sample_truth
from ttt3r_viewer.metrics.ground_truth import find_ground_truth, read_ground_truth
from ttt3r_viewer.metrics.trajectory import Trajectory
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.registry import rules_from_text
from ttt3r_viewer.types import Frame, FrameResult
from ttt3r_viewer.weights.load import load_network, share_cpu

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 3
"""So many frames of an input are drawn: its first, one in the middle, its last."""
FARTHEST_M = 6.0
"""What the drawing's depth scale ends with."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What was made of one input."""

    name: str
    shown: tuple[FrameResult, ...]
    """By the last rule."""
    paths: NDArray[np.float64]
    """(rule, frame, 4, 4) `T_world_camera`; the world is the first camera."""
    times_sec: NDArray[np.float64]
    """(frame,)"""
    truth: NDArray[np.float64] | None
    """(frame, 4, 4) in the first camera's frame; None where it is not known of every frame."""
    depth_error: float | None
    """Median over frames of the median over pixels of |z - z_true| / z_true; None without depth."""


def read(lanes: Lanes, spec: str, frames: int, fps: float) -> Reading:
    """Run all rules over an input."""
    lanes.restart()
    source = open_source(spec, max_frames=frames, fps=fps)
    images = [one for one in source if isinstance(one, Frame)]
    found = find_ground_truth(Path(spec))
    ground_truth = None if found is None else read_ground_truth(found)
    shown = {round(row) for row in np.linspace(0, len(images) - 1, SHOWN)}
    kept: list[FrameResult] = []
    paths, truth, errors = [], [], []
    for row, image in enumerate(images):
        results = lanes.process(image)
        paths.append([one.camera.T_world_camera for one in results])
        kept += [results[-1]] if row in shown else []
        if (error := depth_error(Path(spec), results[-1])) is not None:
            errors.append(error)
        if ground_truth is not None:
            truth.append(ground_truth.pose_of(image.index, image.time_sec, image.name))
    known = bool(truth) and all(pose is not None for pose in truth)
    return Reading(
        name="/".join(Path(spec).parts[-2:]),
        shown=tuple(kept),
        paths=np.moveaxis(np.array(paths), 0, 1),
        times_sec=np.array([image.time_sec for image in images]),
        truth=np.linalg.inv(truth[0]) @ np.stack(truth) if known else None,
        depth_error=float(np.median(errors)) if errors else None,
    )


def depth_error(folder: Path, result: FrameResult) -> float | None:
    """Median over pixels of |z - z_true| / z_true, no alignment; None without a true depth."""
    for file in folder.absolute().parent.glob(f"depth*/{Path(result.name).stem}.png"):
        true_m = iio.imread(file).astype(np.float32) / np.float32(1000)
        shape = result.confidence.shape
        sample = sample_truth(true_m, result.crop, (shape[0], shape[1]), result.index)
        z = result.points_camera[sample.rows, sample.columns, 2]
        return float(np.median(np.abs(z - sample.depth_m) / sample.depth_m))
    return None


def draw(path: Path, readings: Sequence[Reading], rules: Sequence[str]) -> None:
    """A row for each input: frames with their depth, and the paths from above."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["axes.titlesize"] = 8
    figure = Figure(figsize=(15, 2.1 * len(readings)), layout="constrained")
    table = figure.subplots(len(readings), 2 * SHOWN + 1, squeeze=False)
    drawn = None
    for axes, reading in zip(table, readings, strict=True):
        for column, result in enumerate(reading.shown):
            image, depth = axes[2 * column : 2 * column + 2]
            z = result.points_camera[..., 2]
            image.imshow(result.image)
            drawn = depth.imshow(z, cmap="turbo", vmin=0, vmax=FARTHEST_M)
            image.set_title(f"{reading.name if column == 0 else ''} frame {result.index}")
            depth.set_title(f"depth {np.median(z):.1f} m (median)")
            image.axis("off")
            depth.axis("off")
        _draw_paths(axes[-1], reading, rules)
    if drawn is not None:
        figure.colorbar(drawn, ax=table[:, :-1], shrink=0.8, pad=0.01, label="depth (m)")
    figure.savefig(path, dpi=75)


def _draw_paths(axis: Axes, reading: Reading, rules: Sequence[str]) -> None:
    truth = None if reading.truth is None else reading.truth[:, :3, 3]
    target = reading.paths[0, :, :3, 3] if truth is None else truth
    if truth is not None:
        axis.plot(truth[:, 0], truth[:, 2], "k--", label="true", linewidth=1)
    for rule, poses in zip(rules, reading.paths, strict=True):
        positions = poses[:, :3, 3]
        try:
            positions = umeyama(positions, target, with_scale=True).apply(positions)
        except EvaluationError:
            rule = f"{rule} (not aligned)"
        axis.plot(positions[:, 0], positions[:, 2], label=rule, linewidth=1)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_title("cameras from above (m)")
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=7)


def report(reading: Reading, rules: Sequence[str]) -> None:
    """Print what can be measured."""
    depth = "unknown" if reading.depth_error is None else f"{reading.depth_error:.2f}"
    print(f"{reading.name}: {len(reading.times_sec)} frames; relative depth error {depth}")
    for rule, poses in zip(rules, reading.paths, strict=True):
        measured = "no true poses"
        if reading.truth is not None:
            found = pose_measures(
                Trajectory(reading.times_sec, reading.truth), Trajectory(reading.times_sec, poses)
            )
            measured = "  ".join(
                f"{name} {'-' if value is None else format(value, '.3f')}"
                for name, value in found.items()
            )
        print(f"  {rule}: {measured}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--fps", type=float, default=1.0, help="of folders (default 1)")
    parser.add_argument("--rules", default="constant:1.0,constant:0.3,ttt3r", help="one to four")
    parser.add_argument("--weights", default="miniature")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    network = load_network(given.weights, device="cpu", dtype="float32")
    share_cpu(network)
    lanes = Lanes(network, rules_from_text(given.rules))
    rules = given.rules.split(",")
    readings = [read(lanes, spec, given.frames, given.fps) for spec in given.inputs]
    for reading in readings:
        report(reading, rules)
    if given.picture:
        draw(given.picture, readings, rules)
    return 0


if __name__ == "__main__":
    sys.exit(main())
