// SPDX-License-Identifier: Apache-2.0
//
// One job: what it does, how far it is, and the buttons that pause, continue, slow down and cancel it.
import { call, get } from "../api.js";
import { bytes, file, link, state, text, time } from "../format.js";
import { html } from "../html.js";
import { Action, Facts, Fault, scopeReason, View } from "../parts.js";
import { isOver, Progress } from "./jobs.js";

const PROGRESS_MS = 1000;
const MIB = 1 << 20;

export class Job extends View {
  state = { ...this.state, job: null, rate: null };

  get path() {
    return `/jobs/${encodeURIComponent(this.props.name)}`;
  }

  concerns(event) {
    return event.job === this.props.name;
  }

  componentWillUnmount() {
    super.componentWillUnmount();
    clearTimeout(this.clock);
  }

  show(job) {
    if (this.isGone) return;
    this.setState({ job, problem: null });
    clearTimeout(this.clock);
    if (job.state === "running") this.clock = setTimeout(() => this.loadNow(), PROGRESS_MS);
  }

  async load() {
    this.show(await get(this.path));
  }

  change = async (body) => {
    try {
      this.show(await call("PATCH", this.path, { body }));
    } catch (problem) {
      this.setState({ problem });
    }
  };

  /** Why the job cannot be brought to `wanted`; null if it can. */
  reason(wanted) {
    const { job } = this.state;
    const denied = scopeReason(this.props.scope, "admin");
    if (denied) return denied;
    if (isOver(job)) return `The job is ${job.state}`;
    if (wanted === "paused" && job.state === "paused") return "It is paused";
    if (wanted === "running" && job.state !== "paused") return `It is ${job.state}, not paused`;
    return null;
  }

  facts(job) {
    return [
      ["State", state(job.state)],
      ["Kind", text(job.kind)],
      ["Group", job.group ? link("groups", job.group) : "–"],
      ["Device", job.device ? link("devices", job.device) : "–"],
      ...(job.image ? [["Makes", html`${file(job.image)}, ${text(job.format)}`]] : []),
      ["Rate", job.rate_bytes_per_second ? `at most ${bytes(job.rate_bytes_per_second)} a second` : "no limit"],
      ["Created", time(job.created_at)],
      ["Finished", time(job.finished_at)],
    ];
  }

  setRate = (event) => {
    event.preventDefault();
    this.change({ rate_bytes_per_second: Math.round(Number(this.state.rate ?? 0) * MIB) });
  };

  render(props, { job, problem, rate }) {
    if (!job) return html`<${Fault} problem=${problem} />${!problem && html`<p aria-busy="true">Reading …</p>`}`;
    const over = this.reason("rate");
    return html`
      <${Fault} problem=${problem} />
      ${job.error && html`<p class="fault"><strong>${job.error.code}</strong> ${text(job.error.detail)}</p>`}
      <${Progress} job=${job} />
      <${Facts} facts=${this.facts(job)} />
      <p class="actions">
        <${Action} label="Pause" kind="secondary" reason=${this.reason("paused")} onClick=${() => this.change({ state: "paused" })} />
        <${Action} label="Continue" kind="secondary" reason=${this.reason("running")} onClick=${() => this.change({ state: "running" })} />
        <${Action} label="Cancel" kind="danger" reason=${this.reason("cancelled")} onClick=${() => this.change({ state: "cancelled" })} />
      </p>
      <form class="filters" onSubmit=${this.setRate}>
        <label>At most MiB a second; 0: no limit
          <input type="number" name="rate" min="0" step="any" required disabled=${Boolean(over)}
            value=${rate ?? job.rate_bytes_per_second / MIB} onInput=${(event) => this.setState({ rate: event.target.value })} /></label>
        <${Action} label="Set the rate" type="submit" kind="secondary" reason=${over} />
      </form>
      ${job.merges?.length > 0 && html`<h2>Merges</h2><ul class="plain-list">${job.merges.map((merge) => html`
        <li key=${merge.upper}>${text(merge.device)}: ${file(merge.upper)}${merge.base ? html` into ${file(merge.base)}` : " goes"}${" "}
          ${state(merge.stage)}</li>`)}</ul>`}
      ${job.kept?.length > 0 && html`<h2>What stays</h2><ul class="plain-list">${job.kept.map((kept) => html`
        <li key=${kept.image}>${file(kept.image)} of ${text(kept.device)}: ${text(kept.because)}</li>`)}</ul>`}`;
  }
}
