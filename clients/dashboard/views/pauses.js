// SPDX-License-Identifier: Apache-2.0
//
// How long cuts held writes, and how long groups took: the histograms of GET /metrics, since the
// daemon was started.
import { get } from "../api.js";
import { axis, Chart, uPlot } from "../chart.js";
import { duration } from "../format.js";
import { html } from "../html.js";
import { Fault, View } from "../parts.js";

const READ_MS = 15000;
const HISTOGRAMS = [
  { name: "snapgroupd_group_pause_seconds", title: "Pauses", what: "How long the cut of a committed group held writes" },
  { name: "snapgroupd_group_duration_seconds", title: "Durations", what: "How long a committed group took as a whole" },
];

/** The buckets of a histogram: [{label, count}], each with its own count, not the sum up to it. */
export function bucketsOf(metrics, name) {
  let sum = 0;
  return [...metrics.matchAll(new RegExp(`^${name}_bucket\\{le="([^"]+)"\\} (\\d+)$`, "gm"))].map(([, bound, total]) => {
    const count = Number(total) - sum;
    sum = Number(total);
    return { label: bound === "+Inf" ? "more" : `≤ ${duration(Math.round(Number(bound) * 1e6))}`, count };
  });
}

function bars(buckets) {
  return (colour) => ({
    scales: { x: { time: false, range: [-0.6, buckets.length - 0.4] }, y: { range: (plot, min, max) => [0, Math.max(1, max ?? 1)] } },
    axes: [
      axis(colour, { splits: () => buckets.map((bucket, i) => i), rotate: -45, size: 80, gap: 4,
                     values: (plot, splits) => splits.map((i) => buckets[i]?.label ?? "") }),
      axis(colour, { incrs: [1, 2, 5, 10, 20, 50, 100, 1000, 10000, 100000], size: 60 }),
    ],
    series: [{}, { stroke: colour.plain, fill: colour.plain, paths: uPlot.paths.bars({ size: [0.8, 80] }), points: { show: false } }],
    cursor: { show: false },
  });
}

export class Pauses extends View {
  state = { ...this.state, histograms: null };

  componentDidMount() {
    super.componentDidMount();
    this.clock = setInterval(() => document.hidden || this.loadSoon(), READ_MS);
  }

  componentWillUnmount() {
    super.componentWillUnmount();
    clearInterval(this.clock);
  }

  concerns(event) {
    return event.kind === "group.committed";
  }

  async load() {
    const metrics = await get("/metrics", { headers: { Accept: "text/plain" } });
    const histograms = HISTOGRAMS.map((each) => {
      const buckets = bucketsOf(metrics, each.name);
      return { ...each, buckets, options: bars(buckets), total: buckets.reduce((sum, { count }) => sum + count, 0),
               data: [buckets.map((bucket, i) => i), buckets.map(({ count }) => count)] };
    });
    if (!this.isGone) this.setState({ histograms });
  }

  render(props, { histograms, problem }) {
    return html`
      <${Fault} problem=${problem} />
      <div class="histograms">${histograms?.map(({ name, title, what, buckets, data, options, total }) => html`
        <section key=${name}>
          <h2>${title}</h2>
          <p>${what}; ${total} since the daemon was started</p>
          <${Chart} label=${`${title}: ${total} groups; the numbers are below`} data=${data} options=${options} />
          <details><summary>${title} as numbers</summary>
            <table><thead><tr><th scope="col">${title}</th><th scope="col">Groups</th></tr></thead>
              <tbody>${buckets.map(({ label, count }) =>
                html`<tr key=${label}><td>${label}</td><td class="number">${count}</td></tr>`)}</tbody></table>
          </details>
        </section>`)}</div>`;
  }
}
