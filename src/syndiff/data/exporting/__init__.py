"""A dataset folder in the layout of another tool: nnU-Net's raw data or COCO instances. The way back is `importing`."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from syndiff.data.dataset import Dataset
from syndiff.data.exporting.coco import write_coco
from syndiff.data.exporting.nnunet import write_nnunet
from syndiff.data.tables import write_table
from syndiff.files import check_new_folder, folder_beside

WRITERS: dict[str, Callable[[Dataset, Path, bool], list[str]]] = {"nnunet": write_nnunet, "coco": write_coco}


def export_dataset(dataset: Dataset, out: Path, to: Literal["nnunet", "coco"], *, progress: bool = False) -> list[str]:
    """Write all cases of a dataset as the folder `out`, whole or not at all; groups as groups.csv. Gives notes on it.

    `progress` shows a bar on standard error. Raises SyndiffError for an `out` in use, classes that the format cannot
    hold, and files that cannot be read.
    """
    check_new_folder(out)
    with folder_beside(out) as temporary:
        made = temporary / out.name
        notes = WRITERS[to](dataset, made, progress)
        if dataset.has_groups:
            write_table(made / "groups.csv", "group", [(case.id, case.group) for case in dataset.cases])
        if out.exists():
            out.rmdir()
        made.rename(out)
    return notes
