// Waveform and spectrogram of samples (mono, data.rate Hz), drawn on canvases at the screen's own resolution.

const FFT = 512, WINDOW = 400, RANGE_DB = 65; // 25 ms at 16 kHz; what Praat calls the dynamic range

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Fit a canvas to its box; returns [context, width, height] in device pixels. */
function fit(canvas) {
  const ratio = devicePixelRatio || 1;
  const width = Math.min(16000, Math.max(1, Math.round(canvas.clientWidth * ratio)));
  const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  return [context, width, height];
}

/** Peaks a pixel column; speech in the accent colour, the rest in grey. `speech` in seconds from the first sample. */
function drawWave(canvas, samples, rate, speech) {
  const [context, width, height] = fit(canvas);
  const [loud, idle, soft] = [colour("--accent"), colour("--idle"), colour("--soft")];
  let peak = 0.05;
  for (const value of samples) peak = Math.max(peak, Math.abs(value));
  const perPixel = samples.length / width;
  context.fillStyle = soft;
  const toPixel = (rate * width) / samples.length;
  for (const [start, end] of speech) context.fillRect(start * toPixel, 0, (end - start) * toPixel, height);
  let next = 0;
  for (let x = 0; x < width; x++) {
    let [low, high] = [0, 0];
    const stop = Math.min(samples.length, Math.max(Math.floor(x * perPixel) + 1, Math.ceil((x + 1) * perPixel)));
    for (let i = Math.floor(x * perPixel); i < stop; i++) {
      if (samples[i] < low) low = samples[i]; else if (samples[i] > high) high = samples[i];
    }
    const at = ((x + 0.5) * perPixel) / rate;
    while (next < speech.length && speech[next][1] < at) next++;
    context.fillStyle = next < speech.length && speech[next][0] <= at ? loud : idle;
    const scale = (0.48 * height) / peak;
    context.fillRect(x, height / 2 - high * scale, 1, Math.max(1, (high - low) * scale));
  }
}

/** In-place radix-2 transform of `real` and `imaginary`, both of length FFT. */
function transform(real, imaginary, cosines, sines) {
  for (let i = 1, j = 0; i < FFT; i++) {
    let bit = FFT >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [real[i], real[j]] = [real[j], real[i]];
  }
  for (let size = 2; size <= FFT; size <<= 1) {
    const [half, stride] = [size >> 1, FFT / size];
    for (let start = 0; start < FFT; start += size) {
      for (let k = 0; k < half; k++) {
        const [a, b] = [start + k, start + k + half];
        const re = real[b] * cosines[k * stride] + imaginary[b] * sines[k * stride];
        const im = imaginary[b] * cosines[k * stride] - real[b] * sines[k * stride];
        real[b] = real[a] - re; imaginary[b] = imaginary[a] - im;
        real[a] += re; imaginary[a] += im;
      }
    }
  }
}

/** Decibels, column after column of FFT/2 bins, low to high; 6 dB an octave are lifted, as ears and Praat do. */
function spectrogram(samples, columns) {
  const bins = FFT / 2;
  const decibels = new Float32Array(columns * bins);
  const [real, imaginary] = [new Float32Array(FFT), new Float32Array(FFT)];
  const angle = (k) => (2 * Math.PI * k) / FFT;
  const cosines = Float32Array.from({ length: bins }, (_, k) => Math.cos(angle(k)));
  const sines = Float32Array.from({ length: bins }, (_, k) => Math.sin(angle(k)));
  const hann = Float32Array.from({ length: WINDOW }, (_, k) => 0.5 - 0.5 * Math.cos((2 * Math.PI * k) / WINDOW));
  for (let column = 0; column < columns; column++) {
    const first = Math.round(((column + 0.5) * samples.length) / columns) - WINDOW / 2;
    real.fill(0); imaginary.fill(0);
    for (let i = 0; i < WINDOW; i++) {
      const at = first + i;
      if (at > 0 && at < samples.length) real[i] = (samples[at] - 0.95 * samples[at - 1]) * hann[i];
    }
    transform(real, imaginary, cosines, sines);
    for (let k = 0; k < bins; k++) decibels[column * bins + k] = 10 * Math.log10(real[k] * real[k] + imaginary[k] * imaginary[k] + 1e-10);
  }
  return decibels;
}

/** Shades from the plot's ground to its ink; the borders of speech as thin lines. */
function drawSpectrogram(canvas, samples, rate, speech) {
  const [context, width, height] = fit(canvas);
  const columns = Math.max(1, Math.min(width, Math.ceil(samples.length / 40)));
  const decibels = spectrogram(samples, columns);
  let top = -60;
  for (const value of decibels) if (value > top) top = value;
  const rgb = (name) => { context.fillStyle = colour(name); const hex = parseInt(context.fillStyle.slice(1), 16); return [hex >> 16, (hex >> 8) & 255, hex & 255]; };
  const [ground, ink] = [rgb("--plot"), rgb("--plot-ink")];
  const bins = FFT / 2;
  const image = new ImageData(columns, bins);
  for (let column = 0; column < columns; column++) {
    for (let k = 0; k < bins; k++) {
      const shade = Math.min(1, Math.max(0, 1 - (top - 4 - decibels[column * bins + k]) / RANGE_DB)) ** 1.6;
      const at = 4 * ((bins - 1 - k) * columns + column);
      for (let c = 0; c < 3; c++) image.data[at + c] = ground[c] + shade * (ink[c] - ground[c]);
      image.data[at + 3] = 255;
    }
  }
  const small = document.createElement("canvas");
  small.width = columns; small.height = bins;
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, width, height);
  context.fillStyle = colour("--accent");
  const thick = Math.max(1, Math.round(devicePixelRatio || 1));
  const toPixel = (rate * width) / samples.length;
  for (const border of speech.flat()) context.fillRect(Math.round(border * toPixel) - thick / 2, 0, thick, height);
}

/** Samples of an embedded FLAC, or null where the browser cannot decode it. */
async function decode(bytes) {
  try {
    const context = new OfflineAudioContext(1, 1, data.rate);
    return (await context.decodeAudioData(bytes.slice().buffer)).getChannelData(0);
  } catch {
    return null;
  }
}
