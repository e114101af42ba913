// SPDX-License-Identifier: Apache-2.0
//
// Numbers, times and names as text. Whatever comes from the daemon is shown as text, isolated from
// its surroundings' direction (<bdi>) and cut to a length that a page can take.
import { html } from "./html.js";

const TEXT_CHARS_MAX = 512;
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  let unit = 0;
  for (; value >= 1024 && unit < UNITS.length - 1; unit++) value /= 1024;
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

export function duration(us) {
  if (us === null || us === undefined) return "–";
  if (us < 1000) return `${us} µs`;
  if (us < 1e6) return `${(us / 1000).toFixed(us < 1e4 ? 1 : 0)} ms`;
  if (us < 60e6) return `${(us / 1e6).toFixed(1)} s`;
  return `${Math.floor(us / 60e6)} min ${Math.round((us % 60e6) / 1e6)} s`;
}

export function seconds(iso) {
  return Date.parse(iso) / 1000;
}

/** A time of the daemon, in the zone of the reader; the exact one is in `title`. */
export function time(iso) {
  if (!iso) return "–";
  const local = new Date(iso).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
  return html`<time datetime=${iso} title=${iso}>${local}</time>`;
}

export function cut(value) {
  const full = String(value);
  return full.length > TEXT_CHARS_MAX ? full.slice(0, TEXT_CHARS_MAX) + "…" : full;
}

export function text(value) {
  const shown = cut(value);
  return html`<bdi title=${shown}>${shown}</bdi>`;
}

export function link(path, name) {
  return html`<a href=${"#/" + path + "/" + encodeURIComponent(name)}>${text(name)}</a>`;
}

export function labels(all) {
  const entries = Object.entries(all);
  if (entries.length === 0) return "–";
  return html`<span class="labels">${entries.map(([key, value]) =>
    html`<span class="label" key=${key}>${text(key)}=${text(value)}</span>`)}</span>`;
}

export function state(value) {
  return html`<span class="state" data-state=${value}>${value}</span>`;
}

/** The last part of a path; the path is in `title`. */
export function file(path) {
  if (!path) return "–";
  return html`<bdi title=${cut(path)}>${cut(path.slice(path.lastIndexOf("/") + 1))}</bdi>`;
}
