"""NIfTI volumes: slices as upright pictures with one grey scale, masks that lie where their volume lies."""

import gzip
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syndiff.errors import SyndiffError
from syndiff.inference.formats.nifti import NiftiSource, is_nifti
from syndiff.models.predictor import Prediction

AFFINE = np.array([[-0.7, 0.1, 0, 12], [0.1, 0.8, 0.2, -3], [0, -0.2, 2.5, 40], [0, 0, 0, 1]])


def write(path: Path, voxels: np.ndarray, affine: np.ndarray | None = AFFINE, *, kind=nibabel.Nifti1Image, **fields):
    image = kind(voxels, affine)
    image.header.set_xyzt_units("mm")
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def pictures(path: Path) -> list[np.ndarray]:
    return [frame.image for frame in NiftiSource(path).frames()]


def masks_written(path: Path, out: Path, *, keep: bool = True) -> tuple[Path, list[np.ndarray]]:
    """Made-up masks of every slice, as they are seen, and the file that they were written to."""
    source = NiftiSource(path)
    writer = source.writer(out, path.name.split(".")[0])
    random, masks = np.random.default_rng(0), []
    for frame in source.frames():
        mask = random.random(frame.image.shape[:2]) > 0.5
        masks += [mask] * keep
        writer.add(frame, Prediction(mask, mask.astype(np.float32), {}))
    (made,) = writer.finish()
    return made, masks


def refused(path: Path, *words: str) -> None:
    with pytest.raises(SyndiffError) as error:
        pictures(path)
    assert str(path) in str(error.value)
    assert not [word for word in words if word not in str(error.value)], str(error.value)


def test_a_file_is_known_by_its_suffix():
    assert is_nifti(Path("a.nii")) and is_nifti(Path("A.NII.GZ"))
    assert not is_nifti(Path("a.gz")) and not is_nifti(Path("a.img"))


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 1), (7, 5, 4), (7, 5, 4, 1)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_mask_has_the_place_and_shape_of_its_volume(tmp_path, suffix, shape, kind):
    voxels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = write(tmp_path / f"a.{suffix}", voxels, kind=kind)
    source = nibabel.load(path)
    source.set_sform(AFFINE, code=4)
    source.set_qform(AFFINE @ np.diag([1, 1, 1.1, 1]), code=1)
    nibabel.save(source, path)
    source = nibabel.load(path)

    made, masks = masks_written(path, tmp_path / "out")
    read = nibabel.load(made)
    assert made.name == "a.nii.gz" and type(read) is kind
    assert read.shape == shape and read.get_data_dtype() == np.uint8
    assert np.array_equal(read.affine, source.affine)
    for form in ("get_sform", "get_qform"):
        ours, theirs = getattr(read, form)(coded=True), getattr(source, form)(coded=True)
        assert np.array_equal(ours[0], theirs[0]) and ours[1] == theirs[1] > 0
    assert read.header.get_xyzt_units() == source.header.get_xyzt_units()
    values = np.asanyarray(read.dataobj)
    assert values.dtype == np.uint8 and values.sum() == sum(mask.sum() for mask in masks)
    stored = values.reshape(*shape[:2], -1)
    turn = NiftiSource(path).turn
    assert all(np.array_equal(turn.upright(stored[..., place]), mask) for place, mask in enumerate(masks))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    axes=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    place=st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 2)),
)
def test_slices_are_upright_in_every_orientation(tmp_path, axes, signs, place):
    """One bright voxel: its row and column follow from where it lies in the patient, whatever the axes of the file."""
    affine = np.zeros((4, 4))
    for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, column] = sign * (column + 1)
    affine[3, 3] = 1
    voxels = np.zeros((4, 5, 3), np.uint8)
    voxels[place] = 255
    path = write(tmp_path / "a.nii", voxels, affine)
    frame = list(NiftiSource(path).frames())[place[2]]
    (row,), (column,) = np.nonzero(frame.image[..., 0])

    def along(direction: np.ndarray) -> int:
        """How far the voxel lies from the edge of its slice where `direction` (x right, y front, z head) begins."""
        (index,) = (index for index in (0, 1) if affine[:3, index] @ direction)
        forward = affine[:3, index] @ direction > 0
        return place[index] if forward else voxels.shape[index] - 1 - place[index]

    left, back, feet = np.array([-1, 0, 0]), np.array([0, -1, 0]), np.array([0, 0, -1])
    across = {0: (feet, back), 1: (feet, left), 2: (back, left)}[axes[2]]
    assert (row, column) == (along(across[0]), along(across[1]))
    sizes = [index + 1 for way in across for index in (0, 1) if affine[:3, index] @ way]
    assert frame.spacing == tuple(sizes)


