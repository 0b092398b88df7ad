"""One label per lane, wherever a person reads of it."""

import json
from dataclasses import replace

from tests.made_up_run import MadeUpRun
from tests.ticks import tick_of
from ttt3r_viewer.export.results import lane_file_names
from ttt3r_viewer.rules.registry import all_rules, describe, rules_from_text
from ttt3r_viewer.rules.rule import parameters_of
from ttt3r_viewer.runs.comparing import comparison_files
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import RuleInfo, lane_labels
from ttt3r_viewer.viewer.context import PageContext, Presentation
from ttt3r_viewer.viewer.panels.captions import CaptionsPanel
from ttt3r_viewer.viewer.panels.charts import ChartsPanel
from ttt3r_viewer.viewer.server.twin import TwinView
from ttt3r_viewer.viewer.view_settings import ShowSettings, ViewSettings


def labels_of(text: str) -> tuple[str, ...]:
    return lane_labels(list(map(describe, rules_from_text(text))))


def test_a_label_is_the_rule_and_in_brackets_what_differs_from_the_default():
    assert labels_of("ttt3r,constant,constant:0.3") == ("TTT3R", "CUT3R (rate 1)", "constant 0.3")
    assert labels_of("ttt3r:temperature=2") == ("TTT3R (temperature 2)",)
    for name, kind in all_rules()[0].items():
        info = describe(kind())
        assert info.text == ("CUT3R (rate 1)" if name == "constant" else info.title)
        for one in parameters_of(kind):
            other = (
                one.metadata["high"] if one.metadata["high"] != one.default else one.metadata["low"]
            )
            if name != "constant" and abs(other) < 1e9:
                said = f"({one.name.replace('_', ' ')} {other:g})"
                assert str(kind(**{one.name: other})) == f"{kind.title} {said}"


def test_a_repeated_rule_is_numbered():
    rules = [RuleInfo("a", "A", text) for text in ("A", "B", "A", "A")]
    assert lane_labels(rules) == ("A", "B", "A #2", "A #3")


def test_caption_chart_table_twin_and_files_say_the_same(server):
    run = MadeUpRun(SceneStore(), lanes=2)
    rules = tuple(map(describe, rules_from_text("ttt3r:temperature=2,constant")))
    labels = ("TTT3R (temperature 2)", "CUT3R (rate 1)")
    for _ in range(3):
        run.add_frame()
    run.store.set_status(replace(run.store.snapshot().status, lanes=rules))
    snapshot = run.store.snapshot()
    page = PageContext(server, presentation=Presentation(on=True))
    tick = tick_of(snapshot, ViewSettings(show=ShowSettings(presenting=True)))
    captions, charts, twin = CaptionsPanel(page), ChartsPanel(page), TwinView(server, page.overlay)
    for part in (captions, charts, twin):
        part.update(tick)
    series = [one.get("label") for one in charts._plot.series]
    for label in labels:
        assert f">{label}</span>" in captions._captions.content
        assert label in series
    twin_part = json.loads(page.overlay.content())["twin"]
    assert twin_part == {"lanes": list(labels), "starting": False}
    assert tuple(row.lane for row in charts._rows) == tick.lane_names == labels
    files = lane_file_names(rules)
    assert files == ("TTT3R-temperature-2", "CUT3R-rate-1")
    assert set(comparison_files(rules)) > {f"poses_{name}.txt" for name in files}
