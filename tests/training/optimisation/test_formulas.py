"""Each optimizer walks as its paper's formula, written out here in float64, says; docs/optimizers.md has the papers."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from segpipe.training.optimisation.optimizers import build_optimizer

Array = NDArray[np.float64]
Walk = Iterator[Array]
Gradient = Callable[[Array], Array]
BETAS, EPS = {"betas": [0.8, 0.9]}, {"eps": 1e-3}  # an ε that is seen, inside a root or out of it
START = np.array([[-1.2, 1.0, 0.5]])


def rosenbrock(x: Array) -> Array:
    """Gradient of Σ 100 (b − a²)² + (1 − a)², each number with the next."""
    slope = np.zeros_like(x)
    a, b = x[:, :-1], x[:, 1:]
    slope[:, :-1] += -400 * a * (b - a**2) - 2 * (1 - a)
    slope[:, 1:] += 200 * (b - a**2)
    return slope


class Point(nn.Module):
    """A network of one weight, on a slope that the test gives."""

    def __init__(self, start: Array) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(start.copy()))

    def descend(self, optimizer: torch.optim.Optimizer, gradient: Gradient) -> Array:
        self.weight.grad = torch.from_numpy(gradient(self.weight.detach().numpy().copy()))
        optimizer.step()
        return self.weight.detach().numpy().copy()


def assert_walks_as(spec: dict[str, object], formula: Walk, *, steps: int = 12) -> None:
    point = Point(START)
    optimizer = build_optimizer(spec, point)
    found = [point.descend(optimizer, rosenbrock) for _ in range(steps)]
    expected = [next(formula) for _ in range(steps)]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert np.abs(expected[-1] - START).max() > 1e-3


def sgd(lr: float, decay: float) -> Walk:
    """θ ← θ − α (g + λθ)."""
    x = START
    while True:
        yield (x := x - lr * (rosenbrock(x) + decay * x))


def momentum(lr: float, decay: float, mu: float) -> Walk:
    """Polyak's heavy ball: v ← μv + g, θ ← θ − αv."""
    x, v = START, np.zeros_like(START)
    while True:
        v = mu * v + rosenbrock(x) + decay * x
        yield (x := x - lr * v)


def nesterov(lr: float, mu: float) -> Walk:
    """Sutskever's form, whose gradient is taken at θ + μv, seen from there: what torch keeps is θ + μv."""
    x, v = START, np.zeros_like(START)  # before the first step v = 0, so both are one
    while True:
        v_next = mu * v - lr * rosenbrock(x + mu * v)
        x, v = x + v_next, v_next
        yield x + mu * v


def rmsprop(lr: float, alpha: float, eps: float) -> Walk:
    """Hinton: s ← αs + (1 − α)g², θ ← θ − lr g / (√s + ε)."""
    x, s = START, np.zeros_like(START)
    while True:
        g = rosenbrock(x)
        s = alpha * s + (1 - alpha) * g**2
        yield (x := x - lr * g / (np.sqrt(s) + eps))


def adam(lr: float, *, l2: float = 0.0, decoupled: float = 0.0, beta1: float = 0.8, beta2: float = 0.9) -> Walk:
    """Kingma and Ba, algorithm 1, ε outside of the root; Loshchilov and Hutter, algorithm 2: both decays."""
    x, m, v, t = START, np.zeros_like(START), np.zeros_like(START), 0
    while True:
        t += 1
        g = rosenbrock(x) + l2 * x
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        yield (x := x - lr * (m_hat / (np.sqrt(v_hat) + 1e-3) + decoupled * x))


def nadam(lr: float, decoupled: float, beta1: float = 0.8, beta2: float = 0.9) -> Walk:
    """Dozat, algorithm 2, with his schedule μ_t = β₁ (1 − 0.5 · 0.96^(t/250))."""
    x, m, v, t, product = START, np.zeros_like(START), np.zeros_like(START), 0, 1.0
    while True:
        t += 1
        mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (time / 250)) for time in (t, t + 1))
        product *= mu
        g = rosenbrock(x)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_bar = mu_next * m / (1 - product * mu_next) + (1 - mu) * g / (1 - product)
        yield (x := x * (1 - lr * decoupled) - lr * m_bar / (np.sqrt(v / (1 - beta2**t)) + 1e-3))


