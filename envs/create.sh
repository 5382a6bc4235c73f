#!/usr/bin/env bash
# Build an environment, or say what is built.
#
#   envs/create.sh NAME [conda|mamba|micromamba|uv|venv]
#   envs/create.sh --list
#   envs/create.sh --can NAME [TOOL]    builds nothing: status 0 if it is built or could be, else 2 and why
#
# NAME.yml has the Python version and system libraries, NAME.txt the exact pins; where a package needs it,
# NAME.nodeps.txt is installed with --no-deps and NAME.post.sh is run, which checks the result.
# An environment is built in ${AMELA_ENVS:-envs/.built}/.builds/NAME-HASH, HASH being that of these files, and the
# link .built/NAME is set to it last: it always leads to a whole one. A build is never changed after that, so a
# job that runs from an older one keeps it. Run again with nothing changed, it does nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${AMELA_ENVS:-$here/.built}
mkdir -p "$root/.builds"
root=$(cd "$root" && pwd)

die() { printf 'ERROR: %s\n' "$*" >&2; exit 2; }
say() { printf '[%s] %s\n' "$(date +%H:%M:%S)" "$*"; }

expand() {  # print the pins of a requirements file and of the files it includes
    local line
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
            "-r "*) expand "$here/${line#-r }" ;;
            "#"* | "") ;;
            *) printf '%s\n' "$line" ;;
        esac
    done <"$1"
}

build_of() {  # NAME -> NAME-HASH
    local sum
    sum=$({ dependencies "$1"; expand "$here/$1.txt"
            [ ! -e "$here/$1.nodeps.txt" ] || expand "$here/$1.nodeps.txt"
            [ ! -e "$here/$1.post.sh" ] || cat "$here/$1.post.sh"; } |
          if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi)
    printf '%s-%s\n' "$1" "${sum:0:12}"
}

state_of() {  # NAME -> whole | outdated | foreign | missing
    local link=$root/$1
    if [ -d "$link" ] && [ ! -L "$link" ]; then echo foreign
    elif [ ! -x "$link/bin/python" ]; then echo missing
    elif [ "$(readlink "$link")" = ".builds/$(build_of "$1")" ]; then echo whole
    else echo outdated; fi
}

dependencies() {  # the lines of NAME.yml between `dependencies:` and `- pip:`, without comments
    sed -n '/^dependencies:/,/- pip:/{s/#.*//;s/^ *- \([a-z0-9_.=-]*\) *$/\1/p;}' "$here/$1.yml"
}

find_python() {  # VERSION -> an interpreter of it that can make a venv (a pyenv shim may exist and not run)
    local python
    for python in "python$1" python3 python "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        if "$python" -c "import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null
        then command -v "$python"; return; fi
    done
    die "no Python $1 that has venv: python$1, python3 and python on PATH, and pyenv's, were tried;" \
        "load a module that has it, or install conda or uv: envs/create.sh $name uv"
}

choose_tool() {
    local tool
    for tool in micromamba mamba conda uv; do
        if command -v "$tool" >/dev/null; then echo "$tool"; return; fi
    done
    echo venv
}

python_of() {  # NAME -> the version of Python that its yml asks for
    local version
    version=$(dependencies "$1" | sed -n 's/^python=//p')
    [ -n "$version" ] || die "$here/$1.yml: no line \`- python=VERSION\` under dependencies"
    echo "$version"
}

make_prefix() {  # an empty environment with the right Python
    local version packages=()
    while read -r package; do packages+=("$package"); done < <(dependencies "$name")
    version=$(python_of "$name")
    case $tool in
        conda | mamba | micromamba) "$tool" create --yes --prefix "$prefix" --override-channels -c conda-forge "${packages[@]}" ;;
        uv) uv venv --python "$version" "$prefix" ;;
        venv) "$(find_python "$version")" -m venv "$prefix" ;;
    esac
}

install() {
    if [ "$tool" = uv ]; then uv pip install --python "$prefix/bin/python" "$@"
    else "$prefix/bin/python" -m pip install --disable-pip-version-check --no-input "$@"; fi
}

check_pins() {  # every requirement is met, but for those of the packages installed without them
    local known='' report
    if [ -e "$here/$name.nodeps.txt" ]; then
        known=$(expand "$here/$name.nodeps.txt" | sed -n 's/==.*//p' | paste -sd'|')
    fi
    report=$(if [ "$tool" = uv ]; then uv pip check --python "$prefix/bin/python" 2>&1
             else "$prefix/bin/python" -m pip check 2>&1; fi | grep -E 'requires|has requirement|incompatible' || true)
    report=$(printf '%s\n' "$report" | grep -vE "${known:+^(The package \`)?($known)|}^\$" || true)
    [ -z "$report" ] || die "$name: packages do not fit together: $report"
    report=$(comm -13 <(pinned_names) <(installed_names) | paste -sd' ')
    [ -z "$report" ] || die "$name.txt: installed without a pin: $report; add them below \`# pulled in by these\`"
}

