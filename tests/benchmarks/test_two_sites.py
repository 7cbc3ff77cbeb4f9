"""Two sites of a data set: no patient in both, every case in one, and the same ones for the same seed."""

from pathlib import Path

from benchmarks.two_sites import two_sites
from segpipe.datasets.manifest import Entry

CASES = [Entry(f"c{number}", f"p{number % 5}", Path(f"c{number}.nii.gz")) for number in range(12)]


def test_patients_are_dealt_whole_and_by_share():
    sites = two_sites(CASES, share=0.4, seed=0)
    source, target = ({entry.patient for entry in sites[name]} for name in ("source", "target"))
    assert (len(source), len(target)) == (2, 3)  # 40 % of five
    assert not source & target
    assert sorted(entry.id for site in sites.values() for entry in site) == sorted(entry.id for entry in CASES)


def test_the_seed_decides_who_is_where():
    drawn = [two_sites(CASES, share=0.4, seed=seed)["source"] for seed in range(8)]
    assert two_sites(CASES, share=0.4, seed=3)["source"] == drawn[3]
    assert len({tuple(entry.id for entry in source) for source in drawn}) > 1
