// SPDX-License-Identifier: Apache-2.0
//
// Groups, newest first, on a timeline and as a list. Pages are read as the list is scrolled, so that
// it does not matter how many there are. An event of a group reads that one again.
import { get, query } from "../api.js";
import { axis, Chart } from "../chart.js";
import { cut, duration, seconds, state, text, time } from "../format.js";
import { html } from "../html.js";
import { Action, Fault, scopeReason, View } from "../parts.js";
import { Table } from "../table.js";

const PAGE = "100";
const FLOOR_MS = 0.1; // where what has no duration is drawn
const STATES = ["preparing", "committing", "cut", "committed", "aborting", "aborted", "deleting", "deleted"];
const KINDS = ["snapshot", "rollback"];

function isBad(group) {
  return group.state === "aborted" || group.state === "aborting";
}

function isDone(group) {
  return group.state === "committed";
}

/** x: time; y: one series each for what is committed, aborted and neither. */
function pointsOf(groups) {
  const shown = [...groups].reverse();
  const height = (group) => Math.max(FLOOR_MS, (group.duration_us ?? 0) / 1000);
  const of = (is) => shown.map((group) => (is(group) ? height(group) : null));
  return [shown.map((group) => seconds(group.created_at)), of(isDone), of(isBad),
          of((group) => !isDone(group) && !isBad(group))];
}

const none = () => null;

function timeline(colour) {
  const series = (label, stroke) => ({ label, stroke, fill: stroke, paths: none, points: { show: true, size: 8, fill: stroke } });
  return {
    scales: { y: { distr: 3, range: (plot, min, max) => [FLOOR_MS / 2, Math.max(10, (max ?? 1) * 2)] } },
    axes: [axis(colour), axis(colour, { size: 60, values: (plot, values) =>
      values.map((value) => (value === null ? "" : duration(value * 1000))) })],
    series: [{}, series("committed", colour.good), series("aborted", colour.bad), series("others", colour.busy)],
    cursor: { points: { show: false } },
  };
}

export class Groups extends View {
  state = { ...this.state, groups: [], next: "", points: [[], [], [], []], filters: {} };
  changed = new Set();

  concerns(event) {
    if (event.group) this.changed.add(event.group);
    return Boolean(event.group);
  }

  show(groups, more = {}) {
    if (!this.isGone) this.setState({ groups, points: pointsOf(groups), ...more });
  }

  async load() {
    const changed = [...this.changed];
    this.changed.clear();
    const isFiltered = Object.values(this.state.filters).some(Boolean);
    if (!this.state.isLoaded || changed.length === 0 || changed.length > 20 || (isFiltered && this.state.groups.length <= 100))
      await this.readFirst();
    else
      await this.readSome(changed);
  }

  async readFirst() {
    const { filters } = this.state;
    const page = await get(query("/snapshot-groups", { limit: PAGE, ...filters }));
    if (filters === this.state.filters) this.show(page.items, { next: page.next ?? "" });
  }

  async readSome(ids) {
    for (const id of ids) {
      const group = await get(`/snapshot-groups/${id}`).catch((problem) => {
        if (problem.code === "GroupNotFound") return null;
        throw problem;
      });
      const { groups } = this.state;
      const at = groups.findIndex((each) => each.id === id);
      if (at >= 0) this.show(group ? groups.with(at, group) : groups.toSpliced(at, 1));
      else if (group && !Object.values(this.state.filters).some(Boolean)) this.show([group, ...groups]);
    }
  }

  readMore = async () => {
    const { next, filters } = this.state;
    if (!next || this.isReading) return;
    this.isReading = true;
    try {
      const page = await get(query("/snapshot-groups", { limit: PAGE, cursor: next, ...filters }));
      const known = new Set(this.state.groups.map((group) => group.id));
      const more = page.items.filter((group) => !known.has(group.id));
      if (filters === this.state.filters) this.show([...this.state.groups, ...more], { next: page.next ?? "" });
    } catch (problem) {
      this.setState({ problem });
    }
    this.isReading = false;
  };

