"""Settings in YAML: plain values alone; bombs, doubles and tricks are refused in one short line."""

import time
from pathlib import Path

import pytest
import yaml

from training.recipe import recipe_from
from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.settings import read_config, settings_from
from ttt3r_viewer.system.yaml_file import DEEPEST, LONGEST, read_yaml


def laughs(levels: int) -> str:
    """Each list holds the one before nine times: 9 ** levels values in so many lines."""
    lines = ["l0: &l0 [x]"]
    lines += [f"l{k}: &l{k} [{', '.join([f'*l{k - 1}'] * 9)}]" for k in range(1, levels)]
    return "\n".join([*lines, f"input: *l{levels - 1}"])


def merges(levels: int) -> str:
    """Each mapping merges the one before nine times, which PyYAML writes out as it reads."""
    lines = ["m0: &m0 {x: 1}"]
    lines += [f"m{k}: &m{k} {{<<: [{', '.join([f'*m{k - 1}'] * 9)}]}}" for k in range(1, levels)]
    return "\n".join(lines)


BAD = {
    "aliases": (laughs(12), r"\*l0 stands for another value: write it out"),
    "merges": (merges(12), r"\*m0 stands for another value|<< merges"),
    "alias of itself": ("a: &a [*a]", "stands for another value"),
    "merge of itself": ("&a {<<: *a}", "stands for another value|<< merges"),
    "merge written out": ("<<: {stride: 2}", "<< merges another mapping"),
    "nested lists": ("input: " + "[" * 5000, f"nested deeper than {DEEPEST} levels"),
    "nested mappings": ("{a: " * 5000, f"nested deeper than {DEEPEST} levels"),
    "nested by dashes": ("- " * 5000 + "x", f"nested deeper than {DEEPEST} levels"),
    "double": ("stride: 2\nstart: 1\nstride: 3", "stride stands there twice: give it once"),
    "double but for the dash": ("reset-every: 2\nreset_every: 3", "stands there twice"),
    "list as a name": ("? [a]\n: 1", "a name that is no text"),
    "mapping as a name": ("? {a: 1}\n: 1", "a name that is no text"),
    "number as a name": ("1: 2", "unknown setting 1"),
    "nothing as a name": ("~: 2", "unknown setting None"),
    "truth as a name": ("yes: 2", "unknown setting True"),
    "tab": ("stride:\t1\n\trate: 1", "not YAML"),
    "tab before a name": ("\tstride: 1", "not YAML"),
    "date": ("stride: 2001-99-99", "not YAML"),
    "tag of a number": ("stride: !!int x", "not YAML"),
    "tag of an empty number": ("stride: !!int ''", "not YAML"),
    "tag of a date": ("stride: !!timestamp x", "not YAML"),
    "tag of a truth": ("inspect: !!bool maybe", "not YAML"),
    "tag of Python": ("input: !!python/object/apply:os.system ['true']", "not YAML"),
    "tag of Python's names": ("input: !!python/name:os.system", "not YAML"),
    "own tag": ("input: !x y", "not YAML"),
    "long whole number": ("stride: " + "9" * 5000, "not YAML|stride: a number of"),
    "long number in hexadecimal": ("fps: 0x" + "f" * 5000, "--fps: a number of 20000 bits"),
    "large whole number": ("fps: " + "9" * 400, "--fps: a number of 1329 bits"),
    "large whole number in a text": ("input: 0x" + "f" * 5000, "--input: a number of"),
    "large number in a list": ("input: [0x" + "f" * 5000 + "]", "wanted a text"),
    "not a number": ("rule: constant\nrate: .nan", "--rate nan: take a rate"),
    "frame rate that is not a number": ("fps: .nan", "--fps nan: take a number above 0"),
    "gigabytes that are not a number": ("archive_gb: .nan", "--archive-gb nan: take 0 or more"),
    "infinite gigabytes": ("archive_gb: .inf", "--archive-gb inf: take 0 or more"),
    "two documents": ("stride: 1\n---\nstride: 2", "not YAML"),
    "zero byte": ("stride: \x00", "not YAML"),
    "half a pair": ('input: "\\ud800"', ""),
    "too long": ("#" * (LONGEST + 1), f"longer than {LONGEST:,} bytes"),
    "long unknown name": ("x" * 50_000 + ": 1", "unknown setting x|not YAML"),
    "long value": ("stride: " + "y" * 60_000, "--stride 'yyy"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_what_is_no_plain_value_is_refused_at_once(tmp_path, name):
    text, message = BAD[name]
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    began = time.process_time()
    try:
        settings_from(read_config(path))
    except SettingsError as error:
        said = str(error)
        assert "\n" not in said
        assert len(said) < 500 + len(str(path)) + 900 * ("known:" in said)
        with pytest.raises(SettingsError, match=message):
            raise
    else:
        assert not message, "it was taken"
    assert time.process_time() - began < 5


def test_the_bombs_are_bombs():
    """So that the test above can fail: PyYAML itself takes what is refused."""
    assert str(yaml.safe_load(laughs(5))["input"]).count("x") == 9**4
    assert yaml.safe_load(merges(4))["m3"] == {"x": 1}
    assert yaml.safe_load("stride: 1\nstride: 2") == {"stride": 2}
    with pytest.raises(ValueError, match="month"):
        yaml.safe_load("stride: 2001-99-99")


def test_plain_values_come_back(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("\ufeffa: 1\nb: [x, {c: 2.5}]\n'd': ~\n", encoding="utf-8")
    assert read_yaml(path) == {"a": 1, "b": ["x", {"c": 2.5}], "d": None}


def test_an_endless_file_is_not_read_to_its_end():
    with pytest.raises(SettingsError, match="longer than"):
        read_config(Path("/dev/zero"))


@pytest.mark.parametrize("text", ["a: &a 1\nb: *a", "stages: 3\nstages: 4", "seed: !!int x"])
def test_recipes_are_read_as_safely(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match="not a readable YAML file"):
        recipe_from(path)
