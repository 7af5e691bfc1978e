"""`syndiff serve` as a process: how fast it answers and paints, ten thousand cases, eight clients, and a kill.

    python benchmarks/serve.py --out results/serve/page.json

Parts: `answer` is the wall time of a prediction as the browser waits for it, beyond the seconds of its stages. `paint`
opens each view in a new Chromium with an empty profile and reads its first contentful paint, from the navigation on;
the server has just started, so that in the first repeat it still loads its model. `browse` scrolls a list of 10,000
cases to random places and waits for the thumbnails in sight, while another client opens cases, then asks for every
thumbnail; memory is that of the server and its decoding processes (PSS). `clients` has eight at once upload, predict,
review and undo. `kill` ends the server with SIGKILL in mid-review, many times, and looks for every decision that was
acknowledged.
Targets: answer at most 50 ms beyond the model; first paint under 0.5 s; no request of the list waits a second, and
memory is flat; of clients and kills nothing is lost, and no answer is a 5xx. Random weights of the preset compact
(tiny ones for `clients`); eight phantom frames of 384 x 288 pixels under many names. `chromium` must be on the PATH.
"""

import argparse
import contextlib
import os
import random
import re
import secrets
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from playwright.sync_api import Page, sync_playwright
from predict import random_run
from predict_folder import tiny_run

from syndiff.files import write_json
from syndiff.phantom import write_phantom
from syndiff.reviews.store import ReviewStore
from syndiff.training.run_folder import environment

PARTS = ("answer", "paint", "browse", "clients", "kill")
HEADERS = {"X-Requested-With": "syndiff"}
PNG = {"X-Name": "frame.png"}
REPEATS, PAINTS, JUMPS, SECONDS, KILLS, CLIENTS = 40, 5, 40, 30.0, 20, 8
IN_SIGHT = """() => {
  const box = document.getElementById('grid').getBoundingClientRect();
  const seen = [...document.querySelectorAll('#grid button')].filter(one => {
    const at = one.getBoundingClientRect(); return at.bottom > box.top && at.top < box.bottom; });
  return seen.length > 0 && seen.every(one => { const picture = one.querySelector('img');
    return picture && picture.complete && picture.naturalWidth > 0; });
}"""
PAINTED = "() => performance.getEntriesByName('first-contentful-paint').length > 0"
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
SLOWEST = "Math.max(0, ...performance.getEntriesByType('resource').map(one => one.duration))"


