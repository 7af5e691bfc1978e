"""A mask as a DICOM segmentation (SEG) of the picture it was made from, by highdicom.

Of several classes each is a segment under its own name. No standard code is known for a class that a user named, so its
code is a private one (99SYNDIFF), as DICOM has it for local terms: the number of the class in masks and dataset.json.

Of the patient and the study a SEG carries what the standard makes it carry (attributes of type 1 and 2, so that an
archive files it with its picture) and nothing else: no comments, no addresses, no other numbers, no institution.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from syndiff.data.targets import Targets
from syndiff.errors import shown
from syndiff.inference.formats.dicom_header import lacks, silence, tag_words

if TYPE_CHECKING:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom import Dataset

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
_COPIED = (
    *_NEEDED,
    *_PLACE,
    "SpecificCharacterSet",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "SpacingBetweenSlices",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_MEASURES = ("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence")
_LONGEST_NAME = 64
"""Letters that a Segment Label and a Code Meaning (value representation LO) hold."""


class NoSegmentation(Exception):
    """Why no SEG can be made of a picture, as the end of a sentence; it quotes nothing of the header."""


def segmentation(header: "Dataset", masks: NDArray[np.bool_], targets: Targets, folder: Path) -> bytes:
    """A SEG file: the masks (KxHxW) of a single frame as binary segments of algorithm type AUTOMATIC.

    One foreground is the segment "lesion"; several `targets` are segments 1 to K in their order, by their names.
    Its series is the same for all pictures of one series whose masks go into one `folder`. Raises NoSegmentation where
    the header does not allow a SEG or has no letters for the name of a class, or highdicom is missing.
    """
    silence()
    try:
        import highdicom
        from pydicom.sr.codedict import codes
        from pydicom.uid import generate_uid
    except ModuleNotFoundError:
        raise NoSegmentation("highdicom is not installed: pip install 'syndiff[medical]'") from None
    from syndiff import __version__

    source = _reduced(header)
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="SynDiff", version=__version__, family=codes.cid7162.ArtificialIntelligence
    )
    segments = _classes(targets, source, algorithm) if targets.several else [_lesion(algorithm)]
    series = [str(header.SeriesInstanceUID), str(folder.absolute())]
    try:
        made = highdicom.seg.Segmentation(
            source_images=[source],
            pixel_array=masks[0] if len(masks) == 1 else np.moveaxis(masks, 0, -1)[None],
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=generate_uid(entropy_srcs=series),
            series_number=1000,
            sop_instance_uid=generate_uid(entropy_srcs=[*series, str(header.SOPInstanceUID), masks.tobytes().hex()]),
            instance_number=1,
            manufacturer="SynDiff",
            manufacturer_model_name="SynDiff",
            software_versions=__version__,
            device_serial_number=__version__,
            content_label="CLASSES" if targets.several else "LESION",
            content_description=f"Mask of {'classes' if targets.several else 'lesions'}, made by SynDiff",
            series_description="SynDiff masks",
            omit_empty_frames=False,  # a picture without a lesion has a SEG without a lesion
        )
        content = io.BytesIO()
        made.save_as(content)
    except Exception as error:  # what it says may quote the header
        if "Frame Of Reference UID" in str(error):
            raise NoSegmentation(f"it {lacks('FrameOfReferenceUID')}, which its kind needs") from None
        raise NoSegmentation(f"its header holds something that highdicom refuses ({type(error).__name__})") from None
    return content.getvalue()


def _lesion(algorithm: "AlgorithmIdentificationSequence") -> "SegmentDescription":
    """The segment of a single foreground, in SNOMED's terms."""
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    return SegmentDescription(
        segment_number=1,
        segment_label="lesion",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )


def _classes(
    targets: Targets, source: "Dataset", algorithm: "AlgorithmIdentificationSequence"
) -> "list[SegmentDescription]":
    """A segment for each class, of the category that claims nothing of what it is: a place in the picture.

    Raises NoSegmentation for a name that is too long, or has letters that the character set of `source` has not.
    """
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.charset import convert_encodings
    from pydicom.sr.codedict import codes

    declared = source.get("SpecificCharacterSet")
    encoding = convert_encodings(declared)[0] if declared else "ascii"
    segments = []
    for index, (number, name) in enumerate(zip(targets.numbers, targets.names, strict=True), 1):
        if len(name) > _LONGEST_NAME or "\\" in name:
            raise NoSegmentation(
                f"the class {shown(name)} has a name of more than {_LONGEST_NAME} letters or with a backslash, which "
                "DICOM does not take"
            )
        try:
            name.encode(encoding)
        except UnicodeEncodeError:
            raise NoSegmentation(
                f"the class {shown(name)} has letters that the character set of its header does not have"
            ) from None
        segments.append(
            SegmentDescription(
                segment_number=index,
                segment_label=name,
                segmented_property_category=codes.SCT.SpatialAndRelationalConcept,
                segmented_property_type=CodedConcept(str(number), "99SYNDIFF", name),
                algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=algorithm,
            )
        )
    return segments


def _reduced(header: "Dataset") -> "Dataset":
    """A copy of what a SEG is made from; raises NoSegmentation where something is missing or malformed."""
    from pydicom import Dataset
    from pydicom.valuerep import DA, TM

    for keyword in _NEEDED:
        if not header.get(keyword):
            raise NoSegmentation(f"it {lacks(keyword)}")
    if header.get("FrameOfReferenceUID") and header.get("ImagePositionPatient"):
        for keyword in _PLACE[1:3]:
            if not header.get(keyword):
                raise NoSegmentation(f"it {lacks(keyword)}")
    for keyword, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(header.get(keyword) or None)
        except (ValueError, TypeError):
            raise NoSegmentation(f"its {tag_words(keyword)} is not written as the standard asks") from None
    source = Dataset()
    source.file_meta = header.file_meta
    source.Modality = header.get("Modality") or "OT"
    for keyword in _MAY_BE_EMPTY:
        setattr(source, keyword, header.get(keyword) or "")
    for keyword in _COPIED:
        if keyword in header:
            source[keyword] = header[keyword]
    if "ImagePositionPatient" in source and "SliceThickness" not in source:
        source.SliceThickness = None
    for keyword in _GROUPS:
        if groups := header.get(keyword):
            item = Dataset()
            for name in _MEASURES:
                if name in groups[0]:
                    item[name] = groups[0][name]
            setattr(source, keyword, [item])
    return source
