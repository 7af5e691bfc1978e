"""The answers to a DICOM file: PNG masks, a SEG that highdicom reads back, and no patient data anywhere else."""

import logging
from pathlib import Path

import highdicom
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import UltrasoundImageStorage, UltrasoundMultiFrameImageStorage, VLEndoscopicImageStorage

from dicoms import BUNDLED, CANARY, write_dicom, write_jpeg
from syndiff.data.targets import Targets
from syndiff.data.written_masks import read_masks
from syndiff.errors import SyndiffError
from syndiff.inference.formats.dicom import DicomSource
from syndiff.models.predictor import Prediction


def answer(mask: np.ndarray) -> Prediction:
    return Prediction(mask, mask.astype(np.float32), {})


def some_mask(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((rows, columns)) > 0.6


def written(path: Path, out: Path, *, empty: bool = False) -> tuple[list[Path], list[str], list[np.ndarray]]:
    """Files, remarks and masks of made-up answers to every frame."""
    source = DicomSource(path)
    writer = source.writer(out, path.stem)
    masks = []
    for number, frame in enumerate(source.frames()):
        masks.append(some_mask(*frame.image.shape[:2], seed=number) & (not empty))
        writer.add(frame, answer(masks[-1]))
    return writer.finish(), writer.remarks, masks


@pytest.mark.parametrize("empty", [False, True])
def test_a_seg_lies_on_its_picture_and_refers_to_it(tmp_path, empty):
    path = write_dicom(tmp_path / "case 1.dcm", np.zeros((13, 10), np.uint16), SpacingBetweenSlices=3)
    files, remarks, (mask,) = written(path, tmp_path / "out", empty=empty)
    assert [file.name for file in files] == ["case 1.png", "case 1.seg.dcm"]
    assert not [remark for remark in remarks if "SEG" in remark]
    assert np.array_equal(np.asarray(Image.open(files[0])), mask * 255)

    seg, source = highdicom.seg.segread(files[1]), dcmread(path)
    assert seg.segmentation_type == highdicom.seg.SegmentationTypeValues.BINARY and seg.number_of_segments == 1
    lesion = seg.get_segment_description(1)
    assert lesion.algorithm_type == highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC
    pixels = seg.get_pixels_by_source_instance([source.SOPInstanceUID], combine_segments=True)
    assert np.array_equal(pixels[0], mask)
    ((_, series, instance),) = seg.get_source_image_uids()
    assert (series, instance) == (source.SeriesInstanceUID, source.SOPInstanceUID)
    geometry = seg.get_volume_geometry()
    assert np.allclose(geometry.position, source.ImagePositionPatient)
    assert np.allclose(geometry.spacing, (3, *source.PixelSpacing))
    assert np.allclose(geometry.direction_cosines, source.ImageOrientationPatient)
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID


def test_a_seg_carries_what_files_it_with_its_picture_and_no_more(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((6, 6), np.uint8))
    (_, seg), _, _ = written(path, tmp_path)
    made, content = dcmread(seg), seg.read_bytes()
    filed = ("PatientName", "PatientID", "PatientBirthDate")
    assert all(made[keyword].value == dcmread(path)[keyword].value for keyword in filed)
    assert not [value for keyword, value in CANARY.items() if keyword not in filed and value.encode() in content]


def test_the_segs_of_one_series_and_folder_are_one_series(tmp_path):
    shared = {"SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2"}
    made = []
    for name, out in (("a", "x"), ("b", "x"), ("a", "y")):
        path = write_dicom(tmp_path / f"{name}.dcm", np.zeros((6, 6), np.uint8), **shared)
        made.append(dcmread(written(path, tmp_path / out)[0][1]))
    assert made[0].SeriesInstanceUID == made[1].SeriesInstanceUID != made[2].SeriesInstanceUID
    assert len({seg.SOPInstanceUID for seg in made}) == 3


def answer_of_classes(targets: Targets, rows: int, columns: int) -> Prediction:
    spots = np.random.default_rng(0).random((2, rows, columns), np.float32)
    return Prediction.of(spots if targets.overlap else spots / 2, targets, {})


def write_classes(path: Path, out: Path, targets: Targets) -> tuple[list[Path], list[str], Prediction]:
    """Files, remarks and the answer of a model of several classes to a single frame."""
    source = DicomSource(path)
    writer = source.writer(out, path.stem)
    (frame,) = source.frames()
    given = answer_of_classes(targets, *frame.image.shape[:2])
    writer.add(frame, given)
    return writer.finish(), writer.remarks, given


@pytest.mark.parametrize("overlap", [False, True], ids=["numbers", "pages"])
def test_each_class_is_a_segment_under_its_name(tmp_path, overlap):
    targets = Targets(("polyp", "instrument"), (1, 3), overlap=overlap)
    path = write_dicom(tmp_path / "a.dcm", np.zeros((13, 10), np.uint16))
    files, remarks, given = write_classes(path, tmp_path / "out", targets)
    assert not [remark for remark in remarks if "SEG" in remark]
    np.testing.assert_array_equal(read_masks(files[0], targets), given.masks)
    seg, source = highdicom.seg.segread(files[1]), dcmread(path)
    assert seg.number_of_segments == 2 and seg.segmentation_type == highdicom.seg.SegmentationTypeValues.BINARY
    for number, (name, mask) in enumerate(zip(targets.names, given.masks, strict=True), 1):
        described = seg.get_segment_description(number)
        assert described.segment_label == name and described.segmented_property_type.meaning == name
        assert described.segmented_property_type.value == str(targets.numbers[number - 1])
        pixels = seg.get_pixels_by_source_instance([source.SOPInstanceUID], segment_numbers=[number])
        np.testing.assert_array_equal(pixels[0, ..., 0], mask)
    assert given.masks.all(0).any() == overlap and given.masks.any((1, 2)).all()


@pytest.mark.parametrize(
    ("name", "charset", "why"),
    [
        ("Gerät", "ISO_IR 100", ""),
        ("Gerät", None, "letters that the character set"),
        ("器具", "ISO_IR 100", "letters that the character set"),
        ("x" * 65, None, "more than 64 letters"),
    ],
)
def test_a_name_that_dicom_cannot_write_gives_a_sentence(tmp_path, name, charset, why):
    declared = {"SpecificCharacterSet": charset} if charset else {}
    path = write_dicom(tmp_path / "a.dcm", np.zeros((6, 6), np.uint8), **declared)
    files, remarks, _ = write_classes(path, tmp_path, Targets(("polyp", name), (1, 2)))
    if why:
        assert [file.name for file in files] == ["a.png"] and why in remarks[0]
    else:
        assert not remarks and highdicom.seg.segread(files[1]).get_segment_description(2).segment_label == name


@pytest.mark.parametrize("kind", [VLEndoscopicImageStorage, UltrasoundImageStorage])
def test_a_picture_without_a_place_in_space_has_a_seg_too(tmp_path, kind):
    place = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"))
    path = write_dicom(
        tmp_path / "a.dcm", np.zeros((8, 9, 3), np.uint8), SOPClassUID=kind, FrameOfReferenceUID=None, **place
    )
    files, remarks, (mask,) = written(path, tmp_path)
    assert not remarks
    assert np.array_equal(highdicom.seg.segread(files[1]).pixel_array, mask)


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"StudyInstanceUID": None}, "lacks Study Instance UID (0020,000D)"),
        ({"SOPInstanceUID": None}, "lacks SOP Instance UID (0008,0018)"),
        ({"FrameOfReferenceUID": None}, "lacks Frame of Reference UID (0020,0052)"),
        ({"PixelSpacing": None}, "lacks Pixel Spacing (0028,0030)"),
        ({"SOPClassUID": "1.2.3.4"}, "highdicom refuses"),
    ],
)
def test_where_no_seg_can_be_made_the_png_is_and_a_sentence_says_why(tmp_path, attributes, why):
    files, remarks, _ = written(write_dicom(tmp_path / "a.dcm", np.zeros((6, 6), np.uint8), **attributes), tmp_path)
    assert [file.name for file in files] == ["a.png"]
    assert why in remarks[0] and "no DICOM SEG" in remarks[0]


