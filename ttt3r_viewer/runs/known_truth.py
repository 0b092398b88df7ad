"""What is known to be true of an input, and a scene that measures its frames against it."""

from dataclasses import replace
from pathlib import Path

from ttt3r_viewer.errors import EvaluationError, InputError
from ttt3r_viewer.evaluate.datasets import find_sequence
from ttt3r_viewer.metrics.ground_truth import GroundTruth, find_ground_truth, read_ground_truth
from ttt3r_viewer.metrics.point_errors import PointErrors
from ttt3r_viewer.metrics.true_depth import find_depth
from ttt3r_viewer.scene.edges import DEFAULT_EDGE_FILTER
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.settings import PAGE_POINTS, InputOptions
from ttt3r_viewer.system.assets import with_demos


def page_store(
    max_points: int | None, truth: GroundTruth | None, edge_filter: float = DEFAULT_EDGE_FILTER
) -> SceneStore:
    """An empty scene as a page shows it, which measures frames where their depth is known."""
    known = truth is not None and truth.depth_of is not None
    measure = PointErrors(truth) if truth is not None and known else None
    return SceneStore(
        max_points or PAGE_POINTS, one_per_voxel=True, measure=measure, edge_filter=edge_filter
    )


def find_truth(options: InputOptions) -> tuple[GroundTruth | None, str]:
    """The true cameras, with depth where it is known too: those of `--poses`, else those that lie
    beside the input, or in its data set, if any; and why a file that lies there is not used.

    Raises `EvaluationError` for a file that was named.
    """
    images = Path(with_demos(options.input))
    path = find_ground_truth(images) if options.poses is None else Path(options.poses)
    try:
        if path is None:
            return find_sequence(images), ""
        truth = read_ground_truth(path)
    except (EvaluationError, InputError) as error:
        if options.poses is not None:
            raise
        return None, f"no true poses: {error}"
    try:
        return replace(truth, depth_of=find_depth(images)), ""
    except EvaluationError as error:
        return truth, f"no true depth: {error}"
