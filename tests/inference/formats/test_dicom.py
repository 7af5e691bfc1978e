"""DICOM pictures as they are shown: grey by its window, colour once converted, every frame, spacing."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import JPEG2000Lossless, RLELossless

from dicoms import BUNDLED, write_dicom, write_jpeg
from syndiff.inference.formats.dicom import DicomSource, is_dicom
from syndiff.inference.formats.dicom_display import Display


def read(path: Path) -> np.ndarray:
    """The one picture of a file."""
    (frame,) = DicomSource(path).frames()
    assert frame.name == "" and frame.seconds is None
    return frame.image


def smooth(*shape: int) -> np.ndarray:
    """A picture that JPEG keeps well, HxWx3."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.stack([rows * 2 % 256, columns * 2 % 256, (rows + columns) % 256], axis=-1).astype(np.uint8)


def test_a_file_is_known_by_its_suffix_or_its_letters(tmp_path):
    picture = write_dicom(tmp_path / "a.dcm", np.zeros((4, 4), np.uint8))
    bare = picture.rename(tmp_path / "IM_0001")
    (tmp_path / "B.DCM").write_bytes(b"")
    (tmp_path / "c.png").write_bytes(b"x" * 200)
    assert is_dicom(bare) and is_dicom(tmp_path / "B.DCM") and is_dicom(tmp_path / "missing.dicom")
    assert not is_dicom(tmp_path / "c.png") and not is_dicom(tmp_path) and not is_dicom(tmp_path / "missing")


def test_plain_8_bits_are_taken_as_they_are(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(read(write_dicom(tmp_path / "g.dcm", grey)), grey[..., None].repeat(3, axis=2))
    colour = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    assert np.array_equal(read(write_dicom(tmp_path / "c.dcm", colour)), colour)
    planes = write_dicom(tmp_path / "p.dcm", colour, PlanarConfiguration=1)
    stored = dcmread(planes)
    stored.PixelData = colour.transpose(2, 0, 1).tobytes() + b"\0"
    stored.save_as(planes)
    assert np.array_equal(read(planes), colour)


def test_16_bits_of_colour_keep_their_depth(tmp_path):
    colour = np.random.default_rng(0).integers(0, 2**16, (5, 6, 3), np.uint16)
    image = read(write_dicom(tmp_path / "c.dcm", colour))
    assert image.dtype == np.uint16 and np.array_equal(image, colour)
    twelve = colour >> 4
    image = read(write_dicom(tmp_path / "d.dcm", twelve, BitsStored=12))
    assert np.abs(image / 65535 - twelve / 4095).max() < 1e-5


def test_a_window_is_applied_after_the_rescale_and_monochrome1_inverted_last(tmp_path):
    stored = np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8)
    shown = {}
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        path = write_dicom(
            tmp_path / f"{kind}.dcm",
            stored,
            BitsStored=12,
            RescaleSlope=2,
            RescaleIntercept=-1000,
            WindowCenter=[500, 40],
            WindowWidth=[2001, 400],
            PhotometricInterpretation=kind,
        )
        shown[kind] = read(path)
    hounsfield = stored * 2.0 - 1000
    expected = np.clip((hounsfield - 499.5) / 2000 + 0.5, 0, 1)  # PS3.3 C.11.2.1.2.1
    assert shown["MONOCHROME2"].dtype == np.uint16
    assert np.abs(shown["MONOCHROME2"][..., 0] / 65535 - expected).max() < 1e-4
    assert np.array_equal(shown["MONOCHROME1"], 65535 - shown["MONOCHROME2"])


def test_without_a_window_the_range_of_the_bits_is_the_range_of_grey(tmp_path):
    signed = np.array([[-2048, 0], [1, 2047]], np.int16)
    image = read(write_dicom(tmp_path / "s.dcm", signed, BitsStored=12))
    assert image[..., 0].tolist() == [[0, 32776], [32792, 65535]]
    falling = read(write_dicom(tmp_path / "f.dcm", signed, BitsStored=12, RescaleSlope=-1, RescaleIntercept=7))
    assert np.array_equal(falling, 65535 - image)
    one = read(write_dicom(tmp_path / "o.dcm", np.array([[0, 1, 2, 3]], np.uint8), BitsStored=2))
    assert one[..., 0].tolist() == [[0, 85, 170, 255]]


