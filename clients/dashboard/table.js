// SPDX-License-Identifier: Apache-2.0
//
// A table of any number of rows, of which only those in sight are in the document. All rows are
// equally high, so the place of each is known without the others:
//
//   | spacer: first x ROW_PX | rows first .. last | spacer: the rest |
//
// A row that comes into sight takes the elements of one that has left it; those of rows that stay in
// sight stay theirs, and so does the focus. Screen readers get the number of all rows, and the place
// of each.
import { Component, html } from "./html.js";

export const ROW_PX = 44; // as in app.css
const MORE = 8; // rows beyond each edge

export class Table extends Component {
  state = { first: 0, count: 30 };

  /** Which rows are in sight; they are drawn anew only if that has changed by some rows. */
  look = () => {
    const box = this.box;
    if (!box) return;
    const count = Math.ceil(box.clientHeight / ROW_PX) + 2 * MORE;
    const sight = Math.floor(box.scrollTop / ROW_PX);
    const first = Math.max(0, sight - MORE);
    const isFar = Math.abs(first - this.state.first) >= MORE / 2;
    if (isFar || count !== this.state.count || (first === 0 && this.state.first !== 0))
      this.setState({ first, count });
    const { rows, onEnd } = this.props;
    if (onEnd && sight + count >= rows.length) onEnd();
  };

  componentDidMount() {
    this.observer = new ResizeObserver(this.look);
    this.observer.observe(this.box);
    this.look();
  }

  componentDidUpdate() {
    this.look();
  }

  componentWillUnmount() {
    this.observer.disconnect();
  }

  rowsInSight() {
    const { first, count } = this.state;
    const begin = Math.min(first, Math.max(0, this.props.rows.length - count));
    return [begin, this.props.rows.slice(begin, begin + count)];
  }

  render({ rows, columns, label, total, empty }, { count }) {
    const [begin, shown] = this.rowsInSight();
    this.props.onSight?.(shown);
    const after = (rows.length - begin - shown.length) * ROW_PX;
    return html`
      <div class="scroll" role="region" aria-label=${label} tabindex="0"
           ref=${(box) => { this.box = box; }} onScroll=${this.look}>
        <table aria-label=${label} aria-rowcount=${total ?? rows.length + 1}>
          <thead><tr aria-rowindex="1">${columns.map((column) =>
            html`<th key=${column.title} scope="col" class=${column.class}>${column.title}</th>`)}
          </tr></thead>
          <tbody>
            <${Spacer} key="before" height=${begin * ROW_PX} columns=${columns.length} />
            ${shown.map((row, i) => html`
              <tr key=${(begin + i) % count} aria-rowindex=${begin + i + 2}>${columns.map((column) =>
                html`<td key=${column.title} class=${column.class}>${column.cell(row)}</td>`)}
              </tr>`)}
            <${Spacer} key="after" height=${after} columns=${columns.length} />
          </tbody>
        </table>
        ${rows.length === 0 && html`<p class="empty">${empty}</p>`}
      </div>`;
  }
}

function Spacer({ height, columns }) {
  if (height <= 0) return null;
  return html`<tr class="spacer" aria-hidden="true">
    <td colspan=${columns} style=${{ height: height + "px" }}></td></tr>`;
}
