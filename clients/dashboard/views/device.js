// SPDX-License-Identifier: Apache-2.0
//
// One device: its facts, the tree of its images with what keeps each, and the groups that froze it.
import { get, query } from "../api.js";
import { bytes, cut, file, labels, link, state, text, time } from "../format.js";
import { html } from "../html.js";
import { Facts, Fault, View } from "../parts.js";
import { spaceOf } from "./devices.js";

const GROUPS_SHOWN = 50;

/** "group monday": a link to it. */
function keeper(entry) {
  const [kind, name] = [entry.slice(0, entry.indexOf(" ")), entry.slice(entry.indexOf(" ") + 1)];
  if (kind === "group") return html`group ${link("groups", name)}`;
  if (kind === "device") return html`device ${link("devices", name)}`;
  return text(entry);
}

function Image({ image, isTop }) {
  const isKept = image.kept_for.length > 0;
  return html`
    <div class="image" data-top=${isTop}>
      <strong>${file(image.image)}</strong>${" "}
      <span>${image.format}, ${bytes(image.size_bytes)}, occupies ${bytes(image.allocated_bytes)}</span>
      ${isTop && html`<p>Takes the writes of this device</p>`}
      ${isKept && html`<p>Kept for</p><ul>${image.kept_for.map((entry) =>
        html`<li key=${entry}>${keeper(entry)}</li>`)}</ul>`}
      ${!isTop && !isKept && html`<p>Kept for nobody but this chain</p>`}
    </div>`;
}

/** The chain from its base up: each image stands on the one that it is within. */
function Tree({ chain }) {
  return chain.reduce((above, image, i) => html`
    <ul class="tree"><li><${Image} image=${image} isTop=${i === 0} />${above}</li></ul>`, null);
}

export class Device extends View {
  state = { ...this.state, device: null, groups: [] };

  concerns(event) {
    return event.device === this.props.name || event.detail.devices?.includes(this.props.name) ||
      event.kind.startsWith("job.");
  }

  async load() {
    const { name } = this.props;
    const device = await get(`/devices/${encodeURIComponent(name)}`);
    const groups = await get(query("/snapshot-groups", { device: name, limit: String(GROUPS_SHOWN) }));
    if (!this.isGone) this.setState({ device, groups: groups.items });
  }

  facts(device) {
    const { origin } = device;
    return [
      ["State", html`${state(device.state)} ${device.reason && text(device.reason)}`],
      ["Clients", device.clients],
      ["Size", bytes(device.size_bytes)],
      ["Space", bytes(spaceOf(device))],
      ["Chain", `${device.chain.length} images`],
      ["Access", device.read_only ? "read-only" : "read and write"],
      ["Export", html`<code>${text(device.export.uri)}</code>`],
      ["Clients allowed", device.allowed_clients ? text(device.allowed_clients.join(", ")) : "everybody who can connect"],
      ["Origin", origin ? html`${origin.how} of ${link("groups", origin.group)}, device ${text(origin.device)}` : "–"],
      ["Labels", labels(device.labels)],
      ["Attached", time(device.created_at)],
    ];
  }

  render(props, { device, groups, problem }) {
    if (!device) return html`<${Fault} problem=${problem} />${!problem && html`<p aria-busy="true">Reading …</p>`}`;
    return html`
      <${Fault} problem=${problem} />
      <${Facts} facts=${this.facts(device)} />
      <h2>Images</h2>
      ${device.chain.length ? html`<${Tree} chain=${device.chain} />` : html`<p>The device is not open</p>`}
      <h2>Groups</h2>
      ${groups.length === 0 && html`<p>No group has this device</p>`}
      <ul class="plain-list">${groups.map((group) => html`
        <li key=${group.id}>${link("groups", group.state === "committed" ? group.name : group.id)}${" "}
          ${state(group.state)} ${time(group.cut_at ?? group.created_at)}${" "}
          ${group.state === "committed" ? "" : cut(group.name)}</li>`)}</ul>`;
  }
}