@dataclass
class Server:
    """A running `syndiff serve`."""

    process: subprocess.Popen[str]
    address: str

    def client(self) -> httpx.Client:
        """A client that keeps its connection, as a browser does."""
        return httpx.Client(base_url=self.address, headers=HEADERS, timeout=120)

    def memory_mib(self) -> float:
        """Proportional share of the memory of the server and the processes it has started."""
        own = psutil.Process(self.process.pid)
        return sum(each.memory_full_info().pss for each in (own, *own.children(recursive=True))) / 2**20

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def serving(*options: object) -> Iterator[Server]:
    """`syndiff serve` with these options on a free port."""
    command = [sys.executable, "-m", "syndiff", "serve", "--port", "0", *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            if found is None:
                raise SystemExit(f"{shlex.join(command)} did not start")
            yield Server(process, found[0])
        finally:
            process.kill()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 90th percentile and largest."""
    ordered = sorted(values)
    at = lambda share: ordered[min(len(ordered) - 1, int(share * len(ordered)))]  # noqa: E731
    return {"median": statistics.median(ordered), "p90": at(0.9), "largest": ordered[-1], "count": len(ordered)}


def answer(run: Path, images: Path, repeats: int) -> dict[str, Any]:
    """Milliseconds of a prediction beyond the model's stages, and of opening the picture before it."""
    found: dict[str, list[float]] = {"beyond_the_model": [], "model": [], "upload": []}
    with serving("--run", run) as server, server.client() as client:
        for turn in range(repeats + 3):
            frame = sorted(images.iterdir())[turn % 8].read_bytes()
            upload, picture = timed(client, "POST", "/api/pictures", content=frame, headers=PNG)
            whole, told = timed(client, "POST", f"/api/pictures/{picture['id']}/prediction", json={"model": 0})
            if turn >= 3:
                model = 1000 * sum(told["seconds"].values())
                found["model"].append(model)
                found["beyond_the_model"].append(whole - model)
                found["upload"].append(upload)
    return {"milliseconds": {name: spread(values) for name, values in found.items()}}


def timed(client: httpx.Client, method: str, address: str, **more: Any) -> tuple[float, Any]:
    """Milliseconds of an answer, and what it says; a refusal ends the benchmark."""
    began = time.perf_counter()
    got = client.request(method, address, **more)
    took = 1000 * (time.perf_counter() - began)
    return took, got.raise_for_status().json()


def paint(server: Server, views: dict[str, str], repeats: int) -> dict[str, Any]:
    """Milliseconds from the navigation to the first paint, and until the view has what it lists; cold each time."""
    first: dict[str, list[float]] = {view: [] for view in views}
    ready: dict[str, list[float]] = {view: [] for view in views}
    for _ in range(repeats):
        for view, content in views.items():
            with chromium() as page:
                began = time.perf_counter()
                page.goto(server.address + view, wait_until="commit")
                page.wait_for_selector(content)
                ready[view].append(1000 * (time.perf_counter() - began))
                page.wait_for_function(PAINTED)
                first[view].append(page.evaluate(FIRST_PAINT))
    return {view or "try": {"first_paint_ms": spread(first[view]), "listed_ms": spread(ready[view])} for view in views}


@contextlib.contextmanager
def chromium() -> Iterator[Page]:
    """A page in a browser process of its own with an empty profile."""
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as started:
        context = started.chromium.launch_persistent_context(
            profile,
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu"],
            viewport={"width": 1280, "height": 900},
        )
        yield context.pages[0]
        context.close()


def browse(server: Server, jumps: int, seed: int) -> dict[str, Any]:
    """Scroll to random places while cases are opened; then every thumbnail; the server's memory around it."""
    order, waits, opened = random.Random(seed), [], []
    lists = {"name": "sort=name", "filtered": "text=000&sort=name", "far": "sort=name&descending=true&offset=9900"}
    with server.client() as client, chromium() as page:
        folder = first_folder(client)
        pages = {
            name: spread([timed(client, "GET", f"{folder}?{query}")[0] for _ in range(10)])
            for name, query in lists.items()
        }
        ids = listed(client)
        page.goto(server.address + "browse")
        page.wait_for_function(IN_SIGHT)
        before, stop = server.memory_mib(), threading.Event()

        def open_cases() -> None:
            with server.client() as other:
                while not stop.wait(0.1):
                    opened.append(timed(other, "GET", f"{folder}/{order.choice(ids)}")[0])

        thread = threading.Thread(target=open_cases)
        thread.start()
        for _ in range(jumps):
            page.evaluate(
                "share => { const box = document.getElementById('grid');"
                "box.scrollTop = share * (box.scrollHeight - box.clientHeight); }",
                order.random(),
            )
            began = time.perf_counter()
            page.wait_for_timeout(40)  # two frames: the new place is drawn
            page.wait_for_function(IN_SIGHT, polling=10)
            waits.append(1000 * (time.perf_counter() - began))
        stop.set()
        thread.join()
        slowest = page.evaluate(SLOWEST)
        memory = [server.memory_mib()]
    for half in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
        began = time.perf_counter()
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda case: fetched(server, f"{folder}/{case}/thumbnail.jpg"), half))
        memory.append(server.memory_mib())
    return {
        "cases": len(ids),
        "page_of_names_ms": pages,
        "thumbnails_in_sight_ms": spread(waits),
        "slowest_request_of_the_page_ms": slowest,
        "a_case_opened_meanwhile_ms": spread(opened),
        "thumbnails_a_second": len(ids) / 2 / (time.perf_counter() - began),
        "memory_mib": {"before": before, "after_scrolling": memory[0], "after_half": memory[1], "after_all": memory[2]},
    }


