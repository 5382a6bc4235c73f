"""embed_audio.py with small random wav2vec2, HuBERT, WavLM and Whisper: as transformers has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tiny_models import make_encoder

import embed_audio
from amela.merge import merge
from arrays import Task, read_manifest, run_array
from media.frames import read_frames
from networks.embedding import Embedder, EmbeddingError
from networks.encoder import TooShortError
from speech import write_wav

os.environ["HF_HUB_OFFLINE"] = "1"
torch.set_num_threads(1)
KINDS = ("wav2vec2", "hubert", "wavlm", "whisper")
RATE_HZ = 16_000


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    made = {kind: make_encoder(folder / kind, kind) for kind in KINDS}
    # As the large models are: norm first, and one norm after the last layer.
    made["large"] = make_encoder(
        folder / "large", "wav2vec2", do_stable_layer_norm=True, feat_extract_norm="layer"
    )
    return made


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.01, 0.1, samples).astype(np.float32)


def embedder(
    path: Path, layer: int | None = None, pool: str = "none", keep: type = np.float32, chunk_s: float = 30.0
):
    return Embedder(str(path), layer, "cpu", "float32", chunk_s, pool, keep)


def theirs(path: Path, kind: str, samples: np.ndarray) -> list[np.ndarray]:
    """What transformers makes of a recording: its whole output, then that of each layer, by hooks."""
    found: list[torch.Tensor] = []
    if kind == "whisper":
        front = transformers.WhisperFeatureExtractor(feature_size=80)
        model = transformers.WhisperModel.from_pretrained(path).eval().encoder
        layers = model.layers
    else:
        front = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
        model = transformers.AutoModel.from_pretrained(path).eval()
        layers = model.encoder.layers
    for layer in layers:
        layer.register_forward_hook(
            lambda _m, _i, out: found.append(out[0] if isinstance(out, tuple) else out)
        )
    with torch.inference_mode():
        whole = model(front(samples, sampling_rate=RATE_HZ, return_tensors="pt")[front.model_input_names[0]])
    return [one.reshape(-1, one.shape[-1]).numpy() for one in (whole.last_hidden_state, *found)]


@pytest.mark.parametrize("kind", [*KINDS, "large"])
def test_frames_are_those_of_transformers(kind: str, models: dict[str, Path]) -> None:
    samples = noise(40_123)
    expected = theirs(models[kind], kind, samples)
    frames = -(-40_123 // 320) if kind == "whisper" else (40_123 - 400) // 320 + 1
    for layer, wanted in zip((None, 1, 2, 3), expected, strict=True):
        found = embedder(models[kind], layer).embed(lambda: [samples[:9000], samples[9000:]])
        assert found.shape == (frames, 32)
        np.testing.assert_allclose(found, wanted[:frames], atol=2e-5)
    if kind in ("large", "whisper"):
        assert not np.allclose(expected[0], expected[3], atol=0.1)


@pytest.mark.parametrize("kind", ["wav2vec2", "whisper"])
def test_chunks_lose_no_frame(kind: str, models: dict[str, Path]) -> None:
    """A recording has as many frames as in one piece, whatever the blocks it is read in."""
    model = embedder(models[kind], chunk_s=1.0)
    for count in (15_999, 16_000, 16_079, 16_080, 16_400, 31_999, 32_000, 32_400, 50_001):
        samples = noise(count)
        frames = -(-count // 320) if kind == "whisper" else (count - 400) // 320 + 1
        found = model.embed(lambda samples=samples: np.split(samples, [7, 5000, 15_000]))
        assert len(found) == frames, count
        assert np.array_equal(found, model.embed(lambda samples=samples: [samples]))


def test_frame_t_begins_at_t_times_the_hop(models: dict[str, Path]) -> None:
    """The 51st frame on, those of the second chunk, are the frames of the recording from there."""
    model = embedder(models["hubert"], chunk_s=1.0)
    model.features.epsilon = None  # normalised as a whole they would differ
    samples = noise(40_000)
    assert np.array_equal(model.embed(lambda: [samples])[50:], model.embed(lambda: [samples[16_000:]]))


def test_whisper_in_16_bits_hears_samples_that_are_not_rounded(models: dict[str, Path]) -> None:
    model = Embedder(str(models["whisper"]), None, "cpu", "bfloat16", 30.0, "none", np.float32)
    front, heard = model.features.model.extractor, []
    model.features.model.extractor = lambda samples, **more: heard.append(samples) or front(samples, **more)
    sound = noise(32_000)
    assert np.isfinite(model.embed(lambda: [sound])).all()
    assert np.array_equal(heard[0], sound)


def test_long_recordings_share_no_part(
    here: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("corpus.json", models["wavlm"])
    whole = arrays_of("corpus.json")
    monkeypatch.setattr(embed_audio, "PART_BYTES", 3000)
    run("corpus.json", models["wavlm"], "--fresh")
    parts = {
        record.get("embedding_filepath", "").partition("#")[0] for record in read_manifest("corpus.json")
    }
    assert len(parts) > 4
    for one, other in zip(whole, arrays_of("corpus.json"), strict=True):
        assert np.array_equal(one["embedding"], other["embedding"])


def test_the_mean_is_that_of_the_frames(models: dict[str, Path]) -> None:
    samples = noise(40_000)
    frames = embedder(models["wavlm"], chunk_s=1.0).embed(lambda: [samples])
    mean = embedder(models["wavlm"], pool="mean", chunk_s=1.0).embed(lambda: [samples])
    assert (mean.shape, mean.dtype) == ((32,), np.float32)
    np.testing.assert_allclose(mean, frames.mean(0, dtype=np.float64), atol=1e-6)


def test_silence_and_short_recordings(models: dict[str, Path]) -> None:
    for kind in KINDS:
        assert np.isfinite(embedder(models[kind]).embed(lambda: [np.zeros(4000, np.float32)])).all()
    assert embedder(models["whisper"]).embed(lambda: [noise(320)]).shape == (1, 32)
    with pytest.raises(
        TooShortError, match=r"320 samples at 16 kHz give no frame; wanted at least 400 \(25 ms\)"
    ):
        embedder(models["hubert"]).embed(lambda: [noise(320)])
    with pytest.raises(TooShortError):
        embedder(models["whisper"]).embed(list)


def test_numbers_too_large_for_16_bits_are_an_error_and_no_infinity(models: dict[str, Path]) -> None:
    for pool in ("none", "mean"):
        model = embedder(models["wav2vec2"], pool=pool, keep=np.float16)
        model.features.model.model.encoder.layers[-1].final_layer_norm.weight.data *= 1e6
        if pool == "mean":
            assert np.isfinite(model.embed(lambda: [noise(4000)])).all()
            continue
        with pytest.raises(EmbeddingError, match="not finite as float16"):
            model.embed(lambda: [noise(4000)])


PEAK = """
import sys
sys.path[:0] = sys.argv[1:3]
import numpy as np
from memory import peak_mib
from networks.embedding import Embedder
model = Embedder(sys.argv[3], None, "cpu", "float32", 5.0, "mean", np.float16)
block = np.random.default_rng(0).normal(0, 0.1, 80_000).astype(np.float32)
model.embed(lambda: [block] * 2)
before = peak_mib()
model.embed(lambda: (block for _ in range(int(sys.argv[4]))))
print(peak_mib() - before)
"""


def test_memory_does_not_grow_with_the_recording(models: dict[str, Path], repo: Path) -> None:
    """Ten minutes: 37 MiB as float32, several times that where it is normalised as a whole."""
    command = [sys.executable, "-c", PEAK, repo / "scripts", repo / "tests", models["wav2vec2"], 120]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert float(done.stdout) < 20


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recordings of many lengths, a part of one, and four that cannot be embedded."""
    monkeypatch.chdir(tmp_path)
    records = []
    for number in range(11):
        path = write_wav(tmp_path / f"corpus/a{number}.wav", noise(4000 + 1500 * (number * 7 % 11), number))
        records.append({"audio_filepath": str(path)})
    records.append({**records[0], "offset": 0.05, "duration": 0.1})
    write_wav(tmp_path / "corpus/short.wav", noise(300))
    (tmp_path / "corpus/bad.wav").write_bytes(b"RIFF")
    records += [{"audio_filepath": str(tmp_path / f"corpus/{name}.wav")} for name in ("short", "bad", "gone")]
    (tmp_path / "corpus.json").write_text(
        "".join(json.dumps(record) + "\n" for record in [*records, {"id": "text"}])
    )
    return tmp_path


