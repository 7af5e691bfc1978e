"""Public datasets, brought into the project's layout and checked: CVC-ClinicDB and Kvasir-SEG.

Nothing of an archive is trusted: only files that look like a case are read, under names that are made here,
up to a limit in size; the whole is checked before the folder gets its name. Pictures keep the owners' bytes.
"""

import contextlib
import errno
import hashlib
import http.client
import itertools
import re
import urllib.request
import zipfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from syndiff.data.dataset import Dataset
from syndiff.data.readers import read_image, read_mask_values
from syndiff.documents import read_json
from syndiff.errors import SyndiffError, shown
from syndiff.files import check_new_folder, folder_beside, write_json, write_text

MAX_FILE_BYTES = 10_000_000
"""Largest picture that is taken from an archive, unpacked."""

MAX_TOTAL_BYTES = 2_000_000_000
"""Most bytes that are downloaded, and most that are unpacked."""

Entries = dict[PurePosixPath, Callable[[], bytes]]
"""What an archive or a folder holds: each path with a way to read it."""


@dataclass(frozen=True)
class PublicSet:
    """Where a public dataset comes from, on what terms, and how to know that it is whole."""

    title: str
    terms: str
    """The owners' terms of use, in their words as far as they are short."""
    page: str
    """The owners' page, for people."""
    url: str | None
    """A zip that can be downloaded without a person, None when there is none."""
    image_folder: str
    """Name of the archive's folder of images, in small letters."""
    mask_folder: str
    suffixes: tuple[str, ...]
    """File endings; when an archive holds a case in several formats, the first of them is taken."""
    cases: int
    description: dict[str, Any]
    """The content of dataset.json."""
    pixels: Path | None = None
    """JSON of each case's `pixel_checksum` of image and of mask; None when none are known."""
    last_frames: tuple[int, ...] = ()
    """Last frame number of each video sequence, when case ids are frame numbers."""


# The table of the owners' README: sequence 1 is frames 1 to 25, sequence 2 is 26 to 50, and so on.
_CVC_LAST_FRAMES = (
    25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317, 342, 363, 383, 408, 428,
    447, 466, 478, 503, 528, 546, 571, 591, 612,
)  # fmt: skip

_CVC = PublicSet(
    title="CVC-ClinicDB",
    terms=(
        "Images from folder 'Original' are property of Hospital Clinic, Barcelona, Spain. "
        "Images from folder 'Ground Truth' are property of Computer Vision Center, Barcelona, Spain. "
        "The use of this database is completely restricted for research and educational purposes. "
        "The use of this database is forbidden for commercial purposes. "
        "Cite Bernal et al. 2015, WM-DOVA maps, Comput. Med. Imaging Graph. 43."
    ),
    page="https://polyp.grand-challenge.org/CVCClinicDB/",
    url=None,
    image_folder="original",
    mask_folder="ground truth",
    suffixes=(".tif", ".tiff", ".png"),
    cases=612,
    description={
        "name": "CVC-ClinicDB",
        "modality": "colonoscopy (white light)",
        "classes": {"1": "polyp"},
        "mask_threshold": 127,
        "licence": "research and educational purposes only; commercial use forbidden",
        "reference": "Bernal et al. 2015, WM-DOVA maps, Comput. Med. Imaging Graph. 43",
        "groups": "video sequence (29), from the owners' README",
        "notes": "138 of the 612 masks carry grey border pixels: threshold above 127",
    },
    pixels=Path(__file__).with_name("cvc_pixels.json"),
    last_frames=_CVC_LAST_FRAMES,
)

_KVASIR = PublicSet(
    title="Kvasir-SEG",
    terms=(
        "The use of the Kvasir-SEG dataset is restricted for research and educational purposes. "
        "Its use for commercial purposes is forbidden without prior written permission. "
        "Cite Jha et al. 2020, Kvasir-SEG: A Segmented Polyp Dataset, MMM."
    ),
    page="https://datasets.simula.no/kvasir-seg/",
    url="https://datasets.simula.no/downloads/kvasir-seg.zip",
    image_folder="images",
    mask_folder="masks",
    suffixes=(".jpg",),
    cases=1000,
    description={
        "name": "Kvasir-SEG",
        "modality": "colonoscopy (white light)",
        "classes": {"1": "polyp"},
        "mask_threshold": 127,
        "licence": "research and educational purposes only; commercial use only with written permission",
        "reference": "Jha et al. 2020, Kvasir-SEG: A Segmented Polyp Dataset, MMM",
        "notes": "masks are JPEG: threshold above 127; some images carry a green endoscope-position inset",
    },
)

PUBLIC_SETS = {"cvc-clinicdb": _CVC, "kvasir-seg": _KVASIR}


