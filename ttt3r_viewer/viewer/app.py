"""The page: a viser server, its panels and layers, and the thread that keeps them up to date."""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import viser
from viser import _messages

from ttt3r_viewer.export.film.viser_recording import quiet_console
from ttt3r_viewer.export.job import Exporter
from ttt3r_viewer.metrics.ground_truth import GroundTruth
from ttt3r_viewer.reconstruct.messages import Mailbox
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Status
from ttt3r_viewer.viewer import html
from ttt3r_viewer.viewer.cameras.client_cameras import ClientCameras, fly_to_shown
from ttt3r_viewer.viewer.cameras.guided_cameras import GuidedCameras
from ttt3r_viewer.viewer.context import PageContext, Presentation
from ttt3r_viewer.viewer.layers.crop_layer import CropLayer
from ttt3r_viewer.viewer.layers.grid_layer import GridLayer
from ttt3r_viewer.viewer.layers.lane_layer import LaneLayer
from ttt3r_viewer.viewer.layers.near_walls import NearWalls
from ttt3r_viewer.viewer.panels.ask import AskPanel
from ttt3r_viewer.viewer.panels.captions import CaptionsPanel
from ttt3r_viewer.viewer.panels.charts import ChartsPanel
from ttt3r_viewer.viewer.panels.compare import ComparePanel
from ttt3r_viewer.viewer.panels.export import ExportPanel
from ttt3r_viewer.viewer.panels.inset import InsetPanel
from ttt3r_viewer.viewer.panels.inspect import InspectPanel
from ttt3r_viewer.viewer.panels.legend import LegendPanel
from ttt3r_viewer.viewer.panels.loading import LoadingPanel
from ttt3r_viewer.viewer.panels.look import LookPanel
from ttt3r_viewer.viewer.panels.measure import MeasurePanel
from ttt3r_viewer.viewer.panels.playback import PlaybackPanel
from ttt3r_viewer.viewer.panels.present import PresentPanel
from ttt3r_viewer.viewer.panels.run import RunPanel
from ttt3r_viewer.viewer.publisher import Publisher
from ttt3r_viewer.viewer.server.access import Access
from ttt3r_viewer.viewer.server.clients import TWIN_PATH
from ttt3r_viewer.viewer.server.door import Door
from ttt3r_viewer.viewer.server.gate import INNER_HOST, Gate
from ttt3r_viewer.viewer.server.guest_views import GuestViews
from ttt3r_viewer.viewer.server.point_budget import PointBudget
from ttt3r_viewer.viewer.server.twin import PAGE as TWIN_PAGE
from ttt3r_viewer.viewer.server.twin import TwinView
from ttt3r_viewer.viewer.server.viser_patch import patch_viser
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import FIRST_SETTINGS, ViewControls, ViewSettings
from ttt3r_viewer.viewer.widgets import Resender

STOP_SEC = 0.5
"""viser waits up to six seconds for a browser's idle connections; nobody should."""

P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class PanelPlace:
    """Where a panel stands, and what makes it."""

    tab: str
    """Name of its tab; empty for above or below all tabs."""
    make: Callable[[PageContext], Part]
    icon: viser.IconName | None = None
    """Of the tab, where this panel is its first."""
    offered: Callable[[Status], bool] | None = None
    """The tab, with this panel alone, comes once this holds; None: it is there from the start."""


PANELS: tuple[PanelPlace, ...] = (
    PanelPlace("", RunPanel),
    PanelPlace("View", PlaybackPanel, viser.Icon.EYE),
    PanelPlace("View", InsetPanel),
    PanelPlace("View", LookPanel),
    PanelPlace("View", MeasurePanel),
    PanelPlace("View", PresentPanel),
    PanelPlace("Compare", ComparePanel, viser.Icon.ARROWS_LEFT_RIGHT),
    PanelPlace("Charts", ChartsPanel, viser.Icon.CHART_LINE),
    PanelPlace("Inspect", InspectPanel, viser.Icon.MICROSCOPE),
    PanelPlace("Export", ExportPanel, viser.Icon.PACKAGE_EXPORT),
    PanelPlace("Ask", AskPanel, viser.Icon.MESSAGE_QUESTION, lambda status: not status.cannot_ask),
    PanelPlace("", LegendPanel),
    PanelPlace("", CaptionsPanel),
    PanelPlace("", LoadingPanel),
)
"""Every panel, in the order in which they are seen. A new panel is one file and one line here."""


