"""CUT3R's recurrent network (arXiv 2501.12387) as the released checkpoints have it.

It proposes a new state and predicts camera and points; how much of the proposal is accepted is a
rule's business. Parameter names are those of the released files, so that they load strictly.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ttt3r_viewer.model.config import ModelConfig
from ttt3r_viewer.model.evidence import EvidenceCollector, Watch
from ttt3r_viewer.model.heads import DptHead, LinearHead, OutputKind, colours, points_and_confidence
from ttt3r_viewer.model.layers import (
    DecoderBlock,
    EncoderBlock,
    ImageTokens,
    LayerNorm,
    PatchEmbed,
    Rotation,
    grid_rotation,
)
from ttt3r_viewer.state import Evidence, EvidenceKind, Prediction, Proposal, TokenState

if TYPE_CHECKING:
    from jaxtyping import Float

SELF_VIEW: frozenset[OutputKind] = frozenset(("self",))
"""The usual outputs: pose and self view, whose points the pose brings into the world."""
SMALL_NETWORK = 50_000_000
"""Parameters; the miniature has 10 million, the released networks 790 million."""
NO_EVIDENCE: frozenset[EvidenceKind] = frozenset()


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the two streams give."""

    pose_token: Float[Tensor, "batch 1 width"]
    """The normed pose token."""
    maps: list[Float[Tensor, "batch patch width"]]
    """Image tokens after depth/2 and 3/4 depth layers, and the normed last."""
    evidence: Evidence
    """Its candidate is the normed state after the last layer."""


class PoseMemory(nn.Module):
    """Slots of 2 width, (a frame's look, its pose token); read before decoding, written after."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.decoder_width

        def blocks() -> nn.ModuleList:
            return nn.ModuleList(
                DecoderBlock(2 * width, config.decoder_heads) for _ in range(config.memory_depth)
            )

        self.proj_q = nn.Linear(config.encoder_width, width)
        self.masked_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mem = nn.Parameter(torch.zeros(1, config.memory_size, 2 * width))
        self.write_blocks = blocks()
        self.read_blocks = blocks()

    def read(
        self,
        memory: Float[Tensor, "batch slot look_and_pose"],
        summary: Float[Tensor, "_ 1 features"],
    ) -> Float[Tensor, "batch 1 width"]:
        """The pose token that a frame with this summary (one for all, or one each) begins with."""
        key = self.proj_q(summary).expand(len(memory), -1, -1)
        x = torch.cat((key, self.masked_token.expand_as(key)), dim=-1)
        for block in self.read_blocks:
            x, _ = block(x, memory)
        return x[..., key.shape[-1] :]

    def write(
        self,
        memory: Float[Tensor, "batch slot look_and_pose"],
        summary: Float[Tensor, "_ 1 features"],
        pose_token: Float[Tensor, "batch 1 width"],
    ) -> Float[Tensor, "batch slot look_and_pose"]:
        """The memory after this frame's summary and final pose token."""
        y = torch.cat((self.proj_q(summary).expand_as(pose_token), pose_token), dim=-1)
        for block in self.write_blocks:
            memory, _ = block(memory, y)
        return memory


