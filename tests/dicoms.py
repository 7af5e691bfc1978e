"""DICOM files made up for tests: a picture, its header, and how its pixels are stored."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
"""Files that come with pydicom."""

CANARY = {
    "PatientName": "Canaria^Bird",
    "PatientID": "CANARY-4711",
    "PatientBirthDate": "19530417",
    "PatientComments": "canary comment",
    "InstitutionName": "Canary Clinic",
    "StudyDescription": "canary study",
    "OtherPatientIDs": "CANARY-OTHER",
}
"""Patient data that no picture, table, message or log line may repeat."""


def header(shape: tuple[int, ...], **attributes: Any) -> Dataset:
    """The header of one or several frames: HxW, HxWx3, NxHxW or NxHxWx3 by the attributes given with `shape`."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = CTImageStorage
    made.Modality = "CT"
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(made, keyword, generate_uid())
    made.ImagePositionPatient, made.ImageOrientationPatient = [-10, 5.5, 30], [1, 0, 0, 0, 1, 0]
    made.PixelSpacing, made.SliceThickness = [0.5, 0.25], 2
    for keyword, value in CANARY.items():
        setattr(made, keyword, value)
    made.Rows, made.Columns = shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 8
    made.PixelRepresentation = 0
    for keyword, value in attributes.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    made.HighBit = made.BitsStored - 1
    made.file_meta.MediaStorageSOPClassUID = made.get("SOPClassUID", "1.2")
    made.file_meta.MediaStorageSOPInstanceUID = made.get("SOPInstanceUID", "1.2")
    return made


def write_dicom(path: Path, samples: NDArray, *, frames: int = 1, **attributes: Any) -> Path:
    """Write samples HxW or HxWx3 (with `frames`, one more axis before) as an uncompressed file."""
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    size = samples.shape[1:3] if frames > 1 else samples.shape[:2]
    bits = samples.dtype.itemsize * 8
    made = header(
        size,
        **{
            **(colour if samples.shape[-1] == 3 else {}),
            "BitsAllocated": bits,
            "BitsStored": bits,
            "PixelRepresentation": int(samples.dtype.kind == "i"),
            **({"NumberOfFrames": frames} if frames > 1 else {}),
            **attributes,
        },
    )
    content = samples.tobytes()
    made.PixelData = content + b"\0" * (len(content) % 2)
    made["PixelData"].VR = "OW" if made.BitsAllocated > 8 else "OB"
    made.save_as(path, enforce_file_format=True)
    return path


def write_jpeg(path: Path, pictures: list[NDArray[np.uint8]], **attributes: Any) -> Path:
    """Write RGB pictures as the frames of a JPEG baseline file, as endoscopes do."""
    frames = []
    for picture in pictures:
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "JPEG", quality=95)
        frames.append(content.getvalue())
    made = header(
        pictures[0].shape[:2],
        SamplesPerPixel=3,
        PhotometricInterpretation="YBR_FULL_422",
        PlanarConfiguration=0,
        **({"NumberOfFrames": len(frames)} if len(frames) > 1 else {}),
        **attributes,
    )
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.PixelData = encapsulate(frames)
    made["PixelData"].VR = "OB"
    made.save_as(path, enforce_file_format=True)
    return path
