"""Masks for an image or a folder of images, one at a time, so that no more than one is held in memory."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from syndiff.data.readers import IMAGE_EXTENSIONS, read_image
from syndiff.errors import SyndiffError
from syndiff.files import claimed, sha256
from syndiff.imaging import encode_png
from syndiff.inference.exported import is_export, read_card
from syndiff.inference.journal import Journal
from syndiff.inference.load import checkpoint_of, load
from syndiff.models.predictor import SquarePredictor
from syndiff.models.stored import WEIGHTS, read_description

KIND = "a folder of predictions"
_SHOWN = 5


@dataclass
class Predicted:
    """What became of every image, and what was not looked at.

    written, present: numbers of masks written now, and of those that an earlier call wrote and that are still right.
    problems: a sentence for each image without a prediction of its own: it is unreadable, or another file has the
        mask's name, such as a mask that somebody corrected.
    ignored: names in the folder of images that are none, by kind; hidden ones are not counted.

    >>> syndiff.predict("runs/mine", "my-polyps/images", "masks").problems
    []
    """

    written: int = 0
    present: int = 0
    problems: list[str] = field(default_factory=list)
    ignored: dict[str, list[str]] = field(default_factory=dict)

    def summary(self, out: Path) -> str:
        """A line on the masks in `out`, and one on what was not read, if anything."""
        present = f"; {self.present} were there already" if self.present else ""
        failed = f"; {len(self.problems)} not written, for the reasons below" if self.problems else ""
        return "\n".join([f"{self.written} masks written to {out}{present}{failed}", *self._not_read()])

    def _not_read(self) -> list[str]:
        if not self.ignored:
            return []
        return [f"Not read: {_told(self.ignored)}"]


def predict(
    run: Path | str,
    images: Path | str,
    out: Path | str,
    *,
    timestep: int | None = None,
    steps: int | None = None,
    tta: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Predicted:
    """Write `out`/<stem>.png (0 background, 255 lesion, the image's own size) for an image or every image of a folder.

    `run`, `timestep`, `steps`, `tta` and `seed` are those of `load`. The same call goes on where it stopped: a mask
    is made again only where it is missing or its image has changed, and a mask that was changed since is never
    replaced. An image that cannot be read does not keep the others from being predicted; it is named in `problems`.

    Raises SyndiffError for a folder without images, two images of one stem, a run without a model, and an `out` that
    holds other files or masks of another run or other settings.

    >>> made = syndiff.predict("runs/mine", "my-polyps/images", "masks")
    >>> made.written + made.present == len(syndiff.Dataset.open("my-polyps").cases)
    True
    """
    run, images, out = Path(run), Path(images), Path(out)
    paths, ignored = _list_images(images, out)
    _check_apart(paths, out)
    origin = _origin(run, timestep=timestep, steps=steps, tta=tta, seed=seed)
    result = Predicted(ignored=ignored)
    with claimed(out, KIND):
        journal = Journal(out, origin)
        predictor = load(run, seed=seed, timestep=timestep, steps=steps, tta=tta)
        for path in tqdm(paths, desc="predicting", unit="image", disable=not progress):
            try:
                if _predict_one(predictor, path, journal, out):
                    result.written += 1
                else:
                    result.present += 1
            except SyndiffError as error:
                result.problems.append(str(error))
    return result


def _origin(run: Path, **chosen: int | None) -> dict[str, Any]:
    """What the masks of a model depend on: its weights and the settings of inference, chosen or its own."""
    if is_export(run):
        card = read_card(run)
        own = {"timestep": card.timestep, "steps": card.steps, "tta": card.tta}
        made = {"weights": card.weights, "step": card.provenance["step"]}
    else:
        checkpoint = checkpoint_of(run)
        described = read_description(checkpoint, {"model": dict, "step": int})
        own = {name: described["model"].get(f"inference_{name}") for name in ("timestep", "steps", "tta")}
        made = {"weights": sha256(checkpoint / WEIGHTS), "step": described["step"]}
    return {**made, **{name: own.get(name) if value is None else value for name, value in chosen.items()}}


def _predict_one(predictor: SquarePredictor, path: Path, journal: Journal, out: Path) -> bool:
    """Make the mask of an image; False where it is there already. SyndiffError: it cannot be made, or not be kept."""
    mask = f"{path.stem}.png"
    checksum = _checksum(path)
    if journal.is_made(mask, checksum):
        there = journal.state(mask)
        if there == "ours":
            return False
        if there == "foreign":
            raise _foreign(out / mask)
    content = encode_png(predictor.predict(read_image(path), case_id=path.stem).mask)
    if not journal.keep(mask, content, image=path.name, image_sha256=checksum):
        raise _foreign(out / mask)
    return True


def _foreign(mask: Path) -> SyndiffError:
    return SyndiffError(
        f"{mask} is not as predict wrote it (corrected by hand, or another file): it is kept as it is; move it "
        "elsewhere and run the same command again to have it predicted."
    )


def _checksum(path: Path) -> str:
    """SHA-256 of an image file; a SyndiffError where it cannot be read or recorded."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise SyndiffError(f"{path}: the name is no UTF-8 text; rename the file.") from None
    if not path.is_file():
        raise _no_file(path)
    try:
        return sha256(path)
    except OSError as error:
        raise SyndiffError(f"{path} cannot be read ({error.strerror}); check its permissions and its disk.") from None


def _no_file(path: Path) -> SyndiffError:
    if not path.exists():
        return SyndiffError(f"{path} does not exist, or is a link that leads nowhere.")
    return SyndiffError(f"{path} is a pipe, a device or a folder; an image is a file.")


def _list_images(images: Path, out: Path) -> tuple[list[Path], dict[str, list[str]]]:
    """The images in the order of their names, and the names of everything else, by kind; `out` is not counted."""
    if not images.is_dir():
        if not images.is_file():
            raise SyndiffError(f"{str(_no_file(images))[:-1]}; give an image or a folder of images.")
        return [images], {}
    paths: list[Path] = []
    ignored: dict[str, list[str]] = {}
    for path in sorted(images.iterdir()):
        if path.name.startswith(".") or os.path.realpath(path) == os.path.realpath(out):
            continue
        if path.is_dir():
            ignored.setdefault("sub-folders", []).append(path.name)
        elif path.suffix.lower() in IMAGE_EXTENSIONS:
            paths.append(path)
        else:
            ignored.setdefault("files of other kinds", []).append(path.name)
    if not paths:
        found = f" It holds {_told(ignored)}." if ignored else ""
        raise SyndiffError(
            f"{images} holds no images; expected files ending in {', '.join(sorted(IMAGE_EXTENSIONS))}.{found}"
        )
    double = sorted(stem for stem, count in Counter(path.stem for path in paths).items() if count > 1)
    if double:
        both = " and ".join(path.name for path in paths if path.stem == double[0])
        raise SyndiffError(
            f"{images} holds more than one image called {double[0]} ({both}); their masks would overwrite each other. "
            "Rename one of them."
        )
    return paths, ignored


def _told(ignored: dict[str, list[str]]) -> str:
    """How many things of each kind, with the first few names."""
    return ", ".join(
        f"{kind} ({len(names)}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for kind, names in ignored.items()
    )


def _check_apart(paths: list[Path], out: Path) -> None:
    """Refuse an `out` in which an image lies, be it by a link: its mask would take its place."""
    folder = os.path.realpath(out)
    for path in paths:
        if folder in (os.path.realpath(path.parent), str(Path(os.path.realpath(path)).parent)):
            raise SyndiffError(
                f"{path} lies in {out}, where masks would overwrite images. Give another folder as --out."
            )
