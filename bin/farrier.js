#!/usr/bin/env node
// The command: loads the built command line, or says how to build it.
import { existsSync } from "node:fs";

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
const main = new URL("../dist/compiler/cli/main.js", import.meta.url);

if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(`farrier: needs Node 20.19 or newer, this is ${process.versions.node}\n`);
  process.exitCode = 2;
} else if (!existsSync(main)) {
  process.stderr.write("farrier: not built yet: run `npm run build` in the checkout\n");
  process.exitCode = 5;
} else {
  const cli = await import(main.href);
  process.exitCode = await cli.main(process.argv.slice(2));
}
