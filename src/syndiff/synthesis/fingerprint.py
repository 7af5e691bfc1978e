"""What a synthetic sample or a calibration was made from, as one hash."""

import hashlib
import json
from collections.abc import Sequence

from syndiff.data.dataset import Case, DatasetFolder
from syndiff.files import sha256


def fingerprint(cases: Sequence[Case], dataset: DatasetFolder) -> str:
    """SHA-256 over everything that is read of these cases, and of them only."""
    rows = [(case.id, sha256(case.image), sha256(case.mask), case.group) for case in cases]
    about = (dataset.mask_threshold, sorted(dataset.classes.items()), dataset.modality)
    return hashlib.sha256(json.dumps((rows, about)).encode()).hexdigest()
