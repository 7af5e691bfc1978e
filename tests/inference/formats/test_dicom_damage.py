"""DICOM files that cannot be read: a sentence for each, and never a picture that is only half there."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000Lossless

from dicoms import BUNDLED, header, write_dicom, write_jpeg
from syndiff.errors import SyndiffError
from syndiff.inference.formats.base import NoPicture
from syndiff.inference.formats.dicom import DicomSource

STORED = [
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_rle_2frame.dcm",
]


def pictures(path: Path) -> list[np.ndarray]:
    return [frame.image for frame in DicomSource(path).frames()]


def refused(path: Path, *words: str) -> None:
    with pytest.raises(SyndiffError) as error:
        pictures(path)
    assert str(path) in str(error.value)
    assert not [word for word in words if word not in str(error.value)], str(error.value)


@pytest.mark.parametrize("name", STORED)
def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path, name):
    """Some decoders fill what is missing with grey."""
    content = (BUNDLED / name).read_bytes()
    whole = pictures(BUNDLED / name)
    path = tmp_path / "cut.dcm"
    refusals = 0
    for end in [*range(0, len(content), 331), *range(len(content) - 40, len(content))]:
        path.write_bytes(content[:end])
        try:
            found = pictures(path)
        except SyndiffError:
            refusals += 1
        else:
            assert len(found) == len(whole) and all(map(np.array_equal, found, whole))
    assert refusals > len(content) // 500


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([*STORED, "examples_palette.dcm"]),
    place=st.floats(0, 1),
    what=st.binary(min_size=1, max_size=6),
    early=st.booleans(),
)
def test_a_damaged_file_gives_pictures_or_a_sentence(tmp_path, name, place, what, early):
    content = bytearray((BUNDLED / name).read_bytes())
    start = int(place * (min(len(content), 1500) if early else len(content)))
    content[start : start + len(what)] = what
    path = tmp_path / "damaged.dcm"
    path.write_bytes(content)
    try:
        for image in pictures(path):
            assert image.ndim == 3 and image.dtype in (np.uint8, np.uint16)
    except SyndiffError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test-SR.dcm", ["without a picture", "Comprehensive SR Storage"]),
        ("rtplan.dcm", ["without a picture"]),
        ("waveform_ecg.dcm", ["without a picture"]),
        ("liver_1frame.dcm", ["is a segmentation"]),
        ("rtdose.dcm", ["dose distribution"]),
        ("image_dfl.dcm", ["deflated as a whole (0002,0010)"]),
        ("no_meta.dcm", ["no DICOM file", "DICM"]),
        ("meta_missing_tsyntax.dcm", ["lacks Transfer Syntax UID (0002,0010)"]),
        ("MR_truncated.dcm", ["cut off", "(7FE0,0010)"]),
        ("SC_rgb_rle_32bit.dcm", ["Bits Allocated (0028,0100)", "1 to 16 bits"]),
        ("dicomdirtests/DICOMDIR", ["is a DICOMDIR"]),
        ("README.txt", ["no DICOM file"]),
        ("missing.dcm", ["does not exist"]),
    ],
)
def test_what_is_no_picture_is_named(name, words):
    refused(BUNDLED / name, *words)


@pytest.mark.parametrize(("name", "passed_over"), [("test-SR.dcm", True), ("rtdose.dcm", True), ("no_meta.dcm", False)])
def test_a_whole_file_without_a_picture_can_be_told_from_a_damaged_one(name, passed_over):
    with pytest.raises(SyndiffError) as error:
        DicomSource(BUNDLED / name)
    assert isinstance(error.value, NoPicture) == passed_over


def test_encrypted_files_are_named(tmp_path):
    envelope = bytes.fromhex("308206a006092a864886f70d010703a0820691") + bytes(900)  # CMS, PS3.15 annex B
    (tmp_path / "a.dcm").write_bytes(envelope)
    refused(tmp_path / "a.dcm", "is encrypted")
    hidden = header((4, 4), Rows=None, Columns=None, EncryptedAttributesSequence=[Dataset()])
    hidden.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    refused(tmp_path / "b.dcm", "is encrypted", "(0400,0500)")


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"BitsStored": 17}, ["Bits Allocated (0028,0100)"]),
        ({"PhotometricInterpretation": "HSV"}, ["Photometric Interpretation (0028,0004)"]),
        ({"PhotometricInterpretation": "RGB"}, ["Photometric Interpretation (0028,0004)"]),
        ({"PixelRepresentation": None}, ["lacks Pixel Representation (0028,0103)"]),
        ({"WindowCenter": 1, "WindowWidth": 0}, ["Window Width (0028,1051)"]),
        ({"WindowCenter": 1, "WindowWidth": 5, "VOILUTFunction": "CUBE"}, ["Window Width (0028,1051)"]),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, ["Rescale Slope (0028,1053)"]),
        ({"Rows": 65535, "Columns": 65535}, ["65535x65535", "more than"]),
        ({"Rows": 0}, ["6x0 pixels"]),
        ({"NumberOfFrames": 3}, ["cut off"]),
    ],
)
def test_headers_that_cannot_be_are_named_by_their_tags(tmp_path, attributes, words):
    refused(write_dicom(tmp_path / "a.dcm", np.zeros((6, 6), np.uint16), **attributes), *words)


def test_a_stream_larger_than_its_header_is_never_decoded(tmp_path):
    path = write_jpeg(tmp_path / "a.dcm", [np.zeros((16, 24, 3), np.uint8)])
    content = path.read_bytes()
    assert content.count(struct.pack(">HH", 16, 24)) == 1
    path.write_bytes(content.replace(struct.pack(">HH", 16, 24), struct.pack(">HH", 65500, 65500)))
    refused(path, "65500x65500", "24x16")


def test_frames_that_are_missing_or_too_many_are_named(tmp_path):
    path = write_jpeg(tmp_path / "a.dcm", [np.full((16, 24, 3), grey, np.uint8) for grey in (0, 50, 99)])
    for stated, words in ((5, "3 frames"), (2, "more frames")):
        made = dcmread(path)
        made.NumberOfFrames = stated
        frames = [made.PixelData[start:end] for start, end in _frames(made.PixelData)]
        made.PixelData = encapsulate(frames, has_bot=False)
        made.save_as(tmp_path / "b.dcm")
        refused(tmp_path / "b.dcm", words, "(0028,0008)")


def _frames(content: bytes) -> list[tuple[int, int]]:
    """Where the frames of encapsulated pixel data lie."""
    found, place = [], 0
    while content[place : place + 4] == b"\xfe\xff\x00\xe0":
        (length,) = struct.unpack("<L", content[place + 4 : place + 8])
        found.append((place + 8, place + 8 + length))
        place += 8 + length
    return found[1:]


def test_transfer_syntaxes_without_a_decoder_are_named(tmp_path):
    made = dcmread(BUNDLED / "SC_rgb_jpeg_gdcm.dcm")
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    made.save_as(tmp_path / "video.dcm")
    refused(tmp_path / "video.dcm", "MPEG-4", "(0002,0010)", "MP4")
    decoder = get_decoder(JPEG2000Lossless)
    kept = {"pylibjpeg": "pydicom.pixels.decoders.pylibjpeg", "pillow": "pydicom.pixels.decoders.pillow"}
    for plugin in kept:
        decoder.remove_plugin(plugin)
    try:
        refused(BUNDLED / "MR_small_jp2klossless.dcm", "no decoder is installed", "syndiff[medical]")
    finally:
        for plugin, module in kept.items():
            decoder.add_plugin(plugin, (module, "_decode_frame"))
    assert len(pictures(BUNDLED / "MR_small_jp2klossless.dcm")) == 1
