"""Corrected masks that a browser sends: kept to the pixel and once, or refused with a sentence and nothing written."""

import errno
import io
import os
import secrets
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from small_folders import write_case, write_synthetic

from syndiff.data.dataset import Dataset
from syndiff.inference.serve import uploads
from syndiff.inference.serve.app import make_app
from syndiff.inference.serve.collections import Collection
from syndiff.inference.serve.decoding import Decoder
from syndiff.inference.serve.models import Models
from syndiff.inference.serve.reviewing import Reviewing
from syndiff.inference.serve.security import MAX_BODY, Access
from syndiff.reviews.state import reviews_of
from syndiff.reviews.store import ReviewStore

ORIGIN = "http://127.0.0.1:8601"


class Page:
    """A page that corrects masks of a dataset of 24 x 20 pixels and of a synthetic one."""

    def __init__(self, client: TestClient, store: ReviewStore, reviewing: Reviewing) -> None:
        self.client, self.store, self.reviewing = client, store, reviewing
        self.real, self.synthetic = reviewing.folders.values()
        self.root = self.real.collection.root
        self.id, self.known = "", 0

    def begin(self) -> "Page":
        self.id, self.known = secrets.token_hex(16), len(self.store.events())
        return self

    def kept(self) -> int:
        """Corrections that were kept since the test began, with as many mask files as there must be."""
        events = self.store.events()
        files = {path.stem for path in self.store.masks.glob("*")}
        assert files == {event.value for event in events}
        return len(events) - self.known

    def seen(self, case: str) -> str:
        return self.real.subject(self.real.names[case]).content

    def send(self, body: bytes, *, case: str = "a", synthetic: bool = False, headers: dict | None = None, **words: str):
        folder = self.synthetic if synthetic else self.real
        case_id = folder.names[case]
        content = words.pop("content", None) or folder.subject(case_id).content
        shown = self.client.get(f"/api/review/{folder.key}/cases/{case_id}", params={"reviewer": "ann"}).json()
        asked = {"reviewer": "ann", "content": content, "id": self.id, "base": shown.get("base", ""), **words}
        return self.client.post(
            f"/api/review/{folder.key}/cases/{case_id}/mask", params=asked, content=body, headers=headers
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, decoder: Decoder) -> Iterator[Page]:
    root = tmp_path_factory.mktemp("corrected")
    for number, name in enumerate("abcd"):
        write_case(root / "data", name, colour=90 + number)
    found = [Collection(root / "data", None), Collection(write_synthetic(root / "synthetic"), None)]
    with ReviewStore(root / "reviews.db") as store:
        reviewing = Reviewing(store, found, decoder)
        app = make_app(Models(()), None, Access(), found, reviewing)
        headers = {"X-Requested-With": "syndiff", "Origin": ORIGIN}
        with TestClient(app, base_url=ORIGIN, headers=headers, raise_server_exceptions=False) as client:
            yield Page(client, store, reviewing)


@pytest.fixture
def page(server: Page) -> Page:
    return server.begin()


def drawn(height: int = 20, width: int = 24) -> np.ndarray:
    return np.random.default_rng(0).random((height, width)) < 0.3


