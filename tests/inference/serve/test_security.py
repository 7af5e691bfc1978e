"""The guard: foreign pages, foreign names, missing tokens and hostile uploads are refused, with a sentence."""

import io
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from syndiff.errors import SyndiffError
from syndiff.inference.serve import uploads
from syndiff.inference.serve.app import PAGE, make_app
from syndiff.inference.serve.decoding import Decoder
from syndiff.inference.serve.models import Models
from syndiff.inference.serve.security import Access
from syndiff.inference.serve.uploads import shown_name

TOKEN = "a-token-of-24-characters"
ORIGIN = "http://192.0.2.7:8601"


@pytest.fixture(scope="module")
def abroad(runs: tuple[Path, Path]) -> Iterator[TestClient]:
    """A client of a server that is reached from other machines; it has no token yet."""
    with TestClient(make_app(Models(runs), None, Access.of("0.0.0.0", TOKEN)), base_url=ORIGIN) as made:
        yield made


def picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "PNG")
    return content.getvalue()


def test_every_answer_forbids_what_the_page_does_not_need(client: TestClient) -> None:
    for answer in (
        client.get("/"),
        client.get("/api/models"),
        client.get("/nowhere"),
        client.get("/", headers={"Host": "x"}),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


def test_the_page_has_no_outside_address_and_nothing_inline(client: TestClient) -> None:
    for address, (name, kind) in PAGE.items():
        answer = client.get(f"/{address}")
        assert answer.status_code == 200 and answer.headers["content-type"] == kind
        text = answer.text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.[a-z]|@import|url\((?!#)", text), name
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", text), name
    page = client.get("/").text
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", page)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8601", "192.0.2.7", "", "[::2]"]
)
def test_another_name_for_this_server_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/api/models", headers={"Host": host})
    assert answer.status_code == 403 and "syndiff serve printed" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:8601", "LOCALHOST"])
def test_names_of_this_machine_are_taken_at_any_port(client: TestClient, host: str) -> None:
    assert client.get("/api/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"X-Requested-With": ""},
    ],
)
def test_a_writing_request_of_another_page_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    for address in ("/api/pictures", "/api/folder/refresh", "/api/pictures/x/prediction"):
        answer = client.post(address, content=picture(), headers=headers)
        assert answer.status_code == 403 and "another page" in answer.json()["error"]
    assert client.options("/api/pictures", headers=headers).status_code == 403  # no preflight succeeds


def test_another_page_cannot_even_read_but_a_link_may_lead_here(client: TestClient) -> None:
    foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}
    assert client.get("/api/folder", headers={**foreign, "Sec-Fetch-Mode": "no-cors"}).status_code == 403
    assert client.get("/", headers={**foreign, "Sec-Fetch-Mode": "navigate"}).status_code == 200


