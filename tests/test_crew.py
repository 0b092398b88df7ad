"""Several processes learning as one."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
import torch

from tests.trainable import needs_muon
from ttt3r_viewer.errors import ViewerError, WeightsError
from ttt3r_viewer.miniature.crew import ALONE, Crew, in_crew


def write_means(folder: Path, *, crew: Crew) -> None:
    own = torch.arange(4.0)[crew.rank :: crew.size]
    gradients = [own.mean().reshape(1), own.sum().expand(2, 2).clone()]
    crew.average(gradients)
    agreed = [crew.any(crew.rank == 1), crew.any(False)]
    torch.save([gradients, agreed], folder / f"{crew.rank}.pt")


def refuse(*, crew: Crew) -> None:
    if crew.leads:
        raise WeightsError("no such weights")
    crew.any(False)


@needs_muon
def test_a_crew_averages_what_it_learns(tmp_path: Path):
    in_crew(2, functools.partial(write_means, tmp_path))
    told = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for (mean, total), agreed in told:
        assert mean.tolist() == [1.5]
        assert total.tolist() == [[3.0, 3.0], [3.0, 3.0]]
        assert agreed == [True, False]


def test_one_process_is_a_crew_of_one(tmp_path: Path):
    in_crew(1, functools.partial(write_means, tmp_path))
    (mean, _), agreed = torch.load(tmp_path / "0.pt")
    assert mean.tolist() == [1.5]
    assert agreed == [False, False]
    assert ALONE.leads


@needs_muon
def test_what_one_of_a_crew_refuses_is_said_once():
    with pytest.raises(ViewerError, match="no such weights"):
        in_crew(2, refuse)


def test_a_crew_whose_waiting_process_has_gone_knows_it():
    assert not Crew(0, 2, parent=os.getppid()).is_orphaned
    assert Crew(0, 2, parent=os.getpid()).is_orphaned
    assert not ALONE.is_orphaned
