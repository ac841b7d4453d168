/** Rows 76 to 99: safetensors files and Hugging Face directories. */
import fs from "node:fs";
import path from "node:path";
import { byteSize } from "../../compiler/ir/dtype.js";
import { SafetensorsFile } from "../../compiler/frontend/files/safetensors.js";
import { inMemory, writeSafetensors } from "../../compiler/frontend/files/write-safetensors.js";
import { packageRoot } from "../../compiler/version.js";
import { type Case, each, type Place } from "./case.js";

const llama = path.join(packageRoot(), "test", "fixtures", "models", "llama", "hf");
const configText = fs.readFileSync(path.join(llama, "config.json"), "utf8");
const weights = path.join(llama, "model.safetensors");

type Json = Readonly<Record<string, unknown>>;
const config = (edit: Json = {}): string =>
  JSON.stringify({ ...(JSON.parse(configText) as Json), ...edit });

/** The fixture's directory; `files` are written over it, null takes one away. */
function directory(
  place: Place,
  files: Readonly<Record<string, string | Uint8Array | null>>,
): string {
  fs.writeFileSync(place.model("config.json"), configText);
  fs.copyFileSync(weights, place.model("model.safetensors"));
  for (const [name, content] of Object.entries(files))
    if (content === null) fs.rmSync(place.model(name));
    else place.write({ [name]: content });
  return place.model().replace(/\/$/, "");
}

type Files = Parameters<typeof directory>[1];
type Rest = Pick<Case, "says" | "args">;

const of = (row: number, code: string, what: string, files: Files, rest: Rest = {}): Case => ({
  ...{ row, what, code },
  build: (place) => directory(place, files),
  ...rest,
});

/** A safetensors file: this header, `data` bytes behind it, and a length that may lie. */
function stFile(header: string | Uint8Array, data = 0, length?: bigint): Uint8Array {
  const text = Buffer.from(header);
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(length ?? BigInt(text.length));
  return new Uint8Array(Buffer.concat([head, text, Buffer.alloc(data)]));
}

const st = (row: number, code: string, what: string, file: Uint8Array, says?: RegExp): Case =>
  of(row, code, what, { "model.safetensors": file }, says === undefined ? {} : { says });

const entry = (shape: string, offsets = "0,4", dtype = "U8"): string =>
  `{"dtype":"${dtype}","shape":[${shape}],"data_offsets":[${offsets}]}`;
const one = (shape: string, offsets?: string, dtype?: string): string =>
  `{"a":${entry(shape, offsets, dtype)}}`;
const two = (offsets: string): string => `{"a":${entry("4")},"b":${entry("4", offsets)}}`;

