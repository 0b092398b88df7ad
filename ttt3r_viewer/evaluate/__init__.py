"""How good a camera path is: true poses, errors, and the table that compares lanes."""

from ttt3r_viewer.evaluate.comparison import (
    LaneFrame,
    LaneMeasures,
    comparison_csv,
    comparison_markdown,
    lane_separation,
    measure_lane,
    true_poses,
)
from ttt3r_viewer.evaluate.ground_truth import GroundTruth, find_ground_truth, read_ground_truth
from ttt3r_viewer.evaluate.plot import plot_trajectories
from ttt3r_viewer.evaluate.running import RunningAlignment
from ttt3r_viewer.evaluate.trajectory import (
    AbsoluteError,
    RelativeError,
    Trajectory,
    associate,
    ate,
    rpe,
)

__all__ = [
    "AbsoluteError",
    "GroundTruth",
    "LaneFrame",
    "LaneMeasures",
    "RelativeError",
    "RunningAlignment",
    "Trajectory",
    "associate",
    "ate",
    "comparison_csv",
    "comparison_markdown",
    "find_ground_truth",
    "lane_separation",
    "measure_lane",
    "plot_trajectories",
    "read_ground_truth",
    "rpe",
    "true_poses",
]
