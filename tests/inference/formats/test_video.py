"""Video in and out: upright frames at their own times, masks without loss, and a sentence for every bad file."""

import resource
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from syndiff.errors import SyndiffError
from syndiff.inference.formats.base import Incomplete
from syndiff.inference.formats.video import VideoSource, is_video
from syndiff.inference.overlay import MASK_COLOUR, WIDE_COLOUR
from syndiff.models.predictor import Prediction
from videos import STEADY, VARIABLE, decoded, pictures, write_video

av = pytest.importorskip("av")


def moving_mask(number: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[height // 2 - 5 : height // 2 + 5, 2 * number : 2 * number + 12] = True
    return mask


def answer(mask, wide=None) -> Prediction:
    return Prediction(mask, mask.astype(np.float32), {}, wide=wide)


def predict(source: VideoSource, folder: Path, *, wide: bool = False) -> tuple[list[Path], list[np.ndarray]]:
    """Masks that move, written; the paths and the masks."""
    writer, masks = source.writer(folder, "clip"), []
    for frame in source.frames():
        masks.append(moving_mask(len(masks), *frame.image.shape[:2]))
        writer.add(frame, answer(masks[-1], np.roll(masks[-1], 14, 0) if wide else None))
    return writer.finish(), masks


@pytest.mark.parametrize("name", ["a.mp4", "b.MOV", "c.mkv", "d.avi", "e.webm", "f.m4v", "g.mpg"])
def test_videos_are_known_by_their_names(name):
    assert is_video(Path(name)) and not is_video(Path(name + ".png"))


@pytest.mark.parametrize(
    ("suffix", "pts", "base", "size"),
    [
        (".mp4", STEADY, Fraction(1, 12800), (48, 64)),
        (".mp4", VARIABLE, Fraction(1, 90000), (48, 64)),
        (".mov", tuple(range(6)), Fraction(1001, 30000), (48, 64)),
        (".mkv", (0, 40, 41, 90, 1000), Fraction(1, 1000), (47, 63)),
        (".avi", tuple(range(6)), Fraction(1, 25), (33, 48)),
    ],
)
def test_frames_come_out_at_the_times_and_in_the_size_they_went_in(tmp_path, suffix, pts, base, size):
    """Odd sizes too: H.264 cannot have them, so the contours' video is a pixel larger; the masks are not."""
    codec, pixels = ("libx264", "yuv420p") if size == (48, 64) else ("ffv1", "bgr0")
    path = write_video(tmp_path / f"in{suffix}", pictures(len(pts), *size), pts, base, codec=codec, pixels=pixels)
    times, _ = decoded(path, "rgb24")
    source = VideoSource(path)
    assert source.frame_count in (None, len(pts))
    assert [frame.seconds for frame in source.frames()] == pytest.approx([float(time) for time in times])
    (shown, kept), masks = predict(source, tmp_path)
    assert [shown.name, kept.name] == ["clip.mp4", "clip.masks.mkv"]
    shown_times, shown_images = decoded(shown, "rgb24")
    assert shown_times == times and shown_images[0].shape[:2] == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    kept_times, kept_masks = decoded(kept, "gray")
    assert np.abs(np.array(kept_times, float) - np.array(times, float)).max() <= 0.00051  # Matroska counts milliseconds
    assert np.array_equal(kept_masks, 255 * np.array(masks, np.uint8)) and kept_masks[0].shape == size


def test_the_last_frame_keeps_its_duration(tmp_path):
    path = write_video(tmp_path / "in.mov", pictures(6), VARIABLE, Fraction(1, 90000), codec="png", pixels="rgb24")
    *_, last = VideoSource(path).frames()
    (shown, _), _ = predict(VideoSource(path), tmp_path)
    with av.open(str(shown)) as container:
        *_, again = container.decode(video=0)
    assert again.duration * again.time_base == last.duration * last.time_base == Fraction(1, 25)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_frames_are_turned_and_mirrored_as_the_file_says(tmp_path, quarters, mirrored):
    """FFmpeg turns first, counterclockwise, and mirrors then."""
    images = pictures(2)
    path = write_video(
        tmp_path / "in.mov", images, codec="png", pixels="rgb24", turn=(90 * quarters - 360 * (quarters > 2), mirrored)
    )
    frame, *_ = VideoSource(path).frames()
    turned = np.rot90(images[0], quarters)
    assert np.array_equal(frame.image, turned[:, ::-1] if mirrored else turned)
    (shown, kept), masks = predict(VideoSource(path), tmp_path)
    with av.open(str(shown)) as container:
        first = next(container.decode(video=0))
    assert (first.height, first.width) == frame.image.shape[:2] and first.rotation == 0
    assert np.array_equal(decoded(kept, "gray")[1], 255 * np.array(masks, np.uint8))


def test_the_contours_of_mask_and_wide_mask_are_drawn_in_their_colours(tmp_path):
    grey = np.full((4, 240, 320, 3), 120, np.uint8)
    path = write_video(tmp_path / "in.mp4", grey)
    (shown, _), masks = predict(VideoSource(path), tmp_path, wide=True)
    image = decoded(shown, "rgb24")[1][3].astype(int)
    row, column = np.argwhere(masks[3]).min(0)

    def near(place, colour):
        return np.abs(image[place] - colour).max() < 70  # one line in half the colour resolution, compressed

    assert near((row, column + 6), MASK_COLOUR) and near((row + 14, column + 6), WIDE_COLOUR)
    assert near((row + 4, column + 6), 120) and near((5, 5), 120)


@pytest.mark.parametrize(
    ("suffix", "words"),
    [(".mp4", "packets that cannot be decoded: 1"), (".mkv", "it ends at"), (".webm", "it ends at")],
)
def test_the_frames_before_a_break_are_kept_and_the_break_is_named(tmp_path, suffix, words):
    noise = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8)
    codec = "libvpx" if suffix == ".webm" else "libx264"
    options = {"movflags": "+faststart"} if suffix == ".mp4" else {}
    path = write_video(tmp_path / f"in{suffix}", noise, range(0, 60 * 512, 512), codec=codec, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    source, count = VideoSource(path), 0
    writer = source.writer(tmp_path, "clip")
    with pytest.raises(Incomplete, match=words) as problem:
        for frame in source.frames():
            writer.add(frame, answer(moving_mask(0, 48, 64)))
            count += 1
    assert 20 < count < 50 and f"({count})" in str(problem.value) and str(path) in str(problem.value)
    shown, kept = writer.finish()
    assert len(decoded(shown, "rgb24")[0]) == len(decoded(kept, "gray")[0]) == count


def test_a_video_that_changes_its_size_is_predicted_up_to_there(tmp_path):
    parts = [
        write_video(tmp_path / f"{side}.m2v", pictures(5, side, side), range(5), Fraction(1, 25), codec="mpeg2video")
        for side in (48, 64)
    ]
    path = tmp_path / "both.mpg"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    source, seen = VideoSource(path), []
    with pytest.raises(Incomplete, match="64x64 pixels and those before it 48x48"):
        seen.extend(frame.image.shape for frame in source.frames())
    assert set(seen) <= {(48, 48, 3)}


def sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.rate, silence.pts = 44100, 0
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))


