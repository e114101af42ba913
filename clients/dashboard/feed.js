// SPDX-License-Identifier: Apache-2.0
//
// What the whole page knows of the events: the newest ones, and who wants to hear of new ones. It
// reads the last events as a list first and follows the stream from there on, so that nothing is
// missing between the two.
import { get } from "./api.js";
import { EventStream } from "./events.js";

const KEPT = 2000;
const BEFORE = 200; // events of before the page was opened
const LARGEST_ID = "999999999999999999";

const listeners = new Set();

export const feed = { events: [], state: "idle" };

/** `listener.event(event)` for each new event, `listener.gap()` if lists must be read anew, and
 * `listener.state()` when the connection has changed. Returns what ends that. */
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell(name, argument) {
  for (const listener of [...listeners]) listener[name]?.(argument);
}

const stream = new EventStream({
  onEvent(event) {
    feed.events.push(event);
    if (feed.events.length > KEPT) feed.events.splice(0, feed.events.length - KEPT);
    tell("event", event);
  },
  onGap() {
    tell("gap");
  },
  onState(state) {
    feed.state = state;
    tell("state");
  },
});

/** The id of the newest event: the problem that there is none of a larger id names it. */
async function newestId() {
  try {
    await get(`/events?after=${LARGEST_ID}`);
  } catch (problem) {
    const found = problem.code === "EventsGone" && /the newest is (\d+)/.exec(problem.message);
    if (found) return Number(found[1]);
    throw problem;
  }
  return 0;
}

/** The last events; the id after which the stream goes on. */
async function readLast() {
  const newest = await newestId();
  let after = Math.max(0, newest - BEFORE);
  for (;;) {
    try {
      const page = await get(`/events?after=${after}&limit=1000`);
      feed.events = page.items;
      return page.items.length ? page.items[page.items.length - 1].id : after;
    } catch (problem) {
      if (problem.code !== "EventsGone" || after === newest) throw problem;
      after = newest; // those before it were deleted
    }
  }
}

let starts = 0;

/** Whether the feed of that start goes on; else another attempt makes sense, if the start is still
 * the last one. */
async function attempt(start) {
  try {
    const lastId = await readLast();
    if (start === starts) stream.start(lastId);
    return true;
  } catch (problem) {
    return problem.status === 401;
  }
}

/** Resolves after the first attempt: what is read from then on lacks no event. If that fails, further
 * ones are made, after which lists have to be read anew. */
export async function startFeed() {
  const start = ++starts;
  if (!(await attempt(start))) tryAgain(start);
}

async function tryAgain(start) {
  for (let waitMs = 500; start === starts; waitMs = Math.min(waitMs * 2, 5000)) {
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    if (start !== starts || !(await attempt(start))) continue;
    tell("gap");
    return;
  }
}

export function stopFeed() {
  starts++;
  stream.stop();
  feed.events = [];
}