plain() { sed 's/[[ ].*//;s/==.*//;s/[-_.][-_.]*/-/g' | tr '[:upper:]' '[:lower:]' | sort -u; }

pinned_names() {
    { expand "$here/$name.txt"; [ ! -e "$here/$name.nodeps.txt" ] || expand "$here/$name.nodeps.txt"; } | plain
}

installed_names() {  # but for what makes the environment itself
    if [ "$tool" = uv ]; then uv pip freeze --python "$prefix/bin/python"
    else "$prefix/bin/python" -m pip freeze --disable-pip-version-check; fi | plain | grep -vxE 'pip|setuptools|wheel'
}

build() {  # all steps, each of which must succeed
    make_prefix
    (cd "$here" && install -r "$name.txt")
    [ ! -e "$here/$name.nodeps.txt" ] || (cd "$here" && install --no-deps -r "$name.nodeps.txt")
    check_pins
    [ ! -e "$here/$name.post.sh" ] || PATH="$prefix/bin:$PATH" bash "$here/$name.post.sh"
    printf '%s\n' "built by envs/create.sh $name $tool" >"$prefix/.whole"
}

if [ "${1:-}" = --list ]; then
    for file in "$here"/*.yml; do
        name=$(basename "$file" .yml)
        printf '%s %s %s\n' "$name" "$(state_of "$name")" "$root/$name"
    done
    exit
fi
only_ask=
if [ "${1:-}" = --can ]; then only_ask=yes; shift; fi
name=${1:-}
if [ $# -lt 1 ] || [ $# -gt 2 ] || [ ! -e "$here/$name.yml" ]; then
    die "usage: envs/create.sh NAME [conda|mamba|micromamba|uv|venv]; NAME is one of:" \
        "$(cd "$here" && printf '%s ' *.yml | sed 's/\.yml//g')"
fi
tool=${2:-$(choose_tool)}
case $tool in
    conda | mamba | micromamba | uv | venv) ;;
    *) die "$tool: wanted conda, mamba, micromamba, uv or venv" ;;
esac
[ "$tool" = venv ] || command -v "$tool" >/dev/null || die "$tool is not on PATH: envs/create.sh $name venv"
if [ -n "$only_ask" ]; then  # conda and uv bring any Python
    [ "$(state_of "$name")" = whole ] || [ "$tool" != venv ] || find_python "$(python_of "$name")" >/dev/null
    exit
fi

# One build at a time; the lock goes with its holder, however that dies.
exec 9>"$root/.builds/$name.lock"
if command -v flock >/dev/null && ! flock --nonblock 9; then
    say "$name: another create.sh is building it; waiting"
    flock 9
fi
case $(state_of "$name") in
    whole) say "$name: up to date"; exit ;;
    foreign) die "$root/$name is a folder that this script did not make: mv $root/$name $root/$name.old" ;;
esac

unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX VIRTUAL_ENV
export PYTHONNOUSERSITE=1 PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0
build=$(build_of "$name") prefix=$root/.builds/$(build_of "$name") log=$root/.builds/$name.log
old=$(readlink "$root/$name" || true)
if [ ! -e "$prefix/.whole" ]; then
    say "$name: building with $tool; log: $log"
    rm -rf "$prefix"
    start=$SECONDS
    set +e  # only here: inside `if ! build`, bash would ignore a step that fails
    (set -e; build) >"$log" 2>&1 9>&-
    status=$?
    set -e
    if [ $status != 0 ]; then
        tail -n 15 "$log" >&2
        die "$name: the build failed; the whole log: $log"
    fi
    grep '^note: ' "$log" || true
    say "$name: built in $((SECONDS - start)) s, $(du -sm "$prefix" | cut -f1) MB"
fi
ln -s ".builds/$build" "$root/.$name.$$"
"$prefix/bin/python" -c 'import os, sys; os.replace(*sys.argv[1:])' "$root/.$name.$$" "$root/$name"
say "$name: ready at $root/$name"
if [ -n "$old" ] && [ "$old" != ".builds/$build" ]; then
    say "$name: once no job runs from the one before: rm -r $root/$old"
fi
