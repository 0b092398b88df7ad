"""`ttt3r-view open`: show what `--output` left in the browser again, without torch.

With `--weights` the network is loaded when a user first looks into a frame.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.commands.shows import show_in_turn, show_recording
from ttt3r_viewer.recording.reader import open_recording
from ttt3r_viewer.settings import (
    GPU_POINTS,
    PAGE_POINTS,
    NetworkOptions,
    OutputOptions,
    PageOptions,
    RecordingOptions,
    Settings,
)
from ttt3r_viewer.system.options import DeviceName, DtypeName, Options, option_like

if TYPE_CHECKING:
    from ttt3r_viewer.viewer.server.door import Door


@dataclass(frozen=True)
class SceneOptions(Options):
    """What is shown of it."""

    max_points: int | None = option_like(
        OutputOptions,
        "max_points",
        help_text=f"points in the page (default {PAGE_POINTS}, and {GPU_POINTS} where browsers "
        "draw on a GPU)",
    )
    edge_filter: float = option_like(
        OutputOptions,
        "edge_filter",
        help_text="hide points around which the depth changes by more than this share; 0 shows "
        "them wherever frames are read in full",
    )


@dataclass(frozen=True)
class LookOptions(Options):
    """What looks into recorded frames."""

    weights: str | None = option_like(
        NetworkOptions,
        "weights",
        default=None,
        help_text="the weights of the run; Inspect then takes recorded frames again",
    )
    device: DeviceName = option_like(NetworkOptions, "device")
    dtype: DtypeName = option_like(NetworkOptions, "dtype")


def execute(given: Given, echo: Echo, warn: Echo) -> int:
    """Serve the page of a recording, and what the start screen lets choose, until Ctrl-C."""
    look, page, scene = given[LookOptions], given[PageOptions], given[SceneOptions]
    recording = open_recording(given[RecordingOptions].recording)
    network = None
    if look.weights is not None:
        from ttt3r_viewer.weights.fetch import locate

        locate(look.weights)
        network = NetworkOptions(look.weights, device=look.device, dtype=look.dtype)
    shown = OutputOptions(max_points=scene.max_points, edge_filter=scene.edge_filter)
    settings = Settings(output=shown, page=page)

    def first(door: "Door") -> bool:
        return show_recording(recording, shown, page, door, echo, network)

    return show_in_turn(settings, first, echo, warn)


COMMAND = Command(
    "Show a recording (what --output left) in the browser again: no weights, GPU or input are "
    "needed.",
    (RecordingOptions, SceneOptions, LookOptions, PageOptions),
    execute,
    config=(SceneOptions, PageOptions),
)
