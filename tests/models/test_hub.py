"""A folder or a hub id: found, or refused with what to do about it."""

from pathlib import Path

import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from syndiff.errors import SyndiffError
from syndiff.models.hub import find_folder


def answer(kind: type[Exception]) -> Exception:
    """The error without the answer of a server that its constructor asks for, of a library that changes."""
    return kind.__new__(kind, "refused")


def find(source: str, given: str | Exception = "", revision: str | None = None, fetch: bool = True) -> Path | None:
    def download() -> str:
        if isinstance(given, Exception):
            raise given
        return given

    return find_folder(source, revision, download, what="autoencoder", like="somebody/model", fetch=fetch)


def test_a_folder_is_itself_and_a_hub_id_what_the_hub_gives(tmp_path: Path) -> None:
    assert find(str(tmp_path)) == tmp_path
    assert find("somebody/tiny", str(tmp_path)) == tmp_path


@pytest.mark.parametrize("source", ["/nowhere/model", "./model", "model", "a/b/c", "model/", "~/model", "a\\b/c"])
def test_what_is_neither_is_refused_before_the_hub_is_asked(source: str) -> None:
    with pytest.raises(SyndiffError, match="neither an existing folder, nor a hub id like 'somebody/model'"):
        find(source, AssertionError("asked"))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (answer(GatedRepoError), "accept its terms first.*hf auth login"),
        (answer(RepositoryNotFoundError), "does not have it at revision 'v2'"),
        (answer(RevisionNotFoundError), "does not have it at revision 'v2'"),
        (LocalEntryNotFoundError("no way out"), "no way out.*hf download somebody/tiny --local-dir DIR"),
    ],
)
def test_the_hubs_refusals_say_what_to_do(error: Exception, sentence: str) -> None:
    with pytest.raises(SyndiffError, match=f"^autoencoder somebody/tiny.*{sentence}"):
        find("somebody/tiny", error, revision="v2")


def test_what_is_not_to_be_fetched_may_be_absent() -> None:
    assert find("somebody/tiny", LocalEntryNotFoundError("not in the cache"), fetch=False) is None
