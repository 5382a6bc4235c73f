#!/usr/bin/env bash
# A folder of audio → speech → text → report, through the batch files in slurm/: demo.sh [FOLDER]
# Without FOLDER a small corpus is spoken first. A cluster that answers is used, else local_sbatch.py runs the same
# files here. Ctrl-C, and the same command again goes on. `make demo [AUDIO=FOLDER]` builds the environment first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export AMELA_ENVS=${AMELA_ENVS:-$PWD/envs/.built} AMELA_ENV=local
python=$AMELA_ENVS/local/bin/python
tasks=4
job=''

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
        "$python" scripts/local_sbatch.py --gres=none --cpus-per-task=1 "$@"
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

stop() {
    [ -z "$job" ] || scancel "$job"
    printf '\nstopped; the same command goes on from here\n'
    exit 75
}
trap stop INT TERM

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
fi
manifest=metadata/$name.json

launch 3 slurm/vad.slurm "$folder" "$name"
launch 1 --array=0-$((tasks - 1)) slurm/asr.slurm "$manifest" --backend pocketsphinx --balance duration
launch 2 slurm/merge.slurm --manifest "$manifest"
if [ -e "$folder/reference.csv" ]; then
    launch 5 slurm/asr_eval.slurm "$manifest" --ref "$folder/reference.csv" --hyp text
fi
launch 1 slurm/export.slurm "$manifest" --format textgrid eaf srt rttm
launch 1 slurm/report.slurm "$manifest"

say "the corpus"
"$python" scripts/manifest_tools.py stats "$manifest"
if [ -e "$folder/voices.txt" ]; then
    printf '\n'
    sed 's/espeak-ng.*/&: a voice that recognisers hardly understand; flite (apt-get install flite) is better/' "$folder/voices.txt"
fi
say "what was made"
printf '%s\n' "manifest     $PWD/$manifest" "annotations  $PWD/output/$name/" "report       $PWD/output/${name}_report.html"
