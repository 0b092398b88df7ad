"""Settings: flags win over the file, the file over defaults; what is refused says why."""

import importlib
from dataclasses import fields
from pathlib import Path

import pytest

from tests.refusals import error_line, refusal
from ttt3r_viewer.cli import COMMANDS, main
from ttt3r_viewer.commands.page import MINIATURE_NOTICE, notice_of_run, page_arguments
from ttt3r_viewer.commands.parser import parse
from ttt3r_viewer.commands.view import COMMAND
from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.export.lane_source import Thinning
from ttt3r_viewer.scene.edges import DEFAULT_EDGE_FILTER
from ttt3r_viewer.settings import GROUPS, Settings, read_config, recorded_settings, settings_from
from ttt3r_viewer.system import compare_demo
from ttt3r_viewer.system.assets import demo_path
from ttt3r_viewer.system.options import flag
from ttt3r_viewer.types import Status
from ttt3r_viewer.viewer.panels.captions import captions_html
from ttt3r_viewer.viewer.panels.chart_series import CHARTS
from ttt3r_viewer.viewer.view_settings import ViewSettings

CONFIGS = Path(__file__).parent.parent / "configs"


def parsed(*words: str) -> Settings:
    return parse("ttt3r-view", COMMAND, words, print)[1].settings


def test_every_setting_has_a_flag_that_sets_it():
    examples = {
        "input": "x", "weights": "w", "rules": "ttt3r,constant:0.3", "reset_every": 3,
        "size": 64, "start": 1, "stride": 2, "max_frames": 9, "fps": 12.5, "device": "cpu",
        "dtype": "bfloat16", "max_points": 1000, "output": "o", "overwrite": True,
        "host": "0.0.0.0", "port": 0, "open_browser": True, "poses": "p",
        "inspect": True, "follow": True, "archive_gb": 2.5,
        "present": True, "title": "t", "logo_text": "l",
        "edge_filter": 0.2, "checkpoint_every": 7, "compile": "on", "log_level": "debug",
        "token": "sixteen-letters_", "guests": "read-only",
    }  # fmt: skip
    assert parsed("--rules", "constant", "--rate", "0.3").rules.rules == "constant:0.3"
    assert parsed("--resume", "--output", "o").output.resume
    assert not parsed("--no-auth").page.auth
    known = {one.name for group in GROUPS for one in fields(group)}
    assert {*examples, "rate", "resume", "auth", "demo"} == known
    words: list[str] = []
    for name, value in examples.items():
        words += [flag(name)] if value is True else [flag(name), str(value)]
    assert parsed(*words) == settings_from(examples)


def test_edges_are_left_out_by_the_same_default_everywhere():
    scene_options = importlib.import_module("ttt3r_viewer.commands.open").SceneOptions()
    for options in (Settings().output, scene_options, Thinning(), ViewSettings()):
        assert options.edge_filter == DEFAULT_EDGE_FILTER


