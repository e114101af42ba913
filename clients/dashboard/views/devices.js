// SPDX-License-Identifier: Apache-2.0
//
// All devices. Pages come one after the other, and are shown as they come. An event of a device
// reads that one again; what no event tells, clients and space, is read again for the rows in sight.
import { get, query } from "../api.js";
import { bytes, labels, link, state, text } from "../format.js";
import { html } from "../html.js";
import { Action, Fault, scopeReason, View } from "../parts.js";
import { Table } from "../table.js";
import { chosen } from "./take.js";

const SIGHT_MS = 10000;
const ONE_BY_ONE_MAX = 20; // devices that are read singly, before all are

export function spaceOf(device) {
  return device.chain.reduce((sum, image) => sum + image.allocated_bytes, 0);
}

export class Devices extends View {
  state = { ...this.state, devices: new Map(), names: [], filter: "", only: "" };
  changed = new Set();
  inSight = [];

  componentDidMount() {
    super.componentDidMount();
    this.sightTimer = setInterval(() => this.readSight(), SIGHT_MS);
  }

  componentWillUnmount() {
    super.componentWillUnmount();
    clearInterval(this.sightTimer);
  }

  concerns(event) {
    const names = event.device ? [event.device] : event.detail.devices ?? [];
    for (const name of names) this.changed.add(name);
    return names.length > 0;
  }

  async load() {
    const names = [...this.changed];
    this.changed.clear();
    if (this.state.isLoaded && names.length > 0 && names.length <= ONE_BY_ONE_MAX)
      await this.readSome(names);
    else
      await this.readAll();
  }

  show(devices) {
    const names = [...devices.keys()].sort();
    if (!this.isGone) this.setState({ devices, names });
  }

  async readAll() {
    const found = new Map();
    for (let cursor = "", more = true; more && !this.isGone;) {
      const page = await get(query("/devices", { limit: "1000", cursor }));
      for (const device of page.items) found.set(device.name, device);
      cursor = page.next;
      more = Boolean(cursor);
      if (!this.state.isLoaded || !more) this.show(new Map(found));
    }
  }

  async readSome(names) {
    const devices = new Map(this.state.devices);
    for (const name of names) {
      try {
        devices.set(name, await get(`/devices/${encodeURIComponent(name)}`));
      } catch (problem) {
        if (problem.code !== "DeviceNotFound") throw problem;
        devices.delete(name);
      }
    }
    this.show(devices);
  }

  async readSight() {
    if (document.hidden || this.isLoading || !this.state.isLoaded) return;
    await this.readSome(this.inSight.slice(0, 50).map((device) => device.name)).catch(() => {});
  }

  rows() {
    const { devices, names, filter, only } = this.state;
    const found = names.map((name) => devices.get(name));
    return found.filter((device) => device.name.includes(filter) && (!only || device.state === only));
  }

  choose = (name) => (event) => {
    if (event.target.checked) chosen.add(name);
    else chosen.delete(name);
    this.setState({});
  };

  columns = [
    { title: "Choose", class: "choose", cell: (device) => html`<input type="checkbox" aria-label=${`Choose ${device.name}`}
        checked=${chosen.has(device.name)} onChange=${this.choose(device.name)} />` },
    { title: "Name", class: "name", cell: (device) => link("devices", device.name) },
    { title: "State", class: "state-cell", cell: (device) => state(device.state) },
    { title: "Clients", class: "number wide", cell: (device) => device.clients },
    { title: "Chain", class: "number", cell: (device) => device.chain.length },
    { title: "Size", class: "number wider", cell: (device) => bytes(device.size_bytes) },
    { title: "Space", class: "number", cell: (device) => bytes(spaceOf(device)) },
    { title: "Format", class: "wider", cell: (device) => text(device.format) },
    { title: "Labels", class: "widest", cell: (device) => labels(device.labels) },
  ];

  render({ scope }, { problem, names, isLoaded, filter, only }) {
    const rows = this.rows();
    return html`
      <form class="filters" onSubmit=${(event) => event.preventDefault()}>
        <label>Name contains
          <input type="search" name="filter" value=${filter}
                 onInput=${(event) => this.setState({ filter: event.target.value })} /></label>
        <label>State
          <select name="state" value=${only}
                  onChange=${(event) => this.setState({ only: event.target.value })}>
            <option value="">all</option><option>online</option><option>failed</option>
          </select></label>
        <${Action} label=${`Freeze ${chosen.size} chosen …`} kind="secondary"
          reason=${scopeReason(scope, "snapshot") ?? (chosen.size === 0 ? "Choose devices first" : null)}
          onClick=${() => { location.hash = "#/take"; }} />
        <p role="status">${rows.length} of ${names.length} devices${isLoaded ? "" : " so far"}</p>
      </form>
      <${Fault} problem=${problem} />
      <${Table} label="Devices" rows=${rows} columns=${this.columns}
        onSight=${(shown) => { this.inSight = shown; }}
        empty=${isLoaded ? "There is no such device" : "Reading …"} />`;
  }
}
