"""Clips for training, rendered ahead: the same step always gets the same clips, also after a
resume.

Rendering costs about as much as learning on a CPU, so each rendered page of clips serves several
steps, and of processes that learn together each renders only what it learns from.
"""

from __future__ import annotations

import itertools
import signal
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt3r_viewer.synthetic.scenes import TRAIN_SEEDS, Clip, Worlds, draw_worlds, render_worlds

_SEEDS = 50_000_000
"""For the clips of one stage, or for its single pictures."""


@dataclass(frozen=True)
class ClipPlan:
    """How clips are rendered and shared."""

    stage: int
    """Number of the curriculum's stage: every stage has seeds of its own."""
    frames: int
    height: int
    width: int
    clips_per_page: int
    """A page is rendered at once; batches draw from the latest pages."""
    uses: int
    """How many steps draw from a page: batches mix clips of the `uses` latest pages."""
    path_stride: int
    """Largest stride along the camera path; each clip draws one with `draw_strides`."""
    device: str
    renderers: int
    """Processes that work ahead: they draw rooms, and on a CPU render them; 0 for none."""
    singles: bool = False
    """Whether these are a stage's single pictures, which are of other rooms than its clips."""
    rank: int = 0
    learners: int = 1
    """Processes that learn together, of which this is number `rank`: it has every `learners`-th
    clip of a page, and as large a share of every batch.
    """


def page_seeds(plan: ClipPlan, page: int) -> list[int]:
    """Seeds of this process's clips of a page, all inside the training range, never the same for
    two pages of a stage or two processes.
    """
    assert (page + 1) * plan.clips_per_page <= _SEEDS
    part = 2 * plan.stage + plan.singles
    first = TRAIN_SEEDS.start + part * _SEEDS + page * plan.clips_per_page
    assert first + plan.clips_per_page <= TRAIN_SEEDS.stop
    return list(range(first, first + plan.clips_per_page))[plan.rank :: plan.learners]


def draw_strides(random: np.random.Generator, most: int, count: int) -> NDArray[np.int64]:
    """Strides from 1 to `most`, (count,), their logarithms spread evenly: far ways are seen, and
    slow ones stay frequent.
    """
    logarithms = random.uniform(0.0, np.log(most + 1), count)
    return np.minimum(np.exp(logarithms).astype(np.int64), most)


def draw_page(plan: ClipPlan, page: int) -> Worlds:
    """Draw one page of clips, slow and fast ones side by side."""
    seeds = np.array(page_seeds(plan, page))
    random = np.random.default_rng((plan.stage, page, plan.rank))
    strides = draw_strides(random, plan.path_stride, len(seeds))
    alike = [
        draw_worlds(seeds[strides == stride].tolist(), plan.frames, stride=int(stride))
        for stride in np.unique(strides)
    ]
    parts = {one.name: [getattr(some, one.name) for some in alike] for one in fields(Worlds)}
    return Worlds(**{name: np.concatenate(arrays) for name, arrays in parts.items()})


def render_page(plan: ClipPlan, worlds: Worlds) -> Clip:
    """Render what `draw_page` drew, on the plan's device."""
    return compact(render_worlds(worlds, plan.height, plan.width, device=plan.device))


def joined(clips: Sequence[Clip]) -> Clip:
    """Several batches as one."""
    parts = {one.name: [getattr(clip, one.name) for clip in clips] for one in fields(Clip)}
    return Clip(**{name: torch.cat(tensors) for name, tensors in parts.items()})


def compact(clip: Clip) -> Clip:
    """The same clip in a quarter of the memory: 8-bit images, 16-bit depth."""
    images = (
        (clip.images * 255).round().to(torch.uint8)
        if clip.images.is_floating_point()
        else clip.images
    )
    return replace(clip, images=images, depth=clip.depth.half())


class ClipCache(torch.utils.data.Dataset["Clip | Worlds"]):
    """Pages by number, for a DataLoader's workers; only drawn where another device renders."""

    def __init__(self, plan: ClipPlan, first: int) -> None:
        self.plan, self.first = plan, first

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, page: int) -> Clip | Worlds:
        worlds = draw_page(self.plan, self.first + page)
        return render_page(self.plan, worlds) if self.plan.device == "cpu" else worlds


def pages_from(plan: ClipPlan, first: int) -> Iterator[Clip]:
    """Pages in order, rendered ahead in other processes where the plan says so."""
    pages: Iterable[Clip | Worlds] = map(ClipCache(plan, first).__getitem__, itertools.count())
    if plan.renderers:
        pages = torch.utils.data.DataLoader(
            ClipCache(plan, first),
            batch_size=None,
            sampler=_Counting(),
            num_workers=plan.renderers,
            prefetch_factor=2,
            multiprocessing_context="spawn",
            worker_init_fn=_begin_rendering,
        )
    for page in pages:
        yield page if isinstance(page, Clip) else render_page(plan, page)


class _Counting:
    """0, 1, 2, … without end, and without a list of them."""

    def __iter__(self) -> Iterator[int]:
        return itertools.count()

    def __len__(self) -> int:
        return 1 << 40


def _begin_rendering(_: int) -> None:
    # Signals may come to a whole group of processes; those that learn say when rendering ends.
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_IGN)
    torch.set_num_threads(1)


