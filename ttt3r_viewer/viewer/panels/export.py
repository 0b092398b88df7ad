"""The exports: a format and what is taken, how far it is, and the result as a download."""

from functools import partial
from typing import get_args

import viser
from viser import Icon

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.export.film.film import CameraPath, Film
from ttt3r_viewer.export.job import DOWNLOAD_BYTES, Exporter, JobState, Request, too_large
from ttt3r_viewer.export.known_formats import FORMATS, WITHOUT_WORLD
from ttt3r_viewer.export.lane_source import Thinning
from ttt3r_viewer.export.level_world import WorldUp
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.html import BAD, block, escape, lines
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import Widgets, assign_changed, offer, send_file, show

SIZES = ("1280x720", "640x360", "1920x1080", "720x1280")
NOT_ARCHIVED = (
    "There is nothing to export: this run keeps no frames on disk. Run it without --archive-gb 0."
)
PHASE_WORDS = {
    "idle": "",
    "writing": "Writing {name}: {done:,} of {total:,} steps",
    "packing": "Packing: {done:,} of {total:,} files",
    "cancelled": "Cancelled: nothing is left of it",
    "failed": "Failed",
    "done": "",
}
UPRIGHT: dict[str, WorldUp] = {"As the first camera": "camera", "By gravity": "gravity"}
ONE_LANE: tuple[str, ...] = ("lane 1",)


class ExportPanel(Part):
    """Widgets of the exports."""

    def __init__(self, page: PageContext) -> None:
        """Without an exporter, the tab says why there is nothing to export."""
        gui, exporter = page.server.gui, page.exporter
        self._exporter, self._controls = exporter, page.controls
        self._shown_format = ""
        self._refusal = ""
        """Why the latest click did nothing; callbacks, all on viser's own loop, replace it."""
        if exporter is None:
            gui.add_html(text_html("export-why", NOT_ARCHIVED))
            return
        self._names = {one.label: name for name, one in FORMATS.items()}
        self._format = gui.add_dropdown("Format", tuple(self._names))
        self._summary = gui.add_html("")
        self._lane = gui.add_dropdown("Of lane", ONE_LANE, visible=False)
        self._stride = gui.add_number("Every N-th frame", 1, min=1, step=1)
        self._percentile = gui.add_number(
            "Without least sure (%)",
            0,
            min=0,
            max=99,
            step=1,
        )
        self._max_points = gui.add_number(
            "Most points", 0, min=0, step=1000, hint="0: what the format takes"
        )
        self._up = gui.add_dropdown("Upright", tuple(UPRIGHT), visible=False)
        self._path = gui.add_dropdown("Camera", get_args(CameraPath), visible=False)
        self._size = gui.add_dropdown("Image size", SIZES, visible=False)
        self._seconds = gui.add_number(
            "Length (s)", 0.0, min=0.0, step=1.0, visible=False, hint="0: the tour's, or 10 s"
        )
        self._grow = gui.add_checkbox("The cloud grows", True, visible=False)
        widgets = Widgets(gui)
        widgets.button("Export", Icon.PACKAGE_EXPORT, lambda _: self._begin(exporter))
        self._cancel = widgets.button(
            "Cancel", Icon.X, lambda _: exporter.cancel(), color="gray", visible=False
        )
        self._progress = gui.add_progress_bar(0.0, visible=False)
        self._state = gui.add_html("")
        self._download = widgets.button(
            "Download", Icon.DOWNLOAD, partial(self._fetch, exporter), visible=False
        )

    def _begin(self, exporter: Exporter) -> None:
        try:
            self._refusal = exporter.start(self._request())
        except SettingsError as error:
            self._refusal = str(error)

    def _fetch(self, exporter: Exporter, client: viser.ClientHandle | None) -> None:
        if client is not None:
            self._refusal = exporter.fetch(partial(send_file, client))

    def _request(self) -> Request:
        """Read the widgets that mean something to the format. Raises `SettingsError`."""
        name = self._names[self._format.value]
        kind = FORMATS[name]
        thinning, film = Thinning(), Film()
        if kind.thins:
            most = int(self._max_points.value) or None
            thinning = Thinning(
                min_confidence_percentile=float(self._percentile.value),
                edge_filter=self._controls.settings.edge_filter,
                max_points=most,
            )
        seconds = float(self._seconds.value) or None
        if "path" in kind.film:
            path: CameraPath = self._path.value  # Film knows which there are
            film = Film(path, self._size.value, seconds=seconds, growth=self._grow.value)
        elif "seconds" in kind.film:
            film = Film(seconds=seconds)
        lane = self._lane.options.index(self._lane.value)
        up = "camera" if name in WITHOUT_WORLD else UPRIGHT[self._up.value]
        return Request(name, lane, int(self._stride.value), thinning, film, up)

    def update(self, tick: Tick) -> None:
        """Offer what the format takes, and say how far the export is."""
        if self._exporter is None:
            return
        name = self._names[self._format.value]
        kind, state = FORMATS[name], self._exporter.state
        if self._shown_format != self._format.value:
            self._shown_format = self._format.value
            assign_changed(self._percentile, value=kind.min_confidence_percentile)
        assign_changed(self._summary, content=text_html("export-summary", kind.summary))
        offer(self._lane, tick.lane_names)
        show(tick.lane_count > 1, self._lane)
        show(kind.thins, self._percentile, self._max_points)
        show(name not in WITHOUT_WORLD, self._up)
        show("path" in kind.film, self._path, self._size, self._grow)
        show("seconds" in kind.film, self._seconds)
        share = 100 * state.done / state.total if state.total else 0.0
        assign_changed(
            self._progress, value=round(share, 1), animated=state.busy, visible=state.busy
        )
        show(state.busy, self._cancel)
        sent = state.result is not None and state.result.bytes_written <= DOWNLOAD_BYTES
        show(sent and not state.busy, self._download)
        text = state_html(state, self._refusal, temporary=self._exporter.temporary)
        assign_changed(self._state, content=text)


def state_html(state: JobState, refusal: str, *, temporary: bool) -> str:
    """Say what an export does or did, where its result lies, and what is in the way."""
    name = FORMATS[state.name].label if state.name else ""
    texts = [PHASE_WORDS[state.phase].format(name=name, done=state.done, total=state.total)]
    result = state.result
    if result is not None and not state.busy:
        until = " until the program ends" if temporary else ""
        size = f"{result.bytes_written / 1e6:.3g} MB"
        texts.append(f"{result.count:,} {result.unit}, {size}, at {result.path}{until}")
        if result.bytes_written > DOWNLOAD_BYTES:
            texts.append(too_large(result))
    bad = state.phase == "failed" or bool(refusal)
    return text_html("export-state", *texts, state.message, refusal, bad=bad)


def text_html(name: str, *texts: str, bad: bool = False) -> str:
    """Put the plain texts that are not empty below each other; red where they are bad news."""
    style = f"padding:0.25em 0.75em 0.5em;{f'color:{BAD}' if bad else ''}"
    return block(name, lines(map(escape, texts)), size="0.8em", style=style)
