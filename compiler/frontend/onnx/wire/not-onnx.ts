/** What a file that is no ONNX model looks like it is. */

interface Likeness {
  readonly name: string;
  readonly hint: string;
  matches(head: Buffer): boolean;
}

const startsWith =
  (...texts: readonly string[]) =>
  (head: Buffer): boolean => {
    const text = head.toString("latin1").trimStart().toLowerCase();
    return texts.some((start) => text.startsWith(start));
  };

const likenesses: readonly Likeness[] = [
  {
    name: "a Git LFS pointer",
    hint: "run git lfs pull",
    matches: startsWith("version https://git-lfs"),
  },
  {
    name: "an HTML page",
    hint: "download the file itself, not its page",
    matches: startsWith("<!doctype", "<html", "<?xml"),
  },
  {
    name: "a zip archive (PyTorch saves these)",
    hint: "export the model with torch.onnx.export",
    matches: startsWith("pk\x03\x04", "pk\x05\x06"),
  },
  {
    name: "a Python pickle (reading one executes code)",
    hint: "export the model with torch.onnx.export",
    matches: (head) => head[0] === 0x80 && (head[1] ?? 0) >= 2 && (head[1] ?? 0) <= 5,
  },
  {
    name: "an ONNX Runtime flatbuffer (.ort)",
    hint: "compile the .onnx file that it was made from",
    matches: (head) => head.toString("latin1", 4, 8) === "ORTM",
  },
  { name: "a GGUF file", hint: "give the original model", matches: startsWith("gguf") },
  {
    name: "a safetensors file",
    hint: "give the directory that holds its config.json",
    matches: (head) => head[8] === 0x7b && head[6] === 0 && head[7] === 0,
  },
  {
    name: "a gzip archive",
    hint: "unpack it",
    matches: (head) => head[0] === 0x1f && head[1] === 0x8b,
  },
  {
    name: "ONNX's text form",
    hint: "save the model in the binary form",
    matches: startsWith("ir_version", "<ir_version"),
  },
  {
    name: "a text",
    hint: "give the .onnx file",
    matches: (head) =>
      head.length > 0 && head.every((b) => (b >= 0x20 && b < 0x7f) || (b >= 9 && b <= 13)),
  },
];

/** Asked only after decoding has failed: a model may start with any bytes that protobuf allows. */
export function likenessOf(bytes: Uint8Array): { name: string; hint: string } | undefined {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 512));
  return likenesses.find((likeness) => likeness.matches(head));
}
