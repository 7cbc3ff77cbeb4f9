"""Hard negatives: which places are mistakes, when they are looked up, and that processes find the same."""

import numpy as np
import pytest
import torch

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.networks import build_network
from segpipe.system.processes.ranks import Ranks
from segpipe.training import hard_negatives as module
from segpipe.training.checkpoints.files import write_checkpoint
from segpipe.training.data.mined import Mined
from segpipe.training.data.run_data import prepare_data
from segpipe.training.fitting import recipe_of
from segpipe.training.hard_negatives import find_mistakes, mine, rounds
from tests.samples.prepared_cases import make_recipe, make_scan, prepare

HARD = "sampling.hard_negatives=0.3"


@pytest.fixture
def configured(tiny_words):
    def make(*more):
        return settings_of(compose([*tiny_words, *more], registries), registries())

    return make


@pytest.fixture
def bright_block(tmp_path):
    """A prepared scan with a lesion, and its recipe; a network takes whatever is bright for one."""
    image, mask = make_scan(shape=(40, 36, 24), lesions=[((6, 6, 6), 4)])
    image[...] = -1000
    image[mask > 0] = 400
    image[20:24, 21:25, 10:14] = 400  # the same, and nobody calls it a lesion
    image[30, 30, 18] = -760  # hardly brighter than air
    recipe = make_recipe()
    return prepare(tmp_path, [(image, mask)], recipe)[0], recipe


def brightness(patches: torch.Tensor) -> torch.Tensor:
    return patches * 0.9


def test_a_mistake_is_a_confident_candidate_that_is_no_lesion(bright_block, monkeypatch):
    case, recipe = bright_block
    find = {"recipe": recipe, "engine": brightness, "divisor": (2, 2, 2)}
    (mistake, faint) = find_mistakes(case, **find)
    assert mistake == ("case0", (22, 22, 12))  # of voxels 20…23 by 21…24 by 10…13 the middle, 21.5, 22.5 and 11.5
    assert faint == ("case0", (30, 30, 18))
    monkeypatch.setattr(module, "LEAST_CONFIDENCE", 0.2)
    assert find_mistakes(case, **find) == [mistake]
    monkeypatch.setattr(module, "LEAST_CONFIDENCE", 0.1)
    monkeypatch.setattr(module, "MOST_PLACES", 1)
    assert find_mistakes(case, **find) == [mistake]


def test_a_round_ends_at_each_validation_where_hard_negatives_are_wanted(configured):
    assert rounds(configured(HARD)) == [5, 10, 12]
    assert rounds(configured(HARD, "trainer.max_steps=10")) == [5, 10]
    assert rounds(configured()) == [12]
    assert rounds(configured(HARD, "recipe.scope=voi")) == [12]


class Half(Ranks):
    """One of two processes; what it has found stays with it."""

    def __init__(self, number: int) -> None:
        self.number, self.count = number, 2
        self.found: dict[int, list] = {}

    def gather(self, found):
        self.found = dict(found)
        return list(found.values())


def test_processes_find_together_what_one_finds(configured, tmp_path):
    settings = configured(HARD)
    data = prepare_data(settings, recipe_of(settings))
    cases = data.patches(settings).train.cases
    torch.manual_seed(0)
    state = {f"network.{name}": value for name, value in build_network(settings.network).state_dict().items()}
    write_checkpoint({"state_dict": state, "segpipe": {}}, tmp_path / "last.ckpt")
    halves = [Half(0), Half(1)]
    for half in halves:
        mine(settings, cases, tmp_path / "last.ckpt", step=5, ranks=half)
    alone = Half(0)
    alone.count = 1
    whole = mine(settings, cases, tmp_path / "last.ckpt", step=5, ranks=alone)
    assert len(alone.found) == len(cases) == 7
    assert halves[0].found.keys() | halves[1].found.keys() == alone.found.keys()
    assert halves[0].found | halves[1].found == alone.found
    assert whole.step == 5
    assert whole == mine(settings, cases, tmp_path / "last.ckpt", step=5, ranks=Ranks())
    assert {name for name, _ in whole.found} <= {case.id for case in cases}


def test_the_newest_mistakes_count_and_travel_as_plain_data(configured):
    settings = configured(HARD)
    patches = prepare_data(settings, recipe_of(settings)).patches(settings)
    assert patches.state_dict() == {}
    names = [case.id for case in patches.train.cases]
    older, newer = Mined(5, [(names[0], (1, 2, 3))]), Mined(10, [(names[2], (20, 20, 12)), (names[1], (7, 8, 9))])
    patches.take(older)
    before = [patches.train[index]["image"] for index in range(8)]
    patches.load_state_dict(newer.to_dict())
    assert patches.state_dict() == {"step": 10, "found": [[names[2], 20, 20, 12], [names[1], 7, 8, 9]]}
    patches.load_state_dict(older.to_dict())
    assert patches.mined == newer
    after = [patches.train[index]["image"] for index in range(8)]
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert any(np.array_equal(one, other) for one, other in zip(before, after, strict=True))  # those on lesions