def encoded(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
    content, picture = io.BytesIO(), Image.fromarray(pixels.astype(np.uint8) * np.uint8(255))
    (picture if mode is None else picture.convert(mode)).save(content, kind)
    return content.getvalue()


def test_what_was_drawn_is_what_training_reads(page: Page) -> None:
    answer = page.send(encoded(drawn()), case="b")
    assert answer.status_code == 200
    dataset = Dataset.open(page.root)
    review = reviews_of(dataset, page.store.events())["b"]
    told = answer.json()
    assert review.state == "corrected" and told["mine"]["corrected"] and told["last"]["kind"] == "correct"
    np.testing.assert_array_equal(page.store.mask(review.mask), drawn())


def test_a_correction_that_is_sent_again_is_kept_once(page: Page) -> None:
    first = page.send(encoded(drawn())).json()
    assert page.send(encoded(drawn())).json() == first and page.kept() == 1
    other = page.send(encoded(~drawn()))
    assert other.status_code == 422 and f"another event stands under {page.id}" in other.json()["error"]
    assert page.send(encoded(~drawn()), id=secrets.token_hex(16)).status_code == 200 and page.kept() == 2


def bomb(width: int, height: int) -> bytes:
    """A PNG whose head promises so many grey pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 10**6)) + chunk(b"IEND", b"")
    )


BAD = {
    "nothing": (b"", 400, "The file is empty"),
    "bomb": (bomb(60_000, 60_000), 422, "has more pixels than any picture may have"),
    "larger": (encoded(drawn(21, 24)), 422, "24x21 (width x height), but its picture 24x20"),
    "turned": (encoded(drawn().T), 422, "20x24 (width x height), but its picture 24x20"),
    "truncated": (encoded(drawn())[:-40], 422, "is damaged"),
    "jpeg": (encoded(drawn(), "JPEG"), 422, "is no PNG file"),
    "text": (b"hello", 422, "is no PNG file"),
    "colours": (encoded(np.dstack([drawn(), ~drawn(), drawn()])), 422, "is a coloured mask"),
    "greys": (encoded(drawn() + 0.5, mode="I;16"), 422, "other numbers than 0 and 255"),
    "transparent": (encoded(drawn(), mode="LA"), 200, ""),
}


@pytest.mark.parametrize("kind", BAD)
def test_no_content_is_more_than_a_sentence(page: Page, kind: str) -> None:
    content, status, said = BAD[kind]
    answer = page.send(content)
    assert answer.status_code == status
    if status != 200:
        told = answer.json()["error"]
        assert said in told and told.endswith(".") and "/" not in told  # no path of the server
        assert page.kept() == 0


def test_a_mask_has_a_limit_of_its_own_and_no_other_address_has_it(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    large = encoded(drawn()) + bytes(MAX_BODY)  # what follows the end of a PNG is no part of it
    assert page.send(large).status_code == 200
    assert page.send(b"x", headers={"Content-Length": str(10**9)}).status_code == 413
    monkeypatch.setattr(uploads, "MAX_UPLOAD", MAX_BODY)
    hidden = (bytes(2**12) for _ in range(2**5))
    assert (
        page.client.post(
            f"/api/review/{page.real.key}/cases/0/mask?reviewer=a&id={page.id}&content={'0' * 64}&base=", content=hidden
        ).status_code
        == 413
    )
    for address in ("mask/", "mask/more", "masks"):
        answer = page.client.post(f"/api/review/{page.real.key}/cases/0/{address}", content=large)
        assert answer.status_code == 413 and "64 KB" in answer.json()["error"]
    assert page.client.put(f"/api/review/{page.real.key}/cases/0/mask", content=large).status_code == 413


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"X-Requested-With": ""}, {"Host": "evil.example"}]
)
def test_another_page_cannot_correct(page: Page, headers: dict[str, str]) -> None:
    assert page.send(encoded(drawn()), headers=headers).status_code == 403 and page.kept() == 0


def test_a_case_that_was_changed_or_is_gone_is_not_corrected(page: Page) -> None:
    seen = page.seen("c")
    write_case(page.root, "c", colour=20)
    answer = page.send(encoded(drawn()), case="c", content=seen)
    assert answer.status_code == 409 and "c was changed while you looked at it" in answer.json()["error"]
    (page.root / "images" / "c.png").unlink()
    assert page.send(encoded(drawn()), case="c", content=seen).status_code == 409
    assert page.kept() == 0


def test_an_answer_that_got_lost_is_given_again_though_the_case_was_changed(page: Page) -> None:
    seen = page.seen("d")
    first = page.send(encoded(drawn()), case="d").json()
    write_case(page.root, "d", size=(30, 10))
    assert page.send(encoded(drawn()), case="d", content=seen).json()["event"] == first["event"]
    assert page.kept() == 1


def test_unknown_places_and_words_are_sentences(page: Page) -> None:
    known = page.real.names["a"]
    asked = {"reviewer": "ann", "content": "0" * 64, "id": page.id, "base": ""}
    for place, status in (
        (f"{'0' * 16}/cases/{known}", 404),
        (f"{page.real.key}/cases/{'0' * 20}", 409),
        (f"..%2f..%2f/cases/{known}", 404),
    ):
        answer = page.client.post(f"/api/review/{place}/mask", params=asked, content=encoded(drawn()))
        assert answer.status_code == status and len(answer.json()["error"]) > 20
    for words in ({"content": "x"}, {"id": "../x"}, {"reviewer": "=1+1"}, {"reviewer": " "}, {"reviewer": "a\nb"}):
        answer = page.send(encoded(drawn()), **words)
        assert answer.status_code == 422 and answer.json()["error"].endswith(".")
    assert page.kept() == 0


def test_a_mask_is_empty_only_where_no_lesion_was_painted(page: Page) -> None:
    nothing = encoded(np.zeros((20, 24)))
    answer = page.send(nothing, case="synthetic-000000", synthetic=True)
    assert answer.status_code == 422 and "reject the case instead" in answer.json()["error"]
    assert page.kept() == 0
    assert page.send(nothing).status_code == 200  # a frame without a lesion is a case to learn from
    assert (
        page.send(encoded(drawn()), case="synthetic-000001", synthetic=True, id=secrets.token_hex(16)).status_code
        == 200
    )


def test_a_full_disk_is_told(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(ReviewStore, "keep_mask", full)
        answer = page.send(encoded(drawn()))
        assert answer.status_code == 507 and "reviews.db is full: this was not saved" in answer.json()["error"]
    with monkeypatch.context() as patch:
        patch.setattr(uploads.anyio, "open_file", full)
        answer = page.send(encoded(drawn()))
        assert answer.status_code == 507 and "temporary files is full" in answer.json()["error"]
    assert page.kept() == 0
    assert page.send(encoded(drawn())).status_code == 200


def test_a_correction_of_another_tab_is_not_replaced_unseen(page: Page) -> None:
    shown = f"/api/review/{page.real.key}/cases/{page.real.names['a']}"
    base = page.client.get(shown, params={"reviewer": "ann"}).json()["base"]
    assert page.send(encoded(~drawn()), base=base).status_code == 200
    late = page.send(encoded(np.eye(20, 24)), base=base, id=secrets.token_hex(16))
    assert late.status_code == 409 and "You have corrected a since, perhaps in another tab" in late.json()["error"]
    assert page.kept() == 1
    undo = {"reviewer": "ann", "event": page.id, "id": secrets.token_hex(16)}
    assert page.client.post(f"/api/review/{page.real.key}/undo", json=undo).status_code == 200
    assert page.send(encoded(np.eye(20, 24)), base=base, id=secrets.token_hex(16)).status_code == 200
    other = page.send(encoded(drawn()), base="", reviewer="ben", id=secrets.token_hex(16))
    assert other.status_code == 200  # another reviewer's is another's
