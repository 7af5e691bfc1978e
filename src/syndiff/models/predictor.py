"""What every segmenter looks like from outside: an image in, a mask and the seconds of the stages out. No torch."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from syndiff.data.dataset import any_class
from syndiff.data.readers import read_image
from syndiff.data.resize import resize_image, restore_probability
from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError, shown
from syndiff.models.noise import case_noise
from syndiff.models.refinement import Look, Refinement, check_refine
from syndiff.models.settings import Refine
from syndiff.models.tta import disagreement, make_views, undo_views

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Prediction:
    """A segmenter's answer for one image, at the size of that image.

    mask: HxW bool, True = lesion, of any class.
    probability: HxW float32 in [0, 1], of any class.
    seconds: wall time of each stage in the order the stages ran, for example
        preprocess, encode, denoise, decode, postprocess, and refine, all of a second look.
    wide: HxW bool, the wide contour of a calibrated model (`syndiff calibrate`), which holds the mask; None for any
        other, and where the answer started from another one's latents. Of several classes that of any.
    disagreement: of the views of test-time augmentation, 1 - their mean Dice, in [0, 1]; None for a single view. As
        `latents` and `views` it is that of the first look, at the whole frame.
    latents: the clean mask latents (views, c, h', w') that the network estimated, without any value for a network
        without latents; the next frame of a video may start from them.
    views: the probabilities (views, h', w') of each view of test-time augmentation, upright, at the model's own size;
        of any class.
    targets: the K classes that the segmenter tells apart. by_class: of several, the probabilities KxHxW; None of one.
    wide_by_class: of several, the wide contours (HxW bool) of the classes that were calibrated, by name; in `wide` the
        others have their masks.

    >>> answer = syndiff.load("runs/mine").predict(image)
    >>> bool(0 <= answer.probability.min() <= answer.probability.max() <= 1)
    True
    """

    mask: NDArray[np.bool_]
    probability: NDArray[np.float32]
    seconds: dict[str, float]
    wide: NDArray[np.bool_] | None = None
    disagreement: float | None = None
    latents: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0, 0, 0), np.float32), repr=False)
    views: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0, 0), np.float32), repr=False)
    targets: Targets = field(default_factory=Targets)
    by_class: NDArray[np.float32] | None = field(default=None, repr=False)
    wide_by_class: dict[str, NDArray[np.bool_]] = field(default_factory=dict, repr=False)

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Probabilities KxHxW, one map for each class of `targets`."""
        return self.probability[None] if self.by_class is None else self.by_class

    @property
    def masks(self) -> NDArray[np.bool_]:
        """Masks KxHxW, one for each class of `targets`: `Targets.decide` says which pixels are whose."""
        return self.mask[None] if self.by_class is None else self.targets.decide(self.by_class)

    @property
    def wides(self) -> dict[str, NDArray[np.bool_]]:
        """The wide contours HxW, by class; none of a class that was not calibrated."""
        if self.targets.several:
            return self.wide_by_class
        return {} if self.wide is None else {self.targets.names[0]: self.wide}

    def labels(self, where: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """The mask as numbers, HxW: 0 and 255 of one class, class numbers of several.

        Raises SyndiffError where classes may overlap; `where` names what takes numbers only, and begins the sentence.
        """
        if self.targets.several and self.targets.overlap:
            raise SyndiffError(
                f"{where} takes one number for each pixel, but classes of this model may overlap ({self.targets}): "
                "predict single pictures, which give a TIFF with a page for each class."
            )
        return self.targets.labels(self.masks)

    def byte_labels(self, where: str) -> NDArray[np.uint8]:
        """`labels`, of one byte each. Raises SyndiffError for class numbers above 255 too."""
        labels = self.labels(where)
        if labels.dtype != np.uint8:
            raise SyndiffError(f"{where} takes numbers up to 255, found {self.targets}; renumber the classes.")
        return labels.astype(np.uint8, copy=False)

    def widened(self, thresholds: Sequence[float | None]) -> "Prediction":
        """The same with the wide contours at these thresholds, one for each class; None for a class without one."""
        found = zip(self.targets.names, self.probabilities, thresholds, strict=True)
        return self.with_wides({name: each > np.float32(above) for name, each, above in found if above is not None})

    def with_wides(self, wides: dict[str, NDArray[np.bool_]]) -> "Prediction":
        """The same with these wide contours HxW, by class; each is made to hold the mask of its class."""
        masks = dict(zip(self.targets.names, self.masks, strict=True))
        wides = {name: masks[name] | wide for name, wide in wides.items()}
        if not wides:
            return replace(self, wide=None, wide_by_class={})
        wide = any_class(np.stack(list((masks | wides).values())))
        return replace(self, wide=wide, wide_by_class=wides if self.targets.several else {})

    @classmethod
    def of(cls, probability_khw: NDArray[np.float32], targets: Targets, seconds: dict[str, float]) -> "Prediction":
        """The answer that probabilities KxHxW of the classes of `targets` stand for."""
        several = probability_khw if targets.several else None
        mask = any_class(targets.decide(probability_khw))
        return cls(mask, targets.foreground(probability_khw), seconds, targets=targets, by_class=several)


class Predictor(Protocol):
    """Anything that segments one image; evaluation, timing, report and inference know no more than this."""

    @property
    def name(self) -> str:
        """How tables and files call this predictor."""

    def predict(self, image: NDArray, *, case_id: str) -> Prediction:
        """Segment `image` (HxWx3, uint8 or uint16, any size).

        Any noise is seeded by (the predictor's seed, `case_id`): a case gets the same answer whatever
        was predicted before it.
        """


class OneClass:
    """`Predictor` of one class, number `index` from 0, of a segmenter of several."""

    def __init__(self, predictor: Predictor, index: int) -> None:
        self.predictor, self.index = predictor, index

    @property
    def name(self) -> str:
        """That of the segmenter."""
        return self.predictor.name

    def predict(self, image: NDArray, *, case_id: str) -> Prediction:
        """The segmenter's answer for this class."""
        answer = self.predictor.predict(image, case_id=case_id)
        return Prediction(answer.masks[self.index], answer.probabilities[self.index], answer.seconds)


class StageClock:
    """Seconds spent in the named stages of one prediction; a stage entered again adds up.

    On a CUDA device the clock waits for the queued kernels before it reads the time, on both sides of
    the stage: without that, the time of a stage is only the time of launching it.
    """

    def __init__(self, device: "torch.device | None" = None) -> None:
        self._wait: Callable[[], None] = lambda: None
        if device is not None and device.type == "cuda":
            import torch

            self._wait = lambda: torch.cuda.synchronize(device)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of a `with` statement under `name`."""
        start = self._now()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + self._now() - start

    def _now(self) -> float:
        self._wait()
        return time.perf_counter()


class Answer(NamedTuple):
    """What a network computes: probabilities (b, K, h, w), and the clean latents (b, c, h', w') behind them."""

    probability_bkhw: NDArray[np.float32]
    latent_bchw: NDArray[np.float32]


class Start(NamedTuple):
    """Where denoising starts instead of at the model's own timestep: latents z_t (views, c, h', w') and their t."""

    latent_bchw: NDArray[np.float32]
    timestep: int


class Engine(Protocol):
    """A trained network behind arrays; what computes it (torch, ONNX Runtime, OpenVINO) is its own affair."""

    @property
    def name(self) -> str:
        """ "torch", "onnx" or "openvino"."""

    @property
    def targets(self) -> Targets:
        """The K classes that the network tells apart."""

    @property
    def noise_shape(self) -> tuple[int, int, int]:
        """Shape (c, h', w') of the noise for an image of the model's size; without any value where it needs none."""

    def clock(self) -> StageClock:
        """A clock that knows how to wait for the device."""

    def segment(
        self, image_bhwc: NDArray[np.uint8], latent_bchw: NDArray[np.float32], timestep: int | None, clock: StageClock
    ) -> Answer:
        """Answers for square images of the model's size, in stages of `clock`.

        `latent_bchw` is the noise, or with a `timestep` the noisy latent z_t that belongs to it.
        Raises SyndiffError for a `timestep` that it cannot start from.
        """


class SquarePredictor:
    """`Predictor` of any engine: resize to the model's square, segment its views, back to the image's own size.

    wide_thresholds: for each class, the probability above which a pixel belongs to its wide contour, None for one
        without a guarantee; empty where there is none at all.
    refine: whether lesions get a second look at zoomed crops of the image; `refinement` says where and how.

    Raises SyndiffError for a `refine` that there is not.
    """

    refinement = Refinement()

    def __init__(
        self,
        engine: Engine,
        image_size: int,
        *,
        name: str,
        seed: int = 0,
        tta: int = 1,
        wide_thresholds: Sequence[float | None] = (),
        refine: Refine = "none",
    ) -> None:
        self.engine, self.image_size = engine, image_size
        self.name, self.seed, self.tta, self.wide_thresholds = name, seed, tta, tuple(wide_thresholds)
        self.refine = check_refine(refine)

    def predict(
        self, image: NDArray | Path | str, *, case_id: str | None = None, start: Start | None = None
    ) -> Prediction:
        """Segment one image: HxWx3 uint8 or uint16 of any size, or the path of a picture file.

        The noise is seeded by (seed, case_id); by default that is the file's name without its suffix, and "" for an
        array. `start` is for videos: latents to start from in place of the noise.

        Raises SyndiffError for an array of another shape or type, a file that cannot be read, a `start` together with a
        second look, and where the network computes no finite numbers.
        """
        if isinstance(image, str | Path):
            case_id, image = Path(image).stem if case_id is None else case_id, read_image(Path(image))
        check_image(image)
        if start is not None and self.refine != "none":
            raise SyndiffError(f"{self.name}: a second look begins with noise, not with latents; leave out start.")
        case_id = case_id or ""
        clock = self.engine.clock()
        # 1. To the model's square, its views, and the noise it begins with.
        with clock.stage("preprocess"):
            views = make_views(resize_image(image, self.image_size), self.tta)
            begin = start or Start(self._noise(case_id, self.tta), -1)
        # 2. The network, in the stages the timing table shows.
        answer = self.engine.segment(views, begin.latent_bchw, None if start is None else start.timestep, clock)
        # 3. Back to the image's own size.
        with clock.stage("postprocess"):
            targets, small = self.engine.targets, self._upright(answer.probability_bkhw, case_id)
            mean = small.mean(0, dtype=np.float32)
            probability = np.stack([restore_probability(each, *image.shape[:2]) for each in mean])
        # 4. A second look at what was found, where it is asked for.
        if self.refine != "none":
            with clock.stage("refine"):
                look, tiles = self._look(begin.latent_bchw, case_id), self.refine == "tiles"
                probability = self.refinement.refine(image, probability, mean, look, targets, tiles=tiles)
        # 5. The threshold comes last.
        with clock.stage("postprocess"):
            found = Prediction.of(probability, targets, clock.seconds)
            if self.wide_thresholds and start is None:  # they were calibrated on answers that start from noise
                found = found.widened(self.wide_thresholds)
            return replace(
                found,
                disagreement=float(np.mean([disagreement(each) for each in small.swapaxes(0, 1)]))
                if self.tta > 1
                else None,
                latents=answer.latent_bchw,
                views=np.stack([targets.foreground(view) for view in small]),
            )

    def _look(self, noise_bchw: NDArray[np.float32], case_id: str) -> Look:
        """Segments several parts of an image in one batch, each with the noise of the image."""

        def look(parts: Sequence[NDArray], in_all_views: bool) -> list[NDArray[np.float32]]:
            count = self.tta if in_all_views else 1
            views = np.concatenate([make_views(resize_image(part, self.image_size), count) for part in parts])
            noise = np.concatenate([noise_bchw[:count]] * len(parts))
            answer = self.engine.segment(views, noise, None, self.engine.clock())
            each = answer.probability_bkhw.reshape(len(parts), count, *answer.probability_bkhw.shape[1:])
            return [self._upright(one, case_id).mean(0, dtype=np.float32) for one in each]

        return look

    def _upright(self, probability_bkhw: NDArray[np.float32], case_id: str) -> NDArray[np.float32]:
        """The probabilities of the views of one square, checked and turned back."""
        check_answer(f"{self.name} does not answer for {case_id}", probability_bkhw)
        return undo_views(probability_bkhw)

    def _noise(self, case_id: str, count: int) -> NDArray[np.float32]:
        return case_noise(self.engine.noise_shape, seed=self.seed, case_id=case_id, count=count)


def check_image(image: NDArray) -> None:
    """Raise SyndiffError unless `image` is an array, HxWx3 in uint8 or uint16."""
    if not isinstance(image, np.ndarray):
        raise SyndiffError(
            f"The image is {shown(image)}; expected an array, height x width x 3 in uint8 or uint16. From Pillow: "
            'np.asarray(Image.open(path).convert("RGB")).'
        )
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or image.dtype not in (np.uint8, np.uint16):
        raise SyndiffError(
            f"The image is an array of shape {image.shape} and type {image.dtype}; expected height x width x 3 in "
            "uint8 or uint16. Repeat a grey image three times, and scale values from 0 to 1 by 255."
        )


def check_answer(what: str, values: NDArray[np.floating]) -> None:
    """Raise SyndiffError, beginning with `what`, where `values` are no finite numbers.

    A network that has gone wrong must not look like an image without a lesion.
    """
    if not np.isfinite(values).all():
        raise SyndiffError(
            f"{what}: the network computed values that are no finite numbers. Its weights are unfit for this image or "
            "number format; restore them or train again."
        )
