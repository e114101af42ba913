// SPDX-License-Identifier: Apache-2.0
//
// Asks for a token, if the daemon asks for one.
import { setToken } from "../api.js";
import { Component, html } from "../html.js";
import { Fault } from "../parts.js";

export class Login extends Component {
  state = { token: "", isBusy: false };

  submit = async (event) => {
    event.preventDefault();
    setToken(this.state.token.trim());
    this.setState({ token: "", isBusy: true });
    await this.props.onLogin();
    this.setState({ isBusy: false });
  };

  render({ problem }, { token, isBusy }) {
    return html`
      <form class="login" onSubmit=${this.submit} autocomplete="off">
        <p>This daemon wants a token: one that POST /tokens made, or, on its machine, the command
          <code>snapgroupd token create</code>. It is kept in this tab alone, until you log out or
          close it.</p>
        <${Fault} problem=${problem} />
        <label>Token
          <input type="password" name="token" required value=${token} placeholder="sgt_…"
                 onInput=${(event) => this.setState({ token: event.target.value })} />
        </label>
        <button type="submit" aria-busy=${isBusy}>Log in</button>
      </form>`;
  }
}