  filter = (name) => (event) => {
    const value = event.target.value.trim();
    clearTimeout(this.filterTimer);
    this.setState({ filters: { ...this.state.filters, [name]: value } });
    this.filterTimer = setTimeout(() => this.readFirst().catch((problem) => this.setState({ problem })), 250);
  };

  /** Opens the group of a point; points are in the order of time, groups are not. */
  open = (point) => {
    location.hash = "#/groups/" + this.state.groups[this.state.groups.length - 1 - point].id;
  };

  columns = [
    { title: "Name", class: "name", cell: (group) => html`<a href=${"#/groups/" + group.id}>${text(group.name)}</a>` },
    { title: "State", class: "state-cell", cell: (group) => state(group.state) },
    { title: "Created", class: "time", cell: (group) => time(group.created_at) },
    { title: "Devices", class: "number wide", cell: (group) => group.members.length },
    { title: "Kind", class: "wide", cell: (group) => text(group.kind) },
    { title: "Duration", class: "number wider", cell: (group) => duration(group.duration_us) },
    { title: "Holds", class: "number wider", cell: (group) => group.holds.length },
    { title: "Problem", class: "widest", cell: (group) => (group.error ? text(group.error.detail) : "–") },
  ];

  render({ scope }, { groups, next, points, filters, problem, isLoaded }) {
    const bad = groups.filter(isBad).length;
    const label = `${groups.length} groups by time and duration, ${bad} of them aborted`;
    return html`
      <${Action} label="Take a group …" reason=${scopeReason(scope, "snapshot")}
        onClick=${() => { location.hash = "#/take"; }} />
      <${Chart} label=${label} data=${points} options=${timeline} onPick=${this.open} />
      <p class="legend"><span class="state" data-state="committed">● committed</span>${" "}
        <span class="state" data-state="aborted">● aborted</span>${" "}
        <span class="state" data-state="cut">● others</span>${" "}
        by time and duration; drag to zoom, double-click for all, click to open</p>
      <form class="filters" onSubmit=${(event) => event.preventDefault()}>
        <label>Name <input type="search" name="name" onInput=${this.filter("name")} /></label>
        <label>Device <input type="search" name="device" onInput=${this.filter("device")} /></label>
        <label>State <select name="state" value=${filters.state ?? ""} onChange=${this.filter("state")}>
          <option value="">all</option>${STATES.map((each) => html`<option key=${each}>${each}</option>`)}
        </select></label>
        <label>Kind <select name="kind" value=${filters.kind ?? ""} onChange=${this.filter("kind")}>
          <option value="">all</option>${KINDS.map((each) => html`<option key=${each}>${each}</option>`)}
        </select></label>
        <p role="status">${groups.length} groups${next ? ", more as you scroll" : ""}</p>
      </form>
      <${Fault} problem=${problem} />
      <${Table} label="Groups" rows=${groups} columns=${this.columns}
        total=${next ? -1 : undefined} onEnd=${next ? this.readMore : null}
        empty=${isLoaded ? "There is no such group" : "Reading …"} />`;
  }
}

export function planOf(plan) {
  return html`
    <p>${plan.members.length} ${plan.members.length === 1 ? "device" : "devices"}${" "}
      ${plan.rolled_back_to ? "would be rolled back" : "would be frozen"}${plan.name ? html`, as ${text(plan.name)}` : ""}</p>
    <div class="plain-table" role="region" aria-label="Members of the dry run" tabindex="0"><table>
      <thead><tr><th scope="col">Device</th><th scope="col">Frozen image</th><th scope="col">New overlay</th></tr></thead>
      <tbody>${plan.members.slice(0, 200).map((member) => html`
        <tr key=${member.device}><td>${text(member.device)}</td><td>${text(cut(member.backing_file))}</td>
          <td>${text(member.snapshot_file ?? "named by the group's id")}</td></tr>`)}</tbody>
    </table></div>`;
}
