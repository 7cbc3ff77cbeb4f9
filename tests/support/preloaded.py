"""What processes of their own are forked from: the libraries, which no fork searches for garbage."""

import gc
from importlib import import_module

gc.disable()
# onnxruntime starts threads when it is imported, which a fork would lose
for name in (
    "torch", "monai.bundle", "pytorch_lightning", "mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store",
    "highdicom", "SimpleITK", "onnxscript.function_libs.torch_lib.ops", "segpipe.cli.train", "segpipe.pipelines.sweep",
    "segpipe.pipelines.cross_validation", "segpipe.report.page", "segpipe.cli.predict.command",
    "segpipe.cli.serve.command",
):  # fmt: skip
    import_module(name)
gc.freeze()
gc.enable()
