"""`bench`: the plain way is a twin, stages add up, operations are counted, the real command."""

import json
import mmap
import re
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tests.golden_cases import GoldenCase, relative_error
from tests.refusals import error_line
from ttt3r_viewer.bench import child, turns
from ttt3r_viewer.bench.child import StageClock
from ttt3r_viewer.bench.made_up import decode_frame, made_up_frames, made_up_network
from ttt3r_viewer.bench.plain import PlainLanes, attention_written_out
from ttt3r_viewer.bench.report import as_json, table
from ttt3r_viewer.bench.turns import VariantProcess, measure
from ttt3r_viewer.bench.variant import MADE_UP, STAGES, Facts, Turn, Variant
from ttt3r_viewer.bench.work import flop_per_frame
from ttt3r_viewer.cli import main
from ttt3r_viewer.errors import ReconstructionError
from ttt3r_viewer.frames.preprocess import prepare_image
from ttt3r_viewer.model.config import PRESETS, ModelConfig
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.constant import Constant
from ttt3r_viewer.rules.registry import rule_from_text
from ttt3r_viewer.rules.ttt3r import TTT3R
from ttt3r_viewer.system.machine import host_peak_bytes
from ttt3r_viewer.types import Frame

CASE = "dpt-small"
MINIATURE = PRESETS["miniature"]
STATE_LOGITS = TTT3R.needs
FAST = Variant("fast", "miniature", MADE_UP, "ttt3r", 1, "cpu", "bfloat16", 2)
PLAIN = Variant("plain", "miniature", MADE_UP, "ttt3r", 1, "cpu", "float32", 2)


def frames_of(case: GoldenCase, count: int) -> list[Frame]:
    return [
        Frame(i, i / 30, str(i), image) for i, image in enumerate(case.arrays["frames"][:count])
    ]


@pytest.mark.parametrize("rule", ["ttt3r", "constant:0.3", "ttsa3r", "recal3r", "memix-ttt"])
def test_the_plain_way_is_the_fast_ways_twin(case, network, rule):
    rules = (rule_from_text(rule), Constant(1.0))
    fast, plain = Lanes(network, rules), PlainLanes(network, rules)
    for frame in frames_of(case, 3):
        for ours, theirs in zip(fast.process(frame), plain.process(frame), strict=True):
            assert relative_error(ours.gain, theirs.gain) < 1e-4
            assert relative_error(ours.points_camera, theirs.points_camera) < 2e-4
            assert relative_error(ours.confidence, theirs.confidence) < 2e-4
            poses = ours.camera.T_world_camera, theirs.camera.T_world_camera
            assert relative_error(*poses) < 2e-4
            assert ours.state_change == pytest.approx(theirs.state_change, rel=0.01, abs=3e-5)
            for name in ("sequence", "index", "name", "crop", "rule"):
                assert getattr(ours, name) == getattr(theirs, name)


