// Sound of a record: what of it can be heard, playing it, and the controls.

/** What can be heard, the original first: {name, url, bytes, audio, samples, lead}; `lead` + time on the axis = time in the file. */
function soundsOf({ row, example }) {
  const sound = (name, found) => ({ name, samples: null, audio: make("audio", { preload: example ? "auto" : "none", src: found.url }), ...found });
  if (!example) {
    const from = row.o || 0;
    return [sound("Original", { url: data.base + href(row) + (row.o !== undefined ? `#t=${from},${from + row.d}` : ""), lead: from })];
  }
  const embedded = (text) => {
    const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
    return { bytes, url: URL.createObjectURL(new Blob([bytes], { type: "audio/flac" })), lead: -example.start_s };
  };
  return [sound("Original", embedded(example.audio)), ...(example.sts ? [sound("Resynthesis", embedded(example.sts))] : [])];
}

/**
 * The player of an item. `moved(playing)` is called when the head moves, `switched()` when another sound is to be seen.
 * {sounds, heard(), position(), seek, play, swap, stop, toggle, speed, choices, missing}; the last four are elements.
 */
function player(item, moved, switched) {
  const sounds = soundsOf(item);
  const toggle = make("button", { type: "button", class: "play" }, "Play");
  const missing = make("p", { class: "note", hidden: true, role: "status" }, "The sound file cannot be reached or played from here.");
  let sound = sounds[0], frame = 0;
  const position = () => Math.min(item.end, Math.max(item.start, sound.audio.currentTime - sound.lead));
  const seek = (at) => { sound.audio.currentTime = Math.min(item.end, Math.max(item.start, at)) + sound.lead; moved(false); };
  const play = () => (sound.audio.paused ? sound.audio.play().catch(() => {}) : sound.audio.pause());
  const follow = () => { moved(true); frame = sound.audio.paused ? 0 : requestAnimationFrame(follow); };
  const state = () => { toggle.textContent = sound.audio.paused ? "Play" : "Pause"; if (!sound.audio.paused && !frame) frame = requestAnimationFrame(follow); };
  toggle.addEventListener("click", play);
  for (const { audio, lead } of sounds) {
    for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, state);
    audio.addEventListener("seeked", () => moved(false));
    audio.addEventListener("loadedmetadata", () => { if (!item.example && audio.currentTime < lead) seek(item.start); });
    audio.addEventListener("timeupdate", () => { if (!item.example && position() >= item.end) audio.pause(); });
    audio.addEventListener("error", () => { missing.hidden = false; toggle.disabled = true; });
  }
  const buttons = sounds.map((one) => make("button", { type: "button", "aria-pressed": String(one === sound) }, one.name));
  const hear = (next) => {
    const [at, playing, rate] = [position(), !sound.audio.paused, sound.audio.playbackRate];
    sound.audio.pause();
    sound = next;
    sound.audio.playbackRate = rate;
    seek(at);
    if (playing) play();
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(sounds[index] === sound)));
    switched();
  };
  buttons.forEach((button, index) => button.addEventListener("click", () => hear(sounds[index])));
  const speed = make("select", { "aria-label": "Speed" }, ...[0.5, 0.75, 1, 1.25, 1.5, 2].map((rate) => make("option", { value: String(rate), selected: rate === 1 }, `${rate} ×`)));
  speed.addEventListener("change", () => { sound.audio.playbackRate = Number(speed.value); });
  const stop = () => { for (const one of sounds) { one.audio.pause(); one.audio.removeAttribute("src"); if (one.bytes) URL.revokeObjectURL(one.url); } };
  return { sounds, heard: () => sound, position, seek, play, stop, toggle, speed, missing, swap: () => hear(sounds[(sounds.indexOf(sound) + 1) % sounds.length]),
    choices: sounds.length > 1 ? make("div", { class: "switch", role: "group", "aria-label": "Sound" }, ...buttons) : null };
}
