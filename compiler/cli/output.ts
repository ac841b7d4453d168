/** What a command prints: for people, or one JSON event a line. */

/** Bytes for people, in powers of 1024. */
export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let [value, unit] = [bytes, 0];
  while (value >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

/** Milliseconds between two progress events. */
const progressInterval = 200;

export class Output {
  #shown = "";
  #last = 0;
  /** What is being done, and since when. */
  #task = "";
  #since = 0;

  constructor(readonly json: boolean) {}

  /** A result, on standard output. */
  event(name: string, data: Readonly<Record<string, unknown>>, text: string): void {
    this.clear();
    if (this.json) process.stdout.write(`${JSON.stringify({ event: name, ...data })}\n`);
    else if (text !== "") process.stdout.write(`${text}\n`);
  }

  notice(text: string): void {
    this.clear();
    if (this.json) process.stdout.write(`${JSON.stringify({ event: "notice", text })}\n`);
    else process.stderr.write(`note: ${text}\n`);
  }

  error(code: string, message: string, status: number): void {
    this.clear();
    if (this.json)
      process.stdout.write(`${JSON.stringify({ event: "error", code, message, status })}\n`);
    else process.stderr.write(`farrier: ${message}\n`);
  }

  /** Progress on a terminal, with an estimate where the total is known; as events, a few a second. */
  readonly progress = (what: string, done: number, total: number): void => {
    const now = Date.now();
    if (what !== this.#task) [this.#task, this.#since, this.#last] = [what, now, 0];
    if (now - this.#last < progressInterval && done !== total) return;
    this.#last = now;
    const seconds = (now - this.#since) / 1000;
    if (this.json) {
      const event = { event: "progress", what, done, total, seconds };
      process.stdout.write(`${JSON.stringify(event)}\n`);
      return;
    }
    if (!process.stderr.isTTY) return;
    this.clear();
    const text = progressText(what, done, total, seconds);
    this.#shown = text.slice(0, Math.max(20, (process.stderr.columns ?? 80) - 1));
    process.stderr.write(this.#shown);
  };

  clear(): void {
    if (this.#shown !== "") process.stderr.write(`\r${" ".repeat(this.#shown.length)}\r`);
    this.#shown = "";
  }
}

export function progressText(what: string, done: number, total: number, seconds: number): string {
  const count = total > 0 ? ` ${done}/${total}` : done > 0 ? ` ${done}` : "";
  const known = total > 0 && done > 0 && done < total;
  const left = known ? `, about ${Math.ceil((seconds / done) * (total - done))} s left` : "";
  return `${what}${count} (${seconds.toFixed(1)} s${left})`;
}
