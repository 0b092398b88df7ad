"""What bfloat16 changes beside float32: cameras and points of the same frames.

    python -m benchmarks.precision [--input PATH ...] [--weights miniature] [--max-frames N]

Without --input the three demos are taken. Prints ATE (Sim3) against true poses, where they lie
beside the input, for both; and per frame, median over pixels, how far bfloat16's points lie from
float32's in
the world (cameras included) and in the camera's frame, as shares of the point's distance.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ttt3r_viewer.frames.source import open_source
from ttt3r_viewer.geometry import transform_points
from ttt3r_viewer.metrics.comparison import measure_lane
from ttt3r_viewer.metrics.ground_truth import find_ground_truth, read_ground_truth
from ttt3r_viewer.reconstruct.session import Session
from ttt3r_viewer.rules.registry import rules_from_text
from ttt3r_viewer.scene.seen import FrameSummary, summarize_frame
from ttt3r_viewer.system.assets import with_demos
from ttt3r_viewer.types import Frame, FrameResult
from ttt3r_viewer.weights.load import load_network


def distance_shares(a: FrameResult, b: FrameResult) -> tuple[float, float]:
    """Median over pixels of |a - b| / |a|: in the world, and in the camera's frame."""
    distance = np.linalg.norm(a.points_camera, axis=-1)
    own = np.linalg.norm(a.points_camera - b.points_camera, axis=-1)
    in_world = [transform_points(x.camera.T_world_camera, x.points_camera) for x in (a, b)]
    world = np.linalg.norm(in_world[0] - in_world[1], axis=-1)
    return float(np.median(world / distance)), float(np.median(own / distance))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", nargs="+", default=["demo:loop", "demo:walk", "demo:hand-held"])
    parser.add_argument("--weights", default="miniature")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="cpu")
    parser.add_argument("--rule", default="ttt3r")
    parser.add_argument("--max-frames", type=int)
    given = parser.parse_args()
    for spec in given.input:
        compare(spec, given)
    return 0


def compare(spec: str, given: argparse.Namespace) -> None:
    """Print the measures of one input."""
    path = with_demos(spec)
    (rule,) = rules_from_text(given.rule)
    sessions = {
        dtype: Session(load_network(given.weights, device=given.device, dtype=dtype), rule)
        for dtype in ("float32", "bfloat16")
    }
    seen: dict[str, list[FrameSummary]] = {dtype: [] for dtype in sessions}
    shares = []
    for frame in open_source(path, max_frames=given.max_frames):
        if not isinstance(frame, Frame):
            continue
        results = {dtype: session.process(frame) for dtype, session in sessions.items()}
        for dtype, result in results.items():
            seen[dtype].append(summarize_frame(result, 1, 16))
        shares.append(distance_shares(results["float32"], results["bfloat16"]))
    poses = find_ground_truth(Path(path))
    truth = read_ground_truth(poses) if poses else None
    for dtype, frames in seen.items():
        measures = measure_lane(dtype, frames, truth)
        print(f"{spec}, {dtype}: ATE (Sim3) {measures.ate_sim3_m} m over {len(frames)} frames")
    world, own = np.median(np.array(shares), axis=0)
    print(
        f"{spec}, points, median over pixels and frames: {world:.3%} in the world, "
        f"{own:.3%} in the camera's frame"
    )


if __name__ == "__main__":
    raise SystemExit(main())
