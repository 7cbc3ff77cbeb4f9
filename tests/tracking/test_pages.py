"""What a person finds on the pages of a real MLflow server, opened in a real browser."""

import json
from itertools import takewhile

import numpy as np
import pytest

from segpipe.evaluation.evaluate import evaluate_pair, summarise
from segpipe.evaluation.tables import case_rows, lesion_rows
from segpipe.geometry import Grid
from segpipe.tracking.mlflow import Tracker
from segpipe.tracking.nested_runs import Child, report_nested_runs
from segpipe.tracking.tables import side_by_side
from tests.peers.mlflow_server import Server

pytestmark = pytest.mark.slow
GRID = Grid((30, 20, 12), np.eye(4))


@pytest.fixture(scope="module", autouse=True)
def tall_window(browser):
    """MLflow draws the rows in sight alone."""
    browser.set_window_size(1500, 3000)


@pytest.fixture(scope="module")
def server(tmp_path_factory, browser, new_database):
    """A server with a SQLite file; it starts only where a browser can look at it."""
    home = tmp_path_factory.mktemp("server")
    running = Server(home, new_database(home))
    running.start()
    yield running.uri
    running.stop()


def evaluated(shift):
    """Four cases, the prediction `shift` voxels next to the reference."""
    masks = [np.zeros(GRID.shape, dtype=np.uint8) for _ in range(2)]
    masks[0][10 + shift : 14 + shift, 5:9, 2:6] = masks[1][10:14, 5:9, 2:6] = 1
    return [evaluate_pair(f"case{n}", f"p{n}", *masks, GRID) for n in range(4)]


@pytest.fixture(scope="module")
def runs(server, tmp_path_factory):
    """A parent with two children that differ in one parameter, logged as trainings log them: name → run id."""
    home = tmp_path_factory.mktemp("runs")
    config = {"optimizer": {"lr": 0.001, "name": "adamw"}, "network": {"name": "unet", "depth": 4}}
    with Tracker.start(
        uri=server, experiment="lung", run_name="sweep", config=config, tags={}, folder=home / "p"
    ) as parent:
        children = [
            log_run(server, home / name, config | {"optimizer": {"lr": rate, "name": "adamw"}}, shift, parent.run_id)
            for name, rate, shift in (("slow", 0.001, 2), ("fast", 0.01, 1))
        ]
        report_nested_runs(parent, children, best=children[1])
    return {"sweep": parent.run_id, **{child.name: child.run_id for child in children}}


def log_run(server, folder, config, shift, parent):
    found = evaluated(shift)
    summary = {"data": "blocks", "data_hash": "0123abcd", **summarise(found)}
    facts = {"experiment": "lung", "run_name": folder.name, "config": config, "tags": {"data_hash": "0123abcd"}}
    with Tracker.start(uri=server, **facts, folder=folder, parent=parent) as tracker:
        tracker.watch_system(interval_s=0.2)
        for step in range(5):
            tracker.log_metrics({"train/loss": 1.0 / (step + 1)}, step)
        tracker.log_dataset("blocks (test)", "0123abcd", source="nifti", counts={"cases": 4}, context="testing")
        tracker.log_summary(summary)
        tracker.log_table(side_by_side(case_rows(found)), "evaluation/cases")
        tracker.log_table(side_by_side(lesion_rows(found)), "evaluation/lesions")
    return Child(folder.name, tracker.run_id, summary)


def experiment_of(server, run_id):
    from segpipe.tracking.server import connect

    return connect(server).get_run(run_id).info.experiment_id


def tags_of(server, run_id):
    from segpipe.tracking.server import connect

    return connect(server).get_run(run_id).data.tags


def text_of(browser, url, *words):
    """The text of a page once it shows all words."""
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(url)
    shown = [""]

    def read(driver):
        shown[0] = driver.execute_script("return document.body.innerText")
        return all(word in shown[0] for word in words)

    try:
        WebDriverWait(browser, 90).until(read)
    except TimeoutException:
        missing = [word for word in words if word not in shown[0]]
        pytest.fail(f"not on the page: {missing}\n{shown[0][:3000]}")
    return shown[0]