_HELD = threading.local()


def fetched(server: Server, address: str) -> bytes:
    """The content at an address, over the thread's own connection."""
    if getattr(_HELD, "server", None) is not server:
        _HELD.server, _HELD.client = server, server.client()
    return _HELD.client.get(address).raise_for_status().content


def first_folder(client: httpx.Client) -> str:
    """The address of the first folder that is browsed."""
    return f"/api/browse/{client.get('/api/browse').raise_for_status().json()[0]['key']}"


def listed(client: httpx.Client) -> list[str]:
    """The ids of all cases of the first folder."""
    ids: list[str] = []
    while True:
        told = client.get(f"{first_folder(client)}?offset={len(ids)}").raise_for_status().json()
        ids += [item["id"] for item in told["items"]]
        if len(ids) >= told["total"]:
            return ids


@dataclass
class Reviewer:
    """A person who opens cases and decides; what the server acknowledged is kept to be looked for."""

    server: Server
    name: str
    key: str
    order: random.Random
    acknowledged: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)

    def ask(self, client: httpx.Client, method: str, address: str, **more: Any) -> Any:
        """An answer, counted by its status."""
        began = time.perf_counter()
        got = client.request(method, address, **more)
        self.waits.append(1000 * (time.perf_counter() - began))
        self.statuses[got.status_code] += 1
        return got.json() if got.is_success else {}

    def decide(self, client: httpx.Client, case: str) -> None:
        """Open a case and accept, reject or rate it; one in eight is undone."""
        at = f"/api/review/{self.key}"
        told = self.ask(client, "GET", f"{at}/cases/{case}", params={"reviewer": self.name})
        kind, value = self.order.choice((("accept", ""), ("reject", "colour"), ("rate", "4")))
        said = {"id": secrets.token_hex(16), "reviewer": self.name, "content": told.get("content", "0" * 64)}
        kept = self.ask(client, "POST", f"{at}/cases/{case}/events", json={**said, "kind": kind, "value": value})
        if kept:
            self.acknowledged.append(said["id"])
        if kept and self.order.random() < 1 / 8:
            undo = {"reviewer": self.name, "event": said["id"], "id": secrets.token_hex(16)}
            if self.ask(client, "POST", f"{at}/undo", json=undo):
                self.acknowledged.append(undo["id"])


