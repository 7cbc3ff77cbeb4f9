import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from segpipe.errors import ConfigError
from segpipe.networks import build_network
from segpipe.training.optimisation.optimizers import OPTIMIZERS, build_optimizer, parameter_groups

CONF = Path(__file__).parents[3] / "conf" / "optimizer"


def shipped(name: str, **changes: object) -> dict[str, object]:
    content: dict[str, object] = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    return {**content, **changes}


def small_network() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 2, 3), nn.InstanceNorm3d(2, affine=True), nn.PReLU(2), nn.Conv3d(2, 2, 1))


def test_every_optimizer_has_a_configuration_and_every_configuration_an_optimizer() -> None:
    options = [yaml.safe_load(file.read_text()) for file in CONF.glob("*.yaml")]
    assert {option["name"] for option in options if "defaults" not in option} == set(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_shipped_configuration_learns_and_takes_another_rate(name: str) -> None:
    torch.manual_seed(0)
    network = small_network()
    optimizer = build_optimizer(shipped(name, lr=3e-4), network)
    assert [group["lr"] for group in optimizer.param_groups] == [3e-4, 3e-4]
    patches = torch.rand(2, 1, 6, 6, 6)
    losses = []
    for _ in range(6):
        loss = (network(patches) - 1.0).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_only_weights_decay(name: str) -> None:
    # With zero gradients nothing but weight decay moves a parameter.
    network = small_network()
    optimizer = build_optimizer(shipped(name, lr=0.1, weight_decay=0.1), network)
    before = {key: parameter.detach().clone() for key, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(2):  # SOAP's first step only finds a basis
        optimizer.step()
    moved = {key for key, parameter in network.named_parameters() if not torch.equal(parameter, before[key])}
    assert moved == {"0.weight", "3.weight"}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_is_plain_data_and_goes_on_exactly(name: str, tmp_path: Path) -> None:
    def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            patches = torch.rand(1, 1, 6, 6, 6, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            network(patches).square().mean().backward()
            optimizer.step()

    torch.manual_seed(0)
    network = small_network()
    optimizer = build_optimizer(shipped(name), network)
    train(network, optimizer, range(3))
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.ckpt")
    train(network, optimizer, range(3, 6))

    state = torch.load(tmp_path / "state.ckpt", weights_only=True)
    resumed = small_network()
    resumed.load_state_dict(state["network"])
    again = build_optimizer(shipped(name), resumed)
    again.load_state_dict(state["optimizer"])
    train(resumed, again, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), resumed.parameters(), strict=True))


def test_adam_has_the_betas_and_epsilon_of_the_paper() -> None:
    group = build_optimizer(shipped("adam"), small_network()).param_groups[0]
    assert tuple(group["betas"]) == (0.9, 0.999)
    assert group["eps"] == 1e-8


@pytest.mark.parametrize(
    ("name", "momentum", "nesterov"), [("sgd", 0, False), ("momentum", 0.9, False), ("nesterov", 0.99, True)]
)
def test_the_three_kinds_of_gradient_descent(name: str, momentum: float, nesterov: bool) -> None:
    group = build_optimizer(shipped(name), small_network()).param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (momentum, nesterov)


def test_swins_table_of_position_biases_does_not_decay() -> None:
    spec = {
        "name": "swin_unetr", "width": 12, "depths": [1, 1, 1, 1], "heads": [1, 2, 2, 4], "window": [4, 4, 4],
        "dropout": 0.0, "attention_dropout": 0.0,
    }  # fmt: skip
    network = build_network(spec)
    kept = {id(parameter) for parameter in parameter_groups(network)[1]["params"]}
    tables = [parameter for name, parameter in network.named_parameters() if name.endswith("bias_table")]
    assert tables
    assert all(id(table) in kept for table in tables)


def test_frozen_parameters_are_left_out() -> None:
    network = small_network()
    network[0].requires_grad_(False)
    count = sum(len(group["params"]) for group in parameter_groups(network))
    assert count == 5  # two of the norm, the slope, two of the last convolution
    with pytest.raises(ConfigError, match="must have trainable parameters"):
        parameter_groups(network.requires_grad_(False))


def test_no_empty_group() -> None:
    assert len(parameter_groups(nn.Conv3d(1, 1, 1, bias=False))) == 1


def test_adabounds_library_is_imported_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("pytorch_optimizer")]:
        monkeypatch.delitem(sys.modules, module)
    build_optimizer(shipped("adamw"), small_network())
    assert "pytorch_optimizer" not in sys.modules


def test_an_unknown_optimizer_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown optimizer") as caught:
        build_optimizer({"name": "adamm", "lr": 1.0}, small_network())
    assert caught.value.hint == "optimizer=adam"