const safetensors: readonly Case[] = [
  ...each([0, 7], (size) =>
    st(76, "E_ST_HEADER_LEN", `a file of ${size} bytes`, new Uint8Array(size)),
  ),
  st(
    77,
    "E_ST_HEADER_LEN",
    "a header longer than the file",
    stFile("{}", 0, 100n),
    /100 bytes, 2 are left/,
  ),
  st(78, "E_ST_HEADER_LEN", "a header of 100,000,001 bytes", stFile("{}", 0, 100_000_001n)),
  ...each([2n ** 63n, 2n ** 64n - 1n], (length) =>
    st(79, "E_ST_HEADER_LEN", `a header of ${length} bytes`, stFile("{}", 0, length)),
  ),
  st(80, "E_ST_HEADER", "a header that starts with a blank", stFile(` ${one("4")}`, 4), /byte 8/),
  st(80, "E_ST_HEADER", "a list", stFile("[]")),
  st(80, "E_ST_HEADER", "a byte order mark", stFile(`\ufeff${one("4")}`, 4), /byte 8/),
  st(80, "E_ST_HEADER", "bytes that are no UTF-8", stFile(Buffer.from('{"\xff":1}', "latin1"))),
  st(80, "E_ST_HEADER", "broken JSON", stFile('{"a":}'), /byte 13/),
  st(80, "E_ST_HEADER", "100,000 brackets", stFile(`{"a":${"[".repeat(100_000)}`)),
  st(
    81,
    "E_ST_DUPLICATE",
    "a tensor twice",
    stFile(`{"a":${entry("4")},"a":${entry("4")}}`, 4),
    /"a"/,
  ),
  st(82, "E_ST_OFFSETS", "a hole", stFile(two("5,9"), 9), /tensor "b"/),
  st(83, "E_ST_OFFSETS", "an overlap", stFile(two("2,6"), 6), /tensor "b"/),
  st(84, "E_ST_OFFSETS", "an end before its begin", stFile(one("4", "4,0"), 4), /tensor "a"/),
  st(
    85,
    "E_ST_OFFSETS",
    "a first tensor that does not start at 0",
    stFile(one("4", "1,5"), 5),
    /tensor "a"/,
  ),
  st(86, "E_ST_OFFSETS", "bytes behind the last tensor", stFile(one("4"), 30), /tensor "a"/),
  st(87, "E_ST_SIZE", "a shape of other bytes", stFile(one("5"), 4), /needs 5 bytes, has 4/),
  st(87, "E_SIZE_OVERFLOW", "a shape of 2^60 elements", stFile(one("1073741824,1073741824"), 4)),
  ...each(["1e3", "16.0", "-0", "9007199254740993", '"16"'], (number) =>
    st(88, "E_ST_NUMBER", `the number ${number}`, stFile(one(number), 4)),
  ),
  st(89, "E_ST_DTYPE", "an unknown dtype", stFile(one("4", "0,4", "F8"), 4), /F8_E4M3/),
  st(89, "E_ST_DTYPE", "a dtype that every object has", stFile(one("4", "0,4", "toString"), 4)),
  st(89, "E_ST_ALIGN", "seven halves of a byte", stFile(one("7", "0,4", "F4"), 4)),
  {
    ...{ row: 89, code: "ok", what: "data that starts unaligned" },
    build: (place) => {
      const bytes = fs.readFileSync(weights);
      const length = Number(bytes.readBigUInt64LE(0));
      const header = bytes
        .subarray(8, 8 + length)
        .toString("utf8")
        .trimEnd();
      const padded = header + " ".repeat(8 - (header.length % 8) + 3);
      const file = Buffer.concat([Buffer.from(stFile(padded)), bytes.subarray(8 + length)]);
      return directory(place, { "model.safetensors": new Uint8Array(file) });
    },
  },
  st(90, "E_ST_METADATA", "metadata that is a number", stFile('{"__metadata__":{"a":1}}')),
  // Such a name is a tensor like every other: it is missing from no list, and not lost either.
  st(
    90,
    "E_WEIGHTS",
    "a tensor called __proto__",
    stFile(`{"__proto__":${entry("4")}}`, 4),
    /__proto__/,
  ),
];

const index = (map: Json): string => JSON.stringify({ metadata: {}, weight_map: map });
const shard = stFile(one("4"), 4);
const sharded = (
  row: number,
  code: string,
  what: string,
  map: Json,
  files: Files = {},
  says?: RegExp,
): Case =>
  of(
    row,
    code,
    what,
    { "model.safetensors": null, "model.safetensors.index.json": index(map), ...files },
    says === undefined ? {} : { says },
  );

const shards: readonly Case[] = [
  ...each(
    [
      "../x.safetensors",
      "/x.safetensors",
      "https://example.com/x.safetensors",
      "C:\\x.safetensors",
    ],
    (name) => sharded(92, "E_SHARD_PATH", name, { a: name }),
  ),
  sharded(
    93,
    "E_SHARD_MISSING",
    "a shard that is not there",
    { a: "1.safetensors" },
    {},
    /1\.safetensors/,
  ),
  sharded(
    93,
    "E_SHARD_TENSOR",
    "a tensor that is not in its shard",
    { b: "1.safetensors" },
    { "1.safetensors": shard },
    /"b"/,
  ),
  sharded(
    93,
    "E_SHARD_DUPLICATE",
    "a tensor in two shards",
    { a: "1.safetensors", b: "2.safetensors" },
    {
      "1.safetensors": shard,
      "2.safetensors": stFile(`{"a":${entry("4")},"b":${entry("4", "4,8")}}`, 8),
    },
    /"a"/,
  ),
  sharded(93, "E_SHARD_INDEX", "an index of numbers", { a: 1 }),
  of(93, "E_SHARD_INDEX", "an index that is no JSON", {
    "model.safetensors": null,
    "model.safetensors.index.json": "{",
  }),
  ...each(
    [
      "pytorch_model.bin",
      "model.pt",
      "model.ckpt",
      "tf_model.h5",
      "pytorch_model-00001-of-00002.bin",
    ],
    (name) =>
      of(
        94,
        "E_PICKLE_REFUSED",
        `only ${name}`,
        { "model.safetensors": null, [name]: "\x80\x02" },
        {
          says: /executes code.*convert to safetensors elsewhere/,
        },
      ),
  ),
];

