// A page in headless Chromium, driven over the pipe of the DevTools protocol. No dependency.

import { spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

// A check that hangs is a check that fails.
const REPLY_MILLIS_MAX = 60_000;

/** Returns the path of the browser, or fails: a check that cannot look must not pass. */
export function find() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    for (const name of NAMES) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not here.
      }
    }
  }
  throw new Error(`no browser: expected one of ${NAMES.join(", ")} on PATH, or CHROMIUM=PATH`);
}

/** A browser with a profile of its own, gone once it is closed. */
export class Browser {
  constructor() {
    this.profile = mkdtempSync(join(tmpdir(), "timesink-browser-"));
    const flags = [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
      "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
      `--user-data-dir=${this.profile}`, "about:blank",
    ];
    const stdio = ["ignore", "ignore", "ignore", "pipe", "pipe"];
    this.process = spawn(find(), flags, { stdio });
    this.waiting = new Map();
    this.listeners = [];
    this.last = 0;
    this.rest = "";
    this.process.stdio[4].setEncoding("utf8").on("data", (text) => this.#receive(text));
    this.process.on("exit", (code) => this.#fail(new Error(`the browser ended with ${code}`)));
    this.process.on("error", (error) => this.#fail(error));
    this.process.stdio[3].on("error", (error) => this.#fail(error));
  }

  /** Sends a command and returns its result. */
  send(method, params = {}, sessionId = undefined) {
    if (this.failure) return Promise.reject(this.failure);
    const id = ++this.last;
    const reply = new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${method}: no answer in ${REPLY_MILLIS_MAX} ms`)),
        REPLY_MILLIS_MAX,
      );
      this.waiting.set(id, { method, resolve, reject, timer });
    });
    this.process.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
    return reply;
  }

  /** Calls `listener(method, params)` for each event from now on. */
  listen(listener) {
    this.listeners.push(listener);
  }

  async close() {
    this.process.removeAllListeners("exit");
    const ended = new Promise((resolve) => this.process.on("exit", resolve));
    const isRunning = this.process.pid !== undefined && this.process.exitCode === null;
    await this.send("Browser.close").catch(() => this.process.kill("SIGKILL"));
    if (isRunning) await ended;
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }

  #receive(text) {
    const messages = (this.rest + text).split("\0");
    this.rest = messages.pop();
    for (const message of messages.map((text) => JSON.parse(text))) {
      const waiting = this.waiting.get(message.id);
      if (!waiting) {
        this.listeners.forEach((listener) => listener(message.method, message.params));
        continue;
      }
      this.waiting.delete(message.id);
      clearTimeout(waiting.timer);
      const { error, result } = message;
      if (error) waiting.reject(new Error(`${waiting.method}: ${error.message}`));
      else waiting.resolve(result);
    }
  }

  #fail(error) {
    this.failure = error;
    for (const { reject, timer } of this.waiting.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.waiting.clear();
  }
}
