// SPDX-License-Identifier: Apache-2.0
//
// Drives Chromium for tests/lib/browser.py: reads a call a line, {"op": ..., ...}, and answers each
// with a line, {"value": ...} or {"error": ...}. Ends when its input does.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";

const [modules, executablePath] = process.argv.slice(2);
const require = createRequire(modules + "/");
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const ignored = /^Failed to load resource/; // every status that is no success: tests look at those
let context, page, complaints, transfers;

function locate({ role, name, label, css, text, within, nth }) {
  const root = within ? locate(within) : page;
  const found = role ? root.getByRole(role, name === undefined ? {} : { name, exact: true })
    : label ? root.getByLabel(label, { exact: true })
    : text ? root.getByText(text) : root.locator(css);
  return nth === undefined ? found : found.nth(nth);
}

const ops = {
  async open({ width, height, theme, motion = "reduce" }) {
    await context?.close();
    context = await browser.newContext({ viewport: { width, height }, colorScheme: theme, reducedMotion: motion });
    page = await context.newPage();
    complaints = [];
    transfers = [];
    page.setDefaultTimeout(20000);
    page.on("pageerror", (error) => complaints.push(String(error.stack ?? error)));
    page.on("console", (line) => {
      if (["error", "warning"].includes(line.type()) && !ignored.test(line.text())) complaints.push(line.text());
    });
    page.on("dialog", (dialog) => {
      complaints.push("a dialog of the browser: " + dialog.message());
      dialog.dismiss();
    });
    page.on("response", (response) => transfers.push(response.url()));
    await page.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) =>
        console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
    });
  },
  goto: ({ url }) => page.goto(url).then(() => null),
  click: async (call) => { await locate(call).click(); },
  fill: async (call) => { await locate(call).fill(call.value); },
  check: async (call) => { await locate(call).setChecked(call.value ?? true); },
  select: async (call) => { await locate(call).selectOption(call.value); },
  press: async ({ key }) => { await page.keyboard.press(key); },
  type: async ({ keys }) => { await page.keyboard.type(keys); },
  wait: async (call) => { await locate(call).first().waitFor({ state: call.state ?? "visible" }); },
  text: (call) => locate(call).first().innerText(),
  count: (call) => locate(call).count(),
  enabled: (call) => locate(call).isEnabled(),
  described: (call) => locate(call).evaluate((node) =>
    document.getElementById(node.getAttribute("aria-describedby"))?.textContent ?? null),
  evaluate: ({ script }) => page.evaluate(script),
  screenshot: async ({ path, full }) => { await page.screenshot({ path, fullPage: Boolean(full), animations: "disabled" }); },
  async picture({ path }) {
    const session = await context.newCDPSession(page);
    const { data } = await session.send("Page.captureScreenshot", { format: "webp", quality: 70 });
    writeFileSync(path, Buffer.from(data, "base64"));
    await session.detach();
  },
  complaints: () => complaints.splice(0),
  transfers: () => transfers.splice(0),
  url: () => page.url(),
  reload: async () => { await page.reload(); },
  offline: async ({ value }) => { await context.setOffline(value); },
  async axe() {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html.slice(0, 200)).join(" | ")}`);
  },
  async trace({ script }) {
    const session = await context.newCDPSession(page);
    await session.send("Performance.enable", { timeDomain: "threadTicks" });
    const spent = async () => (await session.send("Performance.getMetrics")).metrics
      .find(({ name }) => name === "TaskDuration").value;
    const before = await spent();
    const events = [];
    session.on("Tracing.dataCollected", ({ value }) => events.push(...value));
    await session.send("Tracing.start", { categories: "disabled-by-default-devtools.timeline.frame,devtools.timeline.frame", transferMode: "ReportEvents" });
    await page.evaluate(script);
    const done = new Promise((resolve) => session.once("Tracing.tracingComplete", resolve));
    await session.send("Tracing.end");
    await done;
    const frames = events.filter(({ name }) => ["DrawFrame", "DroppedFrame", "BeginFrame"].includes(name)).map(({ name, ts }) => [name, ts]);
    return { frames, spent_s: (await spent()) - before };
  },
};

process.stdout.write("{}\n");
for await (const line of createInterface({ input: process.stdin })) {
  const call = JSON.parse(line);
  const answer = {};
  try {
    answer.value = (await ops[call.op](call)) ?? null;
  } catch (error) {
    answer.error = String(error.message ?? error);
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
await browser.close();