const settings = (row: number, code: string, edit: Json, says?: RegExp): Case =>
  of(
    row,
    code,
    JSON.stringify(edit).slice(1, -1),
    { "config.json": config(edit) },
    says === undefined ? {} : { says },
  );

const configs: readonly Case[] = [
  of(95, "E_CONFIG", "no config.json", { "config.json": null }, { says: /config\.json/ }),
  of(95, "E_CONFIG", "no JSON", { "config.json": "{ // no" }, { says: /byte 2/ }),
  of(95, "E_CONFIG", "an empty config.json", { "config.json": "" }),
  settings(95, "E_CONFIG", { hidden_size: "64" }, /hidden_size.*"64"/),
  settings(95, "E_CONFIG", { rms_norm_eps: "1e-5" }, /rms_norm_eps/),
  settings(96, "E_ARCH", { model_type: "mamba9", architectures: undefined }, /"mamba9".*llama/),
  settings(96, "E_REMOTE_CODE", { model_type: "my_net", auto_map: { AutoModel: "modeling.My" } }),
  ...each(
    [
      { num_attention_heads: 5 },
      { num_key_value_heads: 3 },
      { head_dim: 0 },
      { num_hidden_layers: 1e9 },
    ],
    (edit) => settings(97, "E_CONFIG_VALUE", edit, new RegExp(String(Object.values(edit)[0]))),
  ),
  ...each([0, -1e-5], (eps) =>
    settings(97, "E_CONFIG_VALUE", { rms_norm_eps: eps }, /rms_norm_eps/),
  ),
  settings(
    98,
    "E_CONFIG_UNSUPPORTED",
    { rope_scaling: { rope_type: "spiral", factor: 2 } },
    /spiral/,
  ),
  settings(
    98,
    "E_CONFIG_UNSUPPORTED",
    { quantization_config: { quant_method: "gptq" } },
    /quantization_config/,
  ),
  settings(98, "E_CONFIG_UNSUPPORTED", { sliding_window: 4096 }, /sliding_window = 4096/),
  settings(98, "E_CONFIG_UNSUPPORTED", { attention_sinks: true }, /attention_sinks/),
];

interface Tensor {
  readonly dtype: Parameters<typeof inMemory>[0];
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** The fixture's directory with other tensors. */
const edited = (
  code: string,
  what: string,
  edit: (tensors: Map<string, Tensor>) => void,
  rest: Rest & { readonly config?: Json } = {},
): Case => ({
  ...{ row: 99, code, what },
  ...rest,
  build: (place) => {
    const file = SafetensorsFile.open(weights);
    const tensors = new Map<string, Tensor>(
      [...file.tensors].map(([name, { dtype, shape }]) => [
        name,
        { dtype, shape, bytes: file.read(name) },
      ]),
    );
    file.close();
    edit(tensors);
    const made = directory(place, { "config.json": config(rest.config) });
    const list = [...tensors].map(
      ([name, each]) => [name, inMemory(each.dtype, each.shape, each.bytes)] as const,
    );
    writeSafetensors(place.model("model.safetensors"), new Map(list));
    return made;
  },
});

const zeros = (...shape: readonly number[]): Tensor => ({
  ...{ dtype: "f32", shape },
  bytes: new Uint8Array(
    byteSize(
      "f32",
      shape.reduce((product, size) => product * size, 1),
    ),
  ),
});

const norm = "model.layers.0.input_layernorm.weight";

const tensors: readonly Case[] = [
  edited(
    "E_WEIGHTS",
    "tensors missing, unexpected and of another shape, all of them",
    (map) => {
      map.delete(norm);
      map.delete("model.norm.weight");
      map.set("model.layers.0.extra.weight", zeros(2));
      map.set("model.layers.1.input_layernorm.weight", zeros(63));
    },
    { says: /input_layernorm.*extra.*norm|norm.*extra/s },
  ),
  edited("ok", "lm_head, where it is tied, is absent", (map) => map.delete("lm_head.weight"), {
    config: { tie_word_embeddings: true },
  }),
  edited(
    "E_WEIGHTS",
    "lm_head, where it is not tied, is absent",
    (map) => map.delete("lm_head.weight"),
    {
      config: { tie_word_embeddings: false },
      says: /lm_head\.weight/,
    },
  ),
];

export const directories: readonly Case[] = [...safetensors, ...shards, ...configs, ...tensors];
