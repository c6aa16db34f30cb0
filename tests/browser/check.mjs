// Opens pages in real Chromium and says what is wrong with them.
//
//     node tests/browser/check.mjs SCREENSHOTS NAME=PAGE.html ...
//
// Each page is looked at in two widths, light and dark, and printed. It fails for an error on the
// console, an exception, a dialog, a request for anything but the page, and for what `look.mjs`
// finds. Screenshots go to the folder SCREENSHOTS.

import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Browser } from "./chromium.mjs";
import { look } from "./look.mjs";

const WIDTHS = [1280, 400];
const SCHEMES = ["light", "dark"];

// What is below is seen in the page itself.
const HEIGHT_MAX = { 1280: 1560, 400: 2900 };

async function main([folder, ...pages]) {
  if (!pages.length) throw new Error("usage: check.mjs SCREENSHOTS NAME=PAGE.html ...");
  mkdirSync(folder, { recursive: true });
  const browser = new Browser();
  let faults = 0;
  try {
    for (const page of pages) {
      const [name, path] = page.split("=");
      const url = pathToFileURL(resolve(path)).href;
      const found = await check(browser, name, url, folder);
      found.forEach((fault) => console.error(`${name}: ${fault}`));
      console.log(`${name}: ${found.length ? `${found.length} faults` : "no faults"}`);
      faults += found.length;
    }
  } finally {
    await browser.close();
  }
  process.exitCode = faults ? 1 : 0;
}

/** Returns what is wrong with a page. */
async function check(browser, name, url, folder) {
  const faults = new Set();
  const { targetId } = await browser.send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await browser.send("Target.attachToTarget", { targetId, flatten: true });
  const send = (method, params) => browser.send(method, params, sessionId);
  let loaded = () => {};
  browser.listen((method, params) => {
    if (method === "Page.loadEventFired") loaded();
    const fault = faultOf(method, params, url);
    if (fault) faults.add(fault);
    if (method === "Page.javascriptDialogOpening") send("Page.handleJavaScriptDialog", { accept: false });
  });
  for (const domain of ["Page", "Runtime", "Log", "Network"]) await send(`${domain}.enable`);
  for (const width of WIDTHS) {
    for (const scheme of SCHEMES) {
      const features = [{ name: "prefers-color-scheme", value: scheme }];
      await send("Emulation.setEmulatedMedia", { features });
      await layOut(send, width, 900);
      const load = new Promise((resolve) => (loaded = resolve));
      await send("Page.navigate", { url });
      await load;
      const { result } = await send("Runtime.evaluate", {
        expression: `(${look})()`,
        returnByValue: true,
      });
      if (!Array.isArray(result.value)) throw new Error(JSON.stringify(result));
      result.value.forEach((fault) => faults.add(`${width} pixels, ${scheme}: ${fault}`));
      const shot = join(folder, `${name}-${width}-${scheme}.png`);
      writeFileSync(shot, await screenshot(send, width));
    }
  }
  const { data } = await send("Page.printToPDF", { printBackground: false });
  const pdf = Buffer.from(data, "base64");
  writeFileSync(join(folder, `${name}.pdf`), pdf);
  if (pdf.length < 1000) faults.add("it prints nothing");
  await browser.send("Target.closeTarget", { targetId });
  return [...faults];
}

/** Returns what an event says that must not happen, or nothing. */
function faultOf(method, params, url) {
  switch (method) {
    case "Runtime.consoleAPICalled":
      return params.type === "error" ? `console: ${JSON.stringify(params.args)}` : undefined;
    case "Log.entryAdded":
      return params.entry.level === "error" ? `console: ${params.entry.text}` : undefined;
    case "Runtime.exceptionThrown":
      return `exception: ${params.exceptionDetails.text}`;
    case "Page.javascriptDialogOpening":
      return `dialog: ${params.message}`;
    case "Network.requestWillBeSent": {
      const asked = params.request.url;
      return asked === url || asked.startsWith("data:") ? undefined : `request: ${asked}`;
    }
  }
}

function layOut(send, width, height) {
  const mobile = width < 600;
  return send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile });
}

async function screenshot(send, width) {
  const { cssContentSize } = await send("Page.getLayoutMetrics");
  const height = Math.min(Math.ceil(cssContentSize.height), HEIGHT_MAX[width]);
  const clip = { x: 0, y: 0, width, height, scale: 1 };
  const { data } = await send("Page.captureScreenshot", { clip, captureBeyondViewport: true });
  return Buffer.from(data, "base64");
}

await main(process.argv.slice(2));