class Viewer:
    """Shows a scene in the browser, and leaves what users ask for in the mailbox."""

    server: viser.ViserServer
    """The viser server. It is there from `start` on, and so is the gate."""
    gate: Gate
    """What stands in front of the server."""
    _publisher: Publisher

    def __init__(
        self,
        store: SceneStore,
        mailbox: Mailbox,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        title: str = "ttt3r-viewer",
        notice: str = "",
        ground_truth: GroundTruth | None = None,
        exporter: Exporter | None = None,
        recorder: RecordingWriter | None = None,
        presentation: Presentation | None = None,
        access: Access | None = None,
        door: Door | None = None,
        gpu_points: int | None = None,
        settings: ViewSettings = FIRST_SETTINGS,
        panels: Sequence[PanelPlace] = PANELS,
    ) -> None:
        """Nothing is bound before `start`.

        Port 0 means any free one. `notice` is plain text, shown in a box below the buttons.
        Against `ground_truth` the charts and the table measure every lane. `exporter` writes what
        the Export tab asks for; None where there is no recording. It is closed with the page.
        Before a restart replaces what `recorder` keeps for this page only, the page asks.
        `presentation` says how the page is shown to a room, and where its tour is kept. `access`
        says who may come in; None: everyone on this machine, and elsewhere who has a made-up token.
        A `door` stands in place of host, port and access, and stays when the page is closed.
        `gpu_points` may be kept in the scene once every owner's browser draws on a GPU.
        `settings` are those that the page begins with.
        `panels` are those of the page, such as `(*PANELS, PanelPlace("Mine", MyPanel))`.
        """
        self._store = store
        self.door = door or Door(host, port, access)
        """Where the page is, and who may come in."""
        self._own_door = door is None
        self._title = title
        self._exporter = exporter
        self._gpu_points = gpu_points
        presentation = presentation or Presentation()
        self._panels = charts_first(panels) if presentation.chart else tuple(panels)
        self._closing = ExitStack()
        """What `stop` has to do."""
        self.controls = ViewControls(settings)
        self._page = partial(
            PageContext,
            controls=self.controls,
            mailbox=mailbox,
            notice=notice,
            ground_truth=ground_truth,
            exporter=exporter,
            has_start=self.door.start is not None,
            recorder=recorder,
            presentation=presentation,
        )
        """Makes the page's context for a server."""

    def start(self) -> None:
        """Serve the page; raises ViewerServerError where host or port cannot be."""
        self.door.listen()
        if self._own_door:
            self._closing.callback(self.door.close)
        patch_viser()
        with quiet_console():
            # Only the gate gets there: viser itself lets everybody in.
            server = viser.ViserServer(host=INNER_HOST, port=0, label=self._title, verbose=False)
        self._closing.callback(_stop_soon, server)
        # Any browser could ask for viser's public tunnel, button or not.
        server._websock_server.unregister_handler(_messages.ShareUrlRequest)
        page = self._page(server)
        twin, guests = TwinView(server, page.overlay), GuestViews(page)
        gate = Gate(
            self.door,
            server,
            pages={TWIN_PATH: TWIN_PAGE.read_bytes()},
            overlay=page.overlay,
            owner_widgets=page.restart.widget,
            guest_widgets=page.channel.widget,
        )
        self._closing.callback(gate.stop)
        self.server, self.gate = server, gate
        parts = self._build(page, twin, guests)
        probe = server.gui.add_html(html.probe({}))
        self._publisher = Publisher(self._store, self.controls, parts, probe)
        server.on_client_connect(self._watch)
        self._publisher.start()
        self._closing.callback(self._publisher.stop)
        # Last, so that nobody sees half a page.
        gate.start()

    async def _watch(self, client: viser.ClientHandle) -> None:
        """Wake the publisher for a browser that comes, and whenever it moves its camera."""
        self._publisher.wake()

        @client.camera.on_update
        async def _(_: viser.CameraHandle) -> None:
            self._publisher.wake()

    def stop(self) -> None:
        """Close the page and end its threads; harmless where it was not started."""
        if self._exporter is not None:
            self._exporter.close()
        self._closing.close()

    def report(self, text: str) -> None:
        """Show an error's text in the page, or take it away with an empty one."""
        self._publisher.report = text

    def part(self, kind: type[P]) -> P:
        """Return the page's part of this class."""
        return next(part for part in self._publisher.parts if isinstance(part, kind))

    @property
    def port(self) -> int:
        """The port that the page is really served at."""
        return self.gate.port

    @property
    def url(self) -> str:
        """The link that opens the page on this machine, as its owner."""
        return self.door.url

    def _build(self, page: PageContext, twin: TwinView, guests: GuestViews) -> list[Part]:
        """Make every widget and node, all on this thread; give the parts in their order."""
        server = page.server
        server.gui.configure_theme(
            dark_mode=True,
            show_logo=False,
            show_share_button=False,
            control_width="medium",
            brand_color=(42, 130, 218),
        )
        # Not turned while the page is open: viser would put every browser back to its first view.
        server.scene.set_up_direction("-y")
        budget = PointBudget(server, page.mailbox, self._gpu_points)
        page.points_limit = budget.limit_html
        guided = GuidedCameras(server, page.tour)
        page.fly = partial(fly_to_shown, guided.fly_to)
        lanes = LaneLayer(server, series=page.series, fly=guided.fly_to)
        page.points_shown = lambda: sum(lanes.points_shown_by_lane)
        page.median_point_size = lambda: lanes.median_point_size
        return [
            budget,
            lanes,  # before panels: what panels draw in the scene lies below its nodes
            GridLayer(server),
            CropLayer(server, self.controls),
            *build_panels(page, self._panels),
            ClientCameras(server),
            guided,
            NearWalls(server, guided),
            twin,
            guests,
            Resender(server.gui),
        ]