def test_every_frame_has_a_png_and_the_clip_one_sentence(tmp_path):
    pictures = [np.full((24, 32, 3), 60 * number, np.uint8) for number in range(3)]
    path = write_jpeg(tmp_path / "clip.dcm", pictures, SOPClassUID=UltrasoundMultiFrameImageStorage)
    files, remarks, masks = written(path, tmp_path / "out")
    assert [file.relative_to(tmp_path / "out").as_posix() for file in files] == [
        f"clip/000{number}.png" for number in (1, 2, 3)
    ]
    assert len(remarks) == 1 and "several frames" in remarks[0]
    for file, mask in zip(files, masks, strict=True):
        assert np.array_equal(np.asarray(Image.open(file)), mask * 255)


def test_files_appear_with_finish_and_none_is_left_when_abandoned(tmp_path):
    source = DicomSource(write_dicom(tmp_path / "a.dcm", np.zeros((6, 6), np.uint8)))
    out = tmp_path / "new" / "out"
    for end in ("abandon", "finish"):
        writer = source.writer(out, "a")
        for frame in source.frames():
            writer.add(frame, answer(some_mask(6, 6)))
        assert not (out / "a.png").exists()
        getattr(writer, end)()
        assert (tmp_path / "new").exists() == (end == "finish")
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "a.seg.dcm"]


