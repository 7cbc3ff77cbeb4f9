"""What `+experiment=continue` finds when a test composes it: a model that was trained as the main job."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def model_to_go_on_with() -> None:
    """Its sections are options, as if `init.from` had named it."""
    from segpipe.config.check import plain
    from segpipe.config.compose import compose
    from segpipe.config.parent_options import offer_parent
    from segpipe.training.transfer.parent import SECTIONS

    trained = plain(compose(["+experiment=lung_nodule"], dict))
    offer_parent({section: trained[section] for section in SECTIONS}, {"fold": 0})
