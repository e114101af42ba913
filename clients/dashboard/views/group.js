// SPDX-License-Identifier: Apache-2.0
//
// One group: its cut, its members with their pauses, its holds; rollback and delete, each with its
// dry run. What cannot be done is found out beforehand, by dry runs, so that its button says why.
import { call, get, newKey } from "../api.js";
import { bytes, cut, duration, file, labels, link, state, text, time } from "../format.js";
import { html } from "../html.js";
import { Action, Confirm, Facts, Fault, scopeReason, View } from "../parts.js";
import { planOf } from "./groups.js";

const ASYNC = { Prefer: "respond-async, wait=10" };
const NAME = "[A-Za-z0-9][A-Za-z0-9._\\-]*";

function waiting(member) {
  const wait = member.waiting_for;
  if (!wait) return "";
  return wait.flush ? "flushing" : `waits for ${wait.changes} writes`;
}

function Members({ members }) {
  return html`
    <div class="plain-table" role="region" aria-label="Members" tabindex="0"><table>
      <thead><tr><th scope="col">Device</th><th scope="col">State</th><th scope="col">Pause</th>
        <th scope="col">Copy wait</th><th scope="col">Size</th><th scope="col">Frozen image</th>
        <th scope="col">Readable</th><th scope="col">Clones</th></tr></thead>
      <tbody>${members.map((member) => html`
        <tr key=${member.device}>
          <td>${link("devices", member.device)}</td>
          <td>${member.state ? state(member.state) : "–"} ${waiting(member)}</td>
          <td class="number">${duration(member.pause_us)}</td>
          <td class="number">${duration(member.copy_wait_us)}</td>
          <td class="number">${bytes(member.size_bytes)}</td>
          <td>${file(member.backing_file)}</td>
          <td>${member.ready_to_use === null ? "–" : member.ready_to_use ? "yes" : "no"}</td>
          <td>${member.clones.length ? member.clones.map((name) => html`${link("devices", name)} `) : "–"}</td>
        </tr>`)}</tbody>
    </table></div>`;
}

function deletePlan(plan) {
  return html`
    <p>${bytes(plan.copy_bytes)} would be copied, ${bytes(plan.freed_bytes)} freed; ${bytes(plan.free_bytes)} are free</p>
    ${plan.kept.length > 0 && html`<p>What stays:</p><ul>${plan.kept.map((kept) =>
      html`<li key=${kept.image}>${file(kept.image)} of ${text(kept.device)}: ${text(kept.because)}</li>`)}</ul>`}`;
}

export class Group extends View {
  state = { ...this.state, group: null, refused: {}, dialog: null, hold: "" };

  get path() {
    return `/snapshot-groups/${encodeURIComponent(this.props.name)}`;
  }

  concerns(event) {
    return !this.state.group || event.group === this.state.group.id || event.kind.startsWith("device.");
  }

  async load() {
    const group = await get(this.path);
    if (this.isGone) return;
    this.setState({ group });
    if (this.props.scope === "admin" && group.state === "committed")
      this.setState({ refused: { rollback: await this.refusal(() => this.dryRollback({ disconnect: true })),
                                 delete: await this.refusal(() => this.dryDelete()) } });
  }

  async refusal(dryRun) {
    try {
      await dryRun();
      return null;
    } catch (problem) {
      return problem.message;
    }
  }

  dryRollback(body) {
    return call("POST", `${this.path}/rollbacks?dry_run=true`, { body });
  }

  dryDelete() {
    return call("DELETE", `${this.path}?dry_run=true`);
  }

  /** Why the action is impossible now; null if it is possible. */
  reason(action) {
    const { group, refused } = this.state;
    const denied = scopeReason(this.props.scope, "admin");
    if (denied) return denied;
    if (action === "delete" && group.state === "deleting") return null; // another DELETE goes on
    if (group.state !== "committed") return `The group is ${group.state}`;
    if (action === "delete" && group.holds.length > 0) return cut(`Held by ${group.holds.join(", ")}`);
    return refused[action] ?? null;
  }

  /** One key for each thing that is asked for, also when it is sent again. */
  keyFor(body) {
    const asked = JSON.stringify(body);
    if (this.asked !== asked) Object.assign(this, { asked, key: newKey() });
    return this.key;
  }