def test_without_a_code_rows_run_along_the_second_axis(tmp_path):
    voxels = np.arange(6, dtype=np.uint8).reshape(3, 2)
    path = write(tmp_path / "a.nii", voxels, None)
    assert np.array_equal(pictures(path)[0][..., 0], voxels.T)


@pytest.mark.parametrize(
    ("units", "expected"),
    [("mm", (0.5, 0.25)), ("micron", (0.0005, 0.00025)), ("meter", (500, 250)), ("unknown", None)],
)
def test_spacing_is_in_millimetres_where_the_unit_is_known(tmp_path, units, expected):
    image = nibabel.Nifti1Image(np.zeros((4, 6, 2), np.uint8), np.diag([-0.25, -0.5, 1, 1]))
    image.header.set_xyzt_units(units)
    nibabel.save(image, tmp_path / "a.nii")
    frames = list(NiftiSource(tmp_path / "a.nii").frames())
    assert [frame.name for frame in frames] == ["0001", "0002"] and frames[0].image.shape == (6, 4, 3)
    assert frames[0].spacing == (expected and pytest.approx(expected))


def test_plain_8_bits_and_rgb_are_taken_as_they_are(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (5, 4, 2), np.uint8)
    found = pictures(write(tmp_path / "g.nii.gz", grey, None))
    assert np.array_equal(np.stack(found), grey.transpose(2, 1, 0)[..., None].repeat(3, axis=3))
    for names in ("RGB", "RGBA"):
        colour = np.random.default_rng(1).integers(0, 256, (5, 4, 3, len(names)), np.uint8)
        packed = colour.view([(name, "u1") for name in names])[..., 0]
        found = pictures(write(tmp_path / "c.nii", packed, None))
        assert found[0].dtype == np.uint8
        assert np.array_equal(np.stack(found), colour[..., :3].transpose(2, 1, 0, 3))
        made, masks = masks_written(tmp_path / "c.nii", tmp_path / names)
        assert np.array_equal(np.asanyarray(nibabel.load(made).dataobj), np.stack(masks).transpose(2, 1, 0))


@pytest.mark.parametrize(
    "kind", [np.int8, np.uint16, np.int16, np.int32, np.uint32, np.float32, np.float64, ">i2", ">f4"]
)
def test_grey_means_the_same_in_every_slice(tmp_path, kind):
    """The darkest slice is darker than the brightest, by the percentiles of the whole volume."""
    voxels = np.empty((20, 20, 5))
    voxels[:] = np.linspace(0, 100, 5)
    voxels[:10] += 3
    voxels[0, 0, 0], voxels[1, 0, 0] = 127, 0  # one voxel does not change the scale
    if np.dtype(kind).itemsize > 1:
        voxels[0, 0, 0] = 30000
    path = write(tmp_path / "a.nii.gz", voxels.astype(kind), None)
    found = np.stack(pictures(path))[..., 0]
    assert found.dtype == np.uint16
    low, high = np.percentile(voxels, (0.1, 99.9))
    expected = np.clip((voxels.transpose(2, 1, 0) - low) / (high - low), 0, 1)
    assert np.abs(found / 65535 - expected).max() < 1e-4


def test_scaling_comes_first_and_a_display_range_wins(tmp_path):
    voxels = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    path = write(tmp_path / "a.nii", voxels, None)
    content = bytearray(path.read_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]))
    header["scl_slope"], header["scl_inter"], header["cal_min"], header["cal_max"] = -2, 100, 0, 50
    content[:348] = header.binaryblock
    path.write_bytes(content)
    expected = np.clip((100 - 2.0 * voxels) / 50, 0, 1).transpose(2, 1, 0)
    assert np.abs(np.stack(pictures(path))[..., 0] / 65535 - expected).max() < 1e-4


def test_what_is_no_number_is_black_and_a_constant_volume_too(tmp_path):
    voxels = np.linspace(0, 1, 60, dtype=np.float32).reshape(5, 4, 3)
    voxels[0, 0] = np.nan, np.inf, -np.inf
    found = np.stack(pictures(write(tmp_path / "a.nii", voxels, None)))[:, 0, 0, 0]
    assert found.tolist() == [0, 65535, 0]
    assert not np.stack(pictures(write(tmp_path / "c.nii", np.full((5, 4, 3), 7.0, np.float32), None))).any()
    refused(write(tmp_path / "n.nii", np.full((5, 4, 3), np.nan, np.float32), None), "no finite number")


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16])
def test_a_volume_cut_anywhere_is_refused(tmp_path, suffix, kind):
    whole = write(tmp_path / f"w.{suffix}", np.random.default_rng(0).integers(0, 99, (9, 8, 7)).astype(kind))
    content = whole.read_bytes()
    path = tmp_path / f"a.{suffix}"
    for end in [*range(0, len(content), 37), len(content) - 1]:
        path.write_bytes(content[:end])
        refused(path, "damaged")


