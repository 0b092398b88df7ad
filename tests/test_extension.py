"""The house can be added to from outside: a newcomer's file, and the one line that names it."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tests.page_client import CAMERA, echo, join, set_value
from tests.pages import shown
from tests.test_export_formats import make_session
from tests.waiting import wait_for
from ttt3r_viewer.cli import main
from ttt3r_viewer.evaluate.datasets import DATASETS
from ttt3r_viewer.evaluate.datasets.base import DatasetEntry, DatasetInfo, TrueFrame, chosen
from ttt3r_viewer.export.formats import Choices, Format
from ttt3r_viewer.export.known_formats import FORMATS
from ttt3r_viewer.export.lane_source import Source, StepCount
from ttt3r_viewer.metrics.true_depth import TrueDepth
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.rules.registry import RULES
from ttt3r_viewer.rules.rule import UpdateRule, parameter
from ttt3r_viewer.state import Evidence, Update
from ttt3r_viewer.viewer.app import PANELS, PanelPlace
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.layers.colors import COLOR_MODES, ColorMode
from ttt3r_viewer.viewer.panels.look import LookPanel
from ttt3r_viewer.viewer.tick import Part, Tick


@dataclass(frozen=True)
class Fading(UpdateRule):
    """gain = start / (frames so far + 1)."""

    title: ClassVar[str] = "fading"
    paper: ClassVar[str] = "none"
    formula: ClassVar[str] = "gain = start / (frames so far + 1)"
    cost: ClassVar[str] = "keeps a count"

    start: float = parameter(1.0, 0.0, 1.0, "gain of the first frame")

    def initial(self) -> int:
        return 0

    def update(self, evidence: Evidence, rule_state: int) -> tuple[Update, int]:
        tokens = evidence.state
        gain = tokens.new_full(tokens.shape[:2], self.start / (rule_state + 1))
        return Update(gain), rule_state + 1


def test_a_rule_is_one_file_and_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(RULES, "fading", Fading)
    out = tmp_path / "out"
    rules = "fading:0.5,constant:0.3"
    assert main(["run", "--max-frames", "3", "--rules", rules, "--output", str(out)]) == 0
    recorded = Recording.open(out)
    for place, gain in enumerate((0.5, 0.25, 0.5 / 3)):
        fading, constant = recorded.frame(place)
        assert abs(fading.gain - gain).max() < 1e-3
        assert abs(constant.gain - 0.3).max() < 1e-3


GREY_WALLS = DatasetInfo("grey walls", "files that hold a distance", ("depth",), "2")


@dataclass(frozen=True)
class GreyWalls:
    """One sequence per file below a root: a grey wall, as far away as the file says."""

    root: Path
    info: DatasetInfo = GREY_WALLS

    def sequences(self, wanted: Sequence[str] | None) -> list[str]:
        return chosen(sorted(one.name for one in self.root.iterdir()), wanted, self.info)

    def open(self, sequence: str, stride: int, most: int | None) -> Sequence[TrueFrame]:
        depth = np.full((32, 40), float((self.root / sequence).read_text()), np.float32)
        grey = partial(np.full, (128, 160, 3), 128, np.uint8)
        times = range(0, 9, stride)[:most]
        return [TrueFrame(f"{k}", k / 30, grey, depth=TrueDepth(lambda: depth)) for k in times]


def test_a_data_set_is_one_file_and_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "grey", DatasetEntry(GreyWalls))
    root, out = tmp_path / "walls", tmp_path / "out"
    root.mkdir()
    (root / "near").write_text("1.5")
    words = ["--root", str(root), "--rules", "ttt3r", "--device", "cpu", "--output", str(out)]
    assert main(["eval", "--dataset", "grey", *words]) == 0
    with (out / "records.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["sequence"], row["frames"], row["ate_m"]) == ("near", "2", "")
    assert float(row["abs_rel_aligned"]) >= 0


def write_names(path: Path, source: Source, _: Choices, progress: StepCount) -> int:
    """A toy format: the names of the frames."""
    progress.expect(len(source))
    names = [camera.name for camera in source.cameras(progress.step)]
    path.write_text("\n".join(names))
    return len(names)


def test_an_export_format_is_one_file_and_one_line(tmp_path, monkeypatch, capsys):
    names = Format(
        "Names", "the frames' names", "names.txt", write_names, lambda source, _: 99 * len(source)
    )
    monkeypatch.setitem(FORMATS, "names", names)
    folder = make_session(tmp_path, 2)
    assert main(["export", str(folder), "--to", "names"]) == 0
    written = (folder / "export" / "steady-rate-1" / "names.txt").read_text().split()
    assert len(written) == 2
    assert main(["export", str(folder), "--to", "names", "--max-points", "9"]) == 2
    assert "names has no points to be thinned" in capsys.readouterr().err


def test_a_colour_mode_is_one_entry_that_the_page_offers_and_draws(monkeypatch):
    grey = ColorMode("Grey", lambda batch: np.full_like(batch.colors, 99))
    monkeypatch.setitem(COLOR_MODES, "grey", grey)
    with shown(1, paused=True) as (_, viewer), join(viewer.port) as client:
        echo(client, CAMERA)
        set_value(client, viewer.part(LookPanel)._color, "Grey")
        wait_for(lambda: viewer.controls.settings.color_by == "grey", "the choice")
        nodes: Any = viewer.server.scene._handle_from_node_name
        live = "/lanes/0/sector_0/live"
        wait_for(lambda: np.all(getattr(nodes.get(live), "colors", 0) == 99), "grey")


class FrameCounter(Part):
    """A toy panel: says how many frames there are."""

    def __init__(self, page: PageContext):
        self.text = page.server.gui.add_html("")

    def update(self, tick: Tick) -> None:
        self.text.content = f"{len(tick.snapshot.frames)} frames; {tick.trouble}"

    def probe(self) -> dict[str, object]:
        return {"toy": np.int64(1)}  # no JSON: the page must say so, and go on


def test_a_panel_is_one_file_and_one_line():
    panels = (*PANELS, PanelPlace("Toy", FrameCounter))
    with shown(1, {"panels": panels}, paused=True) as (_, viewer):
        text = viewer.part(FrameCounter).text
        wait_for(lambda: text.content.startswith("1 frames; The page could not"), "the toy panel")
