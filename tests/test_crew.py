"""Several processes learning as one."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
import torch

from ttt3r_viewer.errors import ViewerError, WeightsError
from ttt3r_viewer.miniature.crew import ALONE, Crew, in_crew
from ttt3r_viewer.miniature.scenes import Clip

CLIPS = Clip(
    images=torch.arange(4.0)[:, None, None, None, None],
    depth=torch.arange(4.0)[:, None, None, None],
    T_world_camera=torch.eye(4).expand(4, 1, 4, 4),
    focal_px=torch.arange(4.0),
)


def write_means(folder: Path, *, crew: Crew) -> None:
    own = crew.share(CLIPS, torch.device("cpu")).focal_px
    gradients = [own.mean().reshape(1), own.sum().expand(2, 2).clone()]
    crew.average(gradients)
    agreed = [crew.any(crew.rank == 1), crew.any(False)]
    torch.save([own, gradients, agreed], folder / f"{crew.rank}.pt")


def refuse(*, crew: Crew) -> None:
    if crew.leads:
        raise WeightsError("no such weights")
    crew.any(False)


def test_a_crew_shares_a_batch_and_averages_what_it_learns(tmp_path: Path):
    in_crew(2, functools.partial(write_means, tmp_path))
    told = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert sorted(torch.cat([own for own, _, _ in told]).tolist()) == [0.0, 1.0, 2.0, 3.0]
    for _, (mean, total), agreed in told:
        assert mean.tolist() == [1.5]
        assert total.tolist() == [[3.0, 3.0], [3.0, 3.0]]
        assert agreed == [True, False]


def test_one_process_is_a_crew_of_one(tmp_path: Path):
    in_crew(1, functools.partial(write_means, tmp_path))
    own, (mean, _), agreed = torch.load(tmp_path / "0.pt")
    assert len(own) == 4
    assert mean.tolist() == [1.5]
    assert agreed == [False, False]
    assert ALONE.leads


def test_what_one_of_a_crew_refuses_is_said_once():
    with pytest.raises(ViewerError, match="no such weights"):
        in_crew(2, refuse)


def test_a_crew_whose_waiting_process_has_gone_knows_it():
    assert not Crew(0, 2, parent=os.getppid()).is_orphaned
    assert Crew(0, 2, parent=os.getpid()).is_orphaned
    assert not ALONE.is_orphaned
