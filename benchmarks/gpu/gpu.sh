#!/usr/bin/env bash
# What a GPU gives, within 8 minutes and without a network: the tests marked `gpu`, then one table. See gpu.md.
#
#     bash benchmarks/gpu/gpu.sh [--only steps predict ...]
set -uo pipefail
cd "$(dirname "$0")/../.."
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader || echo "nvidia-smi shows no GPU"
# Warnings are no errors here: other versions than those of constraints.txt are what there is.
timeout 150 python3 -m pytest -q -m gpu -W ignore -p no:cacheprovider tests/gpu
tests=$?
timeout 320 python3 benchmarks/gpu/gpu.py --seconds 290 "$@"
table=$?
[ "$tests" -eq 0 ] && [ "$table" -eq 0 ]
