"""MLX's conversion: a Hugging Face folder to a folder of MLX weights, quantized or not, by mlx-lm's own functions."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from engine.downloads import require_disk
from engine.errors import InputError, ResourceError
from engine.frameworks.contract import Report
from engine.frameworks.tokens import TOKENIZER_FILES

OTHER_TOKENIZER_FILES = ("tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json")
"""What other tools may want of the source's tokenizer."""
SHARD_GB = 1
PIECE_WEIGHTS = 1 << 18


def convert(params: Mapping[str, Any], scratch: Path, report: Report) -> dict[str, Any]:
    """Hugging Face folder → MLX folder.

    params: source (folder), output (folder name in scratch), expected_bytes, and the settled recipe: bits, mode (""
    leaves the weights unquantized), group_size, mixed, dtype, embedding_bits.
    Result: {"size_bytes", "recipe", "versions"}.
    """
    output = scratch / params["output"]
    record = output.with_name(output.name + ".json")
    if output.is_dir():
        found: dict[str, Any] = msgspec.json.decode(record.read_bytes())
        return found
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    source = Path(params["source"])
    require_disk(scratch, int(params["expected_bytes"]))
    report.stage("Reading the model", expected_s=3)
    model, config, recipe = _read(source, str(params["dtype"]), report)
    if params["mode"]:
        model, config = _quantize(model, config, params, recipe, report)
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    _copy_tokenizer(source, partial)
    _write(model, config, partial, report)
    size = sum(path.stat().st_size for path in partial.iterdir())
    result = {"size_bytes": size, "recipe": recipe, "versions": versions()}
    record.write_bytes(msgspec.json.encode(result))
    partial.rename(output)
    return result


def versions() -> dict[str, str]:
    """Versions of the packages that made the result."""
    import mlx.core as mx
    import mlx_lm

    return {"mlx": mx.__version__, "mlx-lm": mlx_lm.__version__}


def _read(source: Path, dtype: str, report: Report) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The model with its weights still on disk, its config, and the recipe so far."""
    from mlx_lm.utils import load_config

    recipe: dict[str, Any] = {"dtype": dtype}
    try:
        missing = rope_settings(load_config(source), _arguments(load_config(source)))
    except (OSError, ValueError, KeyError) as error:
        raise _unusable(source, error) from error
    if missing:
        recipe["rope_settings"] = missing
        named = ", ".join(f"{name} {value}" for name, value in missing.items())
        report.note(
            f"mlx-lm does not look where the source keeps settings of its rotary embedding; taken over: {named}."
        )
    model, config = load_lazily(source, missing)
    _cast(model, dtype)
    config.pop("dtype", None)
    config["torch_dtype"] = dtype
    return model, config, recipe


def load_lazily(folder: Path, settings: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
    """mlx-lm's model with its weights not yet read. Raises InputError for a folder that it cannot use."""
    from mlx_lm.utils import load_model

    try:
        loaded: tuple[Any, dict[str, Any]] = load_model(folder, lazy=True, model_config=dict(settings or {}))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise _unusable(folder, error) from error
    return loaded


def _unusable(folder: Path, error: Exception) -> InputError:
    why = f"{type(error).__name__}: {str(error)[:600]}"
    if "custom module" in why:
        return InputError(
            f"{folder.name} brings its own program code, and Edgewise runs none.",
            why,
            "Choose a model whose architecture mlx-lm knows itself.",
        )
    if "not supported" in why:
        return InputError(
            f"mlx-lm does not support the model in {folder.name}.", why, "Choose another framework for this model."
        )
    return InputError(
        f"mlx-lm cannot read the model in {folder.name}.", why, "Check it with `edgewise models show`, or get it again."
    )


def _arguments(config: Mapping[str, Any]) -> set[str]:
    """The settings that mlx-lm's code for this architecture knows."""
    from mlx_lm.utils import _get_classes

    _, arguments = _get_classes(dict(config))
    return {field.name for field in fields(arguments)}