def test_patient_data_get_nowhere(tmp_path, caplog, capfd):
    """Not into a PNG, a remark, a sentence, a log or a stream, however malformed the header is."""
    caplog.set_level(logging.DEBUG)
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    name = CANARY["PatientName"].replace("^", "")  # highdicom warns of such names, and quotes them
    broken: list[dict] = [
        {},
        {"PatientName": name},
        {"StudyTime": "CANARY-4711"},
        {"PatientBirthDate": "CANARY-4711"},
        {"WindowCenter": 3, "WindowWidth": 0},
        {"SOPInstanceUID": None},
        {"PhotometricInterpretation": "CANARY-4711"},
        {"VOILUTFunction": "CANARY-4711", "WindowCenter": 3, "WindowWidth": 9},
        {"SOPClassUID": "1.2.3.4711"},
    ]
    said = []
    for number, attributes in enumerate(broken):
        path = write_dicom(tmp_path / f"{number}.dcm", grey, **attributes)
        content = path.read_bytes()
        for cut in (len(content), len(content) - 9, 900, 300):
            path.write_bytes(content[:cut])
            try:
                files, remarks, _ = written(path, tmp_path / f"out-{number}")
                said += remarks
            except SyndiffError as error:
                said += [str(error), repr(error.args)]
            else:
                assert not [
                    value
                    for file in files
                    if not file.name.endswith(".dcm")
                    for value in (*CANARY.values(), name)
                    if value.encode() in file.read_bytes()
                ]
    compressed = (BUNDLED / "MR_small_jp2klossless.dcm").read_bytes()
    (tmp_path / "c.dcm").write_bytes(compressed.replace(b"\xff\x52", bytes(2)))  # a stream that no decoder takes
    with pytest.raises(SyndiffError) as error:
        list(DicomSource(tmp_path / "c.dcm").frames())
    heard = "\n".join([*said, str(error.value), caplog.text, *capfd.readouterr()])
    assert len(said) > 20
    assert not [value for value in (*CANARY.values(), name, "4711") if value.lower() in heard.lower()]
