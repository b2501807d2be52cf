#!/bin/bash
# Lets libFuzzer feed every parser of bytes from outside, from the seeds on: `fuzz/run.sh` for a
# minute each, `fuzz/run.sh -runs=1000 -seed=1` with libFuzzer's own options. Needs a C++ compiler.
#
# What breaks one is kept in target/fuzz/finds; once mended it belongs into fuzz/seeds. Built here
# with the stable toolchain; `cargo fuzz` works too, and adds sanitizers.
set -euo pipefail
cd "$(dirname "$0")"

[ $# -gt 0 ] || set -- -max_total_time=60

target=$PWD/../target/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
coverage=(
    --cfg fuzzing
    -C passes=sancov-module
    -C codegen-units=1
    -C llvm-args=-sanitizer-coverage-level=4
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters
    -C llvm-args=-sanitizer-coverage-pc-table
    -C llvm-args=-sanitizer-coverage-trace-compares
)
# With --target the flags are for the product alone, not for what builds it.
RUSTFLAGS="${coverage[*]}" cargo build --locked --release --bins \
    --target "$host" --target-dir "$target"

mkdir -p "$target/finds"
fuzz() {
    local name=$1
    shift
    mkdir -p "$target/corpus/$name"
    "$target/$host/release/$name" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="$target/finds/$name-" "$@" \
        "$target/corpus/$name" "seeds/$name" >"$target/$name.log" 2>&1 || {
        grep -E -A3 'panicked at|ERROR|Test unit' "$target/$name.log"
        echo "$name: failed; all of it is in target/fuzz/$name.log" >&2
        return 1
    }
    local runs
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$target/$name.log")
    printf '%-12s %10s inputs\n' "$name" "$runs"
}
export -f fuzz
export target host

find seeds -mindepth 1 -maxdepth 1 -printf '%f\n' | sort |
    xargs -P "$(nproc)" -I NAME bash -c 'fuzz NAME "$@"' fuzz "$@"
