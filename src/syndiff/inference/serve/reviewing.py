"""What the view *Review* works on: a file of reviews, the folders whose cases are reviewed, and what counts now."""

import contextlib
import errno
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from syndiff.data.dataset import targets_in
from syndiff.errors import SyndiffError
from syndiff.inference.serve.collections import Collection
from syndiff.inference.serve.decoding import Decoder
from syndiff.inference.serve.refusal import Refusal
from syndiff.inference.serve.review_folder import ReviewFolder
from syndiff.reviews.events import Event, Subject, check_reviewer
from syndiff.reviews.present import Present
from syndiff.reviews.state import CaseReview, Opinion
from syndiff.reviews.store import ReviewStore, Unavailable


def check_reviewable(collections: Sequence[Collection]) -> None:
    """Raise SyndiffError where nothing of `collections` can be reviewed yet."""
    for each in collections:
        of_several = any("painted" in case.facts for case in each.cases.values())
        if of_several and not targets_in(each.root).several:  # reviews of unknown classes would be of other masks
            raise SyndiffError(
                f"{each.root} is not finished, and its classes are not told before: give `syndiff synthesize` the same "
                "command again, then review it."
            )
    if all(each.kind == "run" for each in collections):
        raise SyndiffError(
            "--reviews has no effect: nothing of --browse can be reviewed. Give a dataset or a synthetic dataset; the "
            "test cases of a run are reviewed as those of their dataset."
        )


class Reviewing:
    """Reviews of the cases of `collections` that are datasets or synthetic datasets, kept in `store`.

    `decoder` reads the cases; by default it has a process of its own.
    """

    def __init__(self, store: ReviewStore, collections: Sequence[Collection], decoder: Decoder | None = None) -> None:
        self.store, self.present, self.decoder = store, Present(store), decoder or Decoder()
        found = [ReviewFolder(each, self.decoder) for each in collections if each.kind != "run"]
        self.folders = {folder.key: folder for folder in found}
        self._of = {id(folder.collection): folder for folder in found}

    def close(self) -> None:
        """End the decoding process; the file of reviews stays open."""
        self.decoder.close()

    def check_reviewer(self, name: str) -> None:
        """Raise SyndiffError for a name that nobody may review under here (`events.check_reviewer`)."""
        check_reviewer(name, self.present.reviewers)

    def folder(self, key: str) -> ReviewFolder:
        """The folder of a key. Raises Refusal (404) for another one."""
        if key not in self.folders:
            raise Refusal(404, "This folder is not reviewed here; reload the page, the server was started anew.")
        return self.folders[key]

    def subject(self, collection: Collection, name: str) -> Subject:
        """A case of a collection, by its name, as it lies on the disk now. Raises errors as `ReviewFolder` does."""
        folder = self._of[id(collection)]
        if name not in folder.names:
            raise Refusal(404, "This case is not in the folder any more; list it again.")
        return folder.subject(folder.names[name])

    def states(self, collection: Collection) -> dict[str, CaseReview]:
        """What counts of a collection's cases now, by their names; nothing for a run's test cases.

        Only cases of which somebody said something are there, as long as they show what was reviewed; only these are
        read, each once until the folder is listed anew.
        """
        folder = self._of.get(id(collection))
        return {} if folder is None else self.reviews(folder)

    def reviews(self, folder: ReviewFolder) -> dict[str, CaseReview]:
        """As `states`, of a folder."""
        said = self.present.cases
        return {name: said[name][shown] for name, shown in self._shown(folder).items() if shown in said[name]}

    def last(self, folder: ReviewFolder, reviewer: str, kinds: Container[str]) -> Event | None:
        """The newest event of these kinds by a reviewer, of a case of the folder that shows now what it showed then.

        Another folder may have a case of the same name.
        """
        shown = self._shown(folder)
        said = reversed(self.present.counting(reviewer))
        return next((each for each in said if each.kind in kinds and shown.get(each.case) == each.content), None)

    def _shown(self, folder: ReviewFolder) -> dict[str, str]:
        """The content of those cases of a folder that somebody said something of."""
        said = self.present.cases
        return folder.contents([name for name in folder.names if name in said], self.present.seen)

    def opinion(self, subject: Subject, reviewer: str) -> Opinion:
        """A reviewer's last word on a case as it is now."""
        review = self.present.reviews(subject.case).get(subject.content)
        said = {} if review is None else {each.reviewer: each for each in review.opinions}
        return said.get(reviewer, Opinion(reviewer))

    def shown_subject(self, folder: ReviewFolder, case_id: str, content: str) -> Subject:
        """A case, once it is what the page showed.

        Raises Refusal where it was changed, damaged or deleted (409), and where its folder is away (503).
        """
        try:
            subject = folder.subject(case_id)
        except Refusal as refusal:
            raise Refusal(refusal.status if refusal.status == 503 else 409, str(refusal)) from None
        except SyndiffError as error:
            raise Refusal(409, f"The case was changed: {error}") from None
        if subject.content != content:
            raise Refusal(409, f"{subject.case} was changed while you looked at it; look at it again, then decide.")
        return subject

    def add(self, reviewer: str, subject: Subject, kind: str, value: str = "", truth: str = "", *, id: str) -> Event:
        """Keep an event as `ReviewStore.add` does. Raises Refusal (507) where the disk is full."""
        with self.kept():
            return self.store.add(reviewer, subject, kind, value, truth, id=id)

    def undo(self, reviewer: str, event: Event, *, id: str) -> Event:
        """Take an event back. Raises SyndiffError as `ReviewStore.add` does, and Refusal (507) for a full disk."""
        subject = Subject(event.dataset, event.name, event.case, event.content, (0, 0))
        return self.add(reviewer, subject, "undo", event.id, id=id)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """A full disk, and a file that cannot be written, or not now, as a refusal with a sentence."""
        try:
            yield
        except Unavailable as error:
            raise Refusal(503, str(error)) from error
        except OSError as error:
            name = self.store.path.name
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Refusal(
                    507, f"The disk that holds {name} is full: this was not saved. Free some space, then send it again."
                ) from error
            raise Refusal(500, f"{name} cannot be written ({error.strerror}): this was not saved.") from error

    def corrected(self, subject: Subject, reviewer: str) -> Path | None:
        """The file of the reviewer's own corrected mask of a case; None where there is none."""
        mask = self.opinion(subject, reviewer).mask
        return None if mask is None else self.store.mask_file(mask)