def fetch(
    name: str, out: Path, *, archive: Path | None = None, accept_licence: bool = False, progress: bool = False
) -> Dataset:
    """Make the dataset folder `out` from a public set, whole and checked or not at all.

    `archive` is a zip downloaded by hand, or the folder it was unpacked into; without it the set is
    downloaded where its owners offer a direct link (Kvasir-SEG: 44 MB). Counts are checked for both sets, and
    for CVC-ClinicDB the decoded pixels of every image and mask; for Kvasir-SEG no list of checksums is known,
    so its pixels are only known to decode. `progress` shows a bar on standard error.

    Raises SyndiffError for an unknown name, terms not accepted, an `out` in use, no network, and an archive
    that is damaged or is not the set.
    """
    if name not in PUBLIC_SETS:
        raise SyndiffError(f"dataset {name!r} is unknown. Known are {', '.join(PUBLIC_SETS)}.")
    source = PUBLIC_SETS[name]
    if not accept_licence:
        raise SyndiffError(
            f"{source.title} ({source.page}) comes with these terms: {source.terms} "
            "If you accept them, run the same command with --accept-licence."
        )
    check_new_folder(out)
    with folder_beside(out) as temporary:
        if archive is None:
            archive = temporary / "download.zip"
            _download(source, archive, progress)
        made = temporary / out.name
        with _opened(archive) as entries:
            _unpack(entries, source, archive, made)
        dataset = Dataset.open(made)
        _check_pictures(dataset, source, archive, progress)
        if out.exists():
            out.rmdir()
        made.rename(out)
    return Dataset.open(out)


def pixel_checksum(pixels: NDArray[Any]) -> str:
    """First 16 hexadecimal digits of the SHA-256 over decoded pixels, row by row, whatever the file format.

    Of an image the HxWx3 samples count, of a mask its HxW grey values.
    """
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


def _download(source: PublicSet, target: Path, progress: bool) -> None:
    by_hand = f"Download it by hand from {source.page} and pass --archive with the zip or the unpacked folder."
    if source.url is None:
        raise SyndiffError(
            f"{source.title} has no direct link; its owners give it out on their page "
            f"(as a .rar: unpack it first). {by_hand}"
        )
    with target.open("wb") as file:
        for chunk in _chunks(source, by_hand, progress):
            file.write(chunk)


def _chunks(source: PublicSet, by_hand: str, progress: bool) -> Iterator[bytes]:
    """Yield the download; only what the network does wrong becomes a SyndiffError, not a full disk."""
    assert source.url is not None
    try:
        with urllib.request.urlopen(source.url, timeout=60) as response:
            total = int(response.headers.get("Content-Length") or 0)
            received = 0
            with tqdm(total=total or None, unit="B", unit_scale=True, desc=source.title, disable=not progress) as bar:
                while chunk := response.read(1 << 20):
                    received += len(chunk)
                    if received > MAX_TOTAL_BYTES:
                        raise SyndiffError(f"{source.url} is far larger than {source.title} should be. {by_hand}")
                    bar.update(len(chunk))
                    yield chunk
    except SyndiffError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a header that is no number
        raise SyndiffError(f"{source.url} cannot be downloaded ({_short(error)}). {by_hand}") from None
    if received < total:
        raise SyndiffError(f"{source.url} broke off after {received} of {total} bytes. Try again. {by_hand}")


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[Entries]:
    """List a zip or an unpacked folder; what is wrong with it, now or when an entry is read, is a SyndiffError."""
    if archive.is_dir():
        files = (path for path in archive.rglob("*") if path.is_file())
        yield {PurePosixPath(path.relative_to(archive).as_posix()): _file_reader(path) for path in files}
        return
    if not archive.is_file():
        found = "is neither a file nor a folder" if archive.exists() else "does not exist"
        raise SyndiffError(f"{archive} {found}. --archive must name a zip or the folder unpacked from it.")
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(archive.open("rb"))
        with _reading(archive):
            opened = stack.enter_context(zipfile.ZipFile(file))
            infos = [info for info in opened.infolist() if not info.is_dir()]
        paths = [PurePosixPath(info.filename) for info in infos]
        twice = [path for path, count in Counter(paths).items() if count > 1]
        if twice:
            raise SyndiffError(
                f"{archive} holds {_name(twice[0])} twice, so that nobody can say which is meant. Download it again, "
                "or unpack it and pass the folder as --archive."
            )
        yield {path: _member_reader(archive, opened, info) for path, info in zip(paths, infos, strict=True)}


