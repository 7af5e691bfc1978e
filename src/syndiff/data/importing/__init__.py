"""Annotations of other tools, brought into the project's layout: nnU-Net, COCO, LabelMe, CVAT, VIA, and masks as files.

A format is one file with one function, which reads a source into `Annotations`; names, classes, groups, masks and the
report are the same for all. Nothing of a source is trusted: names cannot lead out of its folder, numbers are checked
before anything is made of their size, and the whole folder is written before it gets its name.
"""

from collections.abc import Callable
from pathlib import Path

from syndiff.data.dataset import Dataset
from syndiff.data.importing.annotations import Annotations, check_once
from syndiff.data.importing.coco import read_coco
from syndiff.data.importing.cvat import read_cvat
from syndiff.data.importing.labelme import read_labelme
from syndiff.data.importing.masks import read_masks
from syndiff.data.importing.nnunet import read_nnunet
from syndiff.data.importing.report import Report
from syndiff.data.importing.settings import Format
from syndiff.data.importing.settings import ImportSettings as ImportSettings
from syndiff.data.importing.via import read_via
from syndiff.data.importing.writing import write_dataset
from syndiff.errors import SyndiffError
from syndiff.files import check_new_folder, folder_beside

READERS: dict[Format, Callable[[Path, ImportSettings], Annotations]] = {
    "nnunet": read_nnunet,
    "coco": read_coco,
    "labelme": read_labelme,
    "cvat": read_cvat,
    "via": read_via,
    "masks": read_masks,
}


def import_dataset(
    source: Path, out: Path, settings: ImportSettings, *, dry_run: bool = False, progress: bool = False
) -> Report:
    """Make the dataset folder `out` from annotations of another tool, whole or not at all; say what was taken and left.

    `dry_run` reads and draws everything and writes nothing. `progress` shows a bar on standard error.

    Raises SyndiffError for an `out` in use, and as the format and `write_dataset` do.
    """
    check_new_folder(out)
    if not source.exists():
        raise SyndiffError(f"{source} does not exist; give the annotations, or the folder that holds them.")
    found = READERS[settings.format](source, settings)
    check_once(found.items)
    if not found.items:
        raise SyndiffError(f"{source} holds no picture that is annotated.")
    if dry_run:
        return write_dataset(found, source, None, settings, progress=progress)
    with folder_beside(out) as temporary:
        made = temporary / out.name
        report = write_dataset(found, source, made, settings, progress=progress)
        Dataset.open(made)
        if out.exists():
            out.rmdir()
        made.rename(out)
    return report
