#!/usr/bin/env bash
# A folder of audio → speech → text → units → speech again → language models → words, features, sentiment, phonemes, codes,
# similar ones → a multimodal model → report, through the batch files in slurm/: demo.sh [FOLDER]. Without FOLDER a small corpus is
# spoken first, and one in six emotions, of which a model learns. A cluster that answers is used, else local_sbatch.py runs the
# same files here. Ctrl-C, and the same command again goes on. `make demo [AUDIO=FOLDER]` builds the environment first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export AMELA_ENVS=${AMELA_ENVS:-$PWD/envs/.built} AMELA_ENV=local
python=$AMELA_ENVS/local/bin/python
export OMP_NUM_THREADS=1 # a task a CPU: more threads only wait for each other in models as small as these
tasks=4 few_tasks=2 units=200 # few where a task takes seconds to load torch
job='' emotion=''

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() { printf 'ERROR: %s\n' "$*" >&2; exit 2; }
[ -x "$python" ] || fail "no environment local in $AMELA_ENVS: make demo, or envs/create.sh local"

has_cluster() { command -v sbatch >/dev/null && timeout 5 sinfo --noheader >/dev/null 2>&1; }

launch() {  # launch LINES [--array=…] BATCH_FILE ARGUMENT…: run it to its end, show LINES of each task's log
    local lines=$1 since
    shift
    since=$(mktemp)
    say "$(if $cluster; then echo sbatch; else echo local_sbatch.py; fi) $*"
    # small enough for any machine: nothing here needs what the batch files ask for real corpora
    if ! $cluster; then
        local status=0 # `|| …` gives the trap its turn after Ctrl-C
        "$python" scripts/local_sbatch.py --gres=none --cpus-per-task=1 "$@" || status=$?
        [ $status = 0 ] || exit $status
    else
        job=$(sbatch --parsable --gres=none --cpus-per-task=2 --mem=4G --time=00:30:00 "$@")
        echo "job $job; logs: logs/*_${job}*"
        while squeue --noheader --jobs="$job" 2>/dev/null | grep -q .; do sleep 2; done
        check_job
        job=''
    fi
    find logs -name '*.out' -newer "$since" | sort | xargs tail -qn "$lines"
    rm -f "$since"
}

