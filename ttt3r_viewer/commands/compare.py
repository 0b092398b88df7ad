"""`ttt3r-view compare`: several rules on the same frames, measured."""

from dataclasses import dataclass

from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.commands.run import to_the_end
from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.metrics.comparison import comparison_cells
from ttt3r_viewer.runs.reconstruction import Reconstruction
from ttt3r_viewer.settings import InputOptions, ModelOptions, OutputOptions, RuleOptions
from ttt3r_viewer.system.options import option_like
from ttt3r_viewer.system.terminal import line_width, table_lines


@dataclass(frozen=True)
class ComparedRules(RuleOptions):
    """How the state is updated: by default as the paper, as CUT3R, and at a plain slow rate."""

    rules: str = option_like(RuleOptions, "rules", default="ttt3r,constant:1.0,constant:0.3")


def execute(given: Given, echo: Echo, warn: Echo) -> int:
    """Run the rules, write how they compare, also after Ctrl-C, and show it."""
    if given[OutputOptions].output is None:
        raise SettingsError("compare has nowhere to write: give --output DIR")
    reconstruction = Reconstruction.prepare_comparison(given.settings)
    code = to_the_end(reconstruction, echo, warn)
    scene = reconstruction.store.snapshot()
    if scene.frames:
        from ttt3r_viewer.runs.comparing import measures_of

        cells = comparison_cells(measures_of(scene, reconstruction.ground_truth))
        echo("\n".join(table_lines(cells, line_width())))
    return code


_GROUPS = (InputOptions, ModelOptions, ComparedRules, OutputOptions)
COMMAND = Command(
    "Run several rules on the same frames and measure them: comparison.md, comparison.csv, "
    "trajectories.png and poses_<lane>.txt.",
    _GROUPS,
    execute,
    config=_GROUPS,
)
