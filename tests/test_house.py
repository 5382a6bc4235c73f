"""The rules of the house (DESIGN.md part 1), read from the syntax trees, and the pins of the environments."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = REPOSITORY / "scripts"
ENVS = REPOSITORY / "envs"
PACKAGES = ("amela", "media", "networks", "compat")
LIGHT = {"amela", "filelock", *sys.stdlib_module_names}
MAY_IMPORT = {"media": {"media"}, "networks": {"networks", "media"}, "compat": {"compat"}}
PROGRAMS = sorted(SCRIPTS.glob("*.py"))
MODULES = sorted(SCRIPTS.glob("**/*.py"))
YML = sorted(ENVS.glob("*.yml"))
REQUIREMENTS = sorted(ENVS.glob("*.txt"))


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def imports(tree: ast.AST) -> list[tuple[str, int]]:
    """Return (first part of the module, line) of each import below a node; relative ones as `.`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name.split(".")[0], node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(("." if node.level else (node.module or "").split(".")[0], node.lineno))
    return found


def imports_at_start(tree: ast.Module) -> list[tuple[str, int]]:
    """Return the imports that run when the file is loaded: outside functions and TYPE_CHECKING blocks."""
    outside = ast.Module(body=[], type_ignores=[])
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
        handlers = [stmt for handler in getattr(node, "handlers", []) for stmt in handler.body]
        waiting += inner + handlers
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            outside.body.append(node)
    return imports(outside)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_keep_to_their_side(path: Path) -> None:
    """Rules 1 to 3: who imports whom, no script another script, heavy packages inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = path.relative_to(SCRIPTS).parts[0] if path.parent != SCRIPTS else None
    scripts = {program.stem for program in PROGRAMS}
    everywhere, at_start = imports(tree), imports_at_start(tree)
    wrong = [
        f"{name_of(path)}:{line}: {module} is another script"
        for module, line in everywhere
        if module in scripts
    ]
    if package == "amela":
        wrong += [
            f"{name_of(path)}:{line}: amela imports {module}"
            for module, line in everywhere
            if module not in LIGHT
        ]
    else:
        allowed = MAY_IMPORT.get(package or "", set(PACKAGES))
        wrong += [f"{name_of(path)}:{line}: {package} imports {module}"
                  for module, line in everywhere if module in PACKAGES and module not in allowed]  # fmt: skip
        light = {*LIGHT, *PACKAGES, *(module for module, _ in at_start if package in ("networks", "compat"))}
        wrong += [f"{name_of(path)}:{line}: {module} is imported outside a function"
                  for module, line in at_start if module not in light]  # fmt: skip
    assert not wrong, "\n".join(wrong)


def test_only_amela_writes_manifests() -> None:
    """Rule 4, as far as text tells; batch files are not written by Python, nor manifests read by bash."""
    wrong = []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        if path.parent.name != "amela" and re.search(r"json\.dumps\([^)]*\)\s*\+\s*\"\\n\"", text):
            wrong.append(f"{name_of(path)} writes lines of JSON")
        if (
            re.search(r"#SBATCH --", text)
            and re.search(r"write_text|write_aside", text)
            and path.name != "submit.py"
        ):
            wrong.append(f"{name_of(path)} may write a batch file")
    reads = re.compile(r"\bjq\b|wc -l[^|]*\.json|while read[^\n]*\.json")
    shells = [*(REPOSITORY / "slurm").glob("*.s*"), REPOSITORY / "demo.sh"]
    wrong += [f"{name_of(path)} reads a manifest" for path in shells if reads.search(path.read_text())]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_that_stands_in_a_file_is_run(path: Path) -> None:
    """No eval, no exec, no unpickling of just anything: torch.load says what it may find."""
    unsafe = {"eval", "exec", "pickle.load", "pickle.loads", "joblib.load"}
    wrong = []
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call):
            name, words = ast.unparse(call.func), {word.arg for word in call.keywords}
            trusts = name == "torch.load" and not words & {"weights_only", "pickle_module"}
            if name in unsafe or (trusts and path.parent.name != "compat"):
                wrong.append(f"{name_of(path)}:{call.lineno}: {name}")
    assert not wrong, wrong


def test_no_script_hides_a_module() -> None:
    """Rule 5: scripts/ stands first on Python's path, so a queue.py there would be everybody's queue."""
    taken = set(sys.stdlib_module_names) | {pin for path in REQUIREMENTS for pin, _ in pins(path)}
    taken |= set(importlib.metadata.packages_distributions())
    names = {
        path.stem for path in SCRIPTS.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert {name for name in names if name in taken or name.replace("_", "-") in taken} == set()


def test_syntax_is_that_of_python_39() -> None:
    for path in MODULES:
        ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 9))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_and_functions_stay_readable(path: Path) -> None:
    """Rule 6, with room: 300 lines a file, 60 a function."""
    text = path.read_text(encoding="utf-8")
    functions = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    long = [f"{name_of(path)}:{node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
            for node in functions if node.end_lineno - node.lineno >= 60]  # fmt: skip
    lines = text.count("\n")
    assert lines <= 300, f"{name_of(path)} has {lines} lines"
    assert not long, "\n".join(long)


@pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
def test_help_is_quick_on_a_bare_python(path: Path) -> None:
    """Rules 3 and 7: no site-packages (-S -s), half a second, kebab-case flags only."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PYTHON"))}
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-S", "-s", str(path), "--help"], env=env, capture_output=True, text=True
        )
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
        if seconds[-1] < 0.5:
            break
    assert min(seconds) < 0.5, f"--help took {min(seconds):.2f} s"
    assert done.stdout.startswith("usage:")
    assert not re.findall(r"(?<![\w-])--[a-z]+_\w+", done.stdout.split("\n\n", 1)[-1]), (
        "flags are shown in kebab-case"
    )


@pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
def test_two_words_and_two_words_are_one_flag(path: Path) -> None:
    """Rule 7: every script takes its parser from amela.cli, which reads --two_words as --two-words."""
    text = path.read_text(encoding="utf-8")
    assert "ArgumentParser(" not in text
    names = {module for module, _ in imports(ast.parse(text))}
    assert "amela" in names, f"{path.name} does not use amela.cli"


def pins(path: Path) -> list[tuple[str, str]]:
    """Return (normalised name, version) of each pin that stands in a requirements file itself."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(("#", "-r ")) or not line.strip():
            continue
        name, equals, version = line.partition("==")
        assert re.fullmatch(r"==[\w.]+", equals + version), f"{path.name}: {line!r}: wanted NAME==VERSION"
        found.append((re.sub(r"[-_.]+", "-", name.split("[")[0]).lower(), version))
    return found


def all_pins(path: Path) -> list[tuple[str, str]]:
    """Return the pins of a requirements file and of the files that it includes."""
    included = re.findall(r"^-r (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return pins(path) + [pin for name in included for pin in all_pins(ENVS / name)]


@pytest.mark.parametrize("path", YML, ids=lambda path: path.stem)
def test_yml_and_txt_agree(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    name = path.stem
    assert re.search(rf"^name: {name}$", text, re.MULTILINE)
    assert re.findall(r"^    - -r (\S+)$", text, re.MULTILINE) == [f"{name}.txt"]
    assert re.search(r"^  - python=3\.\d+$", text, re.MULTILINE)
    assert (ENVS / f"{name}.txt").exists()


@pytest.mark.parametrize("path", YML, ids=lambda path: path.stem)
def test_pins_are_exact_and_stand_once(path: Path) -> None:
    found = all_pins(ENVS / f"{path.stem}.txt")
    names = [name for name, _ in found]
    assert sorted({name for name in names if names.count(name) > 1}) == []
    post = ENVS / f"{path.stem}.post.sh"
    stripped = post.exists() and "torchaudio" in post.read_text(encoding="utf-8")
    assert "torchaudio" not in names or ("torch", "2.13.0") not in found or stripped, "it breaks transformers"
    assert path.stem != "vad" or "torch" not in names, "it needs none"


def test_each_launcher_names_an_environment_and_a_script() -> None:
    for path in (REPOSITORY / "slurm").glob("*.slurm"):
        found = re.search(r'^run_stage (\S+) (\S+) .*"\$@"$', path.read_text(encoding="utf-8"), re.MULTILINE)
        assert found, path
        assert (ENVS / f"{found[1]}.yml").exists(), f"{path.name}: no envs/{found[1]}.yml"
        assert (SCRIPTS / found[2]).exists(), f"{path.name}: no scripts/{found[2]}"


def test_every_engine_stands_in_the_licence_table() -> None:
    table = (REPOSITORY / "LICENSES.md").read_text(encoding="utf-8").lower()
    models = {"canary-qwen-2.5b", "qwen3-1.7b", "mhubert", "espeak-ng", "flite", "ffmpeg"}
    direct = {name for name, _ in pins(ENVS / "vad.txt") + pins(ENVS / "local.txt") + pins(ENVS / "asr.txt")}
    direct -= pulled_in("vad.txt", "local.txt", "asr.txt")
    spelt = {"nemo-toolkit": "nemo_toolkit", "huggingface-hub": "huggingface_hub"}
    assert sorted(name for name in models | direct if spelt.get(name, name) not in table) == []


def pulled_in(*names: str) -> set[str]:
    """Return the packages that stand below `# pulled in by these`: nobody asked for them by name."""
    found = set()
    for name in names:
        text = (ENVS / name).read_text(encoding="utf-8").partition("# pulled in by these")[2]
        found |= {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in text.split()}
    return found
