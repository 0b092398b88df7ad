"""Train the miniature: `python -m training.train --checkpoints DIR [--resume]
[--config FILE]`.

Needs torch, numpy and safetensors alone (and yaml where a configuration is given). The rule in
training is the constant rate 1, as published; TTT3R's is never used here, so that its effect at
test time is its own.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from training import exit_code
from training.auxiliary import alone_losses
from training.clips import ClipPlan, batches_from
from training.curves import Curves, StepBar
from training.evaluate import single_frame_depth_errors
from training.losses import (
    clip_losses,
    targets_of,
    unroll,
    weighted_sum,
)
from training.recipe import NETWORKS, Recipe, Stage, recipe_from
from training.state import TrainState, new_train_state, ship, start_from
from training.workers import ALONE, Workers, run_workers
from ttt3r_viewer.errors import SettingsError, WeightsError
from ttt3r_viewer.synthetic.scenes import VALIDATION_SEEDS, Clip

CHECKPOINT = "last.pt"
SHIPPED = "miniature.safetensors"


def learning_rate(stage: Stage, done: int) -> float:
    """Linear warm-up, then a half cosine down to a tenth."""
    if done < stage.warm_up:
        return stage.learning_rate * (done + 1) / stage.warm_up
    share = (done - stage.warm_up) / max(1, stage.steps - stage.warm_up)
    return stage.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))


def train_step(
    state: TrainState,
    recipe: Recipe,
    stage: Stage,
    done: int,
    clip: Clip,
    singles: Clip | None,
    workers: Workers,
) -> dict[str, float]:
    """One step of one stage on this process's share of a batch; returns every loss and share of
    right answers by name.
    """
    device = state.network.device
    clip = clip.to(device)
    truth = targets_of(clip)
    rate = learning_rate(stage, done)
    for optimizer, share in zip(state.optimizers, (recipe.muon_rate, 1.0), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * share
    with torch.autocast(device.type, torch.bfloat16):
        steps = unroll(
            state.network,
            clip.images,
            outputs=frozenset(("self", "world") if stage.weights.get("world") else ("self",)),
            keep_gradient_frames=stage.keep_gradient_frames,
            dense_every=stage.dense_every,
        )
        auxiliary, right = state.auxiliary.losses(steps, truth, clip.focal_px)
        if singles is not None:
            auxiliary |= alone_losses(state.network, state.auxiliary, singles.to(device))
    losses = clip_losses(steps, truth) | auxiliary
    total = weighted_sum(losses, stage.weights)
    for optimizer in state.optimizers:
        optimizer.zero_grad(set_to_none=True)
    total.backward()
    parameters = [*state.network.parameters(), *state.auxiliary.parameters()]
    workers.average([weight.grad for weight in parameters if weight.grad is not None])
    norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_gradient)
    if torch.isfinite(norm):
        for optimizer in state.optimizers:
            optimizer.step()
    state.step += 1
    decay = min(recipe.average_decay, state.step / (state.step + 10))
    with torch.no_grad():
        pairs = zip(state.average.parameters(), state.network.parameters(), strict=True)
        for average, current in pairs:
            average.lerp_(current, 1 - decay)
    report: dict[str, Tensor] = {**losses, **{f"{k}_right": v for k, v in right.items()}}
    return {name: float(value.detach()) for name, value in report.items()}


def stage_batches(
    recipe: Recipe, number: int, done: int, device: str, renderers: int, workers: Workers
) -> Iterator[tuple[Clip, Clip | None]]:
    """This process's share of a stage's batches and of their single pictures, from its step `done`
    on.
    """
    stage = recipe.stages[number]
    height, width = NETWORKS[recipe.preset].image_size
    plan = ClipPlan(
        stage=number,
        frames=stage.frames,
        height=height,
        width=width,
        clips_per_page=recipe.clips_per_page,
        uses=recipe.page_uses,
        path_stride=stage.path_stride,
        device=device,
        renderers=renderers,
        rank=workers.rank,
        learners=workers.size,
    )
    clips = batches_from(plan, done, stage.batch)
    if not stage.singles:
        return zip(clips, itertools.repeat(None))
    alone = replace(plan, frames=1, uses=recipe.single_uses, singles=True)
    return zip(clips, batches_from(alone, done, stage.singles), strict=False)


def refuse_idle_processes(recipe: Recipe, workers: Workers) -> None:
    """Raise `SettingsError` where a batch has fewer clips, or single pictures, than there are
    processes.
    """
    for stage in recipe.stages:
        for count, what in (
            (stage.batch, "clips"),
            (stage.singles or workers.size, "single pictures"),
        ):
            if count < workers.size:
                raise SettingsError(
                    f"--processes {workers.size}: stage {stage.name!r} has batches of fewer {what};"
                    " give less"
                )


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: str,
    renderers: int,
    resume: bool,
    minutes: float,
    start: Path | None = None,
    threads: int | None = None,
    workers: Workers = ALONE,
) -> None:
    """Train all stages, checkpointing into `folder`; stop early, whole, after `minutes`, or where
    the workers were asked to end (Ctrl-C and SIGTERM, by `run_workers`).

    `start` names weights to begin with, where nothing is resumed; `threads` are each process's.
    """
    refuse_idle_processes(recipe, workers)
    if threads:
        torch.set_num_threads(threads)
    state = _train_state(recipe, folder, torch.device(device), resume, start)
    curves = Curves(folder / "curves.csv", every=50)
    bar = StepBar()
    end = time.monotonic() + 60 * minutes
    first = 0
    for number, stage in enumerate(recipe.stages):
        done = state.step - first
        first += stage.steps
        if done >= stage.steps:
            continue
        state.let_learn(stage.learns)
        for clip, singles in stage_batches(recipe, number, done, device, renderers, workers):
            report = train_step(state, recipe, stage, done, clip, singles, workers)
            done += 1
            late = workers.any(time.monotonic() > end or workers.should_end)
            last = late or done == stage.steps
            if workers.leads:
                bar.clear()
                _write_down(state, recipe, stage, report, curves, folder, last)
                if not last:
                    bar.show(stage.name, done, stage.steps)
            if late:
                if workers.leads:
                    print(f"stopped at step {state.step}; --resume goes on")
                return
            if last:
                break


def _train_state(
    recipe: Recipe, folder: Path, device: torch.device, resume: bool, start: Path | None
) -> TrainState:
    checkpoint = folder / CHECKPOINT
    if not resume and checkpoint.exists():
        raise WeightsError(
            f"{checkpoint}: already there; go on with --resume, or name another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    state = new_train_state(recipe, device)
    if resume:
        state.load(checkpoint)
    elif start:
        start_from(state, start)
    return state


def _write_down(
    state: TrainState,
    recipe: Recipe,
    stage: Stage,
    report: dict[str, float],
    curves: Curves,
    folder: Path,
    last: bool,
) -> None:
    curves.add(state.step, stage, report)
    if state.step % recipe.validate_every == 0:
        errors = single_frame_depth_errors(
            state.average, VALIDATION_SEEDS[: recipe.validation_rooms]
        )
        curves.validation(state.step, stage, float(errors.median()))
    if state.step % recipe.checkpoint_every == 0 or last:
        state.save(folder / CHECKPOINT)
        ship(state, folder / SHIPPED, stage)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--config", type=Path, help="YAML recipe (default: the built-in one)")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints/miniature"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--workers",
        dest="renderers",
        type=int,
        default=1,
        help="processes that render ahead, of each that learns",
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="processes that share each batch (CPU)"
    )
    parser.add_argument("--threads", type=int, help="threads of each training process")
    parser.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    parser.add_argument("--start", type=Path, help="begin with these weights, not random ones")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="stop, whole, after so long"
    )
    given = parser.parse_args(arguments)

    def learn() -> None:
        recipe = recipe_from(given.config) if given.config else Recipe()
        work = functools.partial(
            train,
            recipe,
            given.checkpoints,
            device=given.device,
            renderers=given.renderers,
            resume=given.resume,
            minutes=given.minutes,
            start=given.start,
            threads=given.threads,
        )
        run_workers(given.processes, work)

    return exit_code(learn)


if __name__ == "__main__":
    sys.exit(main())
