// SPDX-License-Identifier: Apache-2.0
//
// Takes a group: names devices, or the labels that devices have, runs dry, and only then does it.
// A change of the form makes another dry run necessary.
import { call, newKey } from "../api.js";
import { Component, html } from "../html.js";
import { Action, Fault, scopeReason } from "../parts.js";
import { planOf } from "./groups.js";

/** Names of devices that were chosen in the list of devices. */
export const chosen = new Set();

function words(value) {
  return value.split(/[\s,]+/).filter(Boolean);
}

/** {"app": "db"} of "app=db owner=ops" */
function labelsOf(value) {
  return Object.fromEntries(words(value).map((word) => {
    const equals = word.indexOf("=");
    return equals < 0 ? [word, ""] : [word.slice(0, equals), word.slice(equals + 1)];
  }));
}

function bodyOf({ name, by, devices, selector, labels }) {
  const body = by === "devices" ? { devices: words(devices).map((device) => ({ device })) }
    : { selector: { labels: labelsOf(selector) } };
  if (name) body.name = name;
  if (labels) body.labels = labelsOf(labels);
  return body;
}

export class Take extends Component {
  state = { name: "", by: "devices", devices: [...chosen].join(" "), selector: "", labels: "",
            plan: null, problem: null, isBusy: false };

  set = (field) => (event) => {
    const value = event.target.value;
    this.setState({ [field]: field === "name" ? value.trim() : value, plan: null, problem: null });
  };

  dryRun = async (event) => {
    event.preventDefault();
    const body = bodyOf(this.state);
    this.setState({ isBusy: true, plan: null, problem: null });
    try {
      const plan = await call("POST", "/snapshot-groups?dry_run=true", { body });
      const isCurrent = JSON.stringify(body) === JSON.stringify(bodyOf(this.state));
      this.setState({ isBusy: false, plan: isCurrent ? plan : null });
      this.key = newKey();
    } catch (problem) {
      this.setState({ isBusy: false, problem });
    }
  };

  take = async () => {
    this.setState({ isBusy: true, problem: null });
    try {
      const group = await call("POST", "/snapshot-groups", {
        body: bodyOf(this.state), key: this.key, headers: { Prefer: "respond-async, wait=10" } });
      chosen.clear();
      location.hash = "#/groups/" + group.id;
    } catch (problem) {
      this.setState({ isBusy: false, problem });
    }
  };

  render({ scope }, state) {
    const { plan, problem, isBusy } = state;
    const denied = scopeReason(scope, "snapshot");
    const field = (name, label, more = {}) => html`<label>${label}
      <input name=${name} value=${state[name]} onInput=${this.set(name)} spellcheck=${false} ...${more} /></label>`;
    return html`
      <form class="take" onSubmit=${this.dryRun} autocomplete="off">
        ${field("name", "Name", { placeholder: "the group's id", maxlength: 128, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*" })}
        <fieldset><legend>Which devices</legend>
          <label><input type="radio" name="by" value="devices" checked=${state.by === "devices"}
            onChange=${this.set("by")} /> These</label>
          <label><input type="radio" name="by" value="selector" checked=${state.by === "selector"}
            onChange=${this.set("by")} /> All that have labels</label>
        </fieldset>
        ${state.by === "devices" ? field("devices", "Devices", { placeholder: "vda vdb", required: true })
          : field("selector", "Labels that they have", { placeholder: "app=db", required: true })}
        ${field("labels", "Labels of the group", { placeholder: "owner=ops" })}
        <${Fault} problem=${problem} />
        <section class="plan" aria-label="Dry run" aria-live="polite">${plan && planOf(plan)}</section>
        <p class="actions">
          <${Action} label="Dry run" type="submit" kind="secondary" busy=${isBusy && !plan} reason=${denied} />
          <${Action} label="Take the group" onClick=${this.take} busy=${isBusy && Boolean(plan)}
            reason=${denied ?? (plan ? null : "The dry run comes first")} />
        </p>
      </form>`;
  }
}