def test_without_the_token_nothing_is_answered(abroad: TestClient) -> None:
    for address in ("/", "/app.js", "/api/models", "/?token=wrong", "/api/models?token=" + TOKEN):
        answer = abroad.get(address, follow_redirects=False)
        assert answer.status_code == 401 and "token" in answer.json()["error"]
    wrong = {"Authorization": "Bearer wrong", "Cookie": "syndiff_token=wrong"}
    assert abroad.get("/api/models", headers=wrong).status_code == 401
    assert abroad.get("/api/models", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    sent = {"X-Requested-With": "syndiff", "Origin": ORIGIN}
    assert abroad.post("/api/pictures", content=picture(), headers=sent).status_code == 401


def test_the_printed_address_becomes_a_cookie_that_scripts_cannot_read(abroad: TestClient) -> None:
    answer = abroad.get(f"/?token={TOKEN}", follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    abroad.cookies.clear()
    shown = {"Cookie": cookie.partition(";")[0]}
    assert abroad.get("/", headers=shown).status_code == 200
    headers = {**shown, "X-Requested-With": "syndiff", "Origin": ORIGIN, "X-Name": "a.png"}
    assert abroad.post("/api/pictures", content=picture(), headers=headers).status_code == 200
    assert abroad.get("/", headers={**shown, "Host": "evil.example"}).status_code == 403


def test_an_address_beyond_this_machine_has_a_token() -> None:
    assert Access.of("127.0.0.1", None).token is None and Access.of("localhost", None).token is None
    one, two = Access.of("0.0.0.0", None).token, Access.of("0.0.0.0", None).token
    assert one and two and one != two and len(one) >= 32
    for token in ("short", "with spaces in it, and long", ""):
        with pytest.raises(SyndiffError, match="--token has"):
            Access.of("127.0.0.1", token)
    with pytest.raises(SyndiffError, match="is not known here"):
        Access.of("nowhere.invalid", None)


def bomb(width: int, height: int) -> bytes:
    """A whole PNG of so many pixels, all black, in a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 10**6)) + chunk(b"IEND", b"")
    )


def test_a_bomb_is_refused_at_once(client: TestClient) -> None:
    began = time.perf_counter()
    answer = client.post("/api/pictures", content=bomb(60_000, 60_000), headers={"X-Name": "holiday.png"})
    assert answer.status_code == 422 and answer.json()["error"].startswith(
        "holiday.png has more than 100,000,000 pixels"
    )
    assert time.perf_counter() - began < 5


def test_a_gigabyte_is_refused_before_it_is_read(client: TestClient) -> None:
    answer = client.post("/api/pictures", content=b"x", headers={"Content-Length": str(10**9)})
    assert answer.status_code == 413 and "larger than 64 MB" in answer.json()["error"]


def test_no_other_request_is_large(client: TestClient) -> None:
    address, large = "/api/pictures/x/prediction", b'{"model": ' + b" " * 2**17 + b"0}"
    kind = {"Content-Type": "application/json"}
    told = client.post(address, content=large, headers=kind)
    hidden = client.post(address, content=(large[i : i + 2**12] for i in range(0, len(large), 2**12)), headers=kind)
    assert (told.status_code, hidden.status_code) == (413, 413)
    assert all("larger" in each.json()["error"] or "too large" in each.json()["error"] for each in (told, hidden))


def test_an_upload_that_hides_its_length_ends_at_the_limit(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_UPLOAD", 2**20)
    answer = client.post("/api/pictures", content=(b"\0" * 2**18 for _ in range(8)))
    assert answer.status_code == 413
    assert client.post("/api/pictures", content=picture()).status_code == 422  # nameless: of no known kind
    assert client.post("/api/pictures", content=b"", headers={"X-Name": "a.png"}).status_code == 400


@pytest.mark.parametrize(
    "name", ["../../x.png", "..%2F..%2Fx.png", "C:%5Cx%5Cx.png", "/etc/x.png", "x%00.png", "%0Ax.png"]
)
def test_a_name_with_steps_is_only_a_name(client: TestClient, name: str) -> None:
    answer = client.post("/api/pictures", content=picture(), headers={"X-Name": name})
    assert answer.status_code == 200 and answer.json()["name"] == "x.png"
    assert shown_name("") == "picture" and shown_name("..") == ".."  # shown, never opened


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/page/app.js", "/..%2fapp.py"])
def test_a_path_with_steps_leads_nowhere(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
    assert client.post(f"/api/folder{path}/picture").status_code in (404, 405)


@pytest.mark.parametrize(
    "name", ["a.png", "a.jpg", "a.tif", "a.dcm", "a.nii", "a.nii.gz", "a.webp", "a.mp4", "a.exe", "a"]
)
def test_no_content_is_more_than_a_sentence(client: TestClient, name: str) -> None:
    for content in (b"\0" * 400, b"\x89PNG\r\n\x1a\n" + b"x" * 100, b"\0" * 128 + b"DICM" + b"\xff" * 300, b"GIF89a"):
        answer = client.post("/api/pictures", content=content, headers={"X-Name": name})
        assert answer.status_code == 422 and answer.json()["error"].endswith(".")
        assert "/" not in answer.json()["error"].replace(name, "")  # no path of the server
    assert client.post("/api/pictures", content=picture(), headers={"X-Name": "a.png"}).status_code == 200


def test_uploads_leave_nothing_behind(runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    headers = {"X-Requested-With": "syndiff", "X-Name": "a.png"}
    with TestClient(make_app(Models(runs), None, Access()), base_url="http://localhost", headers=headers) as own:
        assert [own.post("/api/pictures", content=each).status_code for each in (picture(), b"x")] == [200, 422]
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_server_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, used, other = (
        tmp_path / f"syndiff-serve-{name}" for name in (f"{ended.pid}-x", f"{os.getppid()}-x", "notes")
    )
    for path in (left, used, other):
        path.mkdir()
        (path / "a.dcm").write_bytes(b"patient")
    link = tmp_path / f"syndiff-serve-{ended.pid}-y"
    link.symlink_to(other)
    with uploads.own_folder() as made:
        assert not left.exists() and (used / "a.dcm").exists() and (other / "a.dcm").exists()
        assert Path(made).stat().st_mode & 0o77 == 0


def test_a_decoder_that_is_killed_or_too_slow_costs_one_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(picture())
    decoder = Decoder()
    try:
        assert decoder.read(path).image.shape == (8, 8, 3)
        decoder._process.kill()
        decoder._process.join()
        assert decoder.read(path).frames == 1
        decoder._seconds = 0.001
        Image.new("RGB", (3000, 3000)).save(path)
        with pytest.raises(SyndiffError, match="takes longer than"):
            decoder.read(path)
        decoder._seconds = 60.0
        path.write_bytes(picture())
        assert decoder.read(path).frames == 1
    finally:
        decoder.close()