def batches_from(plan: ClipPlan, step: int, batch: int) -> Iterator[Clip]:
    """This process's share of batches of `batch` clips for steps `step`, `step + 1`, …

    Step n draws, by its own number, from the pages n // k - uses + 1 … n // k, where k is how many
    steps a page must last so that each clip is drawn `uses` times on average. So an interrupted
    run goes on exactly.
    """
    share = len(range(plan.rank, batch, plan.learners))
    steps_per_page = max(1, plan.clips_per_page * plan.uses // batch)
    window: OrderedDict[int, Clip] = OrderedDict()
    newest = step // steps_per_page
    oldest = max(0, newest - plan.uses + 1)
    source = enumerate(pages_from(plan, oldest), start=oldest)
    while True:
        newest = step // steps_per_page
        while not window or next(reversed(window)) < newest:
            number, page = next(source)
            window[number] = page
            while len(window) > plan.uses:
                window.popitem(last=False)
        random = np.random.default_rng((plan.stage, step, 7, plan.rank))
        yield _draw(list(window.values()), random, share)
        step += 1


def _draw(pages: list[Clip], random: np.random.Generator, batch: int) -> Clip:
    clips = sum(len(page.focal_px) for page in pages)
    chosen = torch.from_numpy(np.sort(random.choice(clips, batch, replace=clips < batch)))
    every = joined(pages)
    drawn = Clip(*(getattr(every, one.name)[chosen] for one in fields(Clip)))
    clip = varied(drawn, random)
    images = clip.images.float() / 255
    if images.shape[2] % 8 == images.shape[3] % 8 == 0:
        images = as_jpeg(images, random)
    return replace(clip, images=images, depth=clip.depth.float())


def as_jpeg(images: Tensor, random: np.random.Generator) -> Tensor:
    """Half of the clips (batch, frames, height, width, 3) as JPEG of a quality of 30 to 95 leaves
    them: cosine coefficients of 8x8 blocks rounded to the standard's steps.
    """
    chosen = torch.from_numpy(random.random(len(images)) < 0.5).to(images.device)
    quality = torch.from_numpy(random.uniform(30, 95, len(images))).float().to(images.device)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)[chosen]
    k = torch.arange(8.0, device=images.device)
    cosines = torch.cos(torch.pi / 8 * (k + 0.5) * k[:, None]) / 2
    cosines[0] /= 2**0.5
    colour = torch.tensor(_YCC, device=images.device)
    steps = torch.stack([torch.tensor(one, device=images.device) for one in _JPEG_STEPS])
    steps = (steps * scale[:, None, None, None]).clamp(min=1)[:, None, :, None, :, None, :]
    planes = (images[chosen] * 255 - 128) @ colour.T
    blocks = planes.movedim(-1, 2).unflatten(4, (-1, 8)).unflatten(3, (-1, 8))
    # Axes: clip, frame, channel, block row, row, block column, column.
    turned = torch.einsum("ar,bc,nfpirjc->nfpiajb", cosines, cosines, blocks)
    turned = (turned / steps).round() * steps
    blocks = torch.einsum("ar,bc,nfpiajb->nfpirjc", cosines, cosines, turned)
    planes = blocks.flatten(5, 6).flatten(3, 4).movedim(2, -1)
    result = images.clone()
    result[chosen] = ((planes @ torch.linalg.inv(colour).T + 128) / 255).clamp(0, 1)
    return result


_YCC = [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]
_LUMA = [
    *([16.0, 11, 10, 16, 24, 40, 51, 61], [12.0, 12, 14, 19, 26, 58, 60, 55]),
    *([14.0, 13, 16, 24, 40, 57, 69, 56], [14.0, 17, 22, 29, 51, 87, 80, 62]),
    *([18.0, 22, 37, 56, 68, 109, 103, 77], [24.0, 35, 55, 64, 81, 104, 113, 92]),
    *([49.0, 64, 78, 87, 103, 121, 120, 101], [72.0, 92, 95, 98, 112, 100, 103, 99]),
]
_CHROMA = [[min(17.0 + 11 * (i + j), 99.0) for j in range(8)] for i in range(8)]
_JPEG_STEPS = (_LUMA, _CHROMA, _CHROMA)
"""Quantisation of the standard's Annex K at quality 50, the chroma's nearly."""


def varied(clip: Clip, random: np.random.Generator) -> Clip:
    """Half of the clips run backwards, and three in ten have their colours exchanged in one of six
    ways.

    Both are exact, so that a clip that serves several steps is seldom the same twice.
    """
    batch, frames = clip.depth.shape[:2]
    forwards = np.arange(frames)
    order = torch.from_numpy(
        np.stack([forwards[::-1] if random.random() < 0.5 else forwards for _ in range(batch)])
    )
    same = np.arange(3)
    exchanges = [random.permutation(3) if random.random() < 0.3 else same for _ in range(batch)]
    colours = torch.from_numpy(np.stack(exchanges))
    row = torch.arange(batch)[:, None]
    colours = colours.to(clip.images.device)[:, None, None, None]
    images = clip.images[row, order].take_along_dim(colours, dim=-1)
    poses = clip.T_world_camera[row, order].double()
    return Clip(
        images=images,
        depth=clip.depth[row, order],
        T_world_camera=(torch.linalg.inv(poses[:, :1]) @ poses).float(),
        focal_px=clip.focal_px,
    )
