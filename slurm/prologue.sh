#!/bin/bash
# Sourced by every batch file: strict mode, the site's settings, then run_stage: PATH, a header in the log, the script.
#
#   AMELA_ENVS   folder of the environments (default: envs/.built)
#   AMELA_ENV    one environment for every launcher, e.g. local (default: the launcher's choice)
#   AMELA_CODE   folder of the code to run (default: where sbatch was typed; submit.py --snapshot sets it)
set -euo pipefail
trap '' USR1 # "save and stop": the stages listen to it; before they do, and in other scripts, it must not kill

fail() {
    printf 'ERROR: %s\n' "$*" >&2
    exit 2
}

AMELA_CODE=${AMELA_CODE:-$SLURM_SUBMIT_DIR}
[[ -f scripts/amela/__init__.py && -d logs ]] ||
    fail "$PWD is not the repository root (no scripts/amela, no logs/); type: cd REPOSITORY, then sbatch …"
if [[ -f slurm/site.env ]]; then
    # shellcheck source=/dev/null
    source slurm/site.env
fi

# What a login shell or an active conda environment leaves behind must not reach the job.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV
export PYTHONNOUSERSITE=1 PYTHONUNBUFFERED=1

code_version() { # the commit, marked when tracked files were edited since
    local version edited
    if [[ -f $AMELA_CODE/.git_version ]]; then
        cat "$AMELA_CODE/.git_version"
    elif version=$(git -C "$AMELA_CODE" describe --always --abbrev=12 --exclude='*' 2>/dev/null); then
        # `describe --dirty` locks the index whatever it is told; a task killed just then leaves it locked.
        edited=$(git --no-optional-locks -C "$AMELA_CODE" status --porcelain --untracked-files=no | head -c 1)
        echo "$version${edited:+-edited}"
    else
        echo "unknown (no git)"
    fi
}

gpu_names() {
    [[ -n ${CUDA_VISIBLE_DEVICES:-} ]] || { echo none; return; }
    local ask=(timeout 10 nvidia-smi "--query-gpu=name,memory.total" "--format=csv,noheader") names
    names=$("${ask[@]}" -i "$CUDA_VISIBLE_DEVICES" 2>/dev/null | paste -sd ';') || names=""
    echo "$CUDA_VISIBLE_DEVICES (${names:-name unknown})"
}

print_header() { # print_header COMMAND...
    local task=""
    [[ -z ${SLURM_ARRAY_TASK_ID:-} ]] || task=" task ${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    echo "$(date '+%F %T') job $SLURM_JOB_ID $SLURM_JOB_NAME$task, restart ${SLURM_RESTART_COUNT:-0}, on $(hostname)"
    echo "  code    $AMELA_CODE $AMELA_GIT_VERSION"
    echo "  python  $(command -v python)"
    echo "  gpu     $(gpu_names)"
    printf '  command'
    printf ' %q' "$@"
    echo
}

run_stage() { # run_stage ENVIRONMENT SCRIPT ARGUMENT...
    local name=${AMELA_ENV:-$1} script=$AMELA_CODE/scripts/$2 envs=${AMELA_ENVS:-envs/.built}
    shift 2
    [[ $envs == /* ]] || envs=$PWD/$envs
    [[ -x $envs/$name/bin/python ]] || fail "no environment '$name' in $envs; type: envs/create.sh $name"
    [[ -f $script ]] || fail "no $script; is this the repository that the job was submitted from?"
    PATH=$envs/$name/bin:$PATH
    AMELA_GIT_VERSION=$(code_version)
    AMELA_LAUNCHER=slurm/$SLURM_JOB_NAME.slurm # what to type again, for the hints that the scripts print
    [[ -f $AMELA_LAUNCHER ]] || AMELA_LAUNCHER=slurm/$(basename "$script" .py).slurm
    export PATH AMELA_GIT_VERSION AMELA_LAUNCHER
    # exec: the signal before the time limit (--signal=B:) reaches Python and not a shell that waits for it.
    local command=(python "$script" "$@")
    [[ ${SLURM_NTASKS:-1} == 1 ]] || command=(srun "${command[@]}")
    print_header "${command[@]}"
    exec "${command[@]}"
}
