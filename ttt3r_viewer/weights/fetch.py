"""The released weights: from where their authors keep them into the user's cache folder."""

import errno
import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ttt3r_viewer.errors import OutputError, WeightsError, in_a_line
from ttt3r_viewer.system.assets import asset_path
from ttt3r_viewer.system.files import put_in_place

LICENCE_NOTE = (
    "The released CUT3R weights are their authors' work under CC BY-NC-SA 4.0: name the authors, "
    "no commercial use, and share what you derive from them under the same licence."
)
BLOCK_BYTES, BLOCKS = 4096, 256
"""Samples of a file, evenly spread; its first and its last bytes are among them."""
_TIMEOUT_SEC = 60
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Release:
    """A weights file that the network's authors published."""

    file_name: str
    drive_id: str
    """Google Drive's name for it."""
    size_bytes: int
    is_exact: bool = True
    """Whether the size is its authors'; otherwise it is four bytes a parameter."""

    @property
    def url(self) -> str:
        """Where its authors keep it."""
        return f"https://drive.google.com/uc?id={self.drive_id}"


RELEASES = {
    "cut3r-512": Release(
        "cut3r_512_dpt_4_64.pth", "1Asz-ZB3FfpzZYwunhQvNPZEUA8XUNAYD", 3_173_761_006
    ),
    "cut3r-224": Release(
        "cut3r_224_linear_4.pth", "11dAgFkWHpaOHsR6iuitlB_v4NFFBrWjy", 2_994_000_000, is_exact=False
    ),
}
MINIATURE = "miniature"
Downloader = Callable[[str, Path], None]
"""Brings the content of an address to a `.part` file, going on where an earlier call was cut off.

Errors: `OSError` where the network or the disk fails, `WeightsError` with a text of its own. What
has arrived then stays for the next call.
"""


def locate(name_or_path: str) -> Path:
    """The file that `--weights` names: a name (miniature, cut3r-512, cut3r-224) or a path.

    Errors: `WeightsError` where there is no such file, or a name's was not fetched yet.
    """
    if name_or_path == MINIATURE:
        return asset_path("miniature.safetensors")
    if name_or_path not in RELEASES:
        path = Path(name_or_path).expanduser()
        if not path.exists():
            known = ", ".join((*RELEASES, MINIATURE))
            raise WeightsError(f"no weights file {path}: give a path, or one of {known}")
        return path
    path = weights_folder() / RELEASES[name_or_path].file_name
    if not path.exists():
        raise WeightsError(
            f"{name_or_path} is not on this computer: run `ttt3r-view weights fetch {name_or_path}`"
        )
    return path


def fingerprint(path: Path) -> str:
    """Give 16 hexadecimal digits that depend on a file's size and on samples of its content.

    They tell weights that were trained or converted otherwise apart, not a single changed number.
    Raises `WeightsError` where the file cannot be read.
    """
    try:
        size = path.stat().st_size
        digest = hashlib.sha256(str(size).encode())
        last = max(size - BLOCK_BYTES, 0)
        with path.open("rb") as file:
            for block in range(BLOCKS):
                file.seek(last * block // (BLOCKS - 1))
                digest.update(file.read(BLOCK_BYTES))
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:16]


def weights_folder() -> Path:
    """Where fetched weights live on this system."""
    # Here, because who trains need not have it.
    import platformdirs

    return platformdirs.user_cache_path("ttt3r-viewer", appauthor=False) / "weights"


