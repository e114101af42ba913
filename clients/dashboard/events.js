// SPDX-License-Identifier: Apache-2.0
//
// The daemon's events, as a stream over fetch(): EventSource cannot send a token.
//
//   idle -> connecting -> live -> waiting -> connecting ...
//
// Each event is delivered once and in order: the stream is resumed after the id of the last one,
// and ids that are not larger are dropped. If the daemon has deleted events meanwhile, it says so
// with a message `gap`; then lists have to be read anew. The daemon breaks a silence every 10 s, so
// a longer one means a connection that is dead.
import { Problem, problemOf, request } from "./api.js";

const SILENCE_MS = 25000;
const WAIT_MIN_MS = 250;
const WAIT_MAX_MS = 5000;

/** Calls `onMessage({id, event, data})` for each message of a text/event-stream that comes in
 * pieces. A message without data carries only an id. */
export class MessageParser {
  constructor(onMessage) {
    this.onMessage = onMessage;
    this.rest = "";
    this.clear();
  }

  clear() {
    this.message = { id: null, event: "message", data: null };
  }

  push(piece) {
    const lines = (this.rest + piece).split("\n");
    this.rest = lines.pop();
    for (const line of lines) this.line(line.replace(/\r$/, ""));
  }

  line(line) {
    if (line === "") {
      this.onMessage(this.message);
      this.clear();
      return;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "id") this.message.id = value;
    else if (name === "event") this.message.event = value;
    else if (name === "data")
      this.message.data = this.message.data === null ? value : `${this.message.data}\n${value}`;
  }
}

export class EventStream {
  /** `onEvent(event)`, `onGap()`, `onState(state)`. */
  constructor({ onEvent, onGap, onState }) {
    Object.assign(this, { onEvent, onGap, onState });
    this.lastId = null;
    this.waitMs = WAIT_MIN_MS;
    this.state = "idle";
  }

  setState(state) {
    if (this.state === state) return;
    this.state = state;
    this.onState(state);
  }

  /** Goes on after the event `lastId`; null: with what comes from now on. */
  start(lastId) {
    this.stop();
    this.lastId = lastId;
    this.abort = new AbortController();
    this.run(this.abort);
  }

  stop() {
    this.abort?.abort();
    this.abort = null;
    this.setState("idle");
  }

  async run(abort) {
    while (!abort.signal.aborted) {
      this.setState("connecting");
      try {
        await this.connect(abort);
      } catch (error) {
        if (abort.signal.aborted || error.status === 401) break;
      }
      if (abort.signal.aborted) break;
      this.setState("waiting");
      await new Promise((resolve) => setTimeout(resolve, this.waitMs));
      this.waitMs = Math.min(this.waitMs * 2, WAIT_MAX_MS);
    }
    if (this.abort === abort) this.stop();
  }

  /** One connection, to its end. */
  async connect(abort) {
    const silent = new AbortController();
    const signal = AbortSignal.any ? AbortSignal.any([abort.signal, silent.signal]) : abort.signal;
    const headers = { Accept: "text/event-stream" };
    if (this.lastId !== null) headers["Last-Event-ID"] = String(this.lastId);
    const response = await request("GET", "/events", { headers, signal });
    if (!response.ok) throw await problemOf(response);
    this.setState("live");
    this.waitMs = WAIT_MIN_MS;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new MessageParser((message) => this.message(message));
    let timer = 0;
    try {
      for (;;) {
        timer = setTimeout(() => silent.abort(), SILENCE_MS);
        const { done, value } = await reader.read();
        clearTimeout(timer);
        if (done) return;
        if (abort.signal.aborted) return;
        parser.push(value);
      }
    } catch {
      throw new Problem(0, null);
    } finally {
      clearTimeout(timer);
    }
  }

  message({ id, event, data }) {
    const number = id === null ? null : Number(id);
    if (event === "gap") {
      this.lastId = number;
      this.onGap();
      return;
    }
    if (number === null || (this.lastId !== null && number <= this.lastId)) return;
    this.lastId = number;
    if (data !== null) this.onEvent(JSON.parse(data));
  }
}