def test_the_compare_page_lines_up_metrics_and_shows_what_differs(server, runs, browser):
    pair = [runs["slow"], runs["fast"]]
    query = f"runs={json.dumps(pair)}&experiments={json.dumps([experiment_of(server, pair[0])])}".replace('"', "%22")
    words = ("slow", "fast", "optimizer.lr", "evaluation/dice", "evaluation/nsd", "Show diff only")
    page = text_of(browser, f"{server}/#/compare-runs?{query}", *words)
    metrics = metric_rows(page)
    assert next(iter(metrics)).startswith("evaluation/")  # what one compares first comes first
    assert metrics["evaluation/dice"] == [0.5, 0.75]
    assert metrics["evaluation/lesion_f1"] == [1.0, 1.0]
    assert row_of(browser, "optimizer.lr") == ["0.001", "0.01"]
    assert row_of(browser, "network.depth") == ["4", "4"]
    assert is_marked(browser, "optimizer.lr")
    assert not is_marked(browser, "network.depth")


def metric_rows(page):
    """The rows in sight of the compare page's grid of metrics, which gives all names before all values."""
    lines = page.partition("\nMetrics\nShow diff only\n")[2].splitlines()
    names = list(takewhile(lambda line: "/" in line, lines))
    values = lines[len(names) :]
    return {name: [float(value) for value in values[2 * n : 2 * n + 2]] for n, name in enumerate(names)}


ROW = "[...document.querySelectorAll('tr')].find(row => row.cells[0].innerText.trim() === arguments[0])"


def row_of(browser, name):
    """The cells behind a name in the tables of the compare page."""
    return browser.execute_script(f"return [...{ROW}.cells].slice(1).map(cell => cell.innerText.trim())", name)


def is_marked(browser, name):
    return "diff-row" in browser.execute_script(f"return {ROW}.className", name)


def test_the_page_of_a_run_names_data_parent_figures_and_machine(server, runs, browser):
    home = f"{server}/#/experiments/{experiment_of(server, runs['fast'])}/runs/{runs['fast']}"
    text_of(browser, home, "fast", "blocks (test)", "0123abcd", "sweep", "evaluation/dice", "optimizer.lr")
    text_of(browser, f"{home}/system-metrics", "cpu_utilization_percentage", "system_memory_usage_percentage")


def test_the_address_that_a_run_reports_opens_the_pages_for_trainings(server, runs, browser, tmp_path):
    facts = {"experiment": "alone", "run_name": "listed", "config": {}, "tags": {}}
    with Tracker.start(uri=server, **facts, folder=tmp_path) as tracker:
        tracker.log_table(side_by_side(case_rows(evaluated(1))), "evaluation/cases")
    page = text_of(browser, tracker.run_url, "listed", "Model training", "Model metrics")
    assert "Playground" not in page  # of MLflow's pages for language models
    assert "Sessions" not in page
    tables = f"{server}/#/experiments/{experiment_of(server, tracker.run_id)}/runs?compareRunsMode=ARTIFACT"
    page = text_of(browser, tables, "evaluation/cases.json", "Compare:")
    assert page.partition("Compare:")[2].split()[0] == "dice"


def test_the_evaluation_tables_can_be_laid_side_by_side(server, runs, browser):
    home = f"{server}/#/experiments/{experiment_of(server, runs['fast'])}/runs?compareRunsMode=ARTIFACT"
    text_of(browser, home, "sweep", "children.json")
    client_tags = tags_of(server, runs["fast"])["mlflow.loggedArtifacts"]
    assert {entry["path"] for entry in json.loads(client_tags)} == {"evaluation/cases.json", "evaluation/lesions.json"}


def test_the_page_of_a_family_lists_its_children(server, runs, browser):
    home = f"{server}/#/experiments/{experiment_of(server, runs['sweep'])}/runs/{runs['sweep']}"
    text_of(browser, home, "Best:", "fast", "lesion f1", "spread/dice_mean")
