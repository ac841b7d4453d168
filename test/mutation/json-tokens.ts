/** Changes of JSON texts: tokens and whole values, of which most stay JSON. */
import { havoc, word, type Sources } from "./havoc.js";

const token = /"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|[A-Za-z]+|[^\s]/g;

const numbers = [
  ...["0", "1", "2", "3", "4", "7", "8", "16", "64", "1000", "-1", "-0", "0.5", "1e0", "1E+2"],
  ...[
    "4294967296",
    "9007199254740991",
    "9007199254740993",
    "18446744073709551616",
    "1e400",
    "-1e-9",
  ],
  ...["1e-400", "01", "1.", "NaN", "Infinity", "-Infinity", "0.1e", "2147483648", "16777216"],
];
const others = [
  "null",
  "true",
  "false",
  "{}",
  "[]",
  '""',
  "[[]]",
  '{"a":1}',
  '"\\ud800"',
  '"\\u0000"',
];
const oddKeys = ['"__proto__"', '"constructor"', '"__metadata__"', '"\\u0061"'];

const opens = (text: string): boolean => text === "{" || text === "[";

/** Where the value that starts at `from` ends. */
function endOf(tokens: readonly string[], from: number): number {
  let depth = 0;
  for (let at = from; at < tokens.length; at++) {
    if (opens(tokens[at]!)) depth++;
    if (tokens[at] === "}" || tokens[at] === "]") depth--;
    if (depth <= 0) return at + 1;
  }
  return tokens.length;
}

/** From a token to the end of a member or an element, with the comma after it. */
function memberAt(tokens: readonly string[], from: number): number {
  let to = endOf(tokens, from);
  if (tokens[to] === ":") to = endOf(tokens, to + 1);
  return tokens[to] === "," ? to + 1 : to;
}

function valueOf(sources: Sources): string {
  const { rng } = sources;
  return rng.weighted([
    [5, () => rng.pick(numbers)],
    [2, () => rng.pick(others)],
    [4, () => JSON.stringify(word(sources))],
    [1, () => rng.pick(oddKeys)],
    [1, () => String(rng.int(0, 64))],
  ])();
}

type Change = (tokens: string[], at: number, sources: Sources) => void;

const isLeaf = (text: string): boolean => !/^[[\]{},:]$/.test(text);

const changes: readonly Change[] = [
  (tokens, at, sources) => {
    const leaf = tokens.findIndex((text, i) => i >= at && isLeaf(text));
    if (leaf >= 0) tokens[leaf] = valueOf(sources);
  },
  (tokens, at, sources) => {
    const colon = tokens.indexOf(":", at);
    if (colon >= 0)
      tokens.splice(colon + 1, endOf(tokens, colon + 1) - colon - 1, valueOf(sources));
  },
  (tokens, at, sources) => {
    const colon = tokens.indexOf(":", at);
    if (colon > 0) tokens[colon - 1] = JSON.stringify(word(sources));
  },
  (tokens, at) => void tokens.splice(at, memberAt(tokens, at) - at),
  (tokens, at) => void tokens.splice(at, 1),
  (tokens, at) => {
    const member = tokens.slice(at, memberAt(tokens, at));
    if (member[member.length - 1] !== ",") member.push(",");
    tokens.splice(at, 0, ...member);
  },
  (tokens, at, sources) => {
    const donor = tokensOf(sources.other());
    if (donor.length === 0) return;
    const from = sources.rng.int(0, donor.length - 1);
    tokens.splice(at, 0, ...donor.slice(from, memberAt(donor, from)));
  },
  (tokens, at, sources) => {
    const member = [JSON.stringify(word(sources)), ":", valueOf(sources), ","];
    const open = tokens.indexOf("{", at);
    tokens.splice(open < 0 ? at : open + 1, 0, ...member);
  },
  (tokens, at, { rng }) => {
    const end = endOf(tokens, at);
    const depth = rng.pick([1, 2, 70]);
    tokens.splice(end, 0, ..."]".repeat(depth));
    tokens.splice(at, 0, ..."[".repeat(depth));
  },
  (tokens, at, { rng }) => {
    const value = Number(tokens[at]);
    if (Number.isFinite(value)) tokens[at] = String(value + rng.pick([-1, 1, 8, value]));
  },
  (tokens, at, sources) =>
    void tokens.splice(at, 0, sources.rng.pick([",", ":", "[", "}", "\u0001"])),
];

const tokensOf = (bytes: Uint8Array): string[] =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1").match(token) ??
  [];

/** One to four changes of tokens. */
export function changedJson(bytes: Uint8Array, sources: Sources): Uint8Array {
  const { rng } = sources;
  const tokens = tokensOf(bytes);
  if (tokens.length === 0 || rng.chance(0.1)) return havoc(bytes, sources);
  for (let times = rng.pick([1, 1, 1, 2, 4]); times > 0 && tokens.length > 0; times--)
    rng.pick(changes)(tokens, rng.int(0, tokens.length - 1), sources);
  return new Uint8Array(Buffer.from(tokens.join(""), "latin1"));
}

/** The same of a safetensors file: its header, the length before it, the data behind it. */
export function changedSafetensors(bytes: Uint8Array, sources: Sources): Uint8Array {
  const { rng } = sources;
  const length =
    bytes.length < 8 ? -1 : new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  if (length < 0 || 8 + length > bytes.length || rng.chance(0.1)) return havoc(bytes, sources);
  const headerOf = (file: Uint8Array): Uint8Array =>
    file.length < 8
      ? file
      : file.subarray(8, 8 + new DataView(file.buffer, file.byteOffset).getUint32(0, true));
  const header = changedJson(headerOf(bytes), {
    ...sources,
    other: () => headerOf(sources.other()),
  });
  const data = dataFor(header, bytes.length - 8 - length, sources);
  const made = new Uint8Array(8 + header.length + data);
  const view = new DataView(made.buffer);
  view.setUint32(0, header.length, true);
  if (rng.chance(0.03))
    view.setUint32(rng.pick([0, 4]), rng.pick([0, 1, header.length + 1, 2 ** 31]), true);
  made.set(header, 8);
  return made;
}

/** As many bytes as there were, or as the last tensor ends at. */
function dataFor(header: Uint8Array, before: number, { rng }: Sources): number {
  if (rng.chance(0.5)) return before;
  const text = Buffer.from(header.buffer, header.byteOffset, header.byteLength).toString("latin1");
  const ends = [...text.matchAll(/"data_offsets":\[\d+,(\d{1,5})\]/g)].map((found) =>
    Number(found[1]),
  );
  const end = Math.max(0, ...ends.filter((each) => each < 1 << 14));
  return rng.chance(0.9) ? end : Math.max(0, end + rng.pick([-1, 1]));
}
