/** The families that directories can be of. */
import { FarrierError } from "../../errors.js";
import type { ConfigReader } from "../files/config-reader.js";
import { printable } from "../files/source-file.js";
import type { Family } from "./family.js";
import { bert } from "./families/bert.js";
import { deepseekV2 } from "./families/deepseek-v2.js";
import { deepseekV3 } from "./families/deepseek-v3.js";
import { gemma2 } from "./families/gemma2.js";
import { gptNeox } from "./families/gpt-neox.js";
import { gpt2 } from "./families/gpt2.js";
import { granite } from "./families/granite.js";
import { llama } from "./families/llama.js";
import { mistral } from "./families/mistral.js";
import { mixtral } from "./families/mixtral.js";
import { opt } from "./families/opt.js";
import { phi3 } from "./families/phi3.js";
import { qwen3Moe } from "./families/qwen3-moe.js";
import { qwen3 } from "./families/qwen3.js";

const families: readonly Family[] = [
  gpt2,
  llama,
  mistral,
  qwen3,
  gemma2,
  phi3,
  granite,
  opt,
  gptNeox,
  bert,
  mixtral,
  qwen3Moe,
  deepseekV2,
  deepseekV3,
];

const quoted = (name: string): string => JSON.stringify(printable(name));

/** The family of a configuration, or the error that says why there is none. */
export function familyOf(config: ConfigReader): Family {
  const type = config.string("model_type");
  const family = families.find((each) => each.modelType === type);
  if (family === undefined) {
    if (config.has("auto_map")) throw remoteCode(config, `model_type ${quoted(type)}`);
    const known = families.map((each) => each.modelType).join(", ");
    throw new FarrierError("E_ARCH", `${quoted(type)} is not supported; these are: ${known}`, {
      file: config.file,
      where: "model_type",
    });
  }
  checkArchitecture(config, family);
  return family;
}

/** Other heads on the same layers are other models. */
function checkArchitecture(config: ConfigReader, family: Family): void {
  const named = config.optionalStrings("architectures") ?? [];
  if (named.length === 0 || named.some((each) => family.architectures.includes(each))) return;
  const found = named.map(quoted).join(", ");
  if (config.has("auto_map")) throw remoteCode(config, `architectures ${found}`);
  const what = `${found} is not supported; these are: ${family.architectures.join(", ")}`;
  throw new FarrierError("E_ARCH", what, { file: config.file, where: "architectures" });
}

function remoteCode(config: ConfigReader, what: string): FarrierError {
  const known = families.map((each) => each.modelType).join(", ");
  return new FarrierError("E_REMOTE_CODE", `${what} needs the directory's own Python code`, {
    file: config.file,
    where: "auto_map",
    hint: `farrier runs no code of a model; it knows these types: ${known}`,
  });
}