def charts_first(panels: Sequence[PanelPlace]) -> tuple[PanelPlace, ...]:
    """Put the charts above all tabs, below the run."""
    run, *others = (one for one in panels if one.make is not ChartsPanel)
    charts = (replace(one, tab="", icon=None) for one in panels if one.make is ChartsPanel)
    return (run, *charts, *others)


def build_panels(page: PageContext, places: Sequence[PanelPlace]) -> list[Part]:
    """Make the panels, each in its tab; a tab that is not looked at costs the browser nothing."""
    panels: list[Part] = []
    group: viser.GuiTabGroupHandle | None = None
    tabs: dict[str, viser.GuiTabHandle] = {}
    for place in places:
        if place.tab and place.tab not in tabs:
            group = group or page.server.gui.add_tab_group()
            if place.offered is not None:
                panels.append(LatePanel(page, place, group))
                continue
            tabs[place.tab] = group.add_tab(place.tab, place.icon)
        with tabs[place.tab] if place.tab else nullcontext():
            panels.append(place.make(page))
    return panels


class LatePanel(Part):
    """Makes a panel with its tab once the run can have it."""

    def __init__(
        self, page: PageContext, place: PanelPlace, group: viser.GuiTabGroupHandle
    ) -> None:
        self._page, self._place, self._group = page, place, group
        self._panel: Part | None = None

    def update(self, tick: Tick) -> None:
        """Make the panel when its time has come, and keep it up to date."""
        place = self._place
        if (
            self._panel is None
            and place.offered is not None
            and place.offered(tick.snapshot.status)
        ):
            with self._group.add_tab(place.tab, place.icon):
                self._panel = place.make(self._page)
        if self._panel is not None:
            self._panel.update(tick)

    def probe(self) -> dict[str, object]:
        """Say what the panel shows, once there is one."""
        return {} if self._panel is None else self._panel.probe()


def _stop_soon(server: viser.ViserServer) -> None:
    """Stop the server within `STOP_SEC`, or let it go on stopping by itself."""
    stop = quiet_console()(server.stop)
    closing = threading.Thread(target=stop, name="page-close", daemon=True)
    closing.start()
    closing.join(STOP_SEC)