def http_download(
    url: str, part_path: Path, progress: Callable[[int, int | None], None] | None = None
) -> None:
    """`Downloader` for a plain web server; asks for the rest alone where the server can do that.

    `progress` is called with bytes so far, and bytes in all where the server says so.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise WeightsError(f"{url} is no web address: give one that begins with https://")
    have = part_path.stat().st_size if part_path.exists() else 0
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SEC) as response:
            _receive(response, part_path, have, progress)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise WeightsError(
                f"{url} cannot be fetched: the server answers {error.code} {error.reason}"
            ) from error
        # "Range not satisfiable" is what a server says to someone who has everything already.
        if error.headers.get("Content-Range", "") != f"bytes */{have}":
            part_path.unlink()
            raise WeightsError(
                f"what an earlier try left is not of the file at {url}, and is removed: fetch again"
            ) from error
    except urllib.error.URLError as error:
        raise ConnectionError(str(error.reason)) from error
    except (http.client.HTTPException, ValueError) as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error


def _receive(
    response: http.client.HTTPResponse,
    part_path: Path,
    have: int,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    """Append what a server sends, or start over where it sends all."""
    goes_on = response.status == 206 and (
        response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    )
    if response.status == 206 and not goes_on:
        raise ConnectionError("the server sends another part of the file than was asked for")
    done = have if goes_on else 0
    length = response.headers.get("Content-Length")
    total = done + int(length) if length is not None and length.isdecimal() else None
    with part_path.open("ab" if goes_on else "wb") as stream:
        while chunk := response.read(_CHUNK_BYTES):
            stream.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
    if total is not None and done < total:
        raise ConnectionError("the connection was closed")


def gdown_download(url: str, part_path: Path) -> None:
    """`Downloader` for Google Drive, which asks people to confirm large files."""
    try:
        import gdown
    except ImportError as error:
        raise WeightsError(
            "fetching from Google Drive needs the package gdown: pip install 'ttt3r-viewer[fetch]'"
        ) from error
    # gdown keeps partial files under names of its own beside this one, and takes a file of this
    # name for a complete one.
    complete = part_path.with_name(part_path.name + ".gdown")
    try:
        gdown.download(url, str(complete), resume=True)
    except gdown.exceptions.DownloadError as error:
        raise ConnectionError(in_a_line(error, 200)) from error
    put_in_place(complete, part_path)


def fetch(
    name: str,
    *,
    echo: Callable[[str], None],
    downloader: Downloader = gdown_download,
    url: str | None = None,
    cache_dir: Path | None = None,
) -> Path:
    """Bring a released file into the cache folder, and check it; the file's path.

    `url` is a mirror, for a `downloader` that knows how to read it. The final name appears only
    once all has arrived and is right; until then what is there stays under `.part` for the next
    try. The licence is said first.

    Errors: `WeightsError` where the name is unknown, the network fails, the file was cut off, or
    is not the released one; `OutputError` where the disk has no room or cannot be written.
    """
    if name not in RELEASES:
        raise WeightsError(f"no released weights {name}: known are {', '.join(RELEASES)}")
    release = RELEASES[name]
    folder = weights_folder() if cache_dir is None else cache_dir
    path, part = folder / release.file_name, folder / f"{release.file_name}.part"
    if path.exists():
        _check_size(release, path.stat().st_size, f"delete {path} and fetch again")
        echo(f"{name} is here already: {path}")
        return path
    echo(LICENCE_NOTE)
    _make_room(folder, release, part)
    echo(f"fetching {name} (about {release.size_bytes / 1e9:.1f} GB) to {path}")
    if not (release.is_exact and part.exists() and part.stat().st_size == release.size_bytes):
        _download(downloader, release.url if url is None else url, part, name)
    size = part.stat().st_size
    if release.is_exact and size < release.size_bytes:
        raise WeightsError(
            f"{name} was cut off after {size:,} of {release.size_bytes:,} bytes: {_AGAIN}"
        )
    try:
        _check_size(release, size, "fetch again, or from another place")
        _check_content(part, name)
    except WeightsError:
        # Nothing that is appended could repair it.
        part.unlink()
        raise
    put_in_place(part, path)
    return path


_AGAIN = "run the same command again to go on from there"


def _arrived_bytes(part: Path) -> int:
    """What earlier tries left, also under gdown's own names beside the `.part` file."""
    return sum(path.stat().st_size for path in part.parent.glob(f"{part.name}*"))


def _make_room(folder: Path, release: Release, part: Path) -> None:
    """Make the folder, and see that the rest of the file fits on its disk."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise OutputError(f"the folder {folder} cannot be made ({error.strerror})") from error
    missing = release.size_bytes - _arrived_bytes(part)
    if free < missing:
        raise OutputError(
            f"too little room in {folder}: {free / 1e9:.2f} GB are free and {missing / 1e9:.2f} GB "
            "are needed: free some"
        )


def _download(downloader: Downloader, url: str, part: Path, name: str) -> None:
    """Run a downloader, and raise what went wrong as an error with advice."""
    before = _arrived_bytes(part)
    try:
        downloader(url, part)
    except OSError as error:
        size = _arrived_bytes(part)
        reason = in_a_line(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(f"the disk of {part} is full: free some, then {_AGAIN}") from error
        if isinstance(error, PermissionError):
            raise OutputError(
                f"{part} cannot be written ({reason}): allow it, or free it"
            ) from error
        if size > before:
            raise WeightsError(
                f"{name} was cut off after {size:,} bytes ({reason}): {_AGAIN}"
            ) from error
        raise WeightsError(
            f"{name} cannot be fetched from {url} ({reason}): check the network, then {_AGAIN}"
        ) from error


def _check_size(release: Release, size: int, advice: str) -> None:
    if release.is_exact and size != release.size_bytes:
        raise WeightsError(
            f"{release.file_name} has {size:,} bytes, wanted {release.size_bytes:,}: {advice}"
        )


def _check_content(part: Path, name: str) -> None:
    """See that the file is whole, and the network that its name says."""
    # Imported late, because the command line only asks this file where weights are.
    from ttt3r_viewer.model.config import PRESETS
    from ttt3r_viewer.weights.torch_zip import find_damaged_member
    from ttt3r_viewer.weights.weights_file import read_weights, recognise_config

    checkpoint = read_weights(part)
    if checkpoint.kind == "pth" and (damaged := find_damaged_member(part)) is not None:
        raise WeightsError(
            f"what was fetched as {name} is damaged (checksum of {damaged}): fetch again"
        )
    config = recognise_config(
        checkpoint.tensors, checkpoint.metadata, f"the weights fetched as {name}"
    )
    if config != PRESETS[name]:
        raise WeightsError(f"what was fetched as {name} is another network: fetch again")
