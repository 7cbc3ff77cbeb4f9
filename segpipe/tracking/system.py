"""System metrics through MLflow's own samplers, delivered by the tracker so that an outage does not end them."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

LogMetrics = Callable[[dict[str, float], int], None]
log = logging.getLogger(__name__)


class SystemWatch:
    """Samples the machine in the background until `stop`.

    Args:
        log_metrics: Takes the figures of a sample and its number.
        interval_s: Seconds between two samples.
    """

    def __init__(self, log_metrics: LogMetrics, *, interval_s: float) -> None:
        self._log_metrics, self._interval_s = log_metrics, interval_s
        self._samplers = _samplers()
        self._stop = threading.Event()
        self._step = 0
        self._thread = threading.Thread(target=self._run, name="segpipe-system", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the sampling after a last sample."""
        self._stop.set()
        self._thread.join()
        self._sample()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._sample()

    def _sample(self) -> None:
        for sampler in list(self._samplers):
            try:
                sampler.collect_metrics()
                found = sampler.aggregate_metrics()
                sampler.clear_metrics()
                self._log_metrics({f"system/{name}": value for name, value in found.items()}, self._step)
            except Exception as error:
                self._samplers.remove(sampler)  # e.g. a GPU that fell off the bus; it is asked no more
                log.warning("%s measures no more: %s", type(sampler).__name__, error)
        self._step += 1


def _samplers() -> list[Any]:
    from mlflow.system_metrics.metrics import cpu_monitor, disk_monitor, gpu_monitor, network_monitor

    kinds: list[Any] = [cpu_monitor.CPUMonitor, disk_monitor.DiskMonitor, network_monitor.NetworkMonitor]
    samplers = [kind() for kind in kinds]
    gpu: Any = gpu_monitor.GPUMonitor
    with suppress(Exception):  # no NVIDIA GPU, or its management library is not installed
        samplers.append(gpu())
    return samplers
