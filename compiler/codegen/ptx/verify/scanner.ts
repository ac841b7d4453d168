/** Characters of a text with their lines, and the small tokens of PTX. */

/** A place in the text where the grammar ends. */
export class GrammarError extends Error {
  readonly line: number;

  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

const word = new Uint8Array(128);
for (const char of "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$")
  word[char.charCodeAt(0)] = 1;

export const isWord = (char: number): boolean => char < 128 && word[char] === 1;
export const isDigit = (char: number): boolean => char >= 48 && char <= 57;

export class Scanner {
  readonly text: string;
  pos = 0;
  line = 1;

  constructor(text: string) {
    this.text = text;
  }

  fail(message: string): never {
    throw new GrammarError(this.line, message);
  }

  /** Skips space and comments; returns the character code there, NaN at the end. */
  peek(): number {
    const { text } = this;
    for (;;) {
      const char = text.charCodeAt(this.pos);
      if (char === 10) this.line++;
      else if (char === 47) {
        if (!this.#comment()) return char;
        continue;
      } else if (char !== 32 && char !== 9 && char !== 13) return char;
      this.pos++;
    }
  }

  #comment(): boolean {
    const next = this.text.charCodeAt(this.pos + 1);
    if (next === 47) {
      const end = this.text.indexOf("\n", this.pos);
      this.pos = end < 0 ? this.text.length : end;
      return true;
    }
    if (next !== 42) return false;
    const end = this.text.indexOf("*/", this.pos + 2);
    if (end < 0) this.fail("a comment without an end");
    for (let i = this.pos; i < end; i++) if (this.text.charCodeAt(i) === 10) this.line++;
    this.pos = end + 2;
    return true;
  }

  get atEnd(): boolean {
    return Number.isNaN(this.peek());
  }

  /** Consumes `char` if it is next. */
  take(char: string): boolean {
    if (this.peek() !== char.charCodeAt(0)) return false;
    this.pos++;
    return true;
  }

  expect(char: string, where: string): void {
    if (!this.take(char)) this.fail(`expected "${char}" ${where}, found ${this.found()}`);
  }

  /** What stands here, for messages. */
  found(): string {
    if (this.atEnd) return "the end of the text";
    const rest = /^(?:[\w$%.]+|.)/.exec(this.text.slice(this.pos, this.pos + 40));
    return JSON.stringify(rest?.[0] ?? "");
  }

  /** `[\w$]+` here, without skipping space. */
  word(what: string): string {
    const start = this.pos;
    while (isWord(this.text.charCodeAt(this.pos))) this.pos++;
    if (this.pos === start) this.fail(`expected ${what}, found ${this.found()}`);
    return this.text.slice(start, this.pos);
  }

  /** `[\w$.:]+` here: an opcode with its suffixes, or a directive. */
  dotted(): string {
    const start = this.pos;
    for (;;) {
      const char = this.text.charCodeAt(this.pos);
      if (!isWord(char) && char !== 46 && char !== 58) break;
      this.pos++;
    }
    return this.text.slice(start, this.pos);
  }

  /** A plain decimal number. */
  decimal(what: string): number {
    this.peek();
    const start = this.pos;
    while (isDigit(this.text.charCodeAt(this.pos))) this.pos++;
    const length = this.pos - start;
    if (length === 0 || length > 15 || isWord(this.text.charCodeAt(this.pos)))
      this.fail(`expected ${what}, found ${this.found()}`);
    return Number(this.text.slice(start, this.pos));
  }
}
