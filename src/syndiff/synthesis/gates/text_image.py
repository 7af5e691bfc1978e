"""Agreement of the prompt with the picture, by a CLIP-like model that lies in a local folder."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syndiff.bounds import fits
from syndiff.data.masks import bounding_box
from syndiff.data.readers import to_unit
from syndiff.documents import read_object
from syndiff.errors import SyndiffError, shown
from syndiff.files import sha256
from syndiff.synthesis.gates.region import GateInput

_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's own normalisation, for folders without preprocessor_config.json."""
_MEND = "Copy the whole folder again."


class TextImage:
    """Cosine similarity of a text and a picture. Nothing is downloaded; safetensors weights only."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
            raise SyndiffError(
                f"gates settings: text_model is {folder}, which does not hold config.json and *.safetensors; give the "
                "folder of a CLIP model saved in safetensors format, or leave text_model empty."
            )
        from safetensors import SafetensorError
        from transformers import AutoModel, AutoTokenizer

        from syndiff.models.tensors import check_file, check_values

        try:
            self._model, info = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, SafetensorError) as error:
            raise SyndiffError(
                f"gates settings: text_model {folder} cannot be loaded: {error}. Copy the whole folder again."
            ) from None
        if info["missing_keys"]:  # they would be random numbers
            raise SyndiffError(
                f"gates settings: text_model {folder} lacks {len(info['missing_keys'])} of its weights (first "
                f"{min(info['missing_keys'])}). Copy the whole folder again."
            )
        files = sorted(folder.glob("*.safetensors"))
        for path in files:
            check_file(path)
        check_values(folder, self._model.state_dict())
        self._model.eval()
        if not hasattr(self._model, "get_image_features"):
            raise SyndiffError(
                f"gates settings: text_model {folder} holds a {type(self._model).__name__}, which does not compare "
                "text with pictures; expected a CLIP-like model."
            )
        path = folder / "preprocessor_config.json"
        described = read_object(path, {}, mend=_MEND) if path.is_file() else {}
        self._mean = _of_channels(path, "image_mean", described.get("image_mean", _MEAN))
        self._deviation = _of_channels(path, "image_std", described.get("image_std", _DEVIATION))
        self._size = int(self._model.config.vision_config.image_size)
        self._longest = int(self._model.config.text_config.max_position_embeddings)
        self.fingerprint = ",".join(sha256(each) for each in files)

    def score(self, sample: GateInput) -> float | None:
        """Similarity in [-1, 1] of the prompt to a square around the lesion, twice its size; None without a prompt.

        A prompt longer than the model's limit is compared up to the limit.
        """
        if not sample.prompt:
            return None
        import torch

        tokens = self._tokenizer(sample.prompt, truncation=True, max_length=self._longest, return_tensors="pt")
        pixels = torch.from_numpy(self._pixels(sample))[None]
        with torch.inference_mode():
            image = _features(self._model.get_image_features(pixel_values=pixels))
            text = _features(
                self._model.get_text_features(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
            )
        return float(torch.nn.functional.cosine_similarity(image, text)[0])

    def _pixels(self, sample: GateInput) -> NDArray[np.float32]:
        rows, columns = bounding_box(sample.lesion_mask)
        side = 2 * max(rows.stop - rows.start, columns.stop - columns.start)
        top, left = (rows.start + rows.stop - side) // 2, (columns.start + columns.stop - side) // 2
        picture = Image.fromarray(np.rint(to_unit(sample.image) * 255).astype(np.uint8))
        height, width = sample.image.shape[:2]
        box = (max(left, 0), max(top, 0), min(left + side, width), min(top + side, height))
        square = picture.resize((self._size, self._size), Image.Resampling.BICUBIC, box)
        normal = (np.asarray(square, np.float32) / np.float32(255) - self._mean) / self._deviation
        return np.ascontiguousarray(normal.transpose(2, 0, 1))


def _of_channels(path: Path, name: str, values: Any) -> NDArray[np.float32]:
    if not (isinstance(values, list | tuple) and fits(tuple(values), tuple[float, float, float])):
        raise SyndiffError(f"{path}: {name} is {shown(values)}, expected three numbers. {_MEND}")
    return np.asarray(values, np.float32)


def _features(answer: Any) -> Any:
    """The pooled features: a tensor up to transformers 4, inside an output object from 5 on."""
    return getattr(answer, "pooler_output", answer)