  rollbackDialog(group) {
    const bodyOf = ({ name, disconnect }) => ({ ...(name ? { name } : {}), disconnect: Boolean(disconnect) });
    return html`
      <${Confirm} title="Roll back" name=${group.name} label="Roll back" onClose=${this.closeDialog}
        warning="Stop the guests first. The devices get the content that this group froze; what they have now is frozen as a new group, so this can be undone."
        plan=${async (options) => planOf(await this.dryRollback(bodyOf(options)))}
        fields=${(set, options) => html`
          <label>Name of the group that keeps what the devices have now
            <input name="keep" value=${options.name ?? ""} pattern=${NAME} maxlength="128" placeholder="its id"
                   onChange=${(event) => set({ name: event.target.value.trim() })} /></label>
          <label><input type="checkbox" name="disconnect" checked=${Boolean(options.disconnect)}
                   onChange=${(event) => set({ disconnect: event.target.checked })} />
            Disconnect clients</label>`}
        confirm=${async (options) => {
          const made = await call("POST", `${this.path}/rollbacks`, { body: bodyOf(options), headers: ASYNC, key: this.keyFor(bodyOf(options)) });
          location.hash = "#/groups/" + made.id;
        }} />`;
  }

  deleteDialog(group) {
    return html`
      <${Confirm} title="Delete the group" name=${group.name} label="Delete" onClose=${this.closeDialog}
        warning="A job merges its frozen images. Devices and other groups keep what they have; this group cannot come back."
        plan=${async () => deletePlan(await this.dryDelete())}
        confirm=${async () => {
          const job = await call("DELETE", this.path);
          location.hash = "#/jobs/" + job.id;
        }} />`;
  }

  closeDialog = () => this.setState({ dialog: null });

  setHold = async (method, name) => {
    try {
      await call(method, `${this.path}/holds/${encodeURIComponent(name)}`);
      this.setState({ hold: "", problem: null });
      this.loadSoon();
    } catch (problem) {
      this.setState({ problem });
    }
  };

  holds(group) {
    const denied = scopeReason(this.props.scope, "snapshot");
    const isGone = ["aborting", "aborted", "deleted"].includes(group.state);
    const reason = denied ?? (isGone ? `The group is ${group.state}` : null);
    return html`
      <h2>Holds</h2>
      ${group.holds.length === 0 && html`<p>Nobody holds it</p>`}
      <ul class="plain-list">${group.holds.map((name) => html`
        <li key=${name}>${text(name)}${" "}
          <${Action} label=${`Release ${cut(name)}`} kind="secondary small" reason=${denied}
            onClick=${() => this.setHold("DELETE", name)} /></li>`)}</ul>
      <form class="filters" onSubmit=${(event) => {
        event.preventDefault();
        this.setHold("PUT", this.state.hold);
      }}>
        <label>Name of a hold <input name="hold" required pattern=${NAME} maxlength="128" value=${this.state.hold}
          disabled=${Boolean(reason)} onInput=${(event) => this.setState({ hold: event.target.value })} /></label>
        <${Action} label="Hold" type="submit" kind="secondary" reason=${reason} />
      </form>`;
  }

  facts(group) {
    const { consistency } = group;
    return [
      ["State", state(group.state)],
      ["Kind", group.rolled_back_to ? html`rollback to ${link("groups", group.rolled_back_to)}` : text(group.kind)],
      ["Consistency", `${consistency.achieved ?? "none yet"} (asked for: ${consistency.requested})`],
      ["Cut", time(group.cut_at)],
      ["Pause", duration(group.pause_us)],
      ["Sealed after", duration(group.sealed_us)],
      ["Duration", duration(group.duration_us)],
      ["Created", time(group.created_at)],
      ["Labels", labels(group.labels)],
      ["Id", html`<code>${text(group.id)}</code>`],
    ];
  }

  render(props, { group, problem, dialog }) {
    if (!group) return html`<${Fault} problem=${problem} />${!problem && html`<p aria-busy="true">Reading …</p>`}`;
    return html`
      <${Fault} problem=${problem} />
      ${group.error && html`<p class="fault"><strong>${group.error.code}</strong> ${text(group.error.detail)}</p>`}
      <p class="name-line">Name: <strong>${text(group.name)}</strong></p>
      <${Facts} facts=${this.facts(group)} />
      <p class="actions">
        <${Action} label="Roll back …" reason=${this.reason("rollback")}
          onClick=${() => this.setState({ dialog: "rollback" })} />
        <${Action} label="Delete …" kind="danger" reason=${this.reason("delete")}
          onClick=${() => this.setState({ dialog: "delete" })} />
      </p>
      <h2>Members</h2>
      <${Members} members=${group.members} />
      ${this.holds(group)}
      ${dialog === "rollback" && this.rollbackDialog(group)}
      ${dialog === "delete" && this.deleteDialog(group)}`;
  }
}