def run(manifest: str, model: Path, *flags: object, status: int = 0) -> str:
    argv = [manifest, "--model", model, "--device", "cpu", "--workers", 1, "--max-error-rate", 1, *flags]
    done = Task(argv, log="log", main=embed_audio.main).wait()
    assert done == status, Path("log").read_text()
    return Path("log").read_text()


def arrays_of(manifest: str) -> list[dict]:
    return [
        read_frames(record["embedding_filepath"])
        for record in read_manifest(manifest)
        if "embedding_filepath" in record
    ]


@pytest.mark.parametrize("form", ["parquet", "npz"])
def test_an_array_gives_what_one_process_gives(form: str, here: Path, models: dict[str, Path]) -> None:
    """And neither depends on what else is in a batch: no padding."""
    (here / "many.json").write_bytes((here / "corpus.json").read_bytes())
    said = run("corpus.json", models["wav2vec2"], "--format", form)
    for text in (
        "short.wav",
        "300 samples",
        "bad.wav",
        "gone.wav",
        "text: EmbeddingError: no 'audio_filepath'",
    ):
        assert text in said
    argv = ["many.json", "--model", models["wav2vec2"], "--device", "cpu", "--workers", 1, "--format", form]
    argv += ["--max-error-rate", 1, "--batch-size", 2]
    run_array(argv, 902, range(3), main=embed_audio.main)
    assert merge("many.json", "embed", max_error_rate=1).status == 0
    one, many = arrays_of("corpus.json"), arrays_of("many.json")
    assert len(one) == len(many) == 12
    for ours, again in zip(one, many):
        assert ours["key"] == again["key"]
        assert np.array_equal(ours["embedding"], again["embedding"])
    assert (one[0]["embedding"].dtype, one[0]["hop_s"], one[0]["model"]) == (np.float16, 0.02, "wav2vec2")
    assert one[11]["embedding"].shape == (4, 32)
    expected = embedder(models["wav2vec2"]).of_record(read_manifest("corpus.json")[3])
    assert np.array_equal(one[3]["embedding"], expected.astype(np.float16))


def test_settings_stand_beside_the_arrays_and_others_are_refused(here: Path, models: dict[str, Path]) -> None:
    run("corpus.json", models["whisper"], "--pool", "mean")
    folder = here / "output/corpus_whisper_embeddings"
    settings = json.loads((folder / "settings.json").read_text())
    assert (settings["pool"], settings["width"], settings["layer"]) == ("mean", 32, None)
    assert arrays_of("corpus.json")[0]["embedding"].shape == (32,)
    assert "pool: 'mean' before, 'none' now" in run("corpus.json", models["whisper"], status=2)
    assert "--layer 4: it has layers 1 to 3" in run(
        "corpus.json", models["wavlm"], "--layer", 4, "--fresh", status=2
    )
    said = run("corpus.json", models["whisper"], "--chunk-s", 31, "--fresh", status=2)
    assert "at most 30.0 s" in said


def test_one_record_is_shown_and_nothing_written(here: Path, models: dict[str, Path]) -> None:
    path = read_manifest("corpus.json")[0]["audio_filepath"]
    assert '"embedding_model": "hubert"' in run("corpus.json", models["hubert"], "--only", path)
    assert not (here / "output").exists()
