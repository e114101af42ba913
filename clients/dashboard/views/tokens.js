// SPDX-License-Identifier: Apache-2.0
//
// Tokens of callers: made, listed and revoked. A secret is shown this once, and nowhere kept.
import { call, get, query } from "../api.js";
import { state, text, time } from "../format.js";
import { html } from "../html.js";
import { Action, Confirm, Dialog, Fault, scopeReason, View } from "../parts.js";
import { Table } from "../table.js";

function isExpired(token) {
  return token.expires_at !== null && Date.parse(token.expires_at) <= Date.now();
}

export class Tokens extends View {
  state = { ...this.state, tokens: [], name: "", scope: "read", expires: "", secret: null, revoked: null };

  concerns(event) {
    return event.kind.startsWith("token.");
  }

  async load() {
    const found = [];
    if (scopeReason(this.props.scope, "admin")) return;
    for (let cursor = "", more = true; more;) {
      const page = await get(query("/tokens", { limit: "1000", cursor }));
      found.push(...page.items);
      cursor = page.next;
      more = Boolean(cursor);
    }
    if (!this.isGone) this.setState({ tokens: found });
  }

  /** Without a key: the answer to a repeated one would lack the secret. A name is taken only once. */
  create = async (event) => {
    event.preventDefault();
    const { name, scope, expires } = this.state;
    const body = { name: name.trim(), scope };
    try {
      if (expires) body.expires_at = new Date(expires).toISOString();
      const { secret } = await call("POST", "/tokens", { body });
      this.setState({ secret, name: "", expires: "", problem: null });
      this.loadSoon();
    } catch (problem) {
      this.setState({ problem });
    }
  };

  columns = [
    { title: "Name", class: "name", cell: (token) => text(token.name) },
    { title: "Scope", class: "state-cell", cell: (token) => text(token.scope) },
    { title: "Valid until", class: "time", cell: (token) => (isExpired(token) ? state("expired") : token.expires_at ? time(token.expires_at) : "no end") },
    { title: "Created", class: "wide", cell: (token) => time(token.created_at) },
    { title: "Action", class: "action-cell", cell: (token) => html`<button type="button" class="danger small" aria-label=${`Revoke ${token.name}`}
        onClick=${() => this.setState({ revoked: token })}>Revoke …</button>` },
  ];

  secretDialog(secret) {
    const close = () => this.setState({ secret: null });
    return html`
      <${Dialog} title="The token's secret" onClose=${close}>
        <p>It is shown this once. A caller sends it as <code>Authorization: Bearer SECRET</code>.</p>
        <label>Secret <input name="secret" readonly value=${secret} onFocus=${(event) => event.target.select()} /></label>
        <footer>
          <button type="button" class="secondary" onClick=${() => navigator.clipboard?.writeText(secret)}>Copy</button>
          <button type="button" onClick=${close}>I have it</button>
        </footer>
      </${Dialog}>`;
  }

  revokeDialog(token) {
    return html`
      <${Confirm} title="Revoke a token" name=${token.name} label="Revoke" onClose=${() => this.setState({ revoked: null })}
        warning="No request is served with it any more, at once."
        plan=${async () => html`<p>Scope ${text(token.scope)}, made ${time(token.created_at)}</p>`}
        confirm=${async () => {
          await call("DELETE", `/tokens/${encodeURIComponent(token.id)}`);
          this.loadSoon();
        }} />`;
  }

  render({ scope: own }, { tokens, name, scope, expires, secret, revoked, problem, isLoaded }) {
    const denied = scopeReason(own, "admin");
    const set = (field) => (event) => this.setState({ [field]: event.target.value });
    return html`
      <form class="filters" onSubmit=${this.create} autocomplete="off">
        <label>Name <input name="name" required maxlength="64" value=${name} disabled=${Boolean(denied)} onInput=${set("name")} /></label>
        <label>Scope <select name="scope" value=${scope} disabled=${Boolean(denied)} onChange=${set("scope")}>
          <option>read</option><option>snapshot</option><option>admin</option></select></label>
        <label>Valid until <input type="datetime-local" name="expires" value=${expires} disabled=${Boolean(denied)} onInput=${set("expires")} /></label>
        <${Action} label="Make a token" type="submit" reason=${denied} />
      </form>
      <${Fault} problem=${problem} />
      <${Table} label="Tokens" rows=${tokens} columns=${this.columns}
        empty=${denied ?? (isLoaded ? "There is no token" : "Reading …")} />
      ${secret && this.secretDialog(secret)}
      ${revoked && this.revokeDialog(revoked)}`;
  }
}
