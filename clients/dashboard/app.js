// SPDX-License-Identifier: Apache-2.0
//
// The page: login, navigation, and the view that the address names (#/devices/vda). Start reading
// here; each view is a file in views/.
import { get, hasToken, logout, onLogout, scope } from "./api.js";
import { feed, listen, startFeed, stopFeed } from "./feed.js";
import { Component, html, render } from "./html.js";
import { Device } from "./views/device.js";
import { Devices } from "./views/devices.js";
import { Events } from "./views/events.js";
import { Group } from "./views/group.js";
import { Groups } from "./views/groups.js";
import { Job } from "./views/job.js";
import { Jobs } from "./views/jobs.js";
import { Login } from "./views/login.js";
import { Pauses } from "./views/pauses.js";
import { Take } from "./views/take.js";
import { Tokens } from "./views/tokens.js";

const VIEWS = [
  { path: "devices", title: "Devices", list: Devices, one: Device },
  { path: "groups", title: "Groups", list: Groups, one: Group },
  { path: "take", title: "Take a group", list: Take },
  { path: "pauses", title: "Pauses", list: Pauses },
  { path: "jobs", title: "Jobs", list: Jobs, one: Job },
  { path: "events", title: "Events", list: Events },
  { path: "tokens", title: "Tokens", list: Tokens },
];
const THEMES = ["auto", "light", "dark"];
const FEED_STATES = { idle: "not connected", connecting: "connecting", live: "live",
                      waiting: "reconnecting" };

/** "#/devices/vda" -> {view, name: "vda"} */
function routeOf(hash) {
  const [path, name] = hash.replace(/^#\//, "").split("/");
  const view = VIEWS.find((each) => each.path === path) ?? VIEWS[0];
  try {
    return { view, name: view.one && name ? decodeURIComponent(name) : null };
  } catch {
    return { view, name: null };
  }
}

class App extends Component {
  state = { route: routeOf(location.hash), session: "unknown", scope: null, problem: null,
            version: "", theme: localStorage.getItem("snapgroupd-theme") ?? "auto", feed: "idle" };

  componentDidMount() {
    this.showTheme();
    onLogout((problem) => {
      stopFeed();
      this.setState({ session: "out", problem });
    });
    listen({ state: () => this.setState({ feed: feed.state }) });
    window.addEventListener("hashchange", () => {
      this.setState({ route: routeOf(location.hash) }, () => this.heading?.focus());
    });
    this.login();
  }

  /** Begins a session with the token there is, if any. Without one 401 is no fault. */
  login = async () => {
    const isKnown = hasToken();
    try {
      const version = await get("/version");
      const [own] = await Promise.all([scope(), startFeed()]);
      this.setState({ session: "in", problem: null, version: version.version, scope: own });
    } catch (problem) {
      const isSilent = problem.status === 401 && !isKnown;
      this.setState({ session: "out", problem: isSilent ? null : problem });
    }
  };

  showTheme() {
    const { theme } = this.state;
    if (theme === "auto") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.setAttribute("data-theme", theme);
    window.dispatchEvent(new Event("theme"));
  }

  nextTheme = () => {
    const theme = THEMES[(THEMES.indexOf(this.state.theme) + 1) % THEMES.length];
    localStorage.setItem("snapgroupd-theme", theme);
    this.setState({ theme }, () => this.showTheme());
  };

  renderHeader({ route, session, theme, feed: state, version }) {
    return html`
      <header class="top">
        <a class="skip" href="#main" onClick=${(event) => {
          event.preventDefault();
          this.heading?.focus();
        }}>To the content</a>
        <strong class="brand" title=${version}>snapgroupd</strong>
        ${session === "in" && html`<nav aria-label="Views"><ul>${VIEWS.map((view) => html`
          <li key=${view.path}><a href=${"#/" + view.path}
            aria-current=${view === route.view ? "page" : undefined}>${view.title}</a></li>`)}
        </ul></nav>`}
        <span class="tools">
          ${session === "in" && html`<span class="feed" role="status" data-state=${state}>
            <span class="only-read">Events: </span>${FEED_STATES[state]}</span>`}
          <button type="button" class="plain" onClick=${this.nextTheme}>Theme: ${theme}</button>
          ${session === "in" && hasToken() && html`
            <button type="button" class="plain" onClick=${() => logout(null)}>Log out</button>`}
        </span>
      </header>`;
  }

  render(props, state) {
    const { route, session, problem } = state;
    const shown = session === "in" ? route.view.title : "Log in";
    const One = route.view.one;
    const List = route.view.list;
    document.title = `${route.name ?? shown} – snapgroupd`.slice(0, 200);
    return html`
      ${this.renderHeader(state)}
      <main id="main">
        <h1 tabindex="-1" ref=${(heading) => { this.heading = heading; }}>
          ${route.name && session === "in"
            ? html`<a href=${"#/" + route.view.path}>${shown}</a> / <bdi>${route.name.slice(0, 200)}</bdi>`
            : shown}</h1>
        ${session === "unknown" && html`<p aria-busy="true">Asking the daemon …</p>`}
        ${session === "out" && html`<${Login} problem=${problem} onLogin=${this.login} />`}
        ${session === "in" && (route.name !== null
          ? html`<${One} key=${route.view.path + route.name} name=${route.name} scope=${state.scope} />`
          : html`<${List} key=${route.view.path} scope=${state.scope} />`)}
      </main>`;
  }
}

render(html`<${App} />`, document.getElementById("app"));
