"""`syndiff serve`: the page in a browser."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from syndiff.cli.common import say
from syndiff.inference.options import EngineName
from syndiff.models.settings import Refine


@dataclass(kw_only=True)
class Serve:
    """Try models in a browser, look through cases and review them: drop an image, see mask, doubt and time.

    Everything stays on this machine: nothing is loaded from elsewhere, and nothing is stored but reviews.
    """

    run_folder: Annotated[tuple[Path, ...], tyro.conf.arg(name="run")] = ()
    """Run folders of `syndiff train`, exports, or a folder of `syndiff run`, whose segmenters are all offered."""
    images: Path | None = None
    """Folder of images to choose from, with all below it."""
    browse: tuple[Path, ...] = ()
    """Folders to look through: datasets, synthetic datasets, evaluated runs, or a folder of `syndiff run`."""
    data: Path | None = None
    """Dataset that the source frames of synthetic cases and the test cases of runs are from; for --browse only."""
    reviews: Path | None = None
    """File of reviews, such as reviews.db, made where it is not there; the cases of --browse can be reviewed then."""
    host: str = "127.0.0.1"
    """Address to listen on. Any other than this machine's own demands a token."""
    port: int = 8601
    """Port to listen on; 0 takes a free one."""
    token: str | None = None
    """What a browser must show, 16 or more letters, digits, - and _; made where --host demands one."""
    engine: EngineName = "auto"
    """What computes the network; auto takes what is fastest here."""
    refine: Refine = "none"
    """With a second look at lesions, as `syndiff predict --refine`."""

    def run(self) -> None:
        """Serve until Ctrl-C."""
        from syndiff.inference.serve.server import serve

        serve(
            self.run_folder,
            images=self.images,
            browse=self.browse,
            data=self.data,
            reviews=self.reviews,
            host=self.host,
            port=self.port,
            token=self.token,
            engine=self.engine,
            refine=self.refine,
            tell=say,
        )
