"""Weights for a network of timm: a file or folder of safetensors, or the hub's; pickled ones are not read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from syndiff.documents import check_object, read_object
from syndiff.errors import SyndiffError, shown
from syndiff.files import expanded
from syndiff.models.hub import DOWNLOAD, find_folder
from syndiff.models.settings import SegmenterSettings
from syndiff.models.timm_library import about_network

WHAT = "model.encoder_weights"
"""The setting that names them."""
_CONFIG, _FILE = "config.json", "model.safetensors"
_CONVERT = f"Convert them where they can be trusted: `safetensors.torch.save_file(timm_model.state_dict(), '{_FILE}')`."
_HARMLESS = {"img_size", "num_classes", "in_chans"}


class Found(NamedTuple):
    """A file of weights on this machine, and what config.json beside it says: mean, std and classifier, where told."""

    file: Path
    config: Mapping[str, Any]


def source_of(settings: SegmenterSettings, name: str) -> str:
    """Folder, file or hub id of the weights of timm's network `name`: the one chosen, else timm's own on the hub.

    Raises SyndiffError where none is chosen and timm knows none.
    """
    if settings.encoder_weights:
        return settings.encoder_weights
    if hub_id := about_network(name)["hf_hub_id"]:
        return str(hub_id)
    raise SyndiffError(
        f"model.encoder: timm knows no weights of {name} on the hub. Give a folder or file of safetensors as {WHAT}, "
        "or start from random weights: model.pretrained=false."
    )


def find(settings: SegmenterSettings, name: str, *, fetch: bool) -> Found | None:
    """The weights of timm's network `name`; None where the hub has to give them first and `fetch` is off.

    Raises SyndiffError as `find_folder` does, for a format that is not read, and for a config.json beside the weights
    that describes another network.
    """
    source, revision = source_of(settings, name), settings.encoder_weights_revision or None
    path = expanded(source)
    if path.is_file():
        if revision:
            raise SyndiffError(f"{WHAT}_revision: {revision!r} has no effect with the file {path}; leave it out.")
        if path.suffix != ".safetensors":
            raise SyndiffError(
                f"{WHAT}: {path} is no file of safetensors (*.safetensors); pickled weights can run code and are not "
                f"read. {_CONVERT}"
            )
        return Found(path, {})

    def download() -> str:
        from huggingface_hub import snapshot_download

        return snapshot_download(source, revision=revision, allow_patterns=[_CONFIG, _FILE], local_files_only=not fetch)

    names = "an existing file of safetensors, nor "
    folder = find_folder(source, revision, download, what=WHAT, names=names, like="timm/pvt_v2_b2.in1k", fetch=fetch)
    return None if folder is None else Found(_file_in(folder), _config_in(folder, name))


def _file_in(folder: Path) -> Path:
    files = sorted(folder.glob("*.safetensors"))
    if folder / _FILE in files:
        return folder / _FILE
    if len(files) == 1:
        return files[0]
    holds = f"files of safetensors there: {', '.join(path.name for path in files)}" if files else "no safetensors there"
    raise SyndiffError(
        f"{WHAT}: {folder} has no {_FILE} ({holds}). Name the file itself; pickled weights can run code and are not "
        f"read. {_CONVERT}"
    )


def _config_in(folder: Path, name: str) -> dict[str, Any]:
    """What timm's config.json in a folder says of inputs and classifier; empty where there is none."""
    path = folder / _CONFIG
    if not path.is_file():
        return {}
    config = read_object(path, {"architecture": str}, mend=DOWNLOAD)
    wanted, found = name.partition(".")[0], config["architecture"]
    if found != wanted:
        raise SyndiffError(
            f"{path}: architecture is {shown(found)}, but model.encoder is timm:{name}. Set model.encoder=timm:{found}"
            f" or give other weights as {WHAT}."
        )
    arguments = check_object(f"{path}: model_args", config.get("model_args") or {}, {}, mend=DOWNLOAD)
    if changed := sorted(arguments.keys() - _HARMLESS):
        raise SyndiffError(
            f"{path}: the weights are of a {wanted} that was changed (model_args: {', '.join(changed)}), and timm's "
            "own would not compute the same with them. Give weights of the network as timm has it."
        )
    told = check_object(f"{path}: pretrained_cfg", config.get("pretrained_cfg", {}), {}, mend=DOWNLOAD)
    for key in ("mean", "std"):
        value = told.get(key, [1.0, 1.0, 1.0])
        if not (isinstance(value, list) and len(value) == 3 and all(isinstance(each, int | float) for each in value)):
            raise SyndiffError(f"{path}: pretrained_cfg.{key} is {shown(value)}, expected three numbers. {DOWNLOAD}")
    return {key: told[key] for key in ("mean", "std", "classifier") if told.get(key)}
