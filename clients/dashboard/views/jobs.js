// SPDX-License-Identifier: Apache-2.0
//
// Jobs, newest first, with their progress, which is read again while one is at work.
import { get, query } from "../api.js";
import { bytes, state, text, time } from "../format.js";
import { html } from "../html.js";
import { Fault, View } from "../parts.js";
import { Table } from "../table.js";

const PAGE = "100";
const PROGRESS_MS = 1000;

export function isOver(job) {
  return ["done", "failed", "cancelled"].includes(job.state);
}

export function Progress({ job }) {
  const { done_bytes: done, total_bytes: total } = job.progress;
  const shown = `${bytes(done)} of ${bytes(total)}`;
  return html`<span class="progress"><progress aria-label=${`Progress of job ${job.id}`} value=${total > 0 ? done : isOver(job) ? 1 : 0}
    max=${total > 0 ? total : 1}>${shown}</progress> <span>${shown}</span></span>`;
}

export class Jobs extends View {
  state = { ...this.state, jobs: [], next: "", only: "" };

  concerns(event) {
    return Boolean(event.job);
  }

  componentWillUnmount() {
    super.componentWillUnmount();
    clearTimeout(this.clock);
  }

  async load() {
    const { only } = this.state;
    const page = await get(query("/jobs", { limit: PAGE, state: only }));
    if (this.isGone || only !== this.state.only) return;
    this.setState({ jobs: page.items, next: page.next ?? "" });
    clearTimeout(this.clock);
    if (page.items.some((job) => job.state === "running")) this.clock = setTimeout(() => this.loadNow(), PROGRESS_MS);
  }

  readMore = async () => {
    const { next, only, jobs } = this.state;
    if (!next || this.isReading) return;
    this.isReading = true;
    try {
      const page = await get(query("/jobs", { limit: PAGE, cursor: next, state: only }));
      if (jobs === this.state.jobs) this.setState({ jobs: [...jobs, ...page.items], next: page.next ?? "" });
    } catch (problem) {
      this.setState({ problem });
    }
    this.isReading = false;
  };

  columns = [
    { title: "Job", class: "name", cell: (job) => html`<a href=${"#/jobs/" + job.id}>${text(job.kind)} ${text(job.id.slice(0, 8))}</a>` },
    { title: "State", class: "state-cell", cell: (job) => state(job.state) },
    { title: "Progress", class: "progress-cell", cell: (job) => html`<${Progress} job=${job} />` },
    { title: "Group", class: "wide", cell: (job) => (job.group ? html`<a href=${"#/groups/" + job.group}>${text(job.group.slice(0, 8))}</a>` : "–") },
    { title: "Device", class: "wider", cell: (job) => (job.device ? text(job.device) : "–") },
    { title: "Created", class: "wide", cell: (job) => time(job.created_at) },
    { title: "Finished", class: "widest", cell: (job) => time(job.finished_at) },
  ];

  render(props, { jobs, next, only, problem, isLoaded }) {
    return html`
      <form class="filters" onSubmit=${(event) => event.preventDefault()}>
        <label>State
          <select name="state" value=${only} onChange=${(event) => this.setState({ only: event.target.value }, () => this.loadNow())}>
            <option value="">all</option>
            ${["queued", "running", "paused", "done", "failed", "cancelled"].map((each) => html`<option key=${each}>${each}</option>`)}
          </select></label>
        <p role="status">${jobs.length} jobs${next ? ", more as you scroll" : ""}</p>
      </form>
      <${Fault} problem=${problem} />
      <${Table} label="Jobs" rows=${jobs} columns=${this.columns}
        total=${next ? -1 : undefined} onEnd=${next ? this.readMore : null}
        empty=${isLoaded ? "There is no such job" : "Reading …"} />`;
  }
}
