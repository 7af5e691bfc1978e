"""Files that appear together or not at all, on a disk that fills up too."""

import resource

import numpy as np
import pytest

from syndiff.files import sweep
from syndiff.inference.formats.staging import Staging


def test_files_get_their_names_together(tmp_path):
    staging = Staging(tmp_path / "new")
    paths = [tmp_path / "new" / "a.png", tmp_path / "new" / "b" / "0001.png"]
    for path in paths:
        staging.put(path, path.name.encode())
        assert not path.exists()
    assert staging.commit() == paths
    assert [path.read_bytes() for path in paths] == [b"a.png", b"0001.png"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.png", "b"]


def test_what_a_kill_leaves_is_swept_away(tmp_path):
    Staging(tmp_path).put(tmp_path / "a.png", b"x")
    assert len(list(tmp_path.iterdir())) == 1
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path):
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    staging = Staging(tmp_path / "new")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, kept[1]))
    try:
        staging.put(tmp_path / "new" / "small.png", bytes(10))
        with pytest.raises(OSError) as error:
            staging.put(tmp_path / "new" / "large.png", np.random.default_rng(0).bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert error.value.filename == str(tmp_path / "new" / "large.png")
    staging.abandon()
    assert not (tmp_path / "new").exists()
