"""In the environment `sts`: our networks against fairseq 0.12.2 and scikit-learn, on models made here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import golden
import small_vocoder
from compat.batch_norm import positions_of
from compat.textless_backend import BackendError, check_weights
from networks.encoder import Encoder as Native
from networks.hubert import load_fairseq
from networks.kmeans import load_kmeans
from networks.vocoder import Vocoder
from networks.weights import WeightsError, read_weights

CLOSE = 1e-5
SCRIPTS = Path(__file__).parents[2] / "scripts"
FORMS = {
    "base": {},
    "large": {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True},
    "25hz": {"conv_feature_layers": "[(24,10,5)] + [(24,3,2)] * 4 + [(24,2,2)] * 3"},
    "same width": {"conv_feature_layers": "[(32,10,5)] + [(32,3,2)] * 4 + [(32,2,2)] * 2"},
    "batch norm": {},
}
torch.set_num_threads(1)


def make_model(form: str, folder: Path):
    """Return a fairseq encoder of random weights, and the file that fairseq's trainer would save of it."""
    from fairseq.data.dictionary import Dictionary
    from fairseq.models.hubert.hubert import HubertConfig, HubertModel
    from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig

    torch.manual_seed(sum(map(ord, form)))
    config = HubertConfig()
    settings = {
        "label_rate": 50.0, "encoder_layers": 3, "encoder_embed_dim": 32, "encoder_ffn_embed_dim": 48,
        "encoder_attention_heads": 4, "conv_pos": 16, "conv_pos_groups": 4, "final_dim": 8,
        "conv_feature_layers": "[(24,10,5)] + [(24,3,2)] * 4 + [(24,2,2)] * 2", **FORMS[form],
    }  # fmt: skip
    for name, value in settings.items():
        setattr(config, name, value)
    task = HubertPretrainingConfig(label_rate=50.0, sample_rate=16_000, normalize=form == "large")
    words = Dictionary()
    words.add_symbol("1")
    pretended = {"encoder.pos_conv.0.running_mean": None} if form == "batch norm" else {}
    with positions_of(pretended):
        model = HubertModel(config, task, [words]).eval()
    for name, value in model.state_dict().items():
        if "running" in name or "norm" in name:
            value.uniform_(0.5, 1.5)
    content = {
        "args": None, "model": model.state_dict(), "task_state": {"dictionaries": [words]},
        "cfg": {"model": {**settings, "extractor_mode": str(settings.get("extractor_mode", "default")),
                          "activation_fn": "gelu", "layer_norm_first": config.layer_norm_first},
                "task": {"sample_rate": 16_000, "normalize": task.normalize}},
    }  # fmt: skip
    torch.save(content, folder / "model.pt")
    return model, folder / "model.pt"


@pytest.mark.parametrize("form", FORMS)
def test_native_is_fairseq_on_every_layer(form: str, tmp_path: Path) -> None:
    theirs, path = make_model(form, tmp_path)
    for layer in (1, 2, 3):
        ours, hop, normalise = load_fairseq(path, layer)
        assert (hop, normalise) == (640 if form == "25hz" else 320, form == "large")
        for samples in (1000, 16_000, 16_320, 23_457):
            wave = torch.randn(1, samples)
            with torch.no_grad():
                expected, _ = theirs.extract_features(wave, padding_mask=None, mask=False, output_layer=layer)
                assert (ours(wave) - expected).abs().max() <= CLOSE


@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_native_gives_the_golden_units_here_too(variant: str) -> None:
    files = [str(golden.hubert(f"{variant}.{end}")) for end in ("pt", "km")]
    encode = Native(files[0], golden.KMEANS_LAYER, files[1], "cpu", "float32", 100.0)
    for reference in golden.hubert_reference(variant):
        assert np.array_equal(encode.units([reference["wav"]]), reference["units"])


