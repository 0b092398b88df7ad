"""What a panel is made with: the server, where its choices go, and what several panels share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import viser

from ttt3r_viewer.metrics.ground_truth import GroundTruth
from ttt3r_viewer.reconstruct.messages import Mailbox
from ttt3r_viewer.viewer.cameras.tour_recorder import TourRecorder
from ttt3r_viewer.viewer.panels.chart_series import ChartSeries
from ttt3r_viewer.viewer.panels.restart import RestartQuestion
from ttt3r_viewer.viewer.server.overlay import Overlay
from ttt3r_viewer.viewer.server.page_channel import PageChannel
from ttt3r_viewer.viewer.tick import Tick
from ttt3r_viewer.viewer.view_settings import GuestControls, ViewControls

if TYPE_CHECKING:
    from ttt3r_viewer.export.job import Exporter
    from ttt3r_viewer.recording.writer import RecordingWriter


@dataclass(frozen=True)
class Presentation:
    """How a page is presented to people in a room."""

    on: bool = False
    """The page begins with captions and the orbit in place of the panel."""
    title: str = ""
    logo_text: str = ""
    folder: Path | None = None
    """Of the recording, where the tour is kept; None where there is none."""
    chart: str = ""
    """The chart that is in view from the start, above the tabs; empty: charts have their tab."""
    remark: str = ""
    """What captions say of the input below the lanes; empty: nothing."""


@dataclass(eq=False)
class PageContext:
    """The one argument of every panel's constructor; all but the server may be left out."""

    server: viser.ViserServer
    controls: ViewControls = field(default_factory=ViewControls)
    """Where a widget that changes the view leaves its value."""
    mailbox: Mailbox = field(default_factory=Mailbox)
    """Where a widget that changes the run leaves its message."""
    notice: str = ""
    """Plain text that is shown above the tabs."""
    ground_truth: GroundTruth | None = None
    """What the charts and the captions measure every lane against."""
    exporter: "Exporter | None" = None
    """Writes what the Export tab asks for; None where there is no recording."""
    has_start: bool = False
    """There is a start screen, to which the page leads."""
    recorder: "RecordingWriter | None" = None
    """What records the run; None where nothing is recorded."""
    presentation: Presentation = field(default_factory=Presentation)
    overlay: Overlay = field(default_factory=Overlay)
    """What lies over the scene in every browser, beside and without the panel."""
    guest_controls: dict[int, GuestControls] = field(default_factory=dict)
    """What each guest's browser shows of its own, by client; changed on viser's loop only."""
    fly: Callable[[viser.ClientHandle, Tick], object] = lambda *_: None
    """Moves one browser to the camera that a tick stands at; called on viser's loop."""
    points_shown: Callable[[], int] = lambda: 0
    """Returns how many points the page draws."""
    median_point_size: Callable[[], float] = lambda: 0.0
    """Returns the median side that drawn points have by themselves; 0 where none are drawn."""
    points_limit: Callable[[int], str] = lambda _: ""
    """Returns HTML that says how many points may be kept, of their number."""

    @cached_property
    def channel(self) -> PageChannel:
        """What our script in a browser says to the program."""
        return PageChannel(self.server.gui)

    @cached_property
    def tour(self) -> TourRecorder:
        """The page's one tour, which panels change and the guided cameras follow."""
        return TourRecorder(self.presentation.folder)

    @cached_property
    def restart(self) -> RestartQuestion:
        """What comes before every restart that a user asks for."""
        return RestartQuestion(self.recorder)

    @cached_property
    def series(self) -> ChartSeries:
        """Every lane's numbers, which the charts plot and the captions quote."""
        return ChartSeries(self.ground_truth)