class Called(TorchDispatchMode):
    """Notes the names of torch's operators."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(str(func))
        with self:  # what an operator is made of is noted too
            made = func.decompose(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if made is NotImplemented else made


def test_the_plain_way_writes_attention_out_and_makes_every_map(case, network):
    frame = frames_of(case, 1)[0]
    fused = {}
    for way, lanes in {"fast": Lanes, "plain": PlainLanes}.items():
        with Called() as called:
            lanes(network, (TTT3R(),)).process(frame)
        fused[way] = [name for name in called.names if "flash" in name]
    assert fused["fast"] != []
    assert fused["plain"] == []
    heads = network.downstream_head
    made = []
    maps = (heads.dpt_self, heads.dpt_cross, heads.dpt_rgb)
    hooks = [one.register_forward_hook(lambda *_: made.append(1)) for one in maps]
    PlainLanes(network, (TTT3R(),)).process(frame)
    for hook in hooks:
        hook.remove()
    assert len(made) == 3


def linear_flop(config: ModelConfig, lanes: int) -> float:
    """One frame's operations written out from the shapes, for a network with a linear head."""
    height, width = config.image_size
    patches = height * width // config.patch_size**2
    state, image, slots = config.state_size, patches + 1, config.memory_size
    wide, narrow = config.encoder_width, config.decoder_width

    def linear(tokens: int, into: int, out: int) -> float:
        return 2 * tokens * into * out

    def attention(queries: int, keys: int, width: int) -> float:
        return 2 * 2 * queries * keys * width

    def mlp(tokens: int, width: int, out: int | None = None) -> float:
        return linear(tokens, width, 4 * width) + linear(tokens, 4 * width, out or width)

    def own(tokens: int, width: int) -> float:
        return linear(tokens, width, 4 * width) + attention(tokens, tokens, width)

    def other(queries: int, keys: int, width: int) -> float:
        projected = linear(queries, width, 2 * width) + linear(keys, width, 2 * width)
        return projected + attention(queries, keys, width)

    def reads(queries: int, keys: int, width: int) -> float:
        return own(queries, width) + other(queries, keys, width) + mlp(queries, width)

    embedded = linear(patches, 3 * config.patch_size**2, wide)
    encoder = embedded + config.encoder_depth * (own(patches, wide) + mlp(patches, wide))
    mean_logits = 2 * state * narrow
    layer = reads(state, image, narrow) + reads(image, state, narrow) + mean_logits
    decoder = linear(patches, wide, narrow) + config.decoder_depth * layer
    memory = 2 * linear(1, wide, narrow) + config.memory_depth * (
        reads(1, slots, 2 * narrow) + reads(slots, 1, 2 * narrow)
    )
    heads = mlp(1, narrow, 7) + mlp(patches, narrow, 4 * config.patch_size**2)
    return encoder + lanes * (decoder + memory + heads)


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("preset", ["miniature", "cut3r-224"])
def test_counted_operations_are_those_of_the_shapes(preset, lanes):
    config = PRESETS[preset]
    counted = flop_per_frame(config, "fast", STATE_LOGITS, lanes, config.image_size)
    assert counted == pytest.approx(linear_flop(config, lanes), rel=0.01)


def test_operations_of_the_published_size():
    """1.18 TFLOP with one map and 1.58 with three, measured when nothing of this was written."""
    config = PRESETS["cut3r-512"]
    fast = flop_per_frame(config, "fast", STATE_LOGITS, 1, config.image_size)
    plain = flop_per_frame(config, "plain", STATE_LOGITS, 1, config.image_size)
    assert fast == pytest.approx(1.18e12, rel=0.01)
    assert plain == pytest.approx(1.58e12, rel=0.02)
    two = flop_per_frame(config, "plain", STATE_LOGITS, 2, config.image_size)
    assert two == 2 * plain


@pytest.mark.parametrize(("way", "made"), [("fast", Lanes), ("plain", PlainLanes)])
def test_operations_on_the_meta_device_are_those_of_a_real_frame(case, network, way, made):
    first, second = frames_of(case, 2)
    lanes = made(network, (TTT3R(),))
    lanes.process(first)
    with FlopCounterMode(display=False) as counter, attention_written_out():
        lanes.process(second)
    size = prepare_image(second.image, case.config.long_side)[0].shape[:2]
    counted = flop_per_frame(case.config, way, STATE_LOGITS, 1, (size[0], size[1]))
    assert counter.get_total_flops() == pytest.approx(counted, rel=1e-3)


