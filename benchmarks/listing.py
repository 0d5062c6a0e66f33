"""Time and memory of listing a folder of many files.

    python benchmarks/listing.py [--files 100000] [--json]

Makes the folder (empty files in nested folders), then lists it in fresh processes: the median time of five, and how
much the peak of resident memory rises while it lists. The ratio is against counting with `os.walk`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

OURS = "from unpaired.data.folders import list_images\ndef listing(place): return len(list_images(place))"
WALK = "import os\ndef listing(place): return sum(len(files) for _, _, files in os.walk(place))"
CHILD = """
import resource, sys, time
from pathlib import Path
{listing}
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
count = listing(Path(sys.argv[1]))
print(count, time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def fill(place: Path, files: int) -> None:
    """Write empty files, a thousand to a folder."""
    for folder in range(-(-files // 1000)):
        inside = place / f"part {folder:04d}"
        inside.mkdir()
        for number in range(min(1000, files - folder * 1000)):
            (inside / f"image_{number:06d}.png").touch()


def measure(listing: str, place: Path) -> tuple[int, float, float]:
    """Return how many files are found, the seconds it takes, and the mebibytes that the peak rises by."""
    command = [sys.executable, "-c", CHILD.format(listing=listing), str(place)]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(5)]
    median = (statistics.median(float(run[column]) for run in runs) for column in (1, 2))
    seconds, kibibytes = median
    return int(runs[0][0]), seconds, kibibytes / 1024


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        fill(Path(place), arguments.files)
        walked, ours = measure(WALK, Path(place)), measure(OURS, Path(place))
    assert ours[0] == walked[0] == arguments.files
    result = {"files": ours[0], "seconds": ours[1], "peak_mebibytes": ours[2], "ratio_to_os_walk": ours[1] / walked[1]}
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"{result['files']:,} files: {ours[1]:.2f} s, {ours[2]:.0f} MiB; {ours[1] / walked[1]:.2f} x os.walk")


if __name__ == "__main__":
    main()