def radam(lr: float, decoupled: float, beta1: float = 0.8, beta2: float = 0.9) -> Walk:
    """Liu et al., algorithm 2; torch rectifies from ρ > 5 on, the paper from ρ > 4."""
    x, m, v, t = START, np.zeros_like(START), np.zeros_like(START), 0
    longest = 2 / (1 - beta2) - 1
    while True:
        t += 1
        g = rosenbrock(x)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, x = m / (1 - beta1**t), x * (1 - lr * decoupled)
        rho = longest - 2 * t * beta2**t / (1 - beta2**t)
        if rho > 5:
            r = np.sqrt((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho))
            x = x - lr * r * m_hat * np.sqrt(1 - beta2**t) / (np.sqrt(v) + 1e-3)
        else:
            x = x - lr * m_hat
        yield x


def adamax(lr: float, beta1: float = 0.8, beta2: float = 0.9, eps: float = 1e-3) -> Walk:
    """Kingma and Ba, algorithm 2: u ← max(β₂u, |g|); torch adds ε to |g|, so that u is never 0."""
    x, m, u, t = START, np.zeros_like(START), np.zeros_like(START), 0
    while True:
        t += 1
        g = rosenbrock(x)
        m = beta1 * m + (1 - beta1) * g
        u = np.maximum(beta2 * u, np.abs(g) + eps)
        yield (x := x - lr / (1 - beta1**t) * m / u)


def adabound(lr: float, final: float, gamma: float, beta1: float = 0.8, beta2: float = 0.9) -> Walk:
    """Luo et al., algorithm 2 as the authors' code has it: Adam's bias correction, and no fall with √t."""
    x, m, v, t = START, np.zeros_like(START), np.zeros_like(START), 0
    while True:
        t += 1
        g = rosenbrock(x)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        size = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t) / (np.sqrt(v) + 1e-3)
        low, high = final * (1 - 1 / (gamma * t + 1)), final * (1 + 1 / (gamma * t))
        yield (x := x - np.clip(size, low, high) * m)


def lion(lr: float, decoupled: float, beta1: float = 0.8, beta2: float = 0.9) -> Walk:
    """Chen et al., algorithm 2."""
    x, m = START, np.zeros_like(START)
    while True:
        g = rosenbrock(x)
        c = beta1 * m + (1 - beta1) * g
        m = beta2 * m + (1 - beta2) * g
        yield (x := x - lr * (np.sign(c) + decoupled * x))