def clients(server: Server, reviews: Path, frames: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Eight at once upload, predict and review; what was acknowledged must be in the file."""
    with server.client() as client:
        ids, key = listed(client), client.get("/api/review").json()["folders"][0]["key"]
        first, began = Reviewer(server, "client", key, random.Random(seed)), time.perf_counter()
        first.decide(client, ids[0])  # the server takes the fingerprint of all files once
        first_decision = time.perf_counter() - began
    pictures = [each.read_bytes() for each in sorted(frames.iterdir())]
    people = [Reviewer(server, f"client {n}", key, random.Random(seed + n)) for n in range(1, CLIENTS + 1)]
    until = time.monotonic() + seconds

    def work(one: Reviewer) -> None:
        with server.client() as own:
            while time.monotonic() < until:
                held = one.ask(own, "POST", "/api/pictures", content=one.order.choice(pictures), headers=PNG)
                one.ask(own, "POST", f"/api/pictures/{held.get('id')}/prediction", json={"model": 0})
                one.decide(own, one.order.choice(ids))

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, people))
    statuses = sum((one.statuses for one in people), Counter())
    return {
        "clients": CLIENTS,
        "seconds": seconds,
        "answers_by_status": {str(status): count for status, count in sorted(statuses.items())},
        "first_decision_s": first_decision,
        "wait_ms": spread([wait for one in people for wait in one.waits]),
        **lost(reviews, [each for one in (first, *people) for each in one.acknowledged]),
    }


def lost(reviews: Path, acknowledged: list[str]) -> dict[str, int]:
    """How many decisions were acknowledged, how many of them are not in the file, and how many stand there twice."""
    with ReviewStore(reviews, read_only=True) as store:
        there = Counter(event.id for event in store.events())
    return {
        "acknowledged": len(acknowledged),
        "lost": sum(each not in there for each in acknowledged),
        "twice": sum(count > 1 for count in there.values()),
    }


def kills(browsed: Path, reviews: Path, times: int, seed: int) -> dict[str, Any]:
    """SIGKILL in mid-review, again and again; after each the server starts again and the file has what it had said."""
    order, acknowledged, missing = random.Random(seed), [], 0
    for _ in range(times):
        with serving("--browse", browsed, "--reviews", reviews) as server:
            with server.client() as client:
                ids, key = listed(client), client.get("/api/review").json()["folders"][0]["key"]
            one = Reviewer(server, "reviewer", key, random.Random(order.random()))
            soon = threading.Timer(order.uniform(0, 0.5), server.kill)
            with server.client() as own, contextlib.suppress(httpx.TransportError):
                while one.statuses.keys() <= {200}:
                    one.decide(own, order.choice(ids))
                    if soon.ident is None:
                        soon.start()
            soon.join()
        acknowledged += one.acknowledged
        missing += lost(reviews, one.acknowledged)["lost"]
    return {
        "kills": times,
        "lost_right_after": missing,
        **lost(reviews, acknowledged),
    }


def many_cases(phantom: Path, count: int, folder: Path) -> Path:
    """`count` cases of eight frames: hard links."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
        frames = sorted((phantom / part).iterdir())
        for number in range(count):
            os.link(frames[number % len(frames)], folder / part / f"case {number}.png")
    return folder


def main() -> None:
    """Measure the chosen parts and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--cases", type=int, default=10_000, help="cases of the folder that is browsed")
    parser.add_argument("--share", type=float, default=1.0, help="of all repeats, kills and seconds, for a try")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    times = lambda number: max(2, round(number * chosen.share))  # noqa: E731
    found: dict[str, Any] = {
        "command": shlex.join(sys.argv), "seed": chosen.seed, "load_at_start": os.getloadavg()[0],
        "environment": environment(),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        write_phantom(scratch / "phantom", groups=8, frames=1, height=288, width=384, seed=chosen.seed)
        frames = scratch / "phantom" / "images"
        many = many_cases(scratch / "phantom", chosen.cases, scratch / "many")
        if "answer" in chosen.only:
            found["answer"] = answer(random_run(scratch / "compact"), frames, times(REPEATS))
        if {"paint", "browse", "clients"} & set(chosen.only):
            reviews, run = scratch / "reviews.db", tiny_run(scratch / "tiny")
            with serving("--run", run, "--images", frames, "--browse", many, "--reviews", reviews) as server:
                if "paint" in chosen.only:
                    found["paint"] = paint(server, VIEWS, times(PAINTS))
                if "browse" in chosen.only:
                    found["browse"] = browse(server, times(JUMPS), chosen.seed)
                if "clients" in chosen.only:
                    found["clients"] = clients(server, reviews, frames, SECONDS * chosen.share, chosen.seed)
        if "kill" in chosen.only:
            few = many_cases(scratch / "phantom", 100, scratch / "few")
            found["kill"] = kills(few, scratch / "killed.db", times(KILLS), chosen.seed)
    write_json(chosen.out, found)


VIEWS = {
    "": "#names button",
    "browse": "#grid button img",
    "review": "#enter:not([hidden])",
    "blind": "#setup:not([hidden])",
}
"""Each view's address, and what shows that it has its list."""


if __name__ == "__main__":
    main()
