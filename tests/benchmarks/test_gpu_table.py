"""The benchmark for a GPU works, in its smallest form, on a CPU: so it does not fail first on a GPU."""

import runpy
import sys
from pathlib import Path

import pytest

GPU = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_table_is_whole(capsys, monkeypatch):
    monkeypatch.syspath_prepend(GPU)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--small"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(GPU / "gpu.py"), run_name="__main__")
    text = capsys.readouterr().out
    assert "FAILED" not in text
    assert ended.value.code == 0
    parts = [line.split()[0] for line in text.splitlines()[1:]]
    assert list(dict.fromkeys(parts)) == ["steps", "predict", "onnx", "loader", "plan", "layouts"]
    assert text.count("torch.compile") == 7
    assert "nnU-Net's step" in text
