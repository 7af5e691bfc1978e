"""The answers to a DICOM file: a PNG mask for each frame, and a DICOM SEG where the file allows one."""

from pathlib import Path
from typing import TYPE_CHECKING

from syndiff.data.written_masks import encode_masks, mask_extension
from syndiff.inference.formats.base import Frame, Writer
from syndiff.inference.formats.dicom_seg import NoSegmentation, segmentation
from syndiff.inference.formats.staging import Staging
from syndiff.models.predictor import Prediction

if TYPE_CHECKING:
    from syndiff.inference.formats.dicom import DicomSource


class DicomWriter(Writer):
    """NAME.png and NAME.seg.dcm for a single frame; NAME/0001.png, NAME/0002.png, ... for several.

    Where classes may overlap a mask is a TIFF of pages, NAME.tif; a SEG has a segment for each class either way.
    Nothing of the header gets into a PNG. Where a SEG cannot be made, `remarks` says why.
    """

    def __init__(self, source: "DicomSource", folder: Path, name: str) -> None:
        self._source, self._folder, self._name = source, folder, name
        self._staging = Staging(folder)
        self._remarks: list[str] = []

    def add(self, frame: Frame, answer: Prediction) -> None:
        inside = f"{self._name}/{frame.name}" if frame.name else self._name
        mask = f"{inside}{mask_extension(answer.targets)}"
        self._staging.put(self._folder / mask, encode_masks(answer.masks, answer.targets))
        try:
            if self._source.frame_count > 1:
                if self._remarks:
                    return
                raise NoSegmentation("it has several frames, and a SEG is made for single frames only")
            content = segmentation(self._source.header, answer.masks, answer.targets, self._folder)
        except NoSegmentation as error:
            self._remarks.append(f"{self._source.path}: no DICOM SEG was written, since {error}. Its mask is complete.")
        else:
            self._staging.put(self._folder / f"{self._name}.seg.dcm", content)

    def finish(self) -> list[Path]:
        return self._staging.commit()

    def abandon(self) -> None:
        self._staging.abandon()

    @property
    def remarks(self) -> list[str]:
        return [*self._remarks, *self._source.remarks]
