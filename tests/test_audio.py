"""Audio files of every kind and in every state of disrepair."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from media import audio
from media.audio import AudioError, load_mono, load_record, probe, scan_audio, stream_mono
from speech import SAMPLE_RATE, speak, tone, write_wav


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    """A spoken sentence of 2 to 3 s at 16 kHz, as 16-bit values in [-1, 1)."""
    return np.rint(speak("The quick brown fox jumps over the lazy dog.") * 32767) / 32768


def ffmpeg(source: Path, target: Path) -> Path:
    """`target`, made of `source` by ffmpeg; its ending names the codec."""
    assert shutil.which("ffmpeg"), "these tests need ffmpeg: apt-get install -y ffmpeg"
    subprocess.run(["ffmpeg", "-y", "-v", "error", "-i", str(source), str(target)], check=True)
    return target


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"])
def test_every_format_gives_the_same_sound(tmp_path: Path, spoken: np.ndarray, suffix: str) -> None:
    path = ffmpeg(write_wav(tmp_path / "source.wav", spoken), tmp_path / f"copy{suffix}")
    samples = load_mono(path)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert abs(len(samples) - len(spoken)) < 0.05 * SAMPLE_RATE
    n = min(len(samples), len(spoken))
    assert np.corrcoef(samples[:n], spoken[:n])[0, 1] > 0.95
    assert probe(path).duration_s == pytest.approx(len(samples) / SAMPLE_RATE, abs=0.05)


def test_16_bit_comes_through_exactly(tmp_path: Path, spoken: np.ndarray) -> None:
    assert np.array_equal(load_mono(write_wav(tmp_path / "a.wav", spoken)), spoken.astype(np.float32))


@pytest.mark.parametrize(
    ("rate_hz", "subtype"), [(8_000, "PCM_16"), (44_100, "PCM_24"), (48_000, "FLOAT"), (22_050, "PCM_U8")]
)
def test_rates_and_depths(tmp_path: Path, rate_hz: int, subtype: str) -> None:
    path = write_wav(tmp_path / "a.wav", tone(2.0, rate_hz), rate_hz, subtype)
    samples = load_mono(path)
    assert len(samples) == 2 * SAMPLE_RATE
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() / 2.0 == pytest.approx(440, abs=1)  # 2 s: bins of 0.5 Hz
    assert np.abs(samples).max() == pytest.approx(0.3, abs=0.02)
    assert probe(path) == (2.0, rate_hz, 1)


def test_channels_are_averaged_or_chosen(tmp_path: Path) -> None:
    left, right = tone(1.0), np.zeros(SAMPLE_RATE)
    path = write_wav(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT")
    assert np.allclose(load_mono(path), left / 2, atol=1e-6)
    chosen = load_mono(path, channel=0)
    assert np.allclose(chosen, left, atol=1e-6)
    assert chosen.flags.c_contiguous
    assert not load_mono(path, channel=1).any()
    with pytest.raises(AudioError, match="channel 2 wanted, the file has 2"):
        load_mono(path, channel=2)


def test_float_beyond_1_is_passed_on(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", 3 * tone(0.5, amplitude=1.0), subtype="FLOAT")
    assert load_mono(path).max() == pytest.approx(3.0, abs=0.01)


def test_windows(tmp_path: Path, spoken: np.ndarray) -> None:
    path = write_wav(tmp_path / "a.wav", spoken)
    record = {"audio_filepath": str(path), "offset": 0.5, "duration": 0.25}
    assert np.array_equal(load_record(record), spoken[8000:12000].astype(np.float32))
    assert len(load_record({"audio_filepath": str(path), "duration": 0.1})) == len(
        spoken
    )  # no offset: the whole file
    with pytest.raises(AudioError, match=r"the file is .* long; was it changed"):
        load_record({**record, "duration": 60.0})
    with pytest.raises(AudioError, match="must not be negative"):
        load_record({**record, "offset": -1.0})


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".opus", ".mp3", ".m4a"])
def test_windows_of_compressed_files(tmp_path: Path, spoken: np.ndarray, suffix: str) -> None:
    path = ffmpeg(write_wav(tmp_path / "source.wav", spoken), tmp_path / f"a{suffix}")
    whole, part = load_mono(path), load_mono(path, offset_s=0.5, duration_s=1.0)
    assert len(part) == SAMPLE_RATE
    assert np.corrcoef(part, whole[8000:24000])[0, 1] > 0.999


def test_block_borders_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 44_100 * 5)
    path = write_wav(tmp_path / "a.wav", noise, 44_100)
    whole = load_mono(path)
    monkeypatch.setattr(audio, "BLOCK_S", 0.37)
    blocks = list(stream_mono(path))
    assert len(blocks) > 10
    assert np.array_equal(np.concatenate(blocks), whole)


def test_3_ms_silence_and_nothing(tmp_path: Path) -> None:
    assert len(load_mono(write_wav(tmp_path / "short.wav", tone(0.003)))) == 48
    assert len(load_mono(write_wav(tmp_path / "short8.wav", tone(0.003, 8_000), 8_000))) == 48
    assert not load_mono(write_wav(tmp_path / "silent.wav", np.zeros(1000))).any()
    with pytest.raises(AudioError, match=r"nothing\.wav: holds no samples"):
        load_mono(write_wav(tmp_path / "nothing.wav", np.zeros(0)))


def damage(path: Path, kind: str) -> Path:
    """The path of a file of that kind, made beside `path`, which is a good WAV."""
    data, other = path.read_bytes(), path.with_name(f"{kind}.wav")
    if kind == "empty":
        other.write_bytes(b"")
    elif kind == "truncated":
        other.write_bytes(data[: len(data) // 2])
    elif kind == "half a header":
        other.write_bytes(data[:30])
    elif kind == "garbage":
        other.write_bytes(np.random.default_rng(0).bytes(20_000))
    elif kind == "text":
        other.write_text("Dear diary, this is no sound.\n" * 50)
    elif kind in ("nan", "inf"):
        samples = soundfile.read(path, dtype="float32")[0]
        samples[SAMPLE_RATE // 2] = np.nan if kind == "nan" else np.inf
        write_wav(other, samples, subtype="FLOAT")
    elif kind == "folder":
        other.mkdir()
    elif kind == "pipe":
        os.mkfifo(other)
    elif kind == "dangling link":
        other.symlink_to(path.with_name("gone.wav"))
    return other


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("empty", "the file is empty (0 bytes)"),
        ("truncated", "truncated: the header promises"),
        ("half a header", "cannot be decoded"),
        ("garbage", "cannot be decoded"),
        ("text", "cannot be decoded"),
        ("nan", "NaN or infinite, the first at 0.500 s"),
        ("inf", "NaN or infinite, the first at 0.500 s"),
        ("folder", "not a regular file"),
        ("pipe", "not a regular file"),
        ("dangling link", "cannot be opened: No such file or directory"),
        ("missing", "cannot be opened: No such file or directory"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path: Path, spoken: np.ndarray, kind: str, said: str) -> None:
    path = damage(write_wav(tmp_path / "good.wav", spoken), kind)
    with pytest.raises(AudioError) as caught:
        load_mono(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".flac", ".mp3", ".m4a"])
@pytest.mark.parametrize("kind", ["truncated", "corrupt"])
def test_bad_compressed_files(tmp_path: Path, spoken: np.ndarray, suffix: str, kind: str) -> None:
    path = ffmpeg(write_wav(tmp_path / "source.wav", np.tile(spoken, 3)), tmp_path / f"a{suffix}")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    if kind == "truncated":
        del data[middle:]
    else:
        data[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(data)
    with pytest.raises(AudioError, match=r"truncated|corrupt|cannot be decoded"):
        load_mono(path)


def test_a_wav_from_a_pipe_does_not_know_its_length_and_is_fine(tmp_path: Path, spoken: np.ndarray) -> None:
    path = write_wav(tmp_path / "a.wav", spoken)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert np.array_equal(load_mono(path), spoken.astype(np.float32))


def test_no_permission(tmp_path: Path, spoken: np.ndarray) -> None:
    path = write_wav(tmp_path / "secret.wav", spoken)
    path.chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    if os.getuid() == 0:
        os.seteuid(65534)  # root may read everything: try as nobody
    try:
        with pytest.raises(AudioError, match="cannot be opened: Permission denied"):
            load_mono(path)
    finally:
        os.seteuid(os.getuid())


def test_without_ffmpeg_the_remedy_is_named(
    tmp_path: Path, spoken: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ffmpeg(write_wav(tmp_path / "a.wav", spoken), tmp_path / "a.m4a")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioError, match="conda install -c conda-forge ffmpeg"):
        load_mono(path)


STRANGE_NAMES = [
    b"a b.wav",
    b'it\'s "quoted".wav',
    b"two\nlines.wav",
    "größe 録音.wav".encode(),
    b"not-utf8-\xff\xe9.wav",
    b"-v.wav",
    b"100%.wav",
    b"[x]*?.wav",
]


@pytest.mark.parametrize("name", STRANGE_NAMES)
@pytest.mark.parametrize("suffix", [b".wav", b".m4a"])
def test_strange_names(tmp_path: Path, spoken: np.ndarray, name: bytes, suffix: bytes) -> None:
    good = ffmpeg(
        write_wav(tmp_path / "good.wav", spoken), tmp_path / f"good{suffix.decode()}x.{suffix.decode()[1:]}"
    )
    folder = os.path.join(os.fsencode(tmp_path), b"in")
    os.mkdir(folder)
    shutil.copy(good, os.path.join(folder, name.replace(b".wav", suffix)))
    (path,) = scan_audio(os.fsdecode(folder))
    assert os.fsencode(os.path.basename(path)) == name.replace(b".wav", suffix)
    assert abs(len(load_mono(path)) - len(spoken)) < 0.05 * SAMPLE_RATE


def test_scan(tmp_path: Path) -> None:
    for name in (
        "b.WAV",
        "a/z.flac",
        "a/y.mp3",
        "a.ogg",
        "x.opus",
        "x.m4a",
        "notes.txt",
        "._b.wav",
        ".snapshot/b.wav",
    ):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "linked.wav").write_bytes(b"x")
    (tmp_path / "in" / "link").symlink_to(elsewhere)
    (tmp_path / "in" / "a" / "loop").symlink_to(tmp_path / "in")
    found = [os.path.relpath(path, tmp_path / "in") for path in scan_audio(tmp_path / "in")]
    assert found == ["a.ogg", "a/y.mp3", "a/z.flac", "b.WAV", "link/linked.wav", "x.m4a", "x.opus"]
    assert all(os.path.isabs(path) for path in scan_audio(os.path.relpath(tmp_path / "in")))


def test_three_hours_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    minute = np.random.default_rng(0).integers(-3000, 3000, 22_050 * 60, dtype=np.int16)
    with soundfile.SoundFile(path, "w", 22_050, 1, "PCM_16") as file:
        for _ in range(180):
            file.write(minute)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from media.audio import stream_mono\n"
        "print(sum(len(block) for block in stream_mono(sys.argv[2])), "
        "int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(Path(audio.__file__).parents[1]), str(path)],
                          capture_output=True, text=True, check=True)  # fmt: skip
    samples, peak_mib = map(int, done.stdout.split())
    assert samples == 3 * 3600 * SAMPLE_RATE
    assert peak_mib < 200  # the samples alone would be 660 MiB
