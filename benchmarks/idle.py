"""What the server costs while nothing happens: shares of a core, with nobody there and one page.

    python -m benchmarks.idle [--seconds 20] [--tree ../before] [-- --input demo:loop ...]

The program runs in a process of its own until its run has ended; the processor's time of that
process is read before and after. `--tree` names another checkout whose program is measured.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks.program import Program, chromium_page, go_to, probe

SETTLE_SEC = 10.0
"""After the last change, until nothing is sent any more."""


def busy_share(process_id: int, seconds: float) -> float:
    """Measure which share of a core a process takes, over so many seconds."""
    before, began = processor_sec(process_id), time.monotonic()
    time.sleep(seconds)
    return (processor_sec(process_id) - before) / (time.monotonic() - began)


def processor_sec(process_id: int) -> float:
    """Read the processor's time that a process has had."""
    fields = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--tree", type=Path, help="another checkout of the program")
    parser.add_argument("words", nargs="*", default=["--input", "demo:loop", "--max-frames", "60"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = Program(given.words, Path(folder) / "stderr.txt", given.tree or Path.cwd())
        try:
            with chromium_page(1366, 768) as page:
                go_to(page, program.url)
                while probe(page)["phase"] != "finished":
                    page.wait_for_timeout(200)
                page.mouse.move(300, 300)
                page.mouse.down()  # a view that a user has taken stands still
                page.mouse.move(330, 310, steps=4)
                page.mouse.up()
                time.sleep(SETTLE_SEC)
                one = busy_share(program.process_id, given.seconds)
            time.sleep(SETTLE_SEC)
            nobody = busy_share(program.process_id, given.seconds)
        finally:
            program.end()
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()}"
    print(f"nobody {nobody:.2%} of a core, one page {one:.2%}; {load}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
