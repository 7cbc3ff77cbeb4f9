"""Where the shipped configuration lies, and what it offers; imports nothing heavy."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def conf_folder() -> Path:
    """The shipped `conf/`: inside the package of an installed wheel, next to it in a checkout."""
    installed = _PACKAGE / "conf"
    return installed if installed.is_dir() else _PACKAGE.parent / "conf"


def experiments() -> dict[str, str]:
    """Name → first line of description of each shipped experiment."""
    return {file.stem: _describe(file) for file in sorted((conf_folder() / "experiment").glob("*.yaml"))}


def _describe(file: Path) -> str:
    comments = [line[1:].strip() for line in file.read_text().splitlines() if line.startswith("#")]
    return next((line for line in comments if not line.startswith("@")), "")