def test_a_wrong_byte_in_a_packed_volume_is_found(tmp_path):
    path = write(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 256, (9, 8, 7), np.uint8))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # of the checksum
    path.write_bytes(content)
    refused(path, "damaged")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 400), what=st.binary(min_size=1, max_size=8), packed=st.booleans())
def test_a_damaged_file_gives_slices_or_a_sentence(tmp_path, place, what, packed):
    content = bytearray(write(tmp_path / "w.nii", np.arange(60, dtype=np.int16).reshape(5, 4, 3)).read_bytes())
    content[place : place + len(what)] = what
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(content, 1) if packed else bytes(content))
    try:
        for image in pictures(path):
            assert image.ndim == 3 and image.dtype in (np.uint8, np.uint16)
    except SyndiffError as error:
        assert str(path) in str(error)


def test_what_is_no_volume_is_named(tmp_path):
    refused(write(tmp_path / "a.nii", np.zeros((4, 3, 2, 5), np.uint8)), "4x3x2x5", "slicer")
    refused(write(tmp_path / "b.nii", np.zeros((4, 3, 2), np.complex64)), "complex64")
    refused(write(tmp_path / "c.nii", np.zeros(4, np.uint8)), "shape 4")
    refused(tmp_path / "missing.nii.gz", "does not exist")
    (tmp_path / "d.nii").write_bytes(b"hello" * 200)
    refused(tmp_path / "d.nii", "no NIfTI file")
    (tmp_path / "e.nii.gz").write_bytes(b"hello" * 200)
    refused(tmp_path / "e.nii.gz", "damaged")
    nibabel.save(nibabel.Nifti1Pair(np.zeros((4, 3, 2), np.uint8), AFFINE), tmp_path / "f.img")
    (tmp_path / "f.hdr").rename(tmp_path / "f.nii")
    refused(tmp_path / "f.nii", "pair")


def test_a_header_that_claims_too_much_is_refused_at_once(tmp_path):
    path = write(tmp_path / "a.nii", np.zeros((4, 3, 2), np.int16))
    for fields in ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, {"vox_offset": 1e30}):
        header = nibabel.load(path).header.copy()
        for name, value in fields.items():
            header[name] = value
        for packed in (False, True):
            big = tmp_path / ("b.nii.gz" if packed else "b.nii")
            content = header.binaryblock + path.read_bytes()[348:]
            big.write_bytes(gzip.compress(content) if packed else content)
            refused(big)


def test_slices_are_read_and_written_one_at_a_time(tmp_path):
    voxels = np.zeros((256, 256, 50), np.uint8)
    path = write(tmp_path / "a.nii", voxels)
    masks_written(write(tmp_path / "b.nii", voxels[..., :1]), tmp_path / "out")  # loads the libraries
    tracemalloc.start()
    try:
        masks_written(path, tmp_path / "out", keep=False)
        assert tracemalloc.get_traced_memory()[1] < 0.7 * voxels.size
    finally:
        tracemalloc.stop()


def test_patient_data_do_not_get_into_the_mask(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((4, 3, 2), np.uint8), AFFINE)
    image.header["descrip"], image.header["aux_file"] = b"Canary^Bird 1953", b"canary.txt"
    image.header["db_name"], image.header["intent_name"] = b"CANARY-4711", b"canary"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Canary^Bird"))
    nibabel.save(image, tmp_path / "a.nii")
    made, _ = masks_written(tmp_path / "a.nii", tmp_path / "out")
    assert b"canary" not in gzip.decompress(made.read_bytes()).lower()


def test_the_same_masks_have_the_same_bytes_and_an_abandoned_one_is_gone(tmp_path):
    path = write(tmp_path / "a.nii", np.zeros((4, 3, 2), np.uint8))
    first, second = (masks_written(path, tmp_path / name)[0].read_bytes() for name in "xy")
    assert first == second
    source = NiftiSource(path)
    writer = source.writer(tmp_path / "z", "a")
    for frame in source.frames():
        writer.add(frame, Prediction(np.zeros((3, 4), bool), np.zeros((3, 4), np.float32), {}))
        assert not (tmp_path / "z" / "a.nii.gz").exists()
    writer.abandon()
    assert not (tmp_path / "z").exists()