check_job() {  # end the demo with the log of a task that failed; scontrol knows jobs for some minutes
    if scontrol --oneliner show job "$job" 2>/dev/null | grep -qv 'ExitCode=0:0'; then
        cat logs/*_"${job}"*.err >&2
        fail "job $job failed; logs: logs/*_${job}*"
    fi
}

train_multimodal() { # a tokenizer, Parquet, a Flight server, and a small fusion model that trains on what it serves
    local here=(--local) small="--gres=none --cpus-per-task=1 --mem=4G --time=00:30:00" status=0
    if $cluster; then here=(--wait); fi
    say "submit.py multimodal $manifest"
    "$python" scripts/submit.py multimodal "$manifest" "${here[@]}" --shards 1 --skip vad transcribe features emotion \
        --tokenizer-args "--vocab-size 500" --tokenizer-sbatch "$small" \
        --build-parquet-args "--split-by hash --ratios 0.7 0.3 0" --build-parquet-sbatch "$small" \
        --multimodal-args "--hidden-dim 32 --latent-dim 16 --num-heads 2 --num-layers 1 --transformer-layers 1 \
            --learning-rate 0.003 --batch-size 8 --num-epochs 6" --multimodal-sbatch "$small" \
        --flight-sbatch "$small" || status=$?
    [ $status = 0 ] || exit $status
}

learn_emotions() { # in six emotions twelve voices speak: of eight a small encoder learns that knows nothing, two it is tested on
    local spoken=$PWD/output/${name}_emotions runs=checkpoints/${name}_ser
    emotion=output/${name}_emotion_test
    if [ ! -e "$spoken/manifest.json" ]; then
        say "make_corpus.py $spoken --kind emotion"
        "$python" scripts/make_corpus.py "$spoken" --kind emotion --voices 12 --utterances 36
    fi
    mkdir -p "models/${name}_whisper"
    printf '%s\n' '{"model_type": "whisper", "d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4,' \
        '"encoder_ffn_dim": 128, "max_source_positions": 400}' > "models/${name}_whisper/config.json"
    launch 3 slurm/ser.slurm --audio-base-path "$spoken" --train-jsonl "$spoken/train.json" \
        --val-jsonl "$spoken/valid.json" --test-jsonl "$spoken/test.json" --save-dir "$runs" \
        --tokenizer-path "$runs/pieces.model" --retrain-tokenizer --vocab-size 64 \
        --use-alpha-ser --use-alpha-asr --use-alpha-prosody --ctc-blank-penalty 1 --backbone whisper \
        --backbone-model "models/${name}_whisper" --from-scratch --whisper-trim --backbone-lr 0.003 --head-lr 0.003 \
        --batch-size 16 --gradient-accumulation-steps 1 --num-epochs 6 --checkpoint-interval 0 --num-workers 1 --device cpu
    say "evaluate_ser.py $spoken/test.json"
    "$python" scripts/evaluate_ser.py --checkpoint-path "$runs/best_model.pt" --tokenizer-path "$runs/pieces.model" \
        --audio-base-path "$spoken" --test-jsonl "$spoken/test.json" --output-dir "$emotion" --device cpu
}

stop() {
    [ -z "$job" ] || scancel "$job"
    printf '\nstopped; the same command goes on from here\n'
    exit 75
}
trap stop INT TERM

corpus_figures() { # records, and seconds of speech
    "$python" scripts/manifest_tools.py stats "$manifest" --json | "$python" -c '
import json, sys
figures = json.load(sys.stdin)
print(figures["records"], int(3600 * figures["speech_hours"]))'
}

best_run() { # the folder of the run that grid.py ranked first
    "$python" -c 'import csv, sys; print(next(csv.DictReader(open(sys.argv[1])))["run"])' "output/${name}_grid.csv"
}

if [ -f slurm/site.env ]; then
    # shellcheck source=/dev/null
    source slurm/site.env
fi
cluster=false
if has_cluster; then cluster=true; fi
if [ $# -gt 0 ]; then
    [ -d "$1" ] || fail "$1: no such folder; wanted one with audio files: make demo AUDIO=/data/corpus"
    folder=$(cd "$1" && pwd)
    name=demo_$(basename "$folder")
else
    folder=$PWD/output/demo_corpus name=demo
    say "make_corpus.py $folder"
    "$python" scripts/make_corpus.py "$folder"
    learn_emotions
fi
manifest=metadata/$name.json

launch 3 slurm/vad.slurm "$folder" "$name"
launch 1 --array=0-$((tasks - 1)) slurm/asr.slurm "$manifest" --backend pocketsphinx --balance duration
launch 2 slurm/merge.slurm --manifest "$manifest"
launch 1 slurm/export.slurm "$manifest" --format textgrid eaf srt rttm

read -r records speech_s < <(corpus_figures)
if [ $((2 * speech_s)) -lt "$units" ]; then # 50 frames a unit, or k-means learns the recordings by heart
    units=$((speech_s > 1 ? 2 * speech_s : 2))
    say "little speech, $speech_s s: $units units"
fi
codebook=(--encoder mfcc --kmeans "models/$name.npz")
[ -e "models/$name.npz" ] || # another codebook would make other units
    launch 2 slurm/fit_kmeans.slurm "$manifest" --encoder mfcc --clusters "$units" --output "models/$name.npz"
launch 1 --array=0-$((few_tasks - 1)) slurm/encode.slurm "$manifest" "${codebook[@]}" --output "output/${name}_units"
launch 1 --array=0-$((few_tasks - 1)) slurm/sts.slurm "$manifest" "$(basename "$folder")" "${codebook[@]}" \
    --vocoder griffinlim --output "output/${name}_sts"
launch 2 slurm/merge.slurm --manifest "$manifest"
launch 1 --array=0-$((tasks - 1)) slurm/asr.slurm "$manifest" --backend pocketsphinx --balance duration \
    --audio-field sts_filepath
launch 1 slurm/merge.slurm --manifest "$manifest" --stage asr --field sts_text
if [ -e "$folder/reference.csv" ]; then
    launch 6 slurm/asr_eval.slurm "$manifest" --ref "$folder/reference.csv" --hyp text sts_text
fi

if [ "$records" -gt 1 ]; then
    grid=output/${name}_grid_points.json
    printf '{"hidden_size": [64, 128], "num_layers": [1, 2]}\n' > "$grid"
    launch 1 --array=0-3 slurm/train.slurm "$manifest" "output/${name}_units" --grid "$grid" --embedding-dim 64 \
        --batch-size 4 --learning-rate 0.004 --num-epochs 15 --log-steps 4
    launch 5 slurm/grid.slurm collect "$name"
    run=$(best_run)
    samples=$(basename "$run")_$(basename "$(dirname "$run")")_generated
    # they go on from a second of speech: of themselves so small models hardly leave the silence that recordings begin with
    prompts=metadata/${name}_prompts.json
    [ -e "$prompts" ] ||
        "$python" scripts/manifest_tools.py sample "$manifest" "$prompts" --records $((records < 6 ? records : 6))
    launch 3 slurm/generate.slurm "$run" --temperature 1.0 --top-k none --top-p none --samples 1 --max-length 400 \
        --prompts "$prompts" --prompt-s 1 --hop-s 0.01
    launch 1 slurm/synthesize.slurm "metadata/$samples.json" "${codebook[@]}" --vocoder griffinlim --output "output/$samples"
    launch 1 --array=0-$((few_tasks - 1)) slurm/asr.slurm "metadata/$samples.json" --backend pocketsphinx
    launch 1 slurm/merge.slurm --manifest "metadata/$samples.json"
else
    say "one recording: no language models, as they need another one to be judged by"
fi

# each utterance annotated; these stages are quick where no model is loaded, so one task does
launch 1 --array=0-$((tasks - 1)) slurm/transcribe.slurm "$manifest" --backend pocketsphinx --balance duration
launch 1 --array=0-0 slurm/phonemize.slurm "$manifest" --lang en-us --text-field text
launch 1 --array=0-0 slurm/emotion.slurm "$manifest" --backend lexicon --text-field text
launch 6 slurm/merge.slurm --manifest "$manifest"
launch 1 --array=0-$((few_tasks - 1)) slurm/features.slurm "$manifest"
launch 1 --array=0-0 slurm/codec.slurm "$manifest" --codec mulaw
launch 8 slurm/merge.slurm --manifest "$manifest"
[ "$records" -lt 2 ] || launch 1 slurm/similar.slurm "$manifest" --within corpus --top-k 5
[ "$records" -lt 4 ] || train_multimodal
launch 1 slurm/export.slurm "$manifest" --format textgrid nymph-parquet
launch 1 slurm/report.slurm "$manifest"

say "the corpus"
"$python" scripts/manifest_tools.py stats "$manifest"
if [ -e "$folder/voices.txt" ]; then
    printf '\n'
    sed 's/espeak-ng.*/&: a voice that recognisers hardly understand; flite (apt-get install flite) is better/' "$folder/voices.txt"
fi
if [ -n "$emotion" ]; then
    say "emotions, of voices that were not heard before"
    cat "$emotion/summary.txt"
fi
say "what was made"
printf '%s\n' "manifest     $PWD/$manifest" "annotations  $PWD/output/$name/" ${emotion:+"emotions     $PWD/$emotion/"} \
    "report       $PWD/output/${name}_report.html"
