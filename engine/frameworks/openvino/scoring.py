"""Logits from an OpenVINO language model, in pieces so that memory stays at one piece of logits."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

PIECE = 128


class Scorer:
    """A compiled stateful model. `core` is an openvino.Core, `model` the path of its openvino_model.xml."""

    def __init__(self, core: Any, model: Path, device: str, settings: Mapping[str, Any]) -> None:
        self._request = core.compile_model(str(model), device, dict(settings)).create_infer_request()

    def logits(self, tokens: list[int]) -> Iterator[Any]:
        """Logits after each token but the last."""
        request = self._request
        request.reset_state()
        for start in range(0, len(tokens) - 1, PIECE):
            end = min(start + PIECE, len(tokens) - 1)
            request.infer(
                {
                    "input_ids": np.array([tokens[start:end]], dtype=np.int64),
                    "attention_mask": np.ones((1, end), dtype=np.int64),
                    "position_ids": np.arange(start, end, dtype=np.int64)[None],
                    "beam_idx": np.zeros(1, dtype=np.int32),
                }
            )
            yield request.get_tensor("logits").data[0]
