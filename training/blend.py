"""Weights between those before a training and those after it:
`python -m training.blend BEFORE AFTER OUT [--share 0.5]`.

A stage that teaches something new takes a little of what was known; on the straight line between
the two are weights that have most of both (Wortsman et al., arXiv 2109.01903). `--share` is how far
to go from BEFORE (0) to AFTER (1), whose metadata OUT carries.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training import exit_code
from ttt3r_viewer.errors import SettingsError, WeightsError
from ttt3r_viewer.weights.weights_file import read_weights, save_weights


def blend(before: Path, after: Path, out: Path, share: float) -> None:
    """Write `(1 - share) * before + share * after` of every tensor, in float16.

    Errors: `SettingsError` for a share outside 0 to 1, `WeightsError` where either cannot be read
    or they are of two networks, `OutputError` where `out` cannot be written.
    """
    if not 0 <= share <= 1:
        raise SettingsError(f"--share {share:g}: take a number from 0 to 1")
    first, second = read_weights(before), read_weights(after)
    if (config := second.config()) != first.config():
        raise WeightsError(f"{before} and {after} are of networks of two sizes; give two of one")
    weights = {
        name: first.tensors[name].float().lerp(value.float(), share).half()
        for name, value in second.tensors.items()
    }
    save_weights(out, weights, config, second.metadata | {"blend": f"{share:g}"})


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.blend", description=__doc__)
    for name in ("before", "after", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--share", type=float, default=0.5)
    given = parser.parse_args(arguments)
    return exit_code(lambda: blend(given.before, given.after, given.out, given.share))


if __name__ == "__main__":
    sys.exit(main())
