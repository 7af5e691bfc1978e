"""Weights by folder or by hub id: found on this disk or fetched, with errors that say how to go without a network."""

from collections.abc import Sequence
from pathlib import Path

from syndiff.errors import SyndiffError
from syndiff.files import expanded

DOWNLOAD = "It came with the weights: download them again."
"""What to do about a damaged file beside weights from elsewhere."""


def find_weights(
    source: str, revision: str | None, *, what: str, names: str = "", files: Sequence[str], fetch: bool = True
) -> Path | None:
    """The folder of `source`: itself where it is one, else a hub repository's, fetched or in this machine's cache.

    `what` is the setting in the words of an error ("autoencoder"), `names` its choices that are no folder ("'compact',
    nor "), `files` the patterns to fetch. With `fetch` off nothing is fetched and what is not in the cache is None.
    """
    folder = expanded(source)
    if folder.is_dir():
        if revision is not None:
            raise SyndiffError(f"{what}_revision {revision!r} has no effect on {source}: only a hub id has revisions.")
        return folder
    if Path(source).is_absolute() or source.startswith((".", "~")) or source.count("/") != 1:
        raise SyndiffError(
            f"{what} {source!r} is neither {names}an existing folder, nor a hub id like 'stabilityai/sd-vae-ft-mse'. "
            "Check the path."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(source, revision=revision, allow_patterns=list(files), local_files_only=not fetch)
        )
    except (OSError, ValueError) as error:
        if not fetch and isinstance(error, LocalEntryNotFoundError):
            return None
        raise SyndiffError(
            f"{what} {source}: no such folder, and the model hub did not give it ({brief(error)}). "
            "Without a network, download it elsewhere and give its folder instead of the id."
        ) from None


def brief(error: Exception) -> str:
    """A library's error in one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
