"""`ttt3r-view compare`: several rules on the same frames, measured."""

from dataclasses import dataclass

from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.commands.run import to_the_end
from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.runs.reconstruction import Reconstruction
from ttt3r_viewer.settings import InputOptions, ModelOptions, OutputOptions, RuleOptions
from ttt3r_viewer.system.options import option_like


@dataclass(frozen=True)
class ComparedRules(RuleOptions):
    """How the state is updated: by default as the paper, as CUT3R, and at a plain slow rate."""

    rules: str = option_like(RuleOptions, "rules", default="ttt3r,constant:1.0,constant:0.3")


def execute(given: Given, echo: Echo, warn: Echo) -> int:
    """Run the rules and write how they compare, also after Ctrl-C."""
    if given[OutputOptions].output is None:
        raise SettingsError("compare has nowhere to write: give --output DIR")
    reconstruction = Reconstruction.prepare_comparison(given.settings)
    return to_the_end(reconstruction, echo, warn)


_GROUPS = (InputOptions, ModelOptions, ComparedRules, OutputOptions)
COMMAND = Command(
    "Run several rules on the same frames and measure them: comparison.md, comparison.csv, "
    "trajectories.png and poses_<lane>.txt.",
    _GROUPS,
    execute,
    config=_GROUPS,
)