def without_frames(path: Path) -> None:
    write_video(path, pictures(3), codec="mpeg4")
    content = path.read_bytes()
    start = content.index(b"mdat") + 4
    end = content.index(b"moov") - 4
    path.write_bytes(content[:start] + bytes(end - start) + content[end:])


def recording_that_was_killed(path: Path) -> None:
    write_video(path, pictures(12))
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov")])


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("gone.mp4", lambda path: None, "does not exist"),
        ("empty.mp4", lambda path: path.write_bytes(b""), "cannot be opened as a video"),
        ("text.mov", lambda path: path.write_text("hello" * 99, encoding="utf-8"), "cannot be opened as a video"),
        ("killed.mp4", recording_that_was_killed, "cut off before its index was written"),
        ("sound.mp4", sound, "holds no video (it holds: audio)"),
        ("zeros.mp4", without_frames, "holds no frame that can be read"),
        ("folder.mp4", lambda path: path.mkdir(), "a folder"),
        ("list.mp4", lambda path: path.write_text("#EXTM3U\n#EXTINF:9,\n/etc/x.ts\n", encoding="utf-8"), "cannot be"),
        ("list.mkv", lambda path: path.write_text("ffconcat version 1.0\nfile in.mp4\n", encoding="utf-8"), "cannot"),
    ],
)
def test_what_is_no_video_is_named_with_its_mend(tmp_path, name, make, words):
    """A playlist is one of them: no file under another name is opened for it, and no address asked."""
    write_video(tmp_path / "in.mp4", pictures(3))
    make(tmp_path / name)
    with pytest.raises(SyndiffError, match=name) as problem:
        list(VideoSource(tmp_path / name).frames())
    assert words in str(problem.value) and not isinstance(problem.value, Incomplete)


