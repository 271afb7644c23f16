#!/usr/bin/env bash
# Makes what ships under models/ and the figures of its cards, end to end: both networks, their quality, a searched
# schedule and its distance to dense. About 27 minutes on an H200; a second device takes everything but the training.
#
#   examples/reference_run.sh DATA OUT [DEVICE] [OTHER_DEVICE]
#
# DATA holds CIFAR-10 as train/test parquet files or image folders. A step whose result is in OUT is not run again, so
# a broken run is continued by the same command. Logs: OUT/log/.
set -uo pipefail
data=$1 out=$2 device=${3:-cuda:0}
other=${4:-$device}
python=${PYTHON:-python}
here=$(cd "$(dirname "$0")/.." && pwd)
features=$out/cifar10-features dit=$out/cifar10-dit snapshot=$out/work/snapshot
mkdir -p "$out/log"

# step NAME RESULT COMMAND...: run COMMAND unless RESULT is there
step() {
    local name=$1 result=$2
    shift 2
    [ -e "$result" ] && return 0
    echo "$(date +%T) $name"
    "$@" > "$out/log/$name.log" 2>&1 || echo "$(date +%T) $name FAILED, see $out/log/$name.log"
    [ -e "$result" ]
}

quality() { # NAME FOLDER DEVICE: class accuracy and distance to the data, sampled by diffusers itself
    step "quality-$1" "$out/quality-$1" "$python" "$here/benchmarks/model_quality.py" "$2" \
        --features "$features" --images 10000 --batch 500 --device "$3" --out "$out/quality-$1"
}

distance() { # NAME DEVICE ARGUMENTS...: distance of schedules to dense
    local name=$1 on=$2
    shift 2
    step "distance-$name" "$out/distance-$name.json" "$python" "$here/benchmarks/schedule_quality.py" "$dit" \
        --features "$features" --device "$on" --tf32 -n 5000 --batch 1000 --out "$out/distance-$name.json" "$@"
}

judge_and_snapshot() {
    step features "$features/statistics.safetensors" "$python" "$here/examples/train_cifar10_features.py" \
        --data "$data" --out "$features" --device "$other" --seconds "${FEATURE_SECONDS:-240}"
    until [ -e "$snapshot/model_index.json" ] || [ -e "$dit/model_index.json" ]; do sleep 5; done
    quality snapshot "$snapshot" "$other"
}

judge_and_snapshot &
resume=()
[ -e "$out/work/checkpoint.pt" ] && resume=(--resume)
step dit "$dit/model_index.json" "$python" "$here/examples/train_cifar10_dit.py" --data "$data" --out "$dit" \
    --work "$out/work" --minutes "${DIT_MINUTES:-20.5}" --snapshot-minutes 8 --device "$device" "${resume[@]}"
until [ -e "$features/statistics.safetensors" ]; do sleep 2; done
quality final "$dit" "$other" &
step search "$out/search/schedule.json" "$python" -m diffes search "$dit" --macs 0.375 --out "$out/search" \
    --device "$device" --effort thorough --resume
distance searched "$device" --schedule "$out/search/schedule.json" --schedule uniform:0.375 \
    --calibration "$out/search/calibration.safetensors" &
distance uniform "$other" --schedule uniform:0.375 --compensation bias --compensation none
wait
echo "$(date +%T) done"
