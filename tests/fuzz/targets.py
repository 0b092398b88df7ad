"""What `tests.fuzz.__main__` and tests/test_fuzz.py give hostile bytes to: each reader of files.

A target takes any bytes, and either ends well or raises a `ViewerError`; what it gives is used as
the program uses it, so that an invalid value is found where it does harm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz import media, mutation
from tests.fuzz import recordings as sessions
from ttt3r_viewer.model.config import PRESETS, config_to_text
from ttt3r_viewer.recording.reader import frame_file


@dataclass(frozen=True)
class Target:
    """A reader under attack."""

    read: Callable[[bytes, Path], object]
    """Gives bytes to the reader, by way of files in an own folder. Raises `ViewerError`."""
    seeds: Callable[[], Sequence[bytes]]
    """Valid inputs, from which hostile ones are made."""
    words: Sequence[bytes] = ()
    """What its format knows, to be put in anywhere."""
    programs: st.SearchStrategy[bytes] | None = None
    """Inputs that are made, not changed."""
    is_json: bool = field(default=False, kw_only=True)
    most_mib: int = field(default=768, kw_only=True)
    """By which one input may raise the process's peak memory."""


_PICKLE_WORDS = (b"cos\nsystem\n", b"R", b"b", b"\x81", b"\x92", b"\x93", b"(", b"o", b"Q", b"P0\n",
                 b"\x8c\x02os\x8c\x06system\x93", b"\x82\x01", b"\x95" + b"\xff" * 8, b"}", b"]",
                 b"r\xff\xff\xff\xff", b"u", b"e", b"0", b"2", b".", b"t", b"\x85")  # fmt: skip
_HEADER_WORDS = (b"F8_E4M3", b"BOOL", b"U64", b"F4")
_ZIP_WORDS = (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"../",
              b"data.pkl", b"/data/0", b"\xff" * 4, b"\x00" * 8)  # fmt: skip
_JSON_WORDS = (b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"NaN", b"Infinity", b"-1",
               b"1e999", b"true", b"9" * 5000, b"[" * 5000, b'{"a":' * 5000, b"\\u0")  # fmt: skip
_MEDIA_WORDS = (b"IHDR", b"IDAT", b"acTL", b"\xff\xd8\xff", b"\xff\xdb", b"II*\x00", b"MM\x00*",
                b"%!PS-Adobe-3.0 EPSF-3.0\n", b"moov", b"mdat", b"stts", b"elst", b"#EXTM3U\n",
                b"ftypisom", b"GIF89a", b"\x7f" * 4, b"Exif\x00\x00")  # fmt: skip
_TEXT_WORDS = (b"nan", b"inf", b"1e999", b"#", b"\x00", b"\xff", b"-0", b"\n\n", b"9" * 400)
_YAML_WORDS = (b"&a ", b"*a", b"<<: ", b"!!python/object/apply:os.system ['touch x']", b"? ",
               b"- ", b"!!timestamp ", b"[" * 3000, b"{", b"\t", b"|", b">", b"---\n")  # fmt: skip


def _json(read: Callable[[bytes, Path], object], *seeds: Callable[[], bytes]) -> Target:
    return Target(read, lambda: [seed() for seed in seeds], _JSON_WORDS, is_json=True)


_CONFIGS = [partial(lambda one: config_to_text(one).encode(), one) for one in PRESETS.values()]
TARGETS: dict[str, Target] = {
    "pickle": Target(
        sessions.give_pickle, sessions.pickles, _PICKLE_WORDS, mutation.pickle_programs()
    ),
    "pth": Target(
        lambda d, f: sessions.give_weights(d, f, "a.pth"), sessions.small_weights, _ZIP_WORDS
    ),
    "safetensors": Target(
        lambda d, f: sessions.give_weights(d, f, "a.safetensors"), sessions.safetensors, _JSON_WORDS
    ),
    "safetensors-header": Target(
        sessions.safetensors_json, sessions.safetensors_headers, _HEADER_WORDS, is_json=True
    ),
    "network-config": _json(sessions.give_config_text, *_CONFIGS),
    "archive-json": _json(
        sessions.give_archive_json, lambda: sessions.valid_session()["archive.json"]
    ),
    "records": Target(
        sessions.give_records, lambda: [sessions.valid_session()[frame_file(0)]], (b"T3FRAME1",)
    ),
    "record-header": _json(
        sessions.give_record_header, lambda: sessions.header_of(sessions.valid_record())
    ),
    "checkpoint": Target(
        sessions.give_checkpoint, lambda: [sessions.valid_checkpoint()], _JSON_WORDS
    ),
    "checkpoint-text": _json(sessions.give_checkpoint_text, sessions.checkpoint_text),
    "tour": Target(sessions.give_tour, sessions.tours, _JSON_WORDS, is_json=True),
    "poses": Target(media.give_poses, media.pose_files, _TEXT_WORDS, mutation.pose_texts()),
    "transforms": Target(media.give_transforms, media.transforms, _JSON_WORDS, is_json=True),
    "data-text": Target(media.give_data_text, media.data_texts, _TEXT_WORDS, mutation.pose_texts()),
    "data-binary": Target(media.give_data_binary, media.data_binaries, _MEDIA_WORDS, most_mib=2048),
    "image": Target(media.give_image, media.images, _MEDIA_WORDS, most_mib=2048),
    "video": Target(media.give_video, media.videos, _MEDIA_WORDS, most_mib=2048),
    "yaml": Target(media.give_yaml, media.configs, _YAML_WORDS, mutation.yaml_texts()),
    "rules": Target(media.give_rules, lambda: [b"ttt3r,constant:0.3"], (), mutation.rule_texts()),
}
"""By the name that `--targets` takes."""