def test_codebooks_of_this_scikit_learn(tmp_path: Path) -> None:
    import joblib
    from sklearn.cluster import KMeans, MiniBatchKMeans

    points = np.random.default_rng(4).normal(size=(600, 12)).astype(np.float32)
    for kind in (KMeans, MiniBatchKMeans):
        fitted = kind(n_clusters=9, n_init=1, random_state=0).fit(points)
        for compress in (0, 3):
            joblib.dump(fitted, tmp_path / "found.km", compress=compress)
            ours = load_kmeans(tmp_path / "found.km", 12)
            assert np.array_equal(ours(torch.from_numpy(points)).numpy(), fitted.predict(points))


class Harm:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_this_old_torch_refuses_malicious_files_too(tmp_path: Path) -> None:
    for form in (True, False):
        torch.save(
            {"model": Harm(tmp_path / "trace")}, tmp_path / "x.pt", _use_new_zipfile_serialization=form
        )
        with pytest.raises(WeightsError, match="mkdir"):
            read_weights(tmp_path / "x.pt")
    assert not (tmp_path / "trace").exists()


def load_with_fairseq(path: Path):
    from fairseq import checkpoint_utils

    return checkpoint_utils.load_model_ensemble_and_task([str(path)])[0][0]


def test_batch_norm_is_learnt_and_nothing_is_left_random() -> None:
    path = golden.SMALL / "bn.pt"
    state = torch.load(path, map_location="cpu")["model"]
    with pytest.raises(RuntimeError, match="pos_conv"):  # fairseq 0.12.2 as it is
        load_with_fairseq(path)
    with positions_of(state):
        model = load_with_fairseq(path)
    check_weights(model, state, "bn.pt")
    with pytest.raises(RuntimeError, match="pos_conv"):  # and the patch is gone again
        load_with_fairseq(path)
    key = "encoder.pos_conv.1.weight"
    with pytest.raises(BackendError, match=r"random encoder\.pos_conv\.1\.weight"):
        check_weights(model, {name: value for name, value in state.items() if name != key}, "bn.pt")
    with pytest.raises(BackendError, match=r"different encoder\.pos_conv\.1\.weight"):
        check_weights(model, {**state, key: state[key] + 1e-3}, "bn.pt")


def test_sts_runs_in_this_environment(tmp_path: Path) -> None:
    """Native here: the WAV is that of the golden units; textlesslib, if not here, is asked for by name."""
    wave = tmp_path / "corpus" / "a.wav"
    wave.parent.mkdir()
    reference = golden.hubert_reference("bn")[0]
    soundfile.write(wave, reference["wav"], 16_000, "FLOAT")
    manifest = tmp_path / "m.json"
    manifest.write_text(json.dumps({"audio_filepath": str(wave)}) + "\n")
    voice = small_vocoder.make_vocoder(tmp_path / "voice", golden.UNITS)
    flags = ["--encoder", golden.hubert("bn.pt"), "--kmeans", golden.hubert("bn.km"), "--layer", 2]
    command = [sys.executable, SCRIPTS / "sts.py", manifest, "corpus", *flags, "--vocoder", voice]
    command += ["--device", "cpu", "--output", tmp_path / "out"]
    environment = {name: value for name, value in os.environ.items() if name != "AMELA_TEXTLESSLIB"}
    done = subprocess.run([*map(str, command), "--backend", "textless", "--output", str(tmp_path / "other")],
                          capture_output=True, text=True, env=environment)  # fmt: skip
    assert done.returncode == 2
    assert "set AMELA_TEXTLESSLIB to that folder" in done.stderr
    shutil.rmtree(tmp_path / ".amela")
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    sound, _ = soundfile.read(json.loads(manifest.read_text())["sts_filepath"], dtype="int16")
    expected = np.concatenate(list(Vocoder(str(voice), None, None, "cpu").speak(reference["units"])))
    assert np.abs(sound / 32768 - expected).max() < 1e-4
