#!/usr/bin/env bash
# The benchmark on one H200, in two commands for one machine's life (and a third, if there is time):
#
#     benches/h200/run.sh build   [SECONDS]     models, cold and warm builds, both models at once   (default 525 s)
#     benches/h200/run.sh measure [SECONDS]     everything else, one process at a time              (default 345 s)
#     benches/h200/run.sh rebuild [SECONDS]     each model built twice in one process, one by one   (default 570 s)
#     benches/h200/run.sh report                the tables
#     benches/h200/run.sh tests   [SECONDS]     not the benchmark: the GPU tests, in SHARDS processes at once   (default 420 s)
#
# OUT: gets results.tar.gz (all JSON so far, after every step), log.txt and report.md (default ./h200).
# WORK: models, caches and the JSON files of all commands (default /tmp/tftrt-h200).  PY: Python, as one command line
# (default "python3 -S": the machine's own packages stay out).  TRT_LIB: the folder of TensorRT's libraries, for the raw loop.
# TRT_LOOP: that loop.  MODELS: default "resnet50 bert".  PRECISION: default FP16.  BATCHES: default 1,64.
# SHARDS: default 14, for 16 cores; the tests' logs and results are in $WORK/tests, and all logs in $OUT/tests.txt.
# Each step has its own limit inside the command's; a step that fails is said and the next one runs. No step can outlast the command.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
OUT=${OUT:-$PWD/h200} WORK=${WORK:-/tmp/tftrt-h200} PY=${PY:-python3 -S} MODELS=${MODELS:-resnet50 bert}
PRECISION=${PRECISION:-FP16} BATCHES=${BATCHES:-1,64} TRT_LIB=${TRT_LIB:-} TRT_LOOP=${TRT_LOOP:-$root/target/release/examples/trt_loop}
SECONDS_PER_COUNT=${SECONDS_PER_COUNT:-2} SHARDS=${SHARDS:-14}
suffix=$(echo "$PRECISION" | tr '[:upper:]' '[:lower:]')
export PYTHONPATH=$root/python${PYTHONPATH:+:$PYTHONPATH} TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-1} PYTHONUNBUFFERED=1
if [ -z "${TFTRT_LIBRARY:-}" ] && [ -f "$root/target/release/libtftrt.so" ]; then export TFTRT_LIBRARY=$root/target/release/libtftrt.so; fi
JSON=$WORK/json
mkdir -p "$OUT" "$JSON"

phase=${1:-}
case $phase in build) limit=${2:-525} ;; measure) limit=${2:-345} ;; rebuild) limit=${2:-570} ;; tests) limit=${2:-420} ;; *) limit=60 ;; esac
end=$(($(date +%s) + limit))

# step LIMIT COMMAND...: bench.py's command, with what is left of the time if that is less.
step() {
    local most=$1 left=$((end - $(date +%s))) begun=$(date +%s) code
    shift
    if [ "$left" -lt 5 ]; then echo "h200: no time left for: $*"; return 1; fi
    [ "$most" -gt "$left" ] && most=$left
    # The kernel's SIGKILL, if a process hangs in the driver past SIGTERM.
    timeout -k 5 "$most" $PY "$here/bench.py" "$@" --out "$JSON" >>"$OUT/log.txt" 2>&1
    code=$?
    tar -C "$JSON" -czf "$WORK/results.$BASHPID" . && mv "$WORK/results.$BASHPID" "$OUT/results.tar.gz"
    echo "h200: $(($(date +%s) - begun)) s, exit code $code: $*"
    return $code
}

# One model: made, built with empty caches, built again with the timing cache alone, built again with everything.
build_one() {
    local model=$1 native=$WORK/$1 converted=$WORK/$1_$suffix cache=$WORK/cache-$1
    rm -rf "$native" "$converted" "$cache" "$cache-warm"
    mkdir -p "$cache" "$cache-warm"
    step 120 model --model "$model" --folder "$native" || return
    TFTRT_CACHE_DIR=$cache step 500 convert --native "$native" --converted "$converted" --precision "$PRECISION" --batches "$BATCHES" --tag cold || return
    cp -r "$cache/." "$cache-warm/"
    (cd "$cache-warm" && find . -type f ! -ipath '*timing*' -delete)
    TFTRT_CACHE_DIR=$cache-warm step 400 convert --native "$native" --converted "$WORK/warm/$1_$suffix" --precision "$PRECISION" --batches "$BATCHES" --tag warm
    TFTRT_CACHE_DIR=$cache step 200 convert --native "$native" --converted "$WORK/disk/$1_$suffix" --precision "$PRECISION" --batches "$BATCHES" --tag disk
}

