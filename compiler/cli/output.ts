/** What a command prints: for people, or one JSON event a line. */

export class Output {
  readonly #started = Date.now();
  #shown = "";
  #lastProgress = 0;

  constructor(readonly json: boolean) {}

  /** A result, on standard output. */
  event(name: string, data: Readonly<Record<string, unknown>>, text: string): void {
    this.clear();
    process.stdout.write(this.json ? `${JSON.stringify({ event: name, ...data })}\n` : text === "" ? "" : `${text}\n`);
  }

  notice(text: string): void {
    this.clear();
    if (this.json) process.stdout.write(`${JSON.stringify({ event: "notice", text })}\n`);
    else process.stderr.write(`note: ${text}\n`);
  }

  error(code: string, message: string, status: number): void {
    this.clear();
    if (this.json) process.stdout.write(`${JSON.stringify({ event: "error", code, message, status })}\n`);
    else process.stderr.write(`farrier: ${message}\n`);
  }

  /** Progress on a terminal, with an estimate where the total is known; JSON events at most each 200 ms. */
  readonly progress = (what: string, done: number, total: number): void => {
    const now = Date.now();
    if (now - this.#lastProgress < 200 && done !== total) return;
    this.#lastProgress = now;
    const seconds = (now - this.#started) / 1000;
    if (this.json) {
      process.stdout.write(`${JSON.stringify({ event: "progress", what, done, total, seconds })}\n`);
      return;
    }
    if (!process.stderr.isTTY) return;
    const left = total > 0 && done > 0 ? `, ${((seconds / done) * (total - done)).toFixed(0)} s left` : "";
    const count = total > 0 ? ` ${done}/${total}` : done > 0 ? ` ${done}` : "";
    this.clear();
    this.#shown = `${what}${count} (${seconds.toFixed(1)} s${left})`;
    process.stderr.write(this.#shown);
  };

  clear(): void {
    if (this.#shown !== "") process.stderr.write(`\r${" ".repeat(this.#shown.length)}\r`);
    this.#shown = "";
  }
}