def test_no_option_stands_in_two_groups():
    names = [one.name for group in GROUPS for one in fields(group)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", [*COMMANDS, "view"])
def test_every_flag_of_every_command_is_derived_from_an_option(name):
    command = importlib.import_module(f"ttt3r_viewer.commands.{name}").COMMAND
    for part in (command, *command.parts.values()):
        names = [one.name for group in part.options for one in fields(group)]
        assert len(names) == len(set(names)), "a flag of two options"
        assert all("help_text" in one.metadata for group in part.options for one in fields(group))
        assert set(part.config) <= set(part.options)
        assert set(part.several) <= set(names)
        assert part.execute is not None or part.parts


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("stride: 3\nreset-every: 50\nopen_browser: true\n")
    settings = parsed("--config", str(path), "--stride", "5", "--no-open-browser")
    assert (settings.input.stride, settings.rules.reset_every) == (5, 50)
    assert not settings.page.open_browser
    assert settings.input.fps == Settings().input.fps


def test_paths_begin_at_home_where_no_shell_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "x.yaml"
    path.write_text("poses: ~/true.txt\n")
    settings = parsed("--config", str(path), "--input=~/frames", "--output=~/out")
    wanted = [str(tmp_path / name) for name in ("frames", "out", "true.txt")]
    assert [settings.input.input, settings.output.output, settings.input.poses] == wanted


def test_a_demo_by_name_is_the_same_as_its_input_and_wins_over_the_file(tmp_path):
    assert parsed("--demo", "walk") == parsed("--input", "demo:walk")
    path = tmp_path / "x.yaml"
    path.write_text("input: folder\n")
    assert parsed("--config", str(path), "--demo", "loop").input.input == "demo:loop"
    path.write_text("demo: loop\n")
    assert parsed("--config", str(path)).input.input == "demo:loop"
    assert parsed("--config", str(path), "--input", "x").input.input == "x"


@pytest.mark.parametrize("words", [("--demo", "compare"), ("--input", "demo:compare")])
def test_the_demo_that_compares_brings_its_rules_and_frames_where_none_are_given(words, tmp_path):
    settings = parsed(*words)
    assert settings.rules.rules == "ttt3r,constant:1.0"
    assert (settings.input.input, settings.input.max_frames) == ("demo:compare", 200)
    assert settings_from(settings.as_dict()) == settings == settings_from({"demo": "compare"})
    assert demo_path("compare") == demo_path("loop")
    own = parsed(*words, "--rules", "filt3r", "--max-frames", "5")
    assert (own.rules.rules, own.input.max_frames) == ("filt3r", 5)
    path = tmp_path / "x.yaml"
    path.write_text("rule: ttsa3r\n")
    assert parsed(*words, "--config", str(path)).rules.rules == "ttsa3r"
    assert notice_of_run(settings).startswith(compare_demo.NOTICE)
    assert notice_of_run(parsed("--demo", "walk")) == MINIATURE_NOTICE
    shown = page_arguments(settings.page, None, 0.0, settings.as_dict())["presentation"]
    assert shown.chart in CHARTS
    assert compare_demo.CAPTION in captions_html(shown, Status(), "frame 1", ())
    # What was found of its rules is not said of others.
    others = ["--rules ttt3r,ttsa3r", "--max-frames 50", "--stride 2", "--weights cut3r-512"]
    for one in (parsed(*words, *other.split()) for other in others):
        assert compare_demo.NOTICE not in notice_of_run(one)
        shown = page_arguments(one.page, None, 0.0, one.as_dict())["presentation"]
        assert (shown.chart, shown.remark) == (compare_demo.CHART, "")


def test_what_the_page_says_of_all_rooms_is_what_the_model_card_says():
    card = (CONFIGS.parent / "docs" / "miniature.md").read_text().replace("**", "")
    for place, ratio in (("30 frames", "0.95 [0.92, 0.99]"), ("0.4 of the pace", "0.86 [0.75")):
        assert ratio in compare_demo.NOTICE
        (row,) = (one for one in card.splitlines() if place in one and ratio in one)
        assert row.startswith("| ATE")
    assert compare_demo.CAPTION.partition(": ATE ")[2] in compare_demo.NOTICE


def test_settings_survive_a_round_trip():
    settings = parsed("--rules", "constant:0.3", "--max-frames", "7")
    assert settings_from(settings.as_dict()) == settings


def test_the_token_is_nowhere_in_what_is_recorded():
    settings = parsed("--token", "s3cret-s3cret-s3cret")
    assert "s3cret" not in str(settings.as_dict())
    assert settings_from(settings.as_dict()).page.token is None


@pytest.mark.parametrize(
    ("recorded", "rules"),
    [
        ({"rule": "ttt3r", "rate": None, "rules": None}, "ttt3r"),
        ({"rule": "constant", "rate": 0.3, "rules": None}, "constant:0.3"),
        ({"rule": "ttt3r", "rate": None, "rules": "ttt3r,filt3r"}, "ttt3r,filt3r"),
        ({"rules": "constant:1.0", "of_a_later_version": 1}, "constant:1.0"),
        ({}, "ttt3r"),
    ],
)
def test_recordings_of_other_versions_still_say_their_rules(recorded, rules):
    assert recorded_settings(recorded).rules.rules == rules


def test_the_old_flags_of_rules_mean_the_same_and_the_rate_is_deprecated(tmp_path, capsys):
    path = tmp_path / "old.yaml"
    path.write_text("rule: constant\nrate: 0.3\n")
    for words in (["--config", str(path)], ["--rule", "constant", "--rate", "0.3"]):
        assert parsed(*words) == parsed("--rules", "constant:0.3")
        assert "--rate is deprecated: use --rules constant:RATE" in capsys.readouterr().out
    assert parsed("--rule", "filt3r") == parsed("--rules", "filt3r")
    assert parsed("--config", str(path), "--rate", "0.5").rules.rules == "constant:0.5"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_shipped_configurations_are_settings(path):
    if path.name.startswith("miniature"):
        from training.recipe import Recipe, recipe_from

        assert (recipe_from(path) == Recipe()) == (path.name == "miniature.yaml")
    else:
        settings_from(read_config(path))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--rules", "ttt3r", "--rate", "0.5"], "--rate 0.5 with --rules ttt3r, which computes"),
        (["--rules", "a,b", "--rate", "0.5"], "use --rules constant:RATE, or leave --rate out"),
        (["--rules", ""], "--rules is empty"),
        (["--rule", "constant", "--rate", "1.5"], "--rate 1.5: take a rate from 0 to 1"),
        (["--rate", "0.5"], "--rate 0.5 with --rules ttt3r, which computes its own"),
        (["--stride", "0"], "--stride 0: take a number above 0"),
        (["--start", "-1"], "--start -1: take 0 or more"),
        (["--archive-gb", "-1"], "--archive-gb -1.0: take 0 or more"),
        (["--archive-gb", "nan"], "--archive-gb nan: take 0 or more"),
        (["--checkpoint-every", "-1"], "--checkpoint-every -1: take 0 or more"),
        (["--resume"], "--resume continues the recording in --output DIR: name that"),
        (["--resume", "--output", "o", "--overwrite"], "give neither --overwrite nor"),
        (["--token", ""], "--token of 0 letters: take 16 or more letters, digits, - and _"),
        (["--token", "too-short"], "--token of 9 letters: take 16 or more"),
        (["--token", "no spaces, please, or signs"], "--token of 27 letters: take 16 or more"),
        (["--token", "a" * 16, "--no-auth"], "--no-auth beside --token: without tokens everyone"),
        (["--guests", "read-only", "--no-auth"], "--no-auth beside --guests read-only"),
        (["--fps", "nan"], "--fps nan: take a number above 0"),
        (["--port", "eighty"], "invalid int value: 'eighty'"),
        (["--input", ""], "--input is empty"),
        (["--output", ""], "--output is empty"),
        (["--demo", "garden"], "invalid choice: 'garden'"),
        (["--demo", "walk", "--input", "x"], "--demo walk beside --input x: name one"),
        (["--nonsense"], "ttt3r-view has no flag --nonsense; ttt3r-view --help lists"),
        (["--reset-evry", "9"], "no flag --reset-evry: did you mean --reset-every?; "),
        (["--no-folow"], "no flag --no-folow: did you mean --no-follow?; "),
        (["folder/"], "unrecognized arguments: folder/"),
    ],
)
def test_what_is_refused_says_why(words, text):
    assert text in refusal(SettingsError, parsed, *words)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--seq_path", "--input"),
        ("--model_path", "--weights"),
        ("--model_update_type", "--rules"),
        ("--frame_interval=2", "--stride"),
        ("--reset_interval", "--reset-every"),
        ("--vis_threshold", "percentile"),
    ],
)
@pytest.mark.parametrize("command", [[], ["run"]])
def test_the_names_of_the_published_demos_point_to_ours(old, new, command, capsys):
    assert main([*command, old, "x"]) == 2
    assert new in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("strid: 2", "unknown setting strid: did you mean stride?"),
        ("stride: two", "--stride 'two': wanted a whole number"),
        ("stride: true", "--stride True: wanted a whole number"),
        ("rule: ttt3r\nrules: filt3r", "the setting rules stands there twice: give it once"),
        ("rule: cut3r", "unknown rule 'cut3r': take one of ttt3r, constant"),
        ("- 1", "a list; give `name: value` lines"),
        ("a: [", "not YAML"),
        ("stride: !!python/object/apply:os.system ['true']", "not YAML"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, capsys, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert message in error_line(capsys, "--config", str(path))


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert main(["run", "--config", str(tmp_path / "none.yaml")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_an_empty_file_changes_nothing(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert parsed("--config", str(path)) == Settings()
