"""Steps per second in fp32 and bf16, and the share of a step spent waiting for data, on the embedded phantom.

    python benchmarks/training/training.py [--steps 30] [key=value ...]

Prints ratios of the same run: bf16 over fp32, and the waiting share over its limit of 5 %.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.config.schema import Settings
from segpipe.training.callbacks import read_history
from segpipe.training.data.run_data import RunData, prepare_data
from segpipe.training.fitting import fit, recipe_of

WAIT_LIMIT = 0.05
WARM_UP = 0.3


def settings_for(words: list[str]) -> Settings:
    """The checked settings of the phantom experiment with further overrides."""
    overrides = ["+experiment=lung_nodule", "trainer.progress=false", "training.log_every=1", *words]
    return settings_of(compose(overrides, registries), registries())


def measure(settings: Settings, run_data: RunData) -> tuple[float, float]:
    """Median steps per second and mean waiting share after the warm-up."""
    provenance = {"digest": run_data.recipe.digest, "network": settings.network}
    with tempfile.TemporaryDirectory() as name:
        fit(
            settings,
            run_data.patches(settings),
            Path(name),
            provenance=provenance,
            log_metrics=lambda values, step: None,
        )
        rows = [row for row in read_history(Path(name)) if "train/samples_per_second" in row]
    rows = rows[int(len(rows) * WARM_UP) :]
    speed = statistics.median(row["train/samples_per_second"] for row in rows) / settings.training.batch_size
    return speed, statistics.mean(row["train/data_wait_fraction"] for row in rows)


def main() -> None:
    """Prints both precisions and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30)
    arguments, words = parser.parse_known_args()
    words += [f"trainer.max_steps={arguments.steps}", f"training.validate_every={arguments.steps}"]
    base = settings_for(words)
    run_data = prepare_data(base, recipe_of(base))
    figures = {
        precision: measure(settings_for([*words, f"trainer.precision={precision}"]), run_data)
        for precision in ("32-true", "bf16-mixed")
    }
    for precision, (speed, wait) in figures.items():
        print(
            f"{precision:12} {speed:6.2f} steps/s, waiting for data {wait:.1%} = {wait / WAIT_LIMIT:.2f} of the limit"
        )
    print(f"bf16 / fp32: {figures['bf16-mixed'][0] / figures['32-true'][0]:.2f}")


if __name__ == "__main__":
    main()
