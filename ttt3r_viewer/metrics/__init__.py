"""How good a camera path is: true poses, errors, and the table that compares lanes."""

from ttt3r_viewer.metrics.comparison import (
    LaneFrame,
    LaneMeasures,
    comparison_csv,
    comparison_markdown,
    lane_separation,
    measure_lane,
    true_poses,
)
from ttt3r_viewer.metrics.ground_truth import GroundTruth, find_ground_truth, read_ground_truth
from ttt3r_viewer.metrics.running import RunningAlignment
from ttt3r_viewer.metrics.trajectory import (
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
    "read_ground_truth",
    "rpe",
    "true_poses",
]
