// SPDX-License-Identifier: Apache-2.0
//
// What several views are made of: buttons with the reason why they are disabled, messages, dialogs,
// and the base of views that follow the events.
import { cut, text } from "./format.js";
import { listen } from "./feed.js";
import { Component, html } from "./html.js";

let ids = 0;

/** A button; with `reason`, why it cannot be used now, it is disabled and says so. */
export class Action extends Component {
  id = `action-${++ids}`;

  render({ label, reason, onClick, kind = "", type = "button", busy = false }) {
    return html`
      <span class="action">
        <button type=${type} class=${kind} disabled=${Boolean(reason) || busy} aria-busy=${busy}
                aria-describedby=${reason ? this.id : undefined} onClick=${onClick}>${label}</button>
        ${reason && html`<small id=${this.id} class="reason">${text(reason)}</small>`}
      </span>`;
  }
}

/** What went wrong, read out at once. */
export function Fault({ problem }) {
  if (!problem) return null;
  return html`<p class="fault" role="alert">${problem.code && html`<strong>${problem.code}</strong>${" "}`}
    ${text(problem.message)}</p>`;
}

/** Names and values of an object. */
export function Facts({ facts }) {
  return html`<dl class="facts">${facts.map(([name, value]) =>
    html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** A dialog in front of the page; Escape closes it. */
export class Dialog extends Component {
  id = `dialog-${++ids}`;

  componentDidMount() {
    this.before = document.activeElement;
    this.box.showModal();
  }

  componentWillUnmount() {
    this.before?.focus?.();
  }

  render({ title, onClose, children }) {
    return html`
      <dialog ref=${(box) => { this.box = box; }} aria-labelledby=${this.id}
              onCancel=${(event) => { event.preventDefault(); onClose(); }}>
        <article>
          <header><h2 id=${this.id}>${title}</h2></header>
          ${children}
        </article>
      </dialog>`;
  }
}

/** Asks for the name of what is to be changed for good, and shows first what would happen.
 *
 *   plan(options)     resolves to what is shown; a Problem is shown, and disables the button
 *   confirm(options)  does it; resolves when the dialog may go
 *   fields(set, options)  more fields, or nothing; set({...}) plans anew */
export class Confirm extends Component {
  state = { typed: "", plan: null, problem: null, isPlanning: true, isBusy: false,
            options: this.props.options ?? {} };

  componentDidMount() {
    this.plan(this.state.options);
  }

  async plan(options) {
    this.setState({ options, isPlanning: true, problem: null });
    try {
      const plan = await this.props.plan(options);
      if (this.state.options === options) this.setState({ plan, isPlanning: false });
    } catch (problem) {
      if (this.state.options === options)
        this.setState({ plan: null, problem, isPlanning: false });
    }
  }

  confirm = async (event) => {
    event.preventDefault();
    if (this.reason()) return;
    this.setState({ isBusy: true, problem: null });
    try {
      await this.props.confirm(this.state.options);
      this.props.onClose();
    } catch (problem) {
      this.setState({ isBusy: false, problem });
    }
  };

  reason() {
    const { typed, plan, isPlanning, problem } = this.state;
    if (isPlanning) return "The dry run is under way";
    if (!plan) return problem ? "The dry run was refused" : "There is no dry run";
    return typed === this.props.name ? null : "The name is not typed yet";
  }

  render({ title, name, label, onClose, fields, warning }, { typed, plan, problem, isBusy, options }) {
    return html`
      <${Dialog} title=${title} onClose=${onClose}>
        <form onSubmit=${this.confirm} autocomplete="off">
          ${warning && html`<p>${warning}</p>`}
          ${fields?.((more) => this.plan({ ...options, ...more }), options)}
          <section class="plan" aria-label="Dry run" aria-live="polite">
            ${plan ?? (problem ? null : html`<p aria-busy="true">Dry run …</p>`)}
          </section>
          <${Fault} problem=${problem} />
          <label>Type ${text(name)} to confirm
            <input name="confirm" value=${typed} spellcheck=${false}
                   onInput=${(event) => this.setState({ typed: event.target.value })} />
          </label>
          <footer>
            <button type="button" class="secondary" onClick=${onClose}>Keep everything</button>
            <${Action} label=${label} kind="danger" type="submit" reason=${this.reason()} busy=${isBusy} />
          </footer>
        </form>
      </${Dialog}>`;
  }
}

/** A view that reads what it shows with load(), and again, at most every `QUIET_MS`, when an event
 * concerns it. */
const QUIET_MS = 300;

export class View extends Component {
  state = { problem: null, isLoaded: false };

  componentDidMount() {
    this.stopListening = listen({
      event: (event) => this.concerns(event) && this.loadSoon(),
      gap: () => this.loadSoon(),
    });
    this.loadNow();
  }

  componentWillUnmount() {
    this.isGone = true;
    this.stopListening();
    clearTimeout(this.timer);
  }

  concerns() {
    return false;
  }

  loadSoon() {
    this.timer ??= setTimeout(() => this.loadNow(), QUIET_MS);
  }

  async loadNow() {
    clearTimeout(this.timer);
    this.timer = null;
    if (this.isLoading) {
      this.mustLoad = true;
      return;
    }
    this.isLoading = true;
    try {
      await this.load();
      if (!this.isGone) this.setState({ problem: null, isLoaded: true });
    } catch (problem) {
      if (!this.isGone) this.setState({ problem, isLoaded: true });
    }
    this.isLoading = false;
    if (this.mustLoad && !this.isGone) {
      this.mustLoad = false;
      this.loadSoon();
    }
  }
}

/** Why a caller of this scope may not do what needs `needed`; null: he may. */
export function scopeReason(scope, needed) {
  const scopes = ["read", "snapshot", "admin"];
  if (scopes.indexOf(scope) >= scopes.indexOf(needed)) return null;
  return `This needs a token of scope ${needed}; yours has ${cut(scope)}`;
}
