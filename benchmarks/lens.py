"""How much of what the miniature gets wrong is the lens that it does not know.

    python -m benchmarks.lens [--rooms 256] [--frames 16] [--seed 1000] [--weights FILE]

Of the first frame of unseen procedural rooms: how far the focal length is off, beside an answer
that is always the middle of what rooms are drawn with; how far the scale of depth is off; and the
depth error as it is, without its scale, and as it would be if the scale were mended by what the
true focal length tells of it (one slope, fitted over as many rooms of other seeds). Then, of the
first frames at constant rate 1, how much of the true turn since the first camera is found, and how
much is told that is not along it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.registry import rules_from_text
from ttt3r_viewer.synthetic.scenes import VALIDATION_SEEDS, render_clips
from ttt3r_viewer.weights.load import load_network, share_cpu

LEAST_TURN_RAD = np.radians(4.0)
"""Of a camera that turns less, no share of the turn is told."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What was made of one room, or of each of several rooms (an array each)."""

    focal: NDArray[np.float64]
    """log(true focal length / width of the picture)."""
    focal_off: NDArray[np.float64]
    """log(told / true focal length)."""
    scale_off: NDArray[np.float64]
    """log of the median of `ratio`."""
    ratio: NDArray[np.float64]
    """Told / true depth of every pixel, (height, width), of several rooms (room, height, width)."""
    turn_found: NDArray[np.float64]
    """Slope of the told on the true rotation vectors; nan where the camera hardly turns."""
    turn_across: NDArray[np.float64]
    """Size of what is left of the told ones, as a share of the true ones."""


def turn_shares(told: NDArray[np.float64], true: NDArray[np.float64]) -> tuple[float, float]:
    """`turn_found` and `turn_across` of camera poses (frames, 4, 4)."""
    vectors, vectors_true = (
        Rotation.from_matrix(poses[0, :3, :3].T @ poses[:, :3, :3]).as_rotvec()
        for poses in (told, true)
    )
    if np.linalg.norm(vectors_true, axis=1).max() < LEAST_TURN_RAD:
        return np.nan, np.nan
    size = np.linalg.norm(vectors_true)
    found = (vectors * vectors_true).sum() / size**2
    return float(found), float(np.linalg.norm(vectors - found * vectors_true) / size)


def depth_errors(ratio: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """(room,) median over pixels of |z / scale - z_true| / z_true, scale (room,)."""
    return np.median(np.abs(ratio / scale[:, None, None] - 1), axis=(1, 2))


def look(network: ReconstructionNetwork, seeds: Iterable[int], frames: int) -> Seen:
    """Run each room."""
    height, width = network.config.image_size
    rows = []
    for seed in seeds:
        clip = render_clips([seed], frames, height, width, device=network.device)
        lanes = Lanes(network, rules_from_text("constant:1.0"))
        images = (clip.images[0] * 255).round().byte().numpy()
        results = [lanes.process(image)[0] for image in images]
        focal_px = float(clip.focal_px[0])
        ratio = results[0].points_camera[..., 2].astype(np.float64) / clip.depth[0, 0].numpy()
        told = np.stack([result.camera.T_world_camera for result in results])
        rows.append(
            (
                np.log(focal_px / width),
                np.log(results[0].camera.focal_px / focal_px),
                np.log(np.median(ratio)),
                ratio,
                *turn_shares(told, clip.T_world_camera[0].double().numpy()),
            )
        )
        print(f"room {seed}", end="\r", file=sys.stderr, flush=True)
    return Seen(*(np.array(column) for column in zip(*rows, strict=True)))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rooms", type=int, default=256)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--weights", default="miniature")
    given = parser.parse_args()
    network = load_network(given.weights, device="cpu", dtype="float32")
    share_cpu(network)
    others = look(network, VALIDATION_SEEDS[: given.rooms], 1)
    seen = look(network, range(given.seed, given.seed + given.rooms), given.frames)
    slope = np.polyfit(others.focal, others.scale_off, 1)[0]
    lens_scale = np.exp(slope * (seen.focal - others.focal.mean()))
    middle = np.median(others.focal)
    told = {
        "focal length off, |log|": np.abs(seen.focal_off),
        "  if it were always the middle one": np.abs(seen.focal - middle),
        "scale of depth off, |log|": np.abs(seen.scale_off),
        "depth error": depth_errors(seen.ratio, np.ones_like(seen.focal)),
        "  without its scale": depth_errors(seen.ratio, np.exp(seen.scale_off)),
        "  if the lens were known": depth_errors(seen.ratio, lens_scale),
        "share of the turn that is found": seen.turn_found[np.isfinite(seen.turn_found)],
        "  told across it": seen.turn_across[np.isfinite(seen.turn_across)],
    }
    print(f"{'':36} rooms  median  quartiles")
    for name, values in told.items():
        low, median, high = np.percentile(values, (25, 50, 75))
        print(f"{name:36} {len(values):5}  {median:6.3f}  {low:.3f} to {high:.3f}")
    related = np.corrcoef(seen.focal, seen.scale_off)[0, 1]
    print(f"log scale off and log focal length: correlation {related:.2f}; slope {slope:.2f} there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