@contextlib.contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Around whatever reads bytes of a zip: all that zipfile and zlib make of damage becomes a SyndiffError."""
    try:
        yield
    except (NotImplementedError, RuntimeError) as error:  # a method or version that zipfile lacks; a password
        raise SyndiffError(
            f"{archive} cannot be read ({_short(error)}). Unpack it and pass the folder instead."
        ) from None
    except Exception as error:  # damaged bytes make zipfile raise nearly anything
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # the disk's fault
            raise
        raise SyndiffError(
            f"{archive} is not a whole zip file ({_short(error)}). Download it again, or, if it is of another kind, "
            "unpack it and pass the folder as --archive."
        ) from None


def _short(error: Exception) -> str:
    """What an exception says, without the kilobytes of an archive that some of them quote."""
    text = str(error) or type(error).__name__
    return text if len(text) <= 120 else f"{text[:120]}..."


def _file_reader(path: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)

    return read


def _member_reader(archive: Path, opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        with _reading(archive):
            if info.flag_bits & 1:
                raise RuntimeError("it asks for a password")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise RuntimeError(f"it is compressed by method {info.compress_type}")  # zipfile does not bound those
            # Stops at the limit whatever size the header claims.
            with opened.open(info) as member:
                return member.read(MAX_FILE_BYTES + 1)

    return read


def _unpack(entries: Entries, source: PublicSet, archive: Path, made: Path) -> None:
    """Write the dataset folder `made` from the pictures of the right folders; everything else is left."""
    images = _pick(entries, archive, source.image_folder, source.suffixes)
    masks = _pick(entries, archive, source.mask_folder, source.suffixes)
    if len(images) != source.cases or images.keys() != masks.keys():
        raise SyndiffError(
            f"{archive} holds {len(images)} images in {source.image_folder}/ and {len(masks)} masks in "
            f"{source.mask_folder}/; {source.title} has {source.cases} of each, named alike. "
            f"Download it again or unpack it whole.{_archive_inside(entries)}"
        )
    total = 0
    for folder, picked in (("images", images), ("masks", masks)):
        (made / folder).mkdir(parents=True)
        for case_id, path in picked.items():
            content = entries[path]()
            total += len(content)
            if len(content) > MAX_FILE_BYTES or total > MAX_TOTAL_BYTES:
                raise SyndiffError(
                    f"{archive} unpacks to far more than {source.title} should (stopped at {_name(path)}). "
                    f"Download it again from {source.page}."
                )
            (made / folder / f"{case_id}{path.suffix.lower()}").write_bytes(content)
    write_json(made / "dataset.json", source.description)
    if source.last_frames:
        rows = [f"{case},sequence-{bisect_left(source.last_frames, int(case)) + 1:02d}" for case in images]
        write_text(made / "groups.csv", "\n".join(["case,group", *rows]) + "\n")


def _pick(entries: Entries, archive: Path, folder: str, suffixes: tuple[str, ...]) -> dict[str, PurePosixPath]:
    """Find the pictures that lie directly in a folder of this name, by case id, in the order of the ids."""
    picked: dict[str, PurePosixPath] = {}
    for suffix in suffixes:
        for path in sorted(entries):
            inside = path.parent.name.lower() == folder and "__MACOSX" not in path.parts
            # The stem becomes a file name of ours: letters and digits, nothing that could lead elsewhere.
            if not inside or path.suffix.lower() != suffix or not re.fullmatch(r"[A-Za-z0-9]{1,100}", path.stem):
                continue
            other = picked.setdefault(path.stem, path)
            if other != path and other.suffix.lower() == suffix:
                raise SyndiffError(f"{archive} holds both {_name(other)} and {_name(path)}; remove one of them.")
    return dict(sorted(picked.items(), key=lambda item: (len(item[0]), item[0])))


def _name(path: PurePosixPath) -> str:
    """A path within an archive, for a message."""
    text = str(path)
    return text if len(text) <= 120 and text.isprintable() else shown(text)


def _archive_inside(entries: Entries) -> str:
    inside = [path for path in entries if path.suffix.lower() in (".zip", ".rar", ".7z", ".tar", ".gz")]
    return f" It holds another archive, {_name(inside[0])}: unpack that one and pass the folder." if inside else ""


def _check_pictures(dataset: Dataset, source: PublicSet, archive: Path, progress: bool) -> None:
    """Decode every image and mask and, where checksums are known, compare the pixels."""
    known = None if source.pixels is None else read_json(source.pixels)
    if known is not None and known.keys() != {case.id for case in dataset.cases}:
        strangers = sorted({case.id for case in dataset.cases} - known.keys())
        raise SyndiffError(
            f"{archive} names {len(strangers)} cases that {source.title} does not have "
            f"({', '.join(itertools.islice(strangers, 3))}). Download it again from {source.page}."
        )
    for case in tqdm(dataset.cases, desc="checking", unit="case", disable=not progress):
        for position, (kind, path, read) in enumerate(
            (("image", case.image, read_image), ("mask", case.mask, read_mask_values))
        ):
            try:
                pixels = read(path)
            except SyndiffError:
                raise SyndiffError(
                    f"{archive}: {kind} {path.name} is damaged. Download it again from {source.page}."
                ) from None
            if known is not None and pixel_checksum(pixels) != known[case.id][position]:
                raise SyndiffError(
                    f"{archive}: {kind} {path.name} does not hold the pixels of the original {source.title} "
                    f"(it was altered, resized or compressed again). Download it again from {source.page}."
                )
