// SPDX-License-Identifier: Apache-2.0
//
// A chart of uPlot in a box of the page: as wide as the box, in the colours of the theme. To screen
// readers it is an image with a label; whoever shows one shows its numbers as text too.
import { Component, html } from "./html.js";
import uPlot from "./uPlot.esm.js";

const HEIGHT_PX = 220;

function colours() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  return { text: colour("--pico-color"), grid: colour("--pico-muted-border-color"), good: colour("--good"),
           bad: colour("--bad"), busy: colour("--busy"), plain: colour("--pico-primary") };
}

export class Chart extends Component {
  dark = matchMedia("(prefers-color-scheme: dark)");

  draw = () => {
    this.plot?.destroy();
    const { options, data } = this.props;
    const shown = { legend: { show: false }, ...options(colours()) };
    this.plot = new uPlot({ ...shown, width: this.box.clientWidth, height: HEIGHT_PX }, data, this.box);
  };

  fit = () => {
    if (this.plot && this.plot.width !== this.box.clientWidth)
      this.plot.setSize({ width: this.box.clientWidth, height: HEIGHT_PX });
  };

  componentDidMount() {
    this.draw();
    this.observer = new ResizeObserver(this.fit);
    this.observer.observe(this.box);
    window.addEventListener("theme", this.draw);
    this.dark.addEventListener("change", this.draw);
  }

  componentDidUpdate(before) {
    if (before.data !== this.props.data) this.plot.setData(this.props.data);
  }

  componentWillUnmount() {
    this.observer.disconnect();
    window.removeEventListener("theme", this.draw);
    this.dark.removeEventListener("change", this.draw);
    this.plot.destroy();
  }

  /** Tells which point is nearest to the pointer, by its index. */
  pick = (event) => {
    const { plot } = this;
    const box = plot.over.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let found = null;
    let least = Infinity;
    for (const values of plot.data.slice(1))
      values.forEach((value, i) => {
        if (value === null) return;
        const distance = Math.hypot(plot.valToPos(plot.data[0][i], "x") - x, plot.valToPos(value, "y") - y);
        if (distance < least) [least, found] = [distance, i];
      });
    if (found !== null) this.props.onPick?.(found);
  };

  render({ label }) {
    return html`<div class="chart" role="img" aria-label=${label} onClick=${this.pick}
                     ref=${(box) => { this.box = box; }}></div>`;
  }
}

/** An axis in the theme's colours. */
export function axis(colour, more = {}) {
  return { stroke: colour.text, grid: { stroke: colour.grid, width: 1 },
           ticks: { stroke: colour.grid, width: 1 }, ...more };
}

export { uPlot };
