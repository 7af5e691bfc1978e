"""DICOM and NIfTI through the command line: a study with everything in it, twice."""

import shutil

import highdicom
import nibabel
import numpy as np
import pytest
from PIL import Image
from test_predict import write_run

from dicoms import BUNDLED, CANARY, write_dicom, write_jpeg


@pytest.fixture
def study(tmp_path):
    random = np.random.default_rng(0)
    folder = tmp_path / "study"
    folder.mkdir()
    slices = random.normal(1000, 200, (24, 20)).astype(np.int16)
    write_dicom(folder / "IM_0001", slices, WindowCenter=1000, WindowWidth=800)
    write_jpeg(folder / "clip.dcm", list(random.integers(0, 255, (2, 24, 32, 3), np.uint8)))
    volume = nibabel.Nifti1Image(random.normal(0, 1, (20, 16, 3)).astype(np.float32), np.diag([-1, 1, 2, 1]))
    nibabel.save(volume, folder / "scan.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 3, 2, 5), np.uint8), np.eye(4)), folder / "four.nii")
    shutil.copy(BUNDLED / "MR_truncated.dcm", folder)
    shutil.copy(BUNDLED / "reportsi.dcm", folder)
    return folder


def test_a_study_is_predicted_and_what_is_unfit_named(syndiff, study, tmp_path, caplog):
    command = ("predict", "--run", write_run(tmp_path / "run", 0), "--images", study, "--out", tmp_path / "masks")
    first = syndiff(*command)
    assert first.status == 1
    assert "4x3x2x5" in first.err and "MR_truncated.dcm is damaged or cut off" in first.err
    assert "Not read: files without a picture (1: reportsi.dcm)" in first.out
    assert "clip.dcm: no DICOM SEG was written" in first.out + first.err
    masks = tmp_path / "masks"
    seg = highdicom.seg.segread(masks / "IM_0001.seg.dcm")
    assert np.array_equal(seg.pixel_array * 255, np.asarray(Image.open(masks / "IM_0001.png")))
    assert np.asarray(Image.open(masks / "clip" / "0002.png")).shape == (24, 32)
    assert np.array_equal(nibabel.load(masks / "scan.nii.gz").affine, nibabel.load(study / "scan.nii.gz").affine)

    again = syndiff(*command)
    assert "0 masks written" in again.out and "3 were there already" in again.out
    heard = (first.out + first.err + again.out + again.err + caplog.text).encode()
    written = [path.read_bytes() for path in masks.rglob("*") if path.is_file() and path.suffix != ".dcm"]
    assert not [value for value in CANARY.values() for content in (heard, *written) if value.encode() in content]
