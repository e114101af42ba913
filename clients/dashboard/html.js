// SPDX-License-Identifier: Apache-2.0
//
// Preact and htm, put together: html`<p>${text}</p>` makes an element. Text is never parsed as
// markup; nothing here or in a view sets innerHTML.
import { Component, createElement, render } from "./index";
import htm from "./htm.mjs";

export const html = htm.bind(createElement);
export { Component, render };
