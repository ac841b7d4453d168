/** What is compared, in the order of the table. */
import type { Model } from "../model.js";
import { bertBase } from "./bert.js";
import { geluBlock } from "./block.js";
import { gpt2 } from "./gpt2.js";
import { llamaPair } from "./llama.js";

export const models: readonly Model[] = [
  bertBase(128),
  gpt2("GPT-2 small, prefill 128", { tokens: 128, past: 0 }),
  gpt2("GPT-2 small, decode at 128", { tokens: 1, past: 128 }),
  llamaPair("Llama layer pair, prefill 128", { tokens: 128, past: 0 }),
  llamaPair("Llama layer pair, decode at 128", { tokens: 1, past: 128 }),
  geluBlock(1),
  geluBlock(64),
  geluBlock(512),
];