def test_absurd_sizes_are_refused_before_a_frame_is_decoded(tmp_path):
    path = write_video(tmp_path / "in.avi", pictures(2), range(2), Fraction(1, 25), codec="ffv1", pixels="bgr0")
    content = path.read_bytes()
    at = content.index(b"strf") + 12  # BITMAPINFOHEADER: width and height
    path.write_bytes(content[:at] + (12_000).to_bytes(4, "little") * 2 + content[at + 8 :])
    with pytest.raises(SyndiffError, match="12000x12000 pixels, more than"):
        VideoSource(path)


def test_abandoned_videos_leave_nothing(tmp_path):
    source = VideoSource(write_video(tmp_path / "in.mp4", pictures(12)))
    writer = source.writer(tmp_path / "out", "clip")
    writer.abandon()
    for frame in source.frames():
        writer.add(frame, answer(moving_mask(0, 48, 64)))
    writer.abandon()
    assert not any((tmp_path / "out").iterdir())


def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path):
    source = VideoSource(write_video(tmp_path / "in.mp4", pictures(12)))
    writer, rng = source.writer(tmp_path / "out", "clip"), np.random.default_rng(0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match="clip"):
            for frame in source.frames():
                writer.add(frame, answer(rng.random((48, 64)) > 0.5))
            writer.finish()
        writer.abandon()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not any((tmp_path / "out").iterdir())


def test_nothing_of_the_source_but_its_pictures_is_copied(tmp_path):
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Jane Doe 1970"
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for image in pictures(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    assert b"Jane Doe" in path.read_bytes()
    written, _ = predict(VideoSource(path), tmp_path)
    assert all(b"Jane" not in each.read_bytes() for each in written)


def test_errors_that_the_decoder_hides_are_named(tmp_path):
    """It mends blocks from their neighbours and returns all frames; which damage it notices depends on its build."""
    texture = np.random.default_rng(0).integers(0, 255, (36, 48, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    moving = np.stack([np.roll(texture, 3 * number, 1) for number in range(12)])
    video = write_video(tmp_path / "in.mkv", moving, range(0, 12 * 512, 512))
    whole, told = video.read_bytes(), []
    for place in np.linspace(0.2, 0.8, 40):
        content, start = bytearray(whole), int(place * len(whole))
        content[start : start + 300] = bytes(byte ^ 0xFF for byte in content[start : start + 300])
        video.write_bytes(content)
        try:
            list(VideoSource(video).frames())
        except SyndiffError as error:
            told.append(str(error))
    assert any("errors that the decoder met" in each for each in told), told
    video.write_bytes(whole)
    assert len(list(VideoSource(video).frames())) == 12
