#!/usr/bin/env bash
# Trains a very small student for one step: student.sh TRAIN_JSONL FOLDER [flags…]
# Writes own.model (a vocabulary) and run/ (the student) to FOLDER. Prints nothing on success.
set -u
data=$1 folder=$2
shift 2
mkdir -p "$folder"
python -m dsbs_jax.train_vocabulary --data_files="$data" --vocab_size=120 \
  --output_file="$folder/own.model" >"$folder/vocabulary.log" 2>&1 || {
  tail -n 3 "$folder/vocabulary.log"
  exit 1
}
python -m dsbs_jax.train --gin_file=sizes/tiny.gin --gin_file=methods/step_by_step.gin \
  --gin_file=datasets/jsonl.gin --gin_file=local/train.gin \
  --gin.DATA_FILES="'$data'" --gin.MODEL_DIR="'$folder/run'" \
  --gin.VOCABULARY_PATH="'$folder/own.model'" --gin.VOCAB_SIZE=256 \
  --gin.TRAIN_STEPS=1 --gin.EVAL_PERIOD=1 --gin.BATCH_SIZE=4 \
  --gin.TASK_FEATURE_LENGTHS="{'inputs': 32, 'targets': 16, 'task_ids': 16}" \
  "$@" >"$folder/train.log" 2>&1 || {
  tail -n 5 "$folder/train.log"
  exit 1
}
