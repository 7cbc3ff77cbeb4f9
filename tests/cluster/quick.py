"""A callback by import path, through which jobs of a cluster write no ONNX model and no page, which take long."""

from pytorch_lightning.callbacks import Callback

from segpipe.pipelines.observers.run_report import RunReport
from tests.small_models import skip_onnx_export


class NoPages(Callback):
    def __init__(self) -> None:
        skip_onnx_export()
        RunReport.finished = lambda *_: None