class ReconstructionNetwork(nn.Module):
    """encode / initial_state / propose / query."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.cannot_query = ""
        """Why `query` gives nothing of worth with these weights; empty where it does."""
        encoder_width, width = config.encoder_width, config.decoder_width
        self.pose_token = nn.Parameter(torch.zeros(1, 1, width))
        # The released files carry two mask tokens of the published pre-training; nothing here reads
        # them.
        self.masked_img_token = nn.Parameter(torch.zeros(1, encoder_width))
        self.masked_ray_map_token = nn.Parameter(torch.zeros(1, encoder_width))
        self.patch_embed = PatchEmbed(3, encoder_width, config.patch_size)
        self.patch_embed_ray_map = PatchEmbed(6, encoder_width, config.patch_size)
        self.enc_blocks = nn.ModuleList(
            EncoderBlock(encoder_width, config.encoder_heads) for _ in range(config.encoder_depth)
        )
        self.enc_norm = LayerNorm(encoder_width)
        self.decoder_embed = nn.Linear(encoder_width, width)
        self.dec_blocks = nn.ModuleList(
            DecoderBlock(width, config.decoder_heads) for _ in range(config.decoder_depth)
        )
        self.dec_norm = LayerNorm(width)
        self.enc_blocks_ray_map = nn.ModuleList(
            EncoderBlock(encoder_width, config.ray_map_heads) for _ in range(config.ray_map_depth)
        )
        self.enc_norm_ray_map = LayerNorm(encoder_width)
        self.pose_retriever = PoseMemory(config)
        # Zeros, like those above: drawing a start value on the meta device would take a second.
        self.register_tokens = nn.Embedding.from_pretrained(
            torch.zeros(config.state_size, encoder_width), freeze=False
        )
        self.decoder_embed_state = nn.Linear(encoder_width, width)
        self.dec_blocks_state = nn.ModuleList(
            DecoderBlock(width, config.state_heads) for _ in range(config.decoder_depth)
        )
        self.dec_norm_state = LayerNorm(width)
        self.downstream_head = DptHead(config) if config.head == "dpt" else LinearHead(config)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.pose_token.device

    @property
    def dtype(self) -> torch.dtype:
        """What the parameters are kept in; state, poses and points are float32 all the same."""
        return self.pose_token.dtype

    @property
    def is_small(self) -> bool:
        """Whether one frame is too little work for the cores of a CPU."""
        return sum(weight.numel() for weight in self.parameters()) < SMALL_NETWORK

    @property
    def gains_from_batches(self) -> bool:
        """Whether several images are encoded faster together: not by a large network on a CPU."""
        return self.device.type != "cpu" or self.is_small

    def keep_in(self, dtype: torch.dtype) -> ReconstructionNetwork:
        """Keep the parameters in `dtype`, but those that write poses and points in float32.

        A raw distance is an exponent: rounded to bfloat16 it would put a camera 5 m away 5 cm off.
        """
        self.to(dtype)
        for module in self.downstream_head.last_layers():
            module.float()
        return self

    def for_inference(self) -> ReconstructionNetwork:
        """Without gradients, and with the convolutions' weights laid out channels last.

        The layout changes no value, and makes the dense heads several times faster in bfloat16.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.data = module.weight.data.to(memory_format=torch.channels_last)
        return self.eval().requires_grad_(False)

    def encode(self, images: Float[Tensor, "batch 3 height width"]) -> ImageTokens:
        """Images in [-1, 1] to tokens, which all lanes share."""
        embedded = self.patch_embed(images.to(self.dtype))
        return self._encode(embedded, self.enc_blocks, self.enc_norm, self.config.encoder_heads)

    def initial_state(self, batch: int = 1) -> TokenState:
        """The state before the first frame, and after a reset."""
        tokens = self.decoder_embed_state(self.register_tokens.weight).float()
        return TokenState(
            tokens=tokens[None].expand(batch, -1, -1),
            memory=self.pose_retriever.mem.float().expand(batch, -1, -1),
        )

    def propose(
        self,
        state: TokenState,
        image: ImageTokens,
        *,
        outputs: Set[OutputKind] = SELF_VIEW,
        evidence: Set[EvidenceKind] = NO_EVIDENCE,
        watch: Watch | None = None,
    ) -> Proposal:
        """One recurrent step, which changes nothing: candidate state, written memory, prediction,
        evidence. An image (a batch of one) may serve several states.

        Only the dense maps in `outputs` and the evidence kinds in `evidence` are computed; `watch`
        is shown each layer's cross-attention.
        """
        summary = image.tokens.mean(dim=1, keepdim=True)
        if state.fresh:
            pose_token = self.pose_token.expand(len(state.tokens), -1, -1)
        else:
            pose_token = self.pose_retriever.read(state.memory, summary)
        decoded = self._decode(state, image, pose_token, evidence, watch)
        return Proposal(
            evidence=decoded.evidence,
            memory=self.pose_retriever.write(state.memory, summary, decoded.pose_token),
            prediction=self._predict(decoded, image, outputs),
        )

    def query(
        self,
        state: TokenState,
        ray_map: Float[Tensor, "batch 6 height width"],
        *,
        outputs: Set[OutputKind] = SELF_VIEW,
    ) -> Prediction:
        """What an unseen camera would see; nothing is updated.

        Channels of the ray map: camera centre, then the world position of the point at
        depth 1 on the pixel's ray, divided by its norm (`geometry.ray_map`).
        """
        embedded = self.patch_embed_ray_map(ray_map.to(self.dtype))
        image = self._encode(
            embedded, self.enc_blocks_ray_map, self.enc_norm_ray_map, self.config.ray_map_heads
        )
        summary = image.tokens.mean(dim=1, keepdim=True)
        pose_token = self.pose_retriever.read(state.memory, summary)
        return self._predict(self._decode(state, image, pose_token, NO_EVIDENCE), image, outputs)

    def _rotation(self, rows: int, columns: int, head_dim: int, **tokens: int) -> Rotation:
        """`tokens`: as `grid_rotation` has them."""
        kept: dict[str, Any] = {"device": self.device, "dtype": self.dtype}
        base = self.config.rope_base
        return grid_rotation(rows, columns, head_dim=head_dim, base=base, **kept, **tokens)

    def _encode(
        self, embedded: ImageTokens, blocks: nn.ModuleList, norm: nn.Module, heads: int
    ) -> ImageTokens:
        head_dim = self.config.encoder_width // heads
        rotation = self._rotation(embedded.rows, embedded.columns, head_dim)
        x = embedded.tokens
        for block in blocks:
            x = block(x, rotation)
        return ImageTokens(norm(x), embedded.rows, embedded.columns)

    def _decode(
        self,
        state: TokenState,
        image: ImageTokens,
        pose_token: Float[Tensor, "batch 1 width"],
        evidence: Set[EvidenceKind],
        watch: Watch | None = None,
    ) -> Decoded:
        """Run both streams; layer i of each reads the same pair, which both replace together."""
        config, grid = self.config, (image.rows, image.columns)
        columns = config.state_columns
        state_rows = -(-config.state_size // columns)

        def rotations(heads: int) -> tuple[Rotation, Rotation]:
            """Of state tokens and of image tokens, for a stream with so many heads."""
            head_dim = config.decoder_width // heads
            of_state = self._rotation(state_rows, columns, head_dim, count=config.state_size)
            return of_state, self._rotation(*grid, head_dim, with_pose_token=True)

        of_state, of_image = rotations(config.state_heads), rotations(config.decoder_heads)
        projected = self.decoder_embed(image.tokens)
        collector = EvidenceCollector(evidence)
        x = state.tokens.to(projected.dtype)
        projected = projected.expand(len(x), -1, -1)
        y = torch.cat((pose_token.to(projected.dtype), projected), dim=1)
        maps: list[Tensor] = []
        tapped = (config.decoder_depth * 2 // 4, config.decoder_depth * 3 // 4)
        for finished, (state_block, image_block) in enumerate(
            zip(self.dec_blocks_state, self.dec_blocks, strict=True), start=1
        ):
            new_x, keys = state_block(x, y, *of_state)
            new_y, image_keys = image_block(y, x, *reversed(of_image))
            x, y = new_x, new_y
            collector.add(keys)
            if watch is not None:
                watch(keys, image_keys)
            maps += [y[:, 1:] for layer in tapped if layer == finished]
        y = self.dec_norm(y)
        return Decoded(
            pose_token=y[:, :1],
            maps=[*maps, y[:, 1:]],
            evidence=collector.evidence(
                state.tokens,
                self.dec_norm_state(x),
                image.tokens.expand(len(x), -1, -1),
                projected,
                y[:, 1:],
            ),
        )

    def _predict(
        self, decoded: Decoded, image: ImageTokens, outputs: Set[OutputKind]
    ) -> Prediction:
        head = self.downstream_head
        grid = (image.rows, image.columns)
        maps = [image.tokens, *decoded.maps]
        points_self, confidence_self, points_world, confidence_world = (None,) * 4
        if "self" in outputs:
            points_self, confidence_self = points_and_confidence(
                head.raw("self", maps, *grid), in_front=head.mirrors_self_view
            )
        if "world" in outputs:
            in_world = [*maps[:-1], self._in_world(decoded, image)]
            points_world, confidence_world = points_and_confidence(
                head.raw("world", in_world, *grid)
            )
        return Prediction(
            pose=head.pose_head(decoded.pose_token[:, 0]),
            points_self=points_self,
            confidence_self=confidence_self,
            points_world=points_world,
            confidence_world=confidence_world,
            rgb=colours(head.raw("rgb", maps, *grid)) if "rgb" in outputs else None,
        )

    def _in_world(self, decoded: Decoded, image: ImageTokens) -> Float[Tensor, "batch patch width"]:
        head_dim = self.config.decoder_width // self.config.decoder_heads
        rotation = self._rotation(image.rows, image.columns, head_dim)
        tokens = decoded.maps[-1]
        for block in self.downstream_head.final_transform:
            tokens = block(tokens, rotation, decoded.pose_token)
        return tokens
