/** The fingerprint of this machine: see `docs/bundle.md`, "Host code". */
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";

function firstText(files: readonly string[]): string {
  for (const file of files) {
    try {
      const text = fs.readFileSync(file, "utf8").trim();
      if (text !== "") return text;
    } catch {
      // Absent on this system: the next one.
    }
  }
  return os.hostname().trim();
}

function processor(): string {
  try {
    const line = fs
      .readFileSync("/proc/cpuinfo", "utf8")
      .split("\n")
      .find((text) => text.startsWith("model name"));
    const name = line?.slice(line.indexOf(":") + 1).trim();
    if (name !== undefined && name !== "") return name;
  } catch {
    // No /proc: the architecture stands for it.
  }
  return os.machine();
}

export function machineFingerprint(): string {
  const id = firstText(["/etc/machine-id", "/var/lib/dbus/machine-id"]);
  return createHash("sha256").update(`farrier machine 1\n${id}\n${processor()}\n`).digest("hex");
}
