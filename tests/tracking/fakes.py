"""A client of MLflow that keeps what it is given, and fails when it is told to."""

from types import SimpleNamespace


class Client:
    """Takes every call of `MlflowClient` that segpipe makes.

    Args:
        fails_from: The number of the first call that fails, and all after it; None for none.
        error: What a call fails with.
    """

    tracking_uri = "sqlite:///nowhere.db"

    def __init__(self, *, fails_from=None, error=None):
        self.fails_from, self.error = fails_from, error
        self.calls, self.status = [], "RUNNING"

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*given, **named):
            self.calls.append(name)
            if self.fails_from is not None and len(self.calls) > self.fails_from:
                raise self.error
            return getattr(self, f"_{name}", self._nothing)(*given, **named)

        return call

    def _nothing(self, *given, **named):
        return None

    def _get_run(self, run_id):
        info = SimpleNamespace(run_id=run_id, experiment_id="1", status=self.status)
        return SimpleNamespace(info=info, data=SimpleNamespace(params={}, tags={}))

    def _create_run(self, *given, **named):
        return self._get_run("0" * 32)

    def _search_experiments(self, **named):
        return []

    def _get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id="1", lifecycle_stage="active")

    def _set_terminated(self, run_id, status, time):
        self.status = status
