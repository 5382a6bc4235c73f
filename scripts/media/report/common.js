"use strict";
// What the pages share: elements, numbers as people write them, the theme.

const byId = (id) => document.getElementById(id);

/** An element with properties and children; text goes in as text, never as markup. */
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== null));
  return node;
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const count = (value) => Number(value).toLocaleString("en-US");
const percent = (value, digits = 0) => (value === undefined || value === null ? "" : `${(100 * value).toFixed(digits)} %`);

/** Seconds as people say them: 0.42 s, 12.3 s, 4:05 min, 3:02:11 h. */
function span(seconds) {
  if (seconds === undefined || seconds === null) return "";
  if (seconds < 59.95) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  const pad = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)} h` : `${minutes}:${pad(whole % 60)} min`;
}

/** A place in time, for the axis and the clock. */
function clock(seconds, digits) {
  const scale = 10 ** digits;
  const at = Math.max(0, Math.round(seconds * scale) / scale);
  const rest = (at % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  const minutes = Math.floor(at / 60);
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

const times = (speed) => (speed ? `${speed < 10 ? speed.toFixed(1) : count(Math.round(speed))} ×` : "");

/** Light, dark, or as the system says. */
function themes() {
  const kept = () => { try { return localStorage.getItem("amela-theme"); } catch { return null; } };
  const names = { "": "Theme: system", light: "Theme: light", dark: "Theme: dark" };
  const set = (theme) => {
    document.documentElement.dataset.theme = theme;
    byId("theme").textContent = names[theme];
    try { localStorage.setItem("amela-theme", theme); } catch { /* pages opened from disk may have no storage */ }
    document.dispatchEvent(new Event("themechange"));
  };
  byId("theme").addEventListener("click", () => set({ "": "light", light: "dark", dark: "" }[document.documentElement.dataset.theme || ""]));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themechange")));
  set(names[kept()] ? kept() : "");
}
