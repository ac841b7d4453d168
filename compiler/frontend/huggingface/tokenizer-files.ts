/** The files of a model's directory that say how texts become ids: a bundle has copies of them. */
import type { ModelDirectory, SourceFile } from "../files/source-file.js";

/** Where a bundle has them. */
export const tokenizerDirectory = "tokenizer";

export const tokenizerFiles = {
  tokenizer: "tokenizer.json",
  config: "tokenizer_config.json",
  template: "chat_template.jinja",
} as const;

/** By path below a bundle. */
export function tokenizerOf(directory: ModelDirectory): ReadonlyMap<string, SourceFile> {
  const present = new Set(directory.list());
  return new Map(
    Object.values(tokenizerFiles)
      .filter((name) => present.has(name))
      .map((name) => [`${tokenizerDirectory}/${name}`, directory.open(name)]),
  );
}
