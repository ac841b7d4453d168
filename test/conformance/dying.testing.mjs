// A worker whose process ends at the case "near", and that passes all others.
process.on("message", ({ directories }) => {
  for (const directory of directories) {
    process.send({ kind: "running", directory });
    if (directory.endsWith("near")) return process.exit(3);
  }
  const verdict = { passed: true, reason: "", fixed: [], kernels: 1 };
  process.send({
    kind: "done",
    verdicts: directories.map((directory) => ({ directory, ...verdict })),
  });
});
