// SPDX-License-Identifier: Apache-2.0
//
// The events, as they come, newest first: the last 200 of before the page was opened, and up to 2,000
// in all.
import { cut, link, text, time } from "../format.js";
import { feed, listen } from "../feed.js";
import { Component, html } from "../html.js";
import { Table } from "../table.js";

const DRAW_MS = 100; // many events at once are drawn together

function about(event) {
  if (event.job) return html`<a href=${"#/jobs/" + event.job}>job ${text(event.job.slice(0, 8))}</a>`;
  if (event.group)
    return html`<a href=${"#/groups/" + event.group}>${text(event.detail.name ?? event.group.slice(0, 8))}</a>`;
  return event.device ? link("devices", event.device) : "–";
}

function detail(event) {
  const { devices, message, code, reason, hold } = event.detail;
  const parts = [code, message, reason, hold && `hold ${hold}`, devices && devices.slice(0, 20).join(", ")];
  return text(parts.filter(Boolean).map(cut).join("; "));
}

export class Events extends Component {
  state = { events: [...feed.events].reverse(), filter: "", isPaused: false };

  componentDidMount() {
    this.stop = listen({ event: () => this.drawSoon(), gap: () => this.drawSoon() });
  }

  componentWillUnmount() {
    this.stop();
    clearTimeout(this.timer);
  }

  drawSoon() {
    this.timer ??= setTimeout(() => {
      this.timer = null;
      if (!this.state.isPaused) this.setState({ events: [...feed.events].reverse() });
    }, DRAW_MS);
  }

  pause = () => this.setState(({ isPaused }) => ({ isPaused: !isPaused }), () => this.drawSoon());

  columns = [
    { title: "Event", class: "name", cell: (event) => text(event.kind) },
    { title: "About", cell: about },
    { title: "Time", class: "time", cell: (event) => time(event.at) },
    { title: "By", class: "wide", cell: (event) => text(event.actor) },
    { title: "Detail", class: "wider", cell: detail },
    { title: "Number", class: "number widest", cell: (event) => event.id },
  ];

  render(props, { events, filter, isPaused }) {
    const rows = filter ? events.filter((event) => event.kind.includes(filter) || event.device?.includes(filter) ||
      event.detail.name?.includes(filter)) : events;
    return html`
      <form class="filters" onSubmit=${(event) => event.preventDefault()}>
        <label>Kind, device or group contains
          <input type="search" name="filter" value=${filter} onInput=${(event) => this.setState({ filter: event.target.value })} /></label>
        <button type="button" class="secondary" aria-pressed=${isPaused} onClick=${this.pause}>${isPaused ? "Go on" : "Hold still"}</button>
        <p role="status">${rows.length} events</p>
      </form>
      <${Table} label="Events" rows=${rows} columns=${this.columns} empty="There is no such event" />`;
  }
}
