"""What segpipe is made of: a software bill of materials (CycloneDX) of this environment, checked against its schema.

    python shipping/sbom.py --output segpipe.cdx.json

It lists segpipe and the packages that it needs when it runs, with all that those need, as installed here, and not what
tests need. The same environment gives the same bytes, and no path of the machine is in them.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from segpipe import __version__

ROOT = Path(__file__).resolve().parent.parent
OURS = "segpipe"
Needs = dict[str, set[str]]
"""Name of a package → names of those that it needs."""


def main() -> None:
    """Writes the bill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="a JSON file")
    parser.add_argument("--extra", action="append", default=[], metavar="NAME", help="an installed extra of segpipe")
    given = parser.parse_args()
    bill = narrow(of_environment(), needs_of(OURS, given.extra))
    check_schema(bill)
    given.output.write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{given.output}: segpipe {__version__} and {len(bill['components'])} packages")


def of_environment() -> dict[str, Any]:
    """The bill of all that is installed, as `cyclonedx-py` makes it."""
    words = ["environment", "--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--no-validate"]
    done = subprocess.run([sys.executable, "-m", "cyclonedx_py", *words], check=True, capture_output=True, text=True)
    bill: dict[str, Any] = json.loads(done.stdout)
    return bill


def needs_of(name: str, extras: Iterable[str] = (), *, of: Callable[[str], list[str] | None] = requires) -> Needs:
    """What a package needs, and what each of those needs, as far as their markers say that it is needed here.

    Args:
        name: Of the package.
        extras: Of it that are wanted; those of others are wanted by whoever names them.
        of: Name → the requirements of an installed package.
    """
    needs: Needs = {}
    left = [(canonicalize_name(name), frozenset(extras))]
    seen = set(left)
    while left:
        package, wanted = left.pop()
        for one in map(Requirement, of(package) or ()):
            if one.marker is not None and not any(one.marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                continue
            needs.setdefault(package, set()).add(canonicalize_name(one.name))
            step = canonicalize_name(one.name), frozenset(one.extras)
            left += [] if step in seen else [step]
            seen.add(step)
    return needs


def narrow(bill: Mapping[str, Any], needs: Needs) -> dict[str, Any]:
    """The part of a bill that segpipe needs, without addresses of any kind.

    Raises:
        KeyError: for a package that is needed and not in the bill.
    """
    root = bill["metadata"]["component"]
    found = {canonicalize_name(one["name"]): one for one in bill["components"]}
    kept = sorted({name for names in needs.values() for name in names} - {OURS})
    refs = {OURS: root["bom-ref"], **{name: found[name]["bom-ref"] for name in kept}}
    return {
        **bill,
        "metadata": {**bill["metadata"], "component": {**_plain(root), "version": __version__}},
        "components": [_plain(found[name]) for name in kept],
        "dependencies": [_row(ref, [refs[one] for one in needs.get(name, ())]) for name, ref in refs.items()],
    }


def check_schema(bill: Mapping[str, Any]) -> None:
    """Makes sure that a bill is what the schema of its version says.

    Raises:
        ValueError: with the first mistake.
    """
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    mistake = JsonStrictValidator(SchemaVersion.from_version(bill["specVersion"])).validate_str(json.dumps(bill))
    if mistake:
        raise ValueError(str(mistake))


def _row(ref: str, needs: Iterable[str]) -> dict[str, Any]:
    return {"ref": ref, "dependsOn": sorted(needs)} if needs else {"ref": ref}


def _plain(component: Mapping[str, Any]) -> dict[str, Any]:
    """Without addresses: those of pages are of no use to whoever looks for faults, others are paths of this machine."""
    return {name: value for name, value in component.items() if name != "externalReferences"}


if __name__ == "__main__":
    main()