def test_a_flat_picture_without_a_window_is_remarked(tmp_path):
    flat = np.arange(64, dtype=np.uint16).reshape(8, 8)
    for more, remarked in (({}, True), ({"WindowCenter": 32, "WindowWidth": 64}, False)):
        source = DicomSource(write_dicom(tmp_path / "a.dcm", flat, **more))
        list(source.frames())
        assert any("no window" in remark for remark in source.remarks) == remarked


def lut(values: list[int], first: int, bits: int) -> Dataset:
    made = Dataset()
    made.LUTDescriptor, made.LUTData = [len(values), first, bits], values
    made["LUTDescriptor"].VR = made["LUTData"].VR = "US"
    return made


@pytest.mark.parametrize("kind", ["MONOCHROME2", "MONOCHROME1"])
def test_lookup_tables_reach_beyond_256_entries_and_hold_at_their_ends(tmp_path, kind):
    stored = np.array([[0, 99, 100, 101, 499, 600, 4095]], np.uint16)
    values = [255 - (entry * 255) // 399 for entry in range(400)]
    path = write_dicom(
        tmp_path / "a.dcm", stored, BitsStored=12, VOILUTSequence=[lut(values, 100, 8)], PhotometricInterpretation=kind
    )
    unit = np.array([values[min(max(int(sample) - 100, 0), 399)] for sample in stored[0]]) / 255
    unit = unit if kind == "MONOCHROME2" else 1 - unit
    assert np.abs(read(path)[0, :, 0] / 65535 - unit).max() < 1e-4


def test_a_modality_table_comes_before_the_window(tmp_path):
    stored = np.arange(4, dtype=np.uint8).reshape(1, 4)
    table = lut([1000, 2000, 3000, 4000], 0, 12)
    path = write_dicom(tmp_path / "a.dcm", stored, ModalityLUTSequence=[table], WindowCenter=2500.5, WindowWidth=2001)
    assert read(path)[0, :, 0].tolist() == [0, 64, 191, 255]


@settings(max_examples=60, deadline=None)
@given(
    bits=st.integers(1, 16),
    signed=st.booleans(),
    slope=st.floats(-50, 50).filter(lambda slope: abs(slope) > 1e-3),
    intercept=st.floats(-5000, 5000),
    center=st.floats(-5000, 5000),
    width=st.floats(1, 10000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_grey_is_what_the_library_makes_of_every_sample(bits, signed, slope, intercept, center, width, function):
    """The table of all numbers against pydicom's own functions on the samples themselves."""
    from pydicom.pixels.processing import apply_modality_lut, apply_windowing

    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    samples = np.random.default_rng(0).integers(low, high, (5, 5), np.int16 if signed else np.uint16, endpoint=True)
    made = Dataset()
    made.PhotometricInterpretation, made.SamplesPerPixel = "MONOCHROME2", 1
    made.BitsAllocated, made.BitsStored, made.PixelRepresentation = 16, bits, int(signed)
    made.RescaleSlope, made.RescaleIntercept = f"{slope:.6f}", f"{intercept:.4f}"
    made.WindowCenter, made.WindowWidth, made.VOILUTFunction = f"{center:.4f}", f"{width:.4f}", function
    image = Display(Path("x"), made).picture(samples, 0)
    ends = np.array([low, high]) * float(made.RescaleSlope) + float(made.RescaleIntercept)
    unit = (apply_windowing(apply_modality_lut(samples, made), made) - ends[0]) / (ends[1] - ends[0])
    assert np.abs(image[..., 0] / np.iinfo(image.dtype).max - np.clip(unit, 0, 1)).max() <= 0.501 / (
        255 if bits <= 8 else 65535
    )


def test_ybr_becomes_rgb_once(tmp_path):
    colour = smooth(16, 20)
    ybr = convert_color_space(colour, "RGB", "YBR_FULL")
    full = write_dicom(tmp_path / "f.dcm", ybr, PhotometricInterpretation="YBR_FULL")
    assert np.abs(read(full).astype(int) - colour).max() <= 2
    picture = smooth(48, 64)
    for path in (write_jpeg(tmp_path / "j.dcm", [picture]), write_jpeg(tmp_path / "m.dcm", [picture, 255 - picture])):
        for frame, expected in zip(DicomSource(path).frames(), (picture, 255 - picture), strict=False):
            assert np.abs(frame.image.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("bits", [8, 16])
def test_palettes_are_looked_up_in_their_own_depth(tmp_path, bits):
    stored = np.array([[0, 1, 2, 3]], np.uint8)
    entries = np.arange(4 * 3).reshape(4, 3) * (20 if bits == 8 else 5000)
    colours = {}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        colours[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, bits]
        colours[f"{name}PaletteColorLookupTableData"] = entries[:, channel].astype(f"<u{bits // 8}").tobytes()
    image = read(write_dicom(tmp_path / "a.dcm", stored, PhotometricInterpretation="PALETTE COLOR", **colours))
    assert image.dtype.itemsize * 8 == bits and np.array_equal(image[0], entries)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("kind", [np.uint8, np.int16])
def test_lossless_compression_changes_nothing(tmp_path, syntax, kind):
    stored = np.random.default_rng(1).integers(0, 120, (3, 64, 66)).astype(kind)
    more = {"BitsStored": 12, "WindowCenter": 50, "WindowWidth": 90} if kind == np.int16 else {}
    plain = write_dicom(tmp_path / "a.dcm", stored, frames=3, **more)
    packed = dcmread(plain)
    packed.compress(syntax)
    packed.save_as(tmp_path / "b.dcm")
    frames = list(DicomSource(tmp_path / "b.dcm").frames())
    assert [frame.name for frame in frames] == ["0001", "0002", "0003"]
    for ours, expected in zip(frames, DicomSource(plain).frames(), strict=True):
        assert np.array_equal(ours.image, expected.image)


@pytest.mark.parametrize("name", ["RLE", "jp2klossless", "jpeg_ls_lossless", "bigendian", "implicit"])
def test_every_transfer_syntax_gives_the_same_picture(name):
    assert np.array_equal(read(BUNDLED / f"MR_small_{name}.dcm"), read(BUNDLED / "MR_small.dcm"))


def test_lossless_and_baseline_jpeg_are_read():
    lossless, rle = read(BUNDLED / "SC_rgb_jpeg_gdcm.dcm"), read(BUNDLED / "SC_rgb_rle.dcm")
    assert np.array_equal(lossless, rle)
    assert np.abs(read(BUNDLED / "SC_rgb_jpeg_lossy_gdcm.dcm").astype(int) - rle).mean() < 12


def test_frames_may_have_their_own_windows_and_spacing(tmp_path):
    def item(center: int, spacing: list[float] | None) -> Dataset:
        window, measures, made = Dataset(), Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 101
        made.FrameVOILUTSequence = [window]
        if spacing:
            measures.PixelSpacing = spacing
            made.PixelMeasuresSequence = [measures]
        return made

    shared, measures = Dataset(), Dataset()
    measures.PixelSpacing = [3, 4]
    shared.PixelMeasuresSequence = [measures]
    stored = np.full((2, 3, 4), 150, np.uint16)
    path = write_dicom(
        tmp_path / "a.dcm",
        stored,
        frames=2,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=[item(150, None), item(300, [1, 2])],
    )
    first, second = DicomSource(path).frames()
    assert (first.spacing, second.spacing) == ((3, 4), (1, 2))
    assert abs(int(first.image[0, 0, 0]) - 33095) < 400 and second.image.max() == 0


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"PixelSpacing": [0.5, 0.25]}, (0.5, 0.25)),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1)),
        ({"PixelSpacing": None}, None),
        ({"PixelSpacing": [0, 1]}, None),
        ({"PixelSpacing": [1]}, None),
    ],
)
def test_spacing_is_that_of_rows_and_of_columns(tmp_path, attributes, expected):
    (frame,) = DicomSource(write_dicom(tmp_path / "a.dcm", np.zeros((4, 6), np.uint8), **attributes)).frames()
    assert frame.spacing == expected


def test_frames_are_decoded_one_at_a_time(tmp_path):
    shape = (40, 128, 160, 3)
    path = write_dicom(tmp_path / "a.dcm", np.zeros(shape, np.uint8), frames=shape[0])
    next(DicomSource(path).frames())  # loads the libraries
    source = DicomSource(path)
    tracemalloc.start()
    try:
        assert sum(1 for _ in source.frames()) == source.frame_count == shape[0]
        assert tracemalloc.get_traced_memory()[1] < np.prod(shape) / 4
    finally:
        tracemalloc.stop()