def rope_settings(config: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """What a config says in `rope_parameters` only, under the names that the architecture's code reads (`known`).

    Newer configs keep the base of the rotary embedding there. Code that looks for `rope_theta` would silently take its
    own default, and the model would answer worse.
    """
    parameters = config.get("rope_parameters")
    if not isinstance(parameters, dict) or "rope_parameters" in known:
        return {}
    local = parameters.get("sliding_attention")
    flat = parameters.get("full_attention") if isinstance(local, dict) else parameters
    if not isinstance(flat, dict):
        return {}
    wanted = {
        "rope_theta": flat.get("rope_theta"),
        "partial_rotary_factor": flat.get("partial_rotary_factor"),
        "rope_scaling": flat if flat.get("rope_type", "default") != "default" else None,
        "rope_local_base_freq": local.get("rope_theta") if isinstance(local, dict) else None,
    }
    return {
        name: value
        for name, value in wanted.items()
        if value is not None and name in known and config.get(name) is None
    }


def _cast(model: Any, dtype: str) -> None:
    """Have the floating-point weights converted when they are read, but for those that the architecture exempts."""
    import mlx.core as mx
    from mlx.utils import tree_map_with_path

    wanted = getattr(mx, dtype)
    may_cast: Callable[[str], bool] = getattr(model, "cast_predicate", lambda _: True)
    model.update(
        tree_map_with_path(
            lambda name, value: (
                value.astype(wanted) if may_cast(name) and mx.issubdtype(value.dtype, mx.floating) else value
            ),
            model.parameters(),
        )
    )


def _quantize(
    model: Any, config: dict[str, Any], params: Mapping[str, Any], recipe: dict[str, Any], report: Report
) -> tuple[Any, dict[str, Any]]:
    """The model with its layers to be quantized when they are written; `recipe` gets what was really done."""
    from mlx_lm.utils import compute_bits_per_weight, quantize_model

    group_size, mode = int(params["group_size"]), str(params["mode"])
    predicate = _predicate(model, params)
    layers = [name for name, module in model.named_modules() if hasattr(module, "to_quantized")]
    with _piece_by_piece(mode, len(layers), report):
        model, config = quantize_model(model, config, group_size, int(params["bits"]), mode, quant_predicate=predicate)
    kept = [name for name, module in model.named_modules() if hasattr(module, "to_quantized")]
    if len(kept) == len(layers):
        raise InputError(
            "None of the model's layers can be quantized.",
            f"Their rows cannot be divided into groups of {group_size}.",
            "Choose another group size, or mlx-bf16.",
        )
    if kept:
        report.note(
            f"{len(kept)} of {len(layers)} layers stay unquantized: groups of {group_size} do not divide their rows, "
            "or mlx-lm keeps them on purpose."
        )
    recipe |= {
        "mode": mode,
        "bits": int(params["bits"]),
        "group_size": group_size,
        "quantized_layers": len(layers) - len(kept),
        "kept_layers": len(kept),
        "bits_per_weight": round(compute_bits_per_weight(model), 3),
    }
    recipe |= {key: params[key] for key in ("mixed", "embedding_bits") if params[key]}
    return model, config


def _predicate(model: Any, params: Mapping[str, Any]) -> Callable[[str, Any], Any] | None:
    """What says for each layer how it is quantized: the architecture's own rule, a mixed recipe, the user's wish."""
    from mlx import nn
    from mlx_lm.convert import mixed_quant_predicate_builder

    group_size = int(params["group_size"])
    others: Callable[[str, Any], Any] | None = getattr(model, "quant_predicate", None)
    if params["mixed"]:
        try:
            others = mixed_quant_predicate_builder(str(params["mixed"]), model, group_size)
        except ValueError as error:
            raise InputError(
                "The mixed recipes do not know the layers of this architecture.",
                str(error),
                "Choose a precision with one width, such as mlx-4bit.",
            ) from error
    if not params["embedding_bits"]:
        return others
    wanted = {"bits": int(params["embedding_bits"]), "group_size": group_size, "mode": str(params["mode"])}

    def predicate(path: str, module: Any) -> Any:
        if isinstance(module, nn.Embedding) or "lm_head" in path:
            return wanted
        return others(path, module) if others else True

    return predicate


@contextmanager
def _piece_by_piece(mode: str, layers: int, report: Report) -> Iterator[None]:
    """Quantize at once and some rows at a time where it takes much memory, instead of when the weights are written.

    On a processor MLX has no kernel that quantizes in other modes than affine; what it does instead needs some 30 bytes
    a weight.
    """
    import mlx.core as mx

    plain = mx.quantize
    if mode == "affine" or mx.default_device() == mx.gpu:
        yield
        return
    report.stage("Quantizing", float(layers), "layers")
    done = 0

    def quantize(weight: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal done
        rows = max(1, PIECE_WEIGHTS * weight.shape[0] // weight.size)
        pieces = []
        for row in range(0, weight.shape[0], rows):
            pieces.append(plain(weight[row : row + rows], *args, **kwargs))
            mx.eval(pieces[-1])
        whole = tuple(mx.concatenate(parts) for parts in zip(*pieces, strict=True))
        mx.eval(whole)
        done += 1
        report.progress(float(done))
        return whole

    mx.quantize = quantize
    try:
        yield
    finally:
        mx.quantize = plain


def _copy_tokenizer(source: Path, target: Path) -> None:
    for name in (*TOKENIZER_FILES, *OTHER_TOKENIZER_FILES):
        if name != "config.json" and (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def _write(model: Any, config: dict[str, Any], folder: Path, report: Report) -> None:
    """Compute and write the weights, file by file. A tensor counts when it is computed, a file's last when written."""
    import mlx.core as mx
    from mlx.utils import tree_flatten, tree_map
    from mlx_lm.utils import get_total_parameters, make_shards, save_config

    parameters = get_total_parameters(model)
    weights: dict[str, Any] = dict(tree_flatten(model.parameters()))
    count, size = len(weights), sum(value.nbytes for value in weights.values())
    shards = make_shards(weights, SHARD_GB)
    weights.clear()
    model.update(tree_map(lambda _: mx.array([]), model.parameters()))  # a file's weights go when it is written
    report.stage("Computing and writing the weights", float(count), "tensors")
    places: dict[str, str] = {}
    done = bytes_done = 0
    for number in range(len(shards)):
        shard, shards[number] = shards[number], {}
        name = "model.safetensors" if len(shards) == 1 else f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        *most, last = shard.items()
        try:
            for key, value in most:
                mx.eval(value)
                done, bytes_done = done + 1, bytes_done + value.nbytes
                report.progress(float(done), bytes_done=bytes_done, bytes_total=size, detail=key)
            mx.save_safetensors(str(folder / name), shard, metadata={"format": "mlx"})
        except RuntimeError as error:
            raise _unwritable(error) from error
        done, bytes_done = done + 1, bytes_done + last[1].nbytes
        report.progress(float(done), bytes_done=bytes_done, bytes_total=size, detail=last[0])
        places |= dict.fromkeys(shard, name)
        mx.clear_cache()
    index = {
        "metadata": {"total_size": size, "total_parameters": parameters},
        "weight_map": dict(sorted(places.items())),
    }
    (folder / "model.safetensors.index.json").write_bytes(msgspec.json.format(msgspec.json.encode(index)))
    save_config(config, folder / "config.json")


def _unwritable(error: RuntimeError) -> Exception:
    why = str(error)
    if "load" in why or "read" in why.lower():
        return InputError(
            "The source's weights could not be read.", why, "Copy or download the model again, and check its checksum."
        )
    return ResourceError(
        "The weights could not be computed or written.", why, "Free some disk space or memory and resume the job."
    )