def test_each_instant_belongs_to_one_stage(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(child, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    class Work:
        def inner(self, seconds: float) -> float:
            now[0] += seconds
            return seconds

        def outer(self) -> float:
            now[0] += 1
            self.inner(10)
            now[0] += 2
            return self.inner(20)

    work, clock = Work(), StageClock(lambda: None)
    with clock.watching([(work, "inner", "heads"), (work, "outer", "encode")]):
        with clock.stage("rest"):
            now[0] += 100
            assert work.outer() == 20
        now[0] += 1000  # in no stage
        assert clock.take() == {"rest": 100, "encode": 3, "heads": 30}
        with pytest.raises(TypeError), clock.stage("rest"):
            work.inner("x")  # pyright: ignore[reportArgumentType]
    assert vars(work) == {}
    work.outer()
    assert sum(clock.take().values()) == 0


def test_what_is_pending_on_a_device_is_waited_for_in_its_own_stage(monkeypatch):
    now, pending = [0.0], [0.0]
    monkeypatch.setattr(child, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def wait() -> None:
        now[0] += pending[0]
        pending[0] = 0.0

    clock = StageClock(wait)
    with clock.stage("rest"):
        with clock.stage("encode"):
            pending[0] += 5
        with clock.stage("heads"):
            pending[0] += 7
    assert clock.take() == {"rest": 0, "encode": 5, "heads": 7}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_made_up_network_is_complete_and_alive(dtype, case):
    network = made_up_network(case.config, "cpu", dtype)
    again = made_up_network(case.config, "cpu", dtype)
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    assert network.dtype == dtype
    weights, scratch = network.state_dict(), "downstream_head.dpt_self.scratch"
    assert weights["downstream_head.dpt_self.head.4.weight"].dtype == torch.float32
    one, other = (weights[f"{scratch}.{name}.weight"] for name in ("layer_rn.0", "layer1_rn"))
    assert one.data_ptr() == other.data_ptr()
    results = [Lanes(network, (TTT3R(),)).process(frame)[0] for frame in frames_of(case, 2)]
    assert np.isfinite(results[0].points_camera).all()
    assert results[0].points_camera.std() > 1e-3
    assert np.abs(results[0].points_camera - results[1].points_camera).max() > 1e-4


def test_made_up_frames_are_images_that_change():
    files = made_up_frames(MINIATURE, 3)
    images = [decode_frame(file) for file in files]
    assert {image.shape for image in images} == {(160, 200, 3)}
    assert prepare_image(images[0], MINIATURE.long_side)[0].shape == (128, 160, 3)
    assert np.abs(images[0].astype(int) - images[1]).mean() > 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own mark")
def test_peak_memory_is_what_was_held_at_most():
    before = host_peak_bytes()
    status = Path("/proc/self/status").read_text()
    held = re.search(r"VmRSS:\s*(\d+)", status)
    assert before is not None
    assert held is not None
    more = before - int(held[1]) * 1024 + 64 * 2**20
    # Pages of the system's own: an allocator may hand out again what it still holds.
    with mmap.mmap(-1, more) as pages:
        for _ in range(more >> 20):
            pages.write(bytes(2**20))
    after = host_peak_bytes()
    assert after is not None
    assert 48 * 2**20 < after - before < 80 * 2**20
    assert host_peak_bytes() == after  # gone by now


class FakeProcess:
    """Answers at once, and notes its turn."""

    log: list[str] = []  # noqa: RUF012 -- shared by all, emptied by the fixture

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.start_sec = 1.0

    def close(self) -> None:
        self.log.append(f"end {self.variant.way}")

    def ask(self, question):
        return question(self)

    def turn(self) -> Turn:
        self.log.append(self.variant.way)
        seconds = {"fast": 0.01, "plain": 0.05}[self.variant.way] * len(self.log)
        return Turn((seconds, seconds), ({"encode": seconds}, {"encode": seconds}))

    def finish(self, _profile: bool) -> Facts:
        dtype = self.variant.dtype
        return Facts("CPU", "cpu", dtype, 1, 1.0, 128, 160, "2", 10**9, None, 1e9, 1e12, "")


@pytest.fixture
def fake_processes(monkeypatch) -> list[str]:
    FakeProcess.log.clear()
    monkeypatch.setattr(turns, "VariantProcess", FakeProcess)
    return FakeProcess.log


def test_variants_take_turns_and_the_speed_is_that_of_rounds(fake_processes):
    runs = measure([FAST, PLAIN], 3, profile=False, echo=lambda _: None)
    assert fake_processes[:6] == ["fast", "plain"] * 3
    assert fake_processes[-2:] == ["end plain", "end fast"]
    assert [run.name for run in runs] == ["ttt3r bfloat16", "plain ttt3r float32"]
    fast, plain = as_json(runs, 3)["variants"]
    # Turn number n takes n times as long here: 1 and 2, 3 and 4, 5 and 6.
    assert fast["speed_of_rounds"] == pytest.approx([10, 20 / 3, 6])
    assert plain["speed"] == 1
    assert fast["frames_per_second"] == pytest.approx(1 / 0.03)
    assert fast["share_of_peak"] == pytest.approx(1e9 / 0.03 / 1e12)
    assert re.search(r"as it runs +30 \(10 - 50\) +200 \(100 - 300\)", table(runs))


@pytest.mark.parametrize("columns", [50, 90])
@pytest.mark.usefixtures("fake_processes")
def test_a_table_is_cut_into_blocks_that_fit_the_terminal(monkeypatch, columns):
    runs = measure([FAST, PLAIN, FAST, PLAIN], 3, profile=False, echo=lambda _: None)
    assert table(runs).count("as it runs") == 1
    monkeypatch.setenv("COLUMNS", str(columns))
    assert max(map(len, table(runs).splitlines())) <= columns
    assert table(runs).count("as it runs") > 1


def test_a_process_that_dies_is_an_error_that_says_so():
    process = VariantProcess(FAST)
    process.process.kill()
    with pytest.raises(ReconstructionError, match="ended with -9: -9 is mostly too little memory"):
        process.ask(attrgetter("start_sec"))


def test_the_real_command(tmp_path, capsys):
    file = tmp_path / "bench.json"
    words = "bench --preset miniature --frames 2 --rounds 1 --device cpu --dtype bfloat16"
    assert main([*words.split(), "--reference", "--profile", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    for row in (*STAGES, "one by one", "as it runs", "host memory", "TFLOP per frame"):
        assert re.search(rf"^{row}  ", out, re.MULTILINE), row
    assert "Self CPU time total" in out
    written = json.loads(file.read_text())
    assert written["format"] == "ttt3r-viewer bench 1"
    assert written["compared_with"] == "plain ttt3r float32"
    fast, plain = written["variants"]
    assert (fast["dtype"], plain["dtype"]) == ("bfloat16", "float32")
    assert (fast["image_height"], fast["image_width"]) == (128, 160)
    assert fast["flop_per_frame"] < plain["flop_per_frame"]
    for one in (fast, plain):
        (turn,) = one["turns"]
        assert len(turn["frame_sec"]) == len(turn["stage_sec"]) == 2
        for stages in turn["stage_sec"]:
            assert set(stages) == set(STAGES)
            assert all(seconds > 0 for seconds in stages.values())
        assert one["host_peak_bytes"] > 10**8
        assert one["device_peak_bytes"] is None
        assert 0 < one["share_of_peak"] < 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--lanes 9", "--lanes 9: take 1 to 4"),
        ("--frames 0", "--frames 0: take a number above 0"),
        ("--dtype float16", "--dtype float16: take of auto, float32, bfloat16"),
        ("--preset miniature --weights miniature", "which has sizes of its own"),
        ("--rule nonsense", "unknown rule 'nonsense'"),
        ("--weights nowhere.pth", "no weights file nowhere.pth"),
        ("--json {tmp}/there.json", "exists: give another name, or --overwrite"),
        ("--json {tmp}/not/there.json", "there is no folder"),
    ],
)
def test_mistakes_are_told_before_anything_starts(words, expected, tmp_path, capsys, monkeypatch):
    def start(_: Variant) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(turns, "VariantProcess", start)
    (tmp_path / "there.json").write_text("{}")
    assert expected in error_line(capsys, "bench", *words.format(tmp=tmp_path).split())


@pytest.mark.skipif(torch.cuda.is_available(), reason="wants a machine without CUDA")
def test_a_mistake_that_only_the_process_can_know_is_one_line(capsys):
    assert main(["bench", "--preset", "miniature", "--device", "cuda"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ttt3r, auto: device cuda: torch")
    assert len(lines) == 2  # the other says what is being started
