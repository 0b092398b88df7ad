"""`ttt3r-view compare`: several rules on the same frames, measured."""

from __future__ import annotations

import argparse
from dataclasses import replace

from ttt3r_viewer.commands.parser import Echo, add_settings, settings_of
from ttt3r_viewer.commands.run import to_the_end
from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.runs.reconstruction import Reconstruction

DESCRIPTION = (
    "Run several rules on the same frames and measure them: comparison.md, comparison.csv, "
    "trajectories.png and poses_<lane>.txt."
)
COMPARED_RULES = "ttt3r,constant:1.0,constant:0.3"
"""Where no rules are named: the paper's, CUT3R, and a plain slow rate."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting but those of the page."""
    add_settings(parser, with_page=False)


def execute(given: argparse.Namespace, echo: Echo, warn: Echo) -> int:
    """Run the rules and write how they compare, also after Ctrl-C."""
    settings = settings_of(given)
    if settings.output is None:
        raise SettingsError("compare has nowhere to write: give --output DIR")
    if settings.rules is None and settings == replace(settings, rule="ttt3r", rate=None):
        settings = replace(settings, rules=COMPARED_RULES)
    reconstruction = Reconstruction.prepare_comparison(settings)
    return to_the_end(reconstruction, echo, warn)