measure() {
    local model
    # In the order of what matters most, should the time run out.
    for model in $MODELS; do
        step 70 speed --native "$WORK/$model" --converted "$WORK/${model}_$suffix" --batches "$BATCHES"
        step 30 load --folder "$WORK/${model}_$suffix"
    done
    for model in $MODELS; do
        step 40 raw --converted "$WORK/${model}_$suffix" --binary "$TRT_LOOP" ${TRT_LIB:+--lib "$TRT_LIB"} --plans "$WORK/plans"
    done
    set -- $MODELS
    step 40 threads --folder "$WORK/${1}_$suffix" --seconds "$SECONDS_PER_COUNT"
    for model in $MODELS; do
        TFTRT_CUDA_GRAPHS=true step 50 speed --native "$WORK/$model" --converted "$WORK/${model}_$suffix" --batches "$BATCHES" --rounds 3 --tag graphs_on
        TFTRT_CUDA_GRAPHS=false step 50 speed --native "$WORK/$model" --converted "$WORK/${model}_$suffix" --batches "$BATCHES" --rounds 3 --tag graphs_off
    done
    for model in $MODELS; do
        step 30 memory --folder "$WORK/${model}_$suffix" --batches "$BATCHES"
        step 30 memory --folder "$WORK/$model" --batches "$BATCHES"
    done
    step 40 threads --folder "$WORK/$1" --seconds 1
    for model in $MODELS; do step 30 load --folder "$WORK/$model"; done
}

# One model built twice in one process; made where `build` did not.
rebuild_one() {
    [ -d "$WORK/$1" ] || step 120 model --model "$1" --folder "$WORK/$1" || return
    step 560 rebuild --native "$WORK/$1" --precision "$PRECISION" --batches "$BATCHES"
}

# tests NAME SECONDS PYTEST_ARGUMENTS...: into $WORK/tests/NAME.txt and NAME.jsonl; the last line is said.
tests() {
    # Not $BASHPID where it is used: a redirection has it from the process that is redirected.
    local name=$1 left=$(($2 - $(date +%s))) begun=$(date +%s) all=$WORK/tests.$BASHPID code
    shift 2
    if [ "$left" -lt 20 ]; then echo "h200: no time left for the tests of $name"; return 1; fi
    # SIGTERM is answered with a summary of what was done so far, which takes a moment; not by a process that hangs in the driver.
    (cd "$root/tests" && timeout -k 10 $((left - 10)) $PY -m pytest -v --durations=5 --results "$WORK/tests/$name.jsonl" "$@") >"$WORK/tests/$name.txt" 2>&1
    code=$?
    echo "h200: $(($(date +%s) - begun)) s, exit code $code: tests of $name: $(tail -n 1 "$WORK/tests/$name.txt" | tr -d =)"
    cat "$WORK"/tests/*.txt >"$all" && mv "$all" "$OUT/tests.txt"
}

case $phase in
tests)
    rm -rf "$WORK/tests"
    mkdir -p "$WORK/tests"
    # Lines of failures are not cut; and the processes share the GPU's memory.
    export COLUMNS=200 TF_FORCE_GPU_ALLOW_GROWTH=true
    # Whatever has the marker; the stress has its own process, and test_shards.py only speaks of the marker.
    files=$(cd "$root/tests" && grep -lE 'mark\.gpu\b' python/test_*.py | grep -v -e stress -e shards)
    # A quarter of the time is left for what runs alone.
    together=$((end - limit / 4))
    names=
    for ((k = 1; k <= SHARDS; k++)); do
        names="$names shard_$k"
        tests "shard_$k" $together $files -m "gpu and not whole_device" --shard "$k/$SHARDS" &
    done
    tests stress $together python/test_gpu_stress.py -m gpu &
    wait
    # Takes all of the device's memory: alone.
    tests device_memory $end $files -m whole_device
    grep -hE "^(FAILED|ERROR)|^E  " "$WORK"/tests/*.txt | cut -c1-400 | head -n 60
    (cd "$WORK/tests" && $PY "$root/tests/python/results.py" $(printf '%s.jsonl ' $names stress device_memory)) | sed 's/^/h200: /'
    exit "${PIPESTATUS[0]}"
    ;;
build)
    for model in $MODELS; do build_one "$model" & done
    wait
    ;;
measure) measure ;;
rebuild) for model in $MODELS; do rebuild_one "$model"; done ;;
report) ;;
*)
    sed -n '2,15p' "$0"
    exit 2
    ;;
esac
$PY "$here/bench.py" report --out "$JSON" | tee "$OUT/report.md"
