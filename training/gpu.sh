#!/usr/bin/env bash
# Train for some minutes on a GPU, evaluate, and leave what can be committed: one command of at most
# nine minutes. Needs torch, numpy and safetensors alone (recipes are JSON).
#
#   OUT=results training/gpu.sh            # CONFIG, MINUTES, DEVICE, ROOMS, FRAMES, WORKERS change it
#
# Resumes from training/checkpoint/part-* of the checkout where there are any, else from the shipped
# weights. Leaves in OUT: weights.safetensors (float16), checkpoint/part-* (at most 15 MB each, without
# optimizers), speed.txt, bars.txt, curves.csv, train.log.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${OUT:-gpu-out}")
python=${PYTHON:-python3}
run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT
mkdir -p "$out"
export PYTHONPATH="$PWD" PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1
"$python" -m training.speed --network "${NETWORK:-miniature2}" --device "${DEVICE:-cuda}" \
  --images "${IMAGES:-512}" --frames "${SPEED_FRAMES:-8}" 2>&1 | tee "$out/speed.txt"
begin=(--start assets/miniature.safetensors)
if compgen -G "training/checkpoint/part-*" > /dev/null; then
  "$python" -m training.parts join training/checkpoint "$run/last.pt"
  begin=(--resume)
fi
code=0
"$python" -m training.train --config "${CONFIG:-configs/miniature2_gpu.json}" --checkpoints "$run" \
  --device "${DEVICE:-cuda}" --workers "${WORKERS:-14}" --minutes "${MINUTES:-6}" "${begin[@]}" \
  2>&1 | tee "$out/train.log" || code=$?
[ -f "$run/last.pt" ] || exit "$((code ? code : 1))"
cp "$run/miniature.safetensors" "$out/weights.safetensors"
cp "$run/curves.csv" "$out/" 2> /dev/null || true
"$python" -m training.parts split "$run/last.pt" "$out/checkpoint"
"$python" -m training.bars --weights "$out/weights.safetensors" --device "${DEVICE:-cuda}" \
  --rooms "${ROOMS:-96}" --frames "${FRAMES:-30}" --json "$out/bars.json" 2>&1 | tee "$out/bars.txt"
ls -l "$out" "$out/checkpoint"
exit "$code"
