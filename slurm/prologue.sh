#!/bin/bash
# Sourced by every batch file. Strict mode, the site's settings, then run_stage: the environment's PATH, a header in the log, the script.
#
#   AMELA_ENVS   folder of the environments (default envs/.built)        AMELA_ENV   one environment for every launcher, e.g. local
#   AMELA_CODE   folder of the code to run (default: where sbatch was typed; scripts/submit.py --snapshot sets it)
set -euo pipefail
trap '' USR1 # "save and stop": the stages listen from their first line on; before that, and elsewhere, it must not kill

fail() {
    printf 'ERROR: %s\n' "$*" >&2
    exit 2
}

AMELA_CODE=${AMELA_CODE:-$SLURM_SUBMIT_DIR}
[[ -f scripts/amela/__init__.py && -d logs ]] ||
    fail "$PWD is not the repository root (no scripts/amela, no logs); type: cd REPOSITORY, then sbatch slurm/NAME.slurm …"
if [[ -f slurm/site.env ]]; then
    # shellcheck source=/dev/null
    source slurm/site.env
fi

# What a login shell or an active conda environment leaves behind must not reach the job.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV
export PYTHONNOUSERSITE=1 PYTHONUNBUFFERED=1

code_version() { # the commit, marked when tracked files were edited since
    if [[ -f $AMELA_CODE/.git_version ]]; then
        cat "$AMELA_CODE/.git_version"
    else
        git --no-optional-locks -C "$AMELA_CODE" describe --always --dirty=-edited --abbrev=12 --exclude='*' 2>/dev/null || echo "unknown (no git)"
    fi
}

gpu_names() {
    [[ -n ${CUDA_VISIBLE_DEVICES:-} ]] || { echo none; return; }
    local names
    names=$(timeout 10 nvidia-smi --query-gpu=name,memory.total --format=csv,noheader -i "$CUDA_VISIBLE_DEVICES" 2>/dev/null |
        paste -sd ';') || names="name unknown"
    echo "$CUDA_VISIBLE_DEVICES (${names:-name unknown})"
}

print_header() { # print_header COMMAND...
    local task=""
    [[ -z ${SLURM_ARRAY_TASK_ID:-} ]] || task=" task ${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    printf '%s job %s %s%s, restart %s, on %s\n' "$(date '+%F %T')" "$SLURM_JOB_ID" "$SLURM_JOB_NAME" "$task" \
        "${SLURM_RESTART_COUNT:-0}" "$(hostname)"
    printf '  code    %s %s\n  python  %s\n  gpu     %s\n  command' "$AMELA_CODE" "$AMELA_GIT_VERSION" "$(command -v python)" "$(gpu_names)"
    printf ' %q' "$@"
    printf '\n'
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
    # exec, so that the signal before the time limit (--signal=B:) reaches Python and not a shell that waits for it.
    local command=(python "$script" "$@")
    [[ ${SLURM_NTASKS:-1} == 1 ]] || command=(srun "${command[@]}")
    print_header "${command[@]}"
    exec "${command[@]}"
}
