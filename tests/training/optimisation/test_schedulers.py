from math import cos, pi
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from segpipe.errors import ConfigError
from segpipe.training.optimisation.optimizers import OPTIMIZERS, build_optimizer
from segpipe.training.optimisation.schedulers import SCHEDULERS, build_scheduler

CONF = Path(__file__).parents[3] / "conf"


def shipped(group: str, name: str, **changes: object) -> dict[str, object]:
    content: dict[str, object] = yaml.safe_load((CONF / group / f"{name}.yaml").read_text())
    return {**content, **changes}


def optimizer_at(lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=lr)


def rates(scheduler: LRScheduler, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def course(spec: dict[str, object], *, lr: float, steps: int) -> list[float]:
    optimizer = optimizer_at(lr)
    return rates(build_scheduler(spec, optimizer, steps), optimizer, steps)


def test_every_schedule_has_a_configuration_and_every_configuration_a_schedule() -> None:
    options = [yaml.safe_load(file.read_text()) for file in (CONF / "scheduler").glob("*.yaml")]
    assert {option["name"] for option in options if "defaults" not in option} == set(SCHEDULERS)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("optimizer_name", OPTIMIZERS)
def test_shipped_configuration_works_with_every_optimizer(name: str, optimizer_name: str) -> None:
    network = nn.Conv3d(1, 1, 3)
    optimizer = build_optimizer(shipped("optimizer", optimizer_name, lr=0.01), network)
    scheduler = build_scheduler(shipped("scheduler", name), optimizer, 5)
    for step in range(5):
        assert 0.0 <= optimizer.param_groups[0]["lr"] <= 0.01
        network(torch.ones(1, 1, 3, 3, 3)).sum().backward()
        optimizer.step()
        scheduler.step(*([0.1 * step] if isinstance(scheduler, ReduceLROnPlateau) else []))


def test_constant_by_hand() -> None:
    assert course({"name": "constant", "warmup": 0.0}, lr=0.1, steps=3) == [0.1, 0.1, 0.1]
    warm = course({"name": "constant", "warmup": 0.4}, lr=1.0, steps=10)
    assert warm == pytest.approx([0.25, 0.5, 0.75] + [1.0] * 7)


def test_cosine_by_hand() -> None:
    spec = {"name": "cosine", "warmup": 0.2, "final_fraction": 0.1}
    falling = [0.1 + 0.9 * 0.5 * (1 + cos(pi * k / 8)) for k in range(8)]
    assert course(spec, lr=2.0, steps=10) == pytest.approx([1.0, 2.0, *(2 * factor for factor in falling)])


def test_polynomial_by_hand() -> None:
    spec = {"name": "polynomial", "power": 2.0, "warmup": 0.0}
    assert course(spec, lr=1.0, steps=4) == pytest.approx([1.0, 0.5625, 0.25, 0.0625])


def test_exponential_by_hand() -> None:
    spec = {"name": "exponential", "final_fraction": 0.01, "warmup": 0.0}
    assert course(spec, lr=1.0, steps=4) == pytest.approx([1.0, 10**-0.5, 0.1, 10**-1.5])


def test_one_cycle_is_that_of_torch() -> None:
    spec = {"name": "one_cycle", "warmup": 0.3, "start_fraction": 0.04, "final_fraction": 1e-5}
    optimizer = optimizer_at(0.5)
    theirs = OneCycleLR(
        optimizer, 0.5, total_steps=50, pct_start=0.3, div_factor=25, final_div_factor=4000, cycle_momentum=False
    )
    assert course(spec, lr=0.5, steps=50) == pytest.approx(rates(theirs, optimizer, 50))


def test_plateau_waits_for_a_lower_loss() -> None:
    optimizer = optimizer_at(1.0)
    scheduler = build_scheduler({"name": "plateau", "factor": 0.5, "patience": 1, "min_fraction": 0.2}, optimizer, 100)
    found = []
    for loss in (0.5, 0.4, 0.4, 0.4, 0.3, 0.9, 0.9, 0.9, 0.9):
        scheduler.step(loss)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2]


@given(
    st.sampled_from(sorted(set(SCHEDULERS) - {"plateau"})),
    st.integers(1, 200),
    st.floats(0.0, 0.99),
)
def test_rates_stay_within_bounds_for_any_length_and_warmup(name: str, steps: int, warmup: float) -> None:
    found = course(shipped("scheduler", name, warmup=warmup), lr=1.0, steps=steps)
    assert all(0.0 <= rate <= 1.0 for rate in found)
    assert max(found) > 0.0


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_state_is_plain_data_and_goes_on_exactly(name: str, tmp_path: Path) -> None:
    def step(scheduler: LRScheduler, optimizer: torch.optim.Optimizer, count: int) -> float:
        for _ in range(count):
            optimizer.step()
            scheduler.step(*([0.5] if isinstance(scheduler, ReduceLROnPlateau) else []))
        return float(optimizer.param_groups[0]["lr"])

    optimizer = optimizer_at(0.1)
    scheduler = build_scheduler(shipped("scheduler", name), optimizer, 20)
    step(scheduler, optimizer, 7)
    torch.save({"o": optimizer.state_dict(), "s": scheduler.state_dict()}, tmp_path / "state.ckpt")
    expected = step(scheduler, optimizer, 6)

    state = torch.load(tmp_path / "state.ckpt", weights_only=True)
    again = optimizer_at(0.1)
    resumed = build_scheduler(shipped("scheduler", name), again, 20)
    again.load_state_dict(state["o"])
    resumed.load_state_dict(state["s"])
    assert step(resumed, again, 6) == expected


def test_an_unknown_schedule_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown scheduler") as caught:
        build_scheduler({"name": "cosin"}, optimizer_at(0.1), 5)
    assert caught.value.hint == "scheduler=cosine"
