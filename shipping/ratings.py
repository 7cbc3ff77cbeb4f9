"""Puts the rating model of a run into the package.

    python shipping/ratings.py runs/lung_nodule_ratings/… --name lidc-ratings

Its card gets the name and says whose the data is; nothing else changes.
"""

import argparse
import shutil
from pathlib import Path

from bundle import LICENCE, sign

from segpipe.export.export_spec import CARD, INDEX
from segpipe.export.rating_folder import read_rating_folder
from segpipe.export.shipped import FOLDER
from segpipe.export.staging import staged_folder


def main() -> None:
    """Writes the model and reads it back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("--name", required=True, help="of the model in the package")
    parser.add_argument("--attribution", type=Path, default=Path(__file__).with_name("lidc_attribution.md"))
    given = parser.parse_args()
    read_rating_folder(given.run / "model")
    with staged_folder(FOLDER / given.name, marker=INDEX) as staging:
        shutil.copytree(given.run / "model", staging, dirs_exist_ok=True)
        attribute(staging, given.name, given.attribution.read_text(encoding="utf-8"))
    model = read_rating_folder(FOLDER / given.name)
    print(f"{FOLDER / given.name}: {', '.join(scale.name for scale in model.scales)}")


def attribute(folder: Path, name: str, page: str) -> None:
    """Says in a model folder what it is called and whose data it has learnt from, and lists its files again."""
    attribution = page.format(
        what="Weights that were learnt from crops of nodules and ratings",
        changes="Nothing of them is in here but what was learnt.",
    )
    (folder / "ATTRIBUTION.md").write_text(attribution, encoding="utf-8")
    (folder / "LICENSE").write_text(LICENCE, encoding="utf-8")
    card = (folder / CARD).read_text(encoding="utf-8").replace("--ratings . ", f"--ratings {name} ")
    body = attribution.partition("\n")[2].strip("\n")
    (folder / CARD).write_text(f"{card}\n## Attribution\n\n{body}\n", encoding="utf-8")
    sign(folder)


if __name__ == "__main__":
    main()
