"""Fetching: terms first, whole sets only, and archives that cannot do harm."""

import csv
import dataclasses
import io
import json
import os
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from syndiff.data import fetching
from syndiff.data.dataset import Dataset
from syndiff.data.fetching import PUBLIC_SETS, fetch
from syndiff.data.readers import read_image, read_mask
from syndiff.errors import SyndiffError


def encoded(pixels: NDArray[np.uint8], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


def picture(number: int, kind: str = "JPEG") -> bytes:
    return encoded(np.full((6, 8, 3), number, np.uint8), kind)


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def kvasir_members(ids: tuple[str, ...] = ("aa1", "bb2", "cc3")) -> dict[str, bytes]:
    members = {"Kvasir-SEG/kavsir_bboxes.json": b"{}"}
    for folder in ("images", "masks"):
        members |= {f"Kvasir-SEG/{folder}/{case_id}.jpg": picture(9 * len(case_id)) for case_id in ids}
    return members


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Kvasir-SEG as if it had three cases, with further changes on call."""

    def change(**changes: object) -> None:
        small = dataclasses.replace(PUBLIC_SETS["kvasir-seg"], cases=3, **changes)  # type: ignore[arg-type]
        monkeypatch.setitem(PUBLIC_SETS, "kvasir-seg", small)

    change()
    return change


def assert_refused(tmp_path: Path, match: str, *, name: str = "kvasir-seg", archive: Path | None) -> None:
    """The refusal says what is wrong, and beside the archive nothing was left behind."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SyndiffError, match=match):
        fetch(name, tmp_path / "data", archive=archive, accept_licence=True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", list(PUBLIC_SETS))
def test_terms_are_shown_and_must_be_accepted(tmp_path: Path, name: str) -> None:
    with pytest.raises(SyndiffError, match=r"research and educational purposes.*--accept-licence"):
        fetch(name, tmp_path / "data")
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_gets_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SyndiffError, match=r"'isic' is unknown\. Known are cvc-clinicdb, kvasir-seg"):
        fetch("isic", tmp_path / "data", accept_licence=True)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("unpacked", [False, True])
def test_a_zip_or_its_folder_becomes_a_dataset(tmp_path: Path, unpacked: bool) -> None:
    archive = write_zip(tmp_path / "kvasir.zip", kvasir_members())
    if unpacked:
        zipfile.ZipFile(archive).extractall(tmp_path / "unpacked")
        archive = tmp_path / "unpacked"
    (tmp_path / "data").mkdir()  # an empty folder is no obstacle
    dataset = fetch("kvasir-seg", tmp_path / "data", archive=archive, accept_licence=True)
    assert dataset == Dataset.open(tmp_path / "data")
    assert [case.id for case in dataset.cases] == ["aa1", "bb2", "cc3"]
    assert dataset.name == "Kvasir-SEG" and dataset.mask_threshold == 127 and not dataset.has_groups
    assert dataset["aa1"].image.read_bytes() == kvasir_members()["Kvasir-SEG/images/aa1.jpg"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_download_goes_the_same_way(tmp_path: Path, three: Callable[..., None]) -> None:
    archive = write_zip(tmp_path / "served.zip", kvasir_members())
    three(url=archive.as_uri())
    dataset = fetch("kvasir-seg", tmp_path / "data", accept_licence=True)
    assert len(dataset.cases) == 3


def test_without_a_network_the_way_by_hand_is_told(tmp_path: Path, three: Callable[..., None]) -> None:
    three(url="http://127.0.0.1:9/kvasir-seg.zip")
    assert_refused(
        tmp_path, r"cannot be downloaded.*by hand from https://datasets\.simula\.no.*--archive", archive=None
    )


def test_cvc_is_only_given_out_by_hand(tmp_path: Path) -> None:
    assert_refused(
        tmp_path, r"no direct link.*polyp\.grand-challenge\.org.*--archive", name="cvc-clinicdb", archive=None
    )


@pytest.mark.usefixtures("three")
def test_an_output_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("mine")
    assert_refused(tmp_path, "exists already", archive=write_zip(tmp_path / "k.zip", kvasir_members()))


@pytest.mark.usefixtures("three")
def test_missing_and_damaged_archives_are_named(tmp_path: Path) -> None:
    assert_refused(tmp_path, r"absent\.zip does not exist", archive=tmp_path / "absent.zip")

    whole = write_zip(tmp_path / "whole.zip", kvasir_members()).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    assert_refused(tmp_path, r"cut\.zip is not a whole zip.*unpack it", archive=tmp_path / "cut.zip")

    start = whole.index(b"\xff\xd8") if b"\xff\xd8" in whole else 200
    (tmp_path / "rotten.zip").write_bytes(whole[:start] + bytes(40) + whole[start + 40 :])
    assert_refused(tmp_path, r"rotten\.zip", archive=tmp_path / "rotten.zip")

    members = kvasir_members() | {"Kvasir-SEG/masks/bb2.jpg": b"not a picture"}
    assert_refused(tmp_path, r"mask bb2\.jpg is damaged.*again", archive=write_zip(tmp_path / "bad.zip", members))


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("gone", "match"),
    [
        ("Kvasir-SEG/images/bb2.jpg", "2 images in images/ and 3 masks in masks/; Kvasir-SEG has 3"),
        ("Kvasir-SEG/masks/bb2.jpg", "3 images in images/ and 2 masks"),
    ],
)
def test_a_set_that_is_not_whole_is_refused(tmp_path: Path, gone: str, match: str) -> None:
    members = kvasir_members()
    del members[gone]
    assert_refused(tmp_path, match, archive=write_zip(tmp_path / "k.zip", members))


@pytest.mark.usefixtures("three")
def test_paths_that_lead_outside_write_nothing_outside(tmp_path: Path) -> None:
    members = kvasir_members() | {
        "../images/evil1.jpg": picture(1),
        "images/../../evil2.jpg": picture(1),
        "/images/..jpg": picture(1),
        "images/a\\..\\evil3.jpg": picture(1),
        "__MACOSX/images/aa1.jpg": b"resource fork",
    }
    members["../masks/evil1.jpg"] = picture(1)
    inner = tmp_path / "deep" / "er"
    inner.mkdir(parents=True)
    archive = write_zip(tmp_path / "evil.zip", members)
    with pytest.raises(SyndiffError, match="4 images in images/ and 4 masks"):
        fetch("kvasir-seg", inner / "data", archive=archive, accept_licence=True)
    assert sorted(tmp_path.rglob("*")) == [inner.parent, inner, archive]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("limit", ["MAX_FILE_BYTES", "MAX_TOTAL_BYTES"])
def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(fetching, limit, 100_000)
    members = kvasir_members() | {"Kvasir-SEG/images/bb2.jpg": bytes(9_000_000)}
    archive = write_zip(tmp_path / "k.zip", members)
    assert archive.stat().st_size < 20_000
    assert_refused(tmp_path, r"unpacks to far more.*stopped at Kvasir-SEG/images/bb2\.jpg", archive=archive)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_damage_anywhere_is_one_sentence(tmp_path: Path, method: int) -> None:
    """Bits flipped, bytes lost and bytes added, half of them in the directory at the archive's end."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in {**kvasir_members(), "Kvasir-SEG/\u00e9.txt": b"x"}.items():
            archive.writestr(name, content)
    whole = buffer.getvalue()
    directory = whole.rindex(b"PK\x05\x06") - 700
    damaged = tmp_path / "k.zip"
    for seed in range(150):
        draw = random.Random(seed)
        content, start = bytearray(whole), draw.choice([0, directory])
        for _ in range(draw.choice([1, 1, 20])):
            content[draw.randrange(start, len(content))] ^= 1 << draw.randrange(8)
        if seed % 3 == 0:
            spot = draw.randrange(start, len(content))
            content[spot : spot + draw.randrange(100)] = draw.randbytes(draw.randrange(20))
        damaged.write_bytes(content)
        try:
            shutil.rmtree(fetch("kvasir-seg", tmp_path / "data", archive=damaged, accept_licence=True).root)
        except SyndiffError as error:
            assert len(str(error)) < 1000
        assert list(tmp_path.iterdir()) == [damaged]


@pytest.mark.usefixtures("three")
def test_what_is_called_a_zip(tmp_path: Path) -> None:
    members = kvasir_members()
    with tarfile.open(tmp_path / "tar.zip", "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    assert_refused(tmp_path, "not a whole zip", archive=tmp_path / "tar.zip")
    (tmp_path / "empty.zip").write_bytes(b"")
    assert_refused(tmp_path, "not a whole zip", archive=tmp_path / "empty.zip")
    os.mkfifo(tmp_path / "pipe.zip")
    assert_refused(tmp_path, "neither a file nor a folder", archive=tmp_path / "pipe.zip")
    inner = write_zip(tmp_path / "inner.zip", members).read_bytes()
    nested = write_zip(tmp_path / "nested.zip", {"all/inner.zip": inner})
    assert_refused(tmp_path, r"another archive, all/inner\.zip: unpack", archive=nested)


@pytest.mark.usefixtures("three")
def test_members_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    members = kvasir_members()
    twice = write_zip(tmp_path / "twice.zip", members)
    with zipfile.ZipFile(twice, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("Kvasir-SEG/images/aa1.jpg", picture(1))
    assert_refused(tmp_path, r"Kvasir-SEG/images/aa1\.jpg twice", archive=twice)

    both = write_zip(tmp_path / "both.zip", members | {"old/images/aa1.jpg": picture(1)})
    assert_refused(tmp_path, r"both Kvasir-SEG/images/aa1\.jpg and old/images/aa1\.jpg", archive=both)

    del members["Kvasir-SEG/kavsir_bboxes.json"]  # now the first member is an image; its flag stands in two places
    locked = bytearray(write_zip(tmp_path / "locked.zip", members).read_bytes())
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    assert_refused(tmp_path, r"cannot be read \(it asks for a password.*Unpack it", archive=tmp_path / "locked.zip")

    del members["Kvasir-SEG/masks/bb2.jpg"]
    folder = write_zip(tmp_path / "folder.zip", members | {"Kvasir-SEG/masks/bb2.jpg/": b""})
    assert_refused(tmp_path, "3 images in images/ and 2 masks", archive=folder)

    long = write_zip(tmp_path / "long.zip", members | {f"masks/{'b' * 300}.jpg": picture(1)})
    assert_refused(tmp_path, "3 images in images/ and 2 masks", archive=long)


@pytest.mark.usefixtures("three")
def test_folders_made_for_nothing_are_removed(tmp_path: Path) -> None:
    with pytest.raises(SyndiffError, match="does not exist"):
        fetch("kvasir-seg", tmp_path / "new" / "er" / "data", archive=tmp_path / "absent.zip", accept_licence=True)
    assert not list(tmp_path.iterdir())


def cvc_zip(cvc: Path, path: Path, frames: list[int], altered: int | None = None) -> Path:
    """Pack frames as their owners do: TIFFs in Original/ and Ground Truth/."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for frame in frames:
            image = np.asarray(Image.open(cvc / f"images/{frame}.png")).copy()
            if frame == altered:
                image[100, 200, 1] ^= 1
            mask = np.asarray(Image.open(cvc / f"masks/{frame}.png"))
            archive.writestr(f"CVC-ClinicDB/Original/{frame}.tif", encoded(image, "TIFF"))
            archive.writestr(f"CVC-ClinicDB/Ground Truth/{frame}.tif", encoded(mask, "TIFF"))
    return path


@pytest.mark.real
def test_cvc_is_known_by_its_pixels(cvc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [1, 25, 26, 100, 200, 205, 206, 591, 592, 612]
    full = PUBLIC_SETS["cvc-clinicdb"]
    assert full.pixels is not None
    checksums = json.loads(full.pixels.read_text())
    assert sorted(checksums, key=int) == [str(frame) for frame in range(1, 613)]
    (tmp_path / "some.json").write_text(json.dumps({str(frame): checksums[str(frame)] for frame in frames}))
    small = dataclasses.replace(full, cases=len(frames), pixels=tmp_path / "some.json")
    monkeypatch.setitem(PUBLIC_SETS, "cvc-clinicdb", small)

    altered = cvc_zip(cvc, tmp_path / "altered.zip", frames, altered=205)
    assert_refused(
        tmp_path,
        r"image 205\.tif does not hold the pixels of the original",
        name="cvc-clinicdb",
        archive=altered,
    )
    stranger = cvc_zip(cvc, tmp_path / "stranger.zip", [*frames[:-1], 77])
    assert_refused(tmp_path, r"does not have \(77\)", name="cvc-clinicdb", archive=stranger)

    archive = cvc_zip(cvc, tmp_path / "cvc.zip", frames)
    dataset = fetch("cvc-clinicdb", tmp_path / "data", archive=archive, accept_licence=True)
    with (cvc / "groups.csv").open() as file:
        groups = {row["case"]: row["group"] for row in csv.DictReader(file)}
    for case in dataset.cases:
        assert case.group == groups[case.id]
        np.testing.assert_array_equal(read_image(case.image), read_image(cvc / f"images/{case.id}.png"))
        np.testing.assert_array_equal(read_mask(case.mask, 127), read_mask(cvc / f"masks/{case.id}.png", 127))


@pytest.mark.real
def test_cvc_sequences_follow_the_owners_table(cvc: Path) -> None:
    with (cvc / "groups.csv").open() as file:
        groups = [row["group"] for row in sorted(csv.DictReader(file), key=lambda row: int(row["case"]))]
    last = [index + 1 for index, group in enumerate(groups) if groups[index + 1 : index + 2] != [group]]
    assert PUBLIC_SETS["cvc-clinicdb"].last_frames == tuple(last)
