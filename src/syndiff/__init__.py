"""SynDiff: text-guided synthesis of annotated medical images and one-step latent-diffusion segmentation.

    import syndiff

    syndiff.train("my-polyps", "runs/mine")
    print(syndiff.evaluate("runs/mine", "my-polyps"))
    mask = syndiff.load("runs/mine").predict(image).mask  # HxWx3 uint8 to HxW bool

Everything a caller needs is a name of this package. It is light to import: what a name needs is loaded with its first
use. Nothing is printed: progress is a bar on standard error (`progress=False` for none), messages go to the logger
"syndiff". A mistake in what was given raises `SyndiffError`, whose text says how to mend it.
"""

TYPE_CHECKING = False  # typing's own takes milliseconds to import, in which Ctrl-C would show a traceback
__version__ = "0.1.0"

if TYPE_CHECKING:
    from syndiff.config.loading import load_settings
    from syndiff.config.settings import Settings
    from syndiff.data.dataset import Case, Dataset
    from syndiff.data.splits import Split
    from syndiff.errors import SyndiffError
    from syndiff.inference.export import Exported, export
    from syndiff.inference.load import load
    from syndiff.inference.predict import Predicted, predict
    from syndiff.models.calibration import Calibration
    from syndiff.models.predictor import Prediction
    from syndiff.phantom.folder import write_phantom
    from syndiff.pipeline.adaptation import Adapted, adapt
    from syndiff.pipeline.calibration import calibrate
    from syndiff.pipeline.evaluation import Evaluation, evaluate
    from syndiff.pipeline.run import RunResult, run
    from syndiff.pipeline.splitting import split
    from syndiff.pipeline.synthesis import merge, synthesize
    from syndiff.pipeline.training import Trained, train
    from syndiff.synthesis.finish import SynthesisSummary
    from syndiff.workers.settings import Ray

__all__ = [
    "Adapted",
    "Calibration",
    "Case",
    "Dataset",
    "Evaluation",
    "Exported",
    "Predicted",
    "Prediction",
    "Ray",
    "RunResult",
    "Settings",
    "Split",
    "SyndiffError",
    "SynthesisSummary",
    "Trained",
    "adapt",
    "calibrate",
    "evaluate",
    "export",
    "load",
    "load_settings",
    "merge",
    "predict",
    "run",
    "split",
    "synthesize",
    "train",
    "write_phantom",
]

_HOMES = {
    "syndiff.config.loading": ("load_settings",),
    "syndiff.config.settings": ("Settings",),
    "syndiff.data.dataset": ("Case", "Dataset"),
    "syndiff.data.splits": ("Split",),
    "syndiff.errors": ("SyndiffError",),
    "syndiff.inference.export": ("Exported", "export"),
    "syndiff.inference.load": ("load",),
    "syndiff.inference.predict": ("Predicted", "predict"),
    "syndiff.models.calibration": ("Calibration",),
    "syndiff.models.predictor": ("Prediction",),
    "syndiff.phantom.folder": ("write_phantom",),
    "syndiff.pipeline.adaptation": ("Adapted", "adapt"),
    "syndiff.pipeline.calibration": ("calibrate",),
    "syndiff.pipeline.evaluation": ("Evaluation", "evaluate"),
    "syndiff.pipeline.run": ("RunResult", "run"),
    "syndiff.pipeline.splitting": ("split",),
    "syndiff.pipeline.synthesis": ("merge", "synthesize"),
    "syndiff.pipeline.training": ("Trained", "train"),
    "syndiff.synthesis.finish": ("SynthesisSummary",),
    "syndiff.workers.settings": ("Ray",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'syndiff' has no attribute {name!r}")
    import importlib
    import logging

    logger = logging.getLogger("syndiff")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # messages are for whoever asks for them
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
