# The cmd of a case sources this file. $out is a temporary folder, which is removed on exit.
#
#   tiny_train NAME ARGS…   trains the smallest student in $out/run (ARGS can change the folder);
#                           writes the output to $out/NAME.log and sets $status to the exit status
#   tiny_infer NAME ARGS…   answers inputs; writes the same log and sets the same variable
#   right / wrong TEXT      prints TEXT and exits with status 0 / 1
set -u
lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# The compiled programs run for milliseconds only, so XLA optimization does not pay off.
export XLA_FLAGS="${XLA_FLAGS:---xla_backend_optimization_level=0}"
size=(--gin_file=sizes/tiny.gin --gin.EMB_DIM=16 --gin.HEAD_DIM=4 --gin.MLP_DIM=32
  --gin.NUM_ENCODER_LAYERS=1 --gin.NUM_DECODER_LAYERS=1 --gin.VOCAB_SIZE=256)
steps=(--gin.BATCH_SIZE=16 --gin.TRAIN_STEPS=4 --gin.EVAL_PERIOD=2 --gin.LOG_PERIOD=1
  --gin.LEARNING_RATE=0.003)
short=(--gin.MAX_DECODE_LENGTH=8
  --gin.TASK_FEATURE_LENGTHS="{'inputs': 48, 'targets': 48, 'task_ids': 48}")
vocabulary=(--gin.VOCABULARY_PATH="'$lib/tiny.model'")
data=(--gin.DATA_FILES="'$lib/tiny.jsonl'")
method=step_by_step

tiny_train() {
  local name=$1
  shift
  python -m dsbs_jax.train "${size[@]}" --gin_file=methods/$method.gin \
    --gin_file=datasets/jsonl.gin --gin_file=local/train.gin "${data[@]}" \
    "${vocabulary[@]}" "${steps[@]}" "${short[@]}" --gin.MODEL_DIR="'$out/run'" "$@" \
    >"$out/$name.log" 2>&1
  status=$?
}

tiny_infer() {
  local name=$1
  shift
  python -m dsbs_jax.infer --gin_file=local/infer.gin \
    --gin_file="$out/run/config.gin" --gin.CHECKPOINT_PATH="'$out/run'" "$@" \
    >"$out/$name.log" 2>&1
  status=$?
}

show() { sed "s|$out|OUT|g; s|$lib|LIB|g" "$out/$1.log" | tail -n "${2:-4}" | cut -c1-600; }
right() { echo "right: $*"; exit 0; }
wrong() { echo "wrong: $*"; exit 1; }

# run_as NAME COMMAND…: runs a command, writes its output to $out/NAME.log and sets $status.
run_as() {
  local name=$1
  shift
  "$@" >"$out/$name.log" 2>&1
  status=$?
}

# one_line NAME WORD: checks that the log is one error that names WORD and that the status is 2.
one_line() {
  show "$1" 4
  grep -q Traceback "$out/$1.log" && wrong "$1: traceback (exit status $status)"
  [ "$status" = 2 ] || wrong "$1: exit status $status, expected 2"
  grep -Eq "^error: .*$2" "$out/$1.log" || wrong "$1: the error does not name $2"
}
