"""An exported model: `model.onnx`, and `export.json`, which says everything that the graph does not. Without torch."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from syndiff import __version__
from syndiff.bounds import Bounds, Length
from syndiff.data.dataset import MAX_CLASSES
from syndiff.data.targets import KEY, Targets
from syndiff.documents import check_object, read_object, rebuild
from syndiff.errors import SyndiffError, shown
from syndiff.files import sha256, write_record
from syndiff.models.settings import VIEWS, Kind, Variance

DESCRIPTION, GRAPH = "export.json", "model.onnx"
FORMAT = 1
KIND = "an exported model"
PREPROCESSING = {"resize": "stretch", "filter": "bilinear, antialiased, as Pillow's", "channels": "RGB, uint8"}
POSTPROCESSING = {"views": "mean", "restore": "bilinear, antialiased, as Pillow's", "threshold": 0.5}
NOISE = {
    "seed": "big-endian number of the first 7 bytes of SHA-256 of '<seed>:<case>'",
    "generator": "MT19937 of the seed's lower 32 bits; u = lower 24 bits / 2**24; blocks of 16: r = sqrt(-2 ln(1 - u)) "
    "of the first 8, a = 2 pi u of the last 8; r cos a, then r sin a",
}
VIEW_ORDER = "quarter turns counter-clockwise, then mirrored: 0, 0m, 2, 2m, 1, 1m, 3, 3m; the first `tta` of them"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The noise schedule's settings (see model.*): what a video needs to start from an earlier frame's latents."""

    timesteps: Annotated[int, Bounds(2, 100_000)]
    beta_start: Variance
    beta_end: Variance
    zero_terminal_snr: bool


@dataclass(frozen=True, kw_only=True)
class ExportCard:
    """What export.json says.

    name: of the run. kind: of the network, as model.kind. precision: of the graph's arithmetic.
    image_size: side of the square that the graph takes. noise_shape: (c, h', w') of the input `latent`; zeros for a
        network without noise.
    timestep, steps: of the denoising; timestep is null for a network without noise.
    tta: views whose mean is the answer. calibration: the guarantee of `syndiff calibrate`, or null.
    classes: their names. targets: of several classes, which values stand for them in masks, and whether they may
        overlap (`Targets.told`); left out for one.
    provenance: the checkpoint's weights (SHA-256) and step, its validation Dice, dataset and split.
    cost: of int8, measured: mean validation Dice in float32 and in int8, and on how many cases; null otherwise.
    """

    # What an export.json of an earlier version lacks: see `syndiff.documents.rebuild`.
    later: ClassVar[tuple[str, ...]] = ("targets",)

    name: str
    kind: Kind
    precision: Literal["float32", "int8"]
    image_size: Annotated[int, Bounds(32, 2048, multiple=32)]
    noise_shape: tuple[int, int, int]
    timestep: Annotated[int, Bounds(0, 99_999)] | None
    steps: Annotated[int, Bounds(1, 100_000)]
    schedule: Schedule | None
    tta: Annotated[int, Bounds(1, 8)]
    classes: Annotated[tuple[str, ...], Length(1, MAX_CLASSES)] = ("lesion",)
    targets: dict | None = None
    calibration: dict | None = None
    provenance: dict = field(default_factory=dict)
    cost: dict | None = None

    def __post_init__(self) -> None:
        last = None if self.schedule is None else self.schedule.timesteps - 1
        if (self.timestep is None) != (last is None) or (self.timestep or 0) > (last or 0):
            raise SyndiffError(f"timestep is {self.timestep}, but the schedule's last one {last}.")
        if self.told_apart.several != (len(self.classes) > 1) or (
            self.targets is not None and self.told_apart.names != self.classes
        ):
            raise SyndiffError(f"classes is {self.classes}, but targets {shown(self.targets)}.")
        if self.tta not in VIEWS:
            raise SyndiffError(f"tta is {self.tta}, expected 1, 2, 4 or 8.")
        if (self.kind == "diffusion") != (last is not None):
            raise SyndiffError(f"kind is {self.kind}, but timestep {self.timestep}.")

    @property
    def told_apart(self) -> Targets:
        """The classes that the graph tells apart."""
        return Targets() if self.targets is None else Targets.of({KEY: self.targets}, "model")

    @property
    def weights(self) -> str:
        """SHA-256 of the checkpoint's weights."""
        return str(self.provenance["weights_sha256"])

    @property
    def starts_anywhere(self) -> bool:
        """Whether the graph takes the timestep as an input: one pass from any of them."""
        return self.timestep is not None and self.steps == 1

    def write(self, folder: Path) -> None:
        """Write export.json beside the finished graph, whose SHA-256 it holds."""
        content = {"format": FORMAT, "syndiff": __version__, "onnx_sha256": sha256(folder / GRAPH)}
        model = {name: value for name, value in asdict(self).items() if name != "targets" or value is not None}
        write_record(folder / DESCRIPTION, {**content, "model": model, **_RULES})


_RULES = {"preprocessing": PREPROCESSING, "views": VIEW_ORDER, "noise": NOISE, "postprocessing": POSTPROCESSING}
_AGAIN = "Make the export again: syndiff export --run RUN."


def is_export(folder: Path) -> bool:
    """Whether `folder` holds an exported model."""
    return (folder / DESCRIPTION).is_file()


def read_card(folder: Path) -> ExportCard:
    """The card of an exported model, whose graph is the one that belongs to it.

    Raises SyndiffError for a description that is missing, damaged, or of another version, and for a graph that is
    missing or another one.
    """
    path, graph = folder / DESCRIPTION, folder / GRAPH
    stored = read_object(path, {"format": int}, mend=_AGAIN)
    if stored["format"] != FORMAT:
        raise SyndiffError(f"{path} is of format {shown(stored['format'])}, this version reads {FORMAT}. {_AGAIN}")
    check_object(path, stored, {"onnx_sha256": str, "model": dict}, mend=_AGAIN)
    for name, expected in _RULES.items():
        if stored.get(name) != expected:
            raise SyndiffError(f"{path}: {name} is {shown(stored.get(name))}, which this version does not do. {_AGAIN}")
    model = stored["model"]
    if isinstance(model.get("schedule"), dict):
        schedule = rebuild(Schedule, model["schedule"], f"{path}: model.schedule", mend=_AGAIN)
        model = {**model, "schedule": schedule}
    card = rebuild(ExportCard, model, f"{path}: model", mend=_AGAIN)
    check_object(f"{path}: model.provenance", card.provenance, {"weights_sha256": str, "step": int}, mend=_AGAIN)
    if not graph.is_file():
        raise SyndiffError(f"{graph} is missing, which {path} describes. {_AGAIN}")
    if sha256(graph) != stored["onnx_sha256"]:
        raise SyndiffError(
            f"{graph} is not the graph that {path} describes (its SHA-256 differs): it is damaged, or belongs to "
            f"another export. {_AGAIN}"
        )
    return card
