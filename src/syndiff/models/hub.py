"""Weights by folder or by hub id: found on this disk or fetched, with errors that say how to go without a network."""

from collections.abc import Callable, Sequence
from pathlib import Path

from syndiff.errors import SyndiffError
from syndiff.files import expanded

DOWNLOAD = "It came with the weights: download them again."
"""What to do about a damaged file beside weights from elsewhere."""


def find_weights(
    source: str, revision: str | None, *, what: str, names: str = "", files: Sequence[str], fetch: bool = True
) -> Path | None:
    """The folder of `source` with the `files` (patterns) of it that are read: see `find_folder`."""

    def download() -> str:
        from huggingface_hub import snapshot_download

        return snapshot_download(source, revision=revision, allow_patterns=list(files), local_files_only=not fetch)

    return find_folder(
        source, revision, download, what=what, names=names, like="stabilityai/sd-vae-ft-mse", fetch=fetch
    )


def find_folder(
    source: str,
    revision: str | None,
    download: Callable[[], str],
    *,
    what: str,
    names: str = "",
    like: str,
    fetch: bool = True,
) -> Path | None:
    """The folder of `source`: itself where it is one, else a hub repository's, fetched or in this machine's cache.

    `download` fetches it, or finds it in the cache, and returns its folder. `what` is the setting in the words of an
    error ("autoencoder"), `names` its choices that are no folder ("'compact', nor "), `like` a hub id to show. With
    `fetch` off `download` asks the cache alone, and what is not there is None.

    Raises SyndiffError for a source that is neither folder nor hub id, a revision of a folder, a repository or
    revision that the hub does not have or does not give, and no network.
    """
    folder = expanded(source)
    if folder.is_dir():
        if revision:
            raise SyndiffError(
                f"{what} {source} is a folder, and its revision {revision!r} has no effect: only a hub id has "
                "revisions. Leave it out, or name a model on the hub."
            )
        return folder
    if not _is_hub_id(source):
        raise SyndiffError(
            f"{what} {source!r} is neither {names}an existing folder, nor a hub id like {like!r}. Check the path."
        )
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(download())
    except GatedRepoError:
        raise SyndiffError(
            f"{what} {source}: the hub asks you to accept its terms first. Do so on its page, then log in with "
            "`hf auth login`."
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        at = f" at revision {revision!r}" if revision else ""
        raise SyndiffError(
            f"{what} {source}: the hub does not have it{at}, and no folder of this name exists. Mend the name, or give "
            "the path of a folder."
        ) from None
    except (OSError, ValueError) as error:
        if not fetch and isinstance(error, LocalEntryNotFoundError):
            return None
        raise SyndiffError(
            f"{what} {source} is not on this machine and could not be fetched from the hub ({brief(error)}). Without a "
            f"network: get it with `hf download {source} --local-dir DIR` on a machine that has one, copy DIR here and "
            "give its path."
        ) from None


def brief(error: Exception) -> str:
    """A library's error in one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _is_hub_id(source: str) -> bool:
    return source.count("/") == 1 and source[0] not in "/.~" and source[-1] != "/" and "\\" not in source
