"""Shared fixtures: the real data where it is at hand, one thread so that results repeat."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def cvc() -> Path:
    """The CVC-ClinicDB folder, or a skip that says what is missing (mark such tests `real`)."""
    folder = SHARED / "data" / "cvc-clinicdb"
    if not folder.is_dir():
        pytest.skip(f"real data is absent: {folder}")
    return folder
