#!/usr/bin/env bash
# The laws and the benchmarks on one GPU, in under eight minutes, with the JAX that is
# installed. What fails or takes too long is recorded, and the rest runs all the same.
#
#   benchmarks/gpu.sh [FOLDER] [options of python -m benchmarks]
#
# Without a GPU, `benchmarks/gpu.sh out --backend cpu --sizes 65536 --seconds 0` shows
# that it works.
set -u
cd "$(dirname "$0")/.."
out=${1:-benchmarks/results}
shift $(($# > 0))
mkdir -p "$out"
python=${PYTHON:-python}
steps=$(mktemp)

# step NAME SECONDS COMMAND...: run it, keep what it prints and note how it ended
step() {
    local name=$1 limit=$2 start=$SECONDS status
    shift 2
    timeout --signal=INT --kill-after=10 "$limit" "$@" > "$out/$name.txt" 2>&1
    status=$?
    ((status == 124 || status == 137)) && status="$status (more than $limit s)"
    echo "$name: exit $status, $((SECONDS - start)) s" | tee -a "$steps"
}

device=$("$python" -c 'from benchmarks import _report; print(_report.stem()[6:])') ||
    device=unknown

# the laws compile much and compute little: four processes at a time
names='from jaxnoise.testing._check_noise import LAWS; print(*LAWS)'
read -ra laws < <("$python" -c "$names")
for ((i = 0; i < 4; i++)); do
    only=()
    for ((j = i; j < ${#laws[@]}; j += 4)); do only+=("${laws[j]}"); done
    XLA_PYTHON_CLIENT_PREALLOCATE=false step "laws-$device-$((i + 1))" 200 \
        "$python" -m jaxnoise.testing --only "${only[@]}" &
done
wait

step "noise-$device" 240 "$python" -m benchmarks \
    --backend gpu --sizes 1048576,16777216,268435456 \
    --only forward,gradient,stack,eager --seconds 0.5 --out "$out" "$@"

{
    date -u +%F
    command -v nvidia-smi > /dev/null &&
        nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    "$python" -m pip list 2> /dev/null | grep -iE '^(jax|flax|jaxnoise|equinox|keras)'
    cat "$steps"
} | tee "$out/steps-$device.txt"
rm "$steps"
! grep -q ': exit [1-9]' "$out/steps-$device.txt"