FORMULAS: dict[str, tuple[dict[str, object], Walk]] = {
    "sgd": ({"lr": 1e-3, "weight_decay": 0.1}, sgd(1e-3, 0.1)),
    "momentum": ({"lr": 1e-4, "weight_decay": 0.1, "momentum": 0.9}, momentum(1e-4, 0.1, 0.9)),
    "nesterov": ({"lr": 1e-4, "weight_decay": 0.0, "momentum": 0.9}, nesterov(1e-4, 0.9)),
    "rmsprop": (
        {"lr": 1e-2, "weight_decay": 0.0, "alpha": 0.9, "momentum": 0.0, "eps": 1.0},
        rmsprop(1e-2, 0.9, 1.0),
    ),
    "adam": ({"lr": 1e-2, "weight_decay": 0.5, **BETAS, **EPS}, adam(1e-2, l2=0.5)),
    "adamw": ({"lr": 1e-2, "weight_decay": 0.5, **BETAS, **EPS}, adam(1e-2, decoupled=0.5)),
    "nadam": ({"lr": 1e-2, "weight_decay": 0.5, **BETAS, **EPS}, nadam(1e-2, 0.5)),
    "radam": ({"lr": 1e-3, "weight_decay": 0.5, **BETAS, **EPS}, radam(1e-3, 0.5)),
    "adamax": ({"lr": 1e-2, "weight_decay": 0.0, **BETAS, **EPS}, adamax(1e-2)),
    "adabound": (
        {"lr": 1e-2, "weight_decay": 0.0, **BETAS, **EPS, "final_lr": 1e-3, "gamma": 0.3},
        adabound(1e-2, 1e-3, 0.3),
    ),
    "lion": ({"lr": 1e-2, "weight_decay": 0.5, **BETAS}, lion(1e-2, 0.5)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_twelve_steps_are_those_of_the_formula(name: str) -> None:
    spec, formula = FORMULAS[name]
    assert_walks_as({"name": name, **spec}, formula)


def test_decoupled_decay_is_not_adams_penalty() -> None:
    penalty, decoupled = adam(1e-2, l2=0.5), adam(1e-2, decoupled=0.5)
    first, second = next(penalty), next(decoupled)
    # The first step of Adam is α·sign(g): a penalty cannot be seen in it, decay shrinks each weight by αλ of itself.
    np.testing.assert_allclose(first, START - 1e-2 * np.sign(rosenbrock(START)), atol=1e-6)
    np.testing.assert_allclose(second - first, -1e-2 * 0.5 * START, atol=1e-6)


def test_radam_switches_its_rectification_on_once_the_variance_can_be_known() -> None:
    # ρ∞ = 2 / (1 − 0.9) − 1 = 19; ρ₅ = 19 − 10·0.9⁵ / (1 − 0.9⁵) = 4.58, ρ₆ = 19 − 12·0.9⁶ / (1 − 0.9⁶) = 5.39
    point = Point(START)
    optimizer = build_optimizer({"name": "radam", "lr": 1e-6, "weight_decay": 0.0, **BETAS, "eps": 1e-8}, point)
    places = [START, *(point.descend(optimizer, np.ones_like) for _ in range(6))]
    steps = [float(after[0, 0] - before[0, 0]) for before, after in pairwise(places)]
    rho = 19 - 12 * 0.9**6 / (1 - 0.9**6)
    rectified = np.sqrt((rho - 4) * (rho - 2) * 19 / ((19 - 4) * (19 - 2) * rho))
    assert steps == pytest.approx([-1e-6] * 5 + [-1e-6 * rectified], rel=1e-6)


def test_adabound_keeps_each_step_size_between_its_bounds() -> None:
    spec = {"name": "adabound", "lr": 10.0, "weight_decay": 0.0, **BETAS, **EPS, "final_lr": 1e-3, "gamma": 0.3}
    point = Point(START)
    moved = point.descend(build_optimizer(spec, point), np.ones_like) - START
    # m₁ = 0.2; the step size 10/… is far above 10⁻³ (1 + 1/0.3)
    assert moved == pytest.approx(np.full((1, 3), -0.2 * 1e-3 * (1 + 1 / 0.3)))


def test_schedule_free_averages_what_its_formula_averages() -> None:
    """Defazio et al., algorithm 1: gradients at y = (1 − β₁)z + β₁x; x is the average of all z, here of equal rates."""
    lr, decay, beta1, beta2, eps = 1e-2, 0.5, 0.8, 0.9, 1e-3
    spec = {"name": "schedule_free", "lr": lr, "weight_decay": decay, **BETAS, **EPS}
    point = Point(START)
    optimizer = build_optimizer(spec, point)
    x = z = START
    v = np.zeros_like(START)
    for t in range(1, 13):
        y = (1 - beta1) * z + beta1 * x
        g = rosenbrock(y)
        v = beta2 * v + (1 - beta2) * g**2
        z = z - lr * (g / (np.sqrt(v / (1 - beta2**t)) + eps) + decay * y)
        x = x + (z - x) / t
        found = point.descend(optimizer, rosenbrock)
        np.testing.assert_allclose(found, (1 - beta1) * z + beta1 * x, rtol=1e-9)
    optimizer.eval()  # type: ignore[attr-defined]
    np.testing.assert_allclose(point.weight.detach().numpy(), x, rtol=1e-9)


def matrix_problem() -> tuple[Array, Gradient]:
    """½ Σ c (θ − 1)² of a matrix (8, 8), c from 0.1 to 10; its gradients have no null space, whose basis is any."""
    curvature = np.logspace(-1, 1, 64).reshape(8, 8)
    start = np.random.default_rng(0).normal(size=(8, 8))
    return start, lambda x: curvature * (x - 1)


def test_muon_moves_a_hidden_layer_by_the_orthogonalised_momentum() -> None:
    """Jordan's algorithm with the quintic iteration (3.4445, −4.7750, 2.0315), and Moonlight's size 0.2 √max(O, I)."""
    start, gradient = matrix_problem()
    spec = {"name": "muon", "lr": 0.1, "weight_decay": 0.5, "momentum": 0.9, **BETAS, **EPS}
    point, x, m = Point(start), start, np.zeros_like(start)
    optimizer = build_optimizer(spec, point)
    for _ in range(3):
        g = gradient(x)
        m = 0.9 * m + 0.1 * g
        o = 0.9 * m + 0.1 * g
        o = o / np.linalg.norm(o)
        for _ in range(5):
            s = o @ o.T
            o = 3.4445 * o + (-4.7750 * s + 2.0315 * s @ s) @ o
        expected = x * (1 - 0.1 * 0.5) - 0.1 * 0.2 * np.sqrt(8) * o
        moved = point.descend(optimizer, gradient)
        # the iteration runs in bfloat16, of 8 bits, by design
        assert np.abs(moved - expected).max() < 0.02 * 0.2 * np.sqrt(8)
        x = moved


def test_muon_takes_a_convolution_as_a_matrix_and_leaves_first_and_last_layers_norms_and_biases_to_adamw() -> None:
    network = nn.Sequential(
        nn.Conv3d(1, 8, 3), nn.InstanceNorm3d(8, affine=True), nn.PReLU(8), nn.Conv3d(8, 16, 3), nn.Conv3d(16, 2, 1)
    )
    spec = {"name": "muon", "lr": 0.1, "weight_decay": 0.5, "momentum": 0.9, **BETAS, **EPS}
    groups = build_optimizer(spec, network).param_groups
    by_muon = {id(weight) for group in groups if group["use_muon"] for weight in group["params"]}
    by_adamw = {id(weight) for group in groups if not group["use_muon"] for weight in group["params"]}
    names = {id(weight): name for name, weight in network.named_parameters()}
    assert {names[key] for key in by_muon} == {"3.weight"}
    assert by_muon | by_adamw == set(names)
    before = network[3].weight.detach().clone()
    network[3].weight.grad = torch.randn(before.shape, generator=torch.Generator().manual_seed(0))
    optimizer = build_optimizer({**spec, "weight_decay": 0.0}, network)
    optimizer.step()
    update = (network[3].weight.detach() - before).reshape(16, 8 * 27) / (0.1 * 0.2 * np.sqrt(8 * 27))
    singular = torch.linalg.svdvals(update)
    assert 0.3 < float(singular.min()) < float(singular.max()) < 1.3


def test_soap_is_adam_in_the_eigenbasis_of_shampoos_matrices() -> None:
    """Vyas et al., algorithm 3; the first gradient only makes the basis."""
    start, gradient = matrix_problem()
    beta1, beta2, lr, decay, eps, every = 0.8, 0.9, 1e-2, 0.5, 1e-3, 2
    spec = {"name": "soap", "lr": lr, "weight_decay": decay, **BETAS, **EPS, "every": every}
    point = Point(start)
    optimizer = build_optimizer(spec, point)
    x, m, v = start, np.zeros_like(start), np.zeros_like(start)
    g = gradient(x)
    left, right = (1 - beta2) * g @ g.T, (1 - beta2) * g.T @ g
    q_left, q_right = _basis(left), _basis(right)
    np.testing.assert_array_equal(point.descend(optimizer, gradient), start)
    for t in range(1, 6):
        g = gradient(x)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * (q_left.T @ g @ q_right) ** 2
        correction = np.sqrt(1 - beta2**t) / (1 - beta1**t)
        step = correction * (q_left.T @ m @ q_right) / (np.sqrt(v) + eps)
        x = (x - lr * q_left @ step @ q_right.T) * (1 - lr * decay)
        left = beta2 * left + (1 - beta2) * g @ g.T
        right = beta2 * right + (1 - beta2) * g.T @ g
        np.testing.assert_allclose(point.descend(optimizer, gradient), x, rtol=1e-4, atol=1e-5)
        if t % every == 0:
            q_left, q_right, v = _iterate(left, right, q_left, q_right, v)


def _basis(matrix: Array) -> Array:
    return np.linalg.eigh(matrix)[1][:, ::-1]


def _iterate(left: Array, right: Array, q_left: Array, q_right: Array, v: Array) -> tuple[Array, Array, Array]:
    """One power iteration by QR (algorithm 4) of both sides, eigenvectors by falling eigenvalue, v in their order."""
    for_left = np.argsort(-np.diag(q_left.T @ left @ q_left))
    for_right = np.argsort(-np.diag(q_right.T @ right @ q_right))
    new_left = np.linalg.qr(left @ q_left[:, for_left])[0]
    new_right = np.linalg.qr(right @ q_right[:, for_right])[0]
    return new_left, new_right, v[for_left][:, for_right]
