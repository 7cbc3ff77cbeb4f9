"""From a model folder and the user's wishes to an engine."""

from segpipe.errors import ConfigError
from segpipe.export.model_folder import ModelFolder, load_network
from segpipe.export.second_stage import load_stage, open_stage_onnx
from segpipe.geometry import round_up
from segpipe.inference.engines.device_memory import fit_batch, memory_of
from segpipe.inference.engines.engine import Engine, OnnxEngine, OpenVinoEngine, Precision, TorchEngine
from segpipe.inference.second_stage import SecondStage

BACKENDS = ("torch", "onnx", "openvino")


def build_engine(
    folder: ModelFolder, *, backend: str | None = None, device: str = "auto", exact: bool = False
) -> Engine:
    """Makes the engine of a model folder.

    Args:
        folder: A verified model folder.
        backend: One of `BACKENDS`; None takes `torch`, or `onnx` where the network comes from another package.
        device: auto, cpu, cuda or mps; `onnx` runs on the first three, `openvino` on the CPU.
        exact: Compute in float32 even where the hardware has something faster.

    Raises:
        ConfigError: for an unknown backend or a device that is not there.
        ModelError: when the model, or its second stage, cannot be loaded.
    """
    backend = backend or ("onnx" if folder.exported else "torch")
    if backend not in BACKENDS:
        raise ConfigError("unknown backend", facts={"found": backend, "known": ", ".join(BACKENDS)})
    engine = _engine_of(folder, backend, device=device, exact=exact)
    if folder.second_stage:
        classify = load_stage(folder.path, folder.second_stage).network if backend == "torch" else None
        engine.second_stage = SecondStage(classify or open_stage_onnx(folder.path), folder.second_stage.crop)
    return engine


def _engine_of(
    folder: ModelFolder, backend: str, *, device: str, exact: bool
) -> TorchEngine | OnnxEngine | OpenVinoEngine:
    labels = folder.recipe.label_map
    if backend == "torch":
        return _torch_engine(folder, device=device, precision="fp32" if exact else "auto")
    if backend == "onnx":
        return OnnxEngine(folder.onnx, labels, window=folder.fixed_shape, device=device)
    if device not in ("auto", "cpu"):
        raise ConfigError(f"the backend {backend} runs on the CPU", facts={"device": device}, hint="leave --device out")
    return OpenVinoEngine(folder.onnx, labels, window=folder.fixed_shape, exact=exact)


def _torch_engine(folder: ModelFolder, *, device: str, precision: Precision) -> TorchEngine:
    """The engine, with as many windows per pass as the memory of a GPU holds."""
    engine = TorchEngine(load_network(folder), folder.recipe.label_map, device=device, precision=precision)
    memory = memory_of(engine.device)
    if memory is not None:
        engine.batch = fit_batch(engine, round_up(folder.recipe.patch, folder.divisor), memory)
    return engine
