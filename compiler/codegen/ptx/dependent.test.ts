import { describe, expect, it } from "vitest";
import { dependentText } from "./dependent.js";
import type { VerifyOptions } from "./verify/verify.js";
import { verifyPtx } from "./verify/verify.js";

const options: VerifyOptions = {
  target: { name: "sm_90", version: "7.8" },
  sharedBytes: 0,
  threads: 32,
  dependent: true,
  params: [
    { kind: "pointer", align: 16, access: "read", weight: true },
    { kind: "pointer", align: 16, access: "readwrite" },
  ],
};

const kernel = (...body: string[]): string =>
  [
    ".version 7.8",
    ".target sm_90",
    ".address_size 64",
    ".visible .entry K(.param .u64 param_0, .param .u64 param_1)",
    ".maxntid 32, 1, 1",
    "{",
    "  .reg .b64 %d<4>;",
    "  .reg .b32 %r<2>;",
    "  .reg .f32 %f<2>;",
    "  .reg .pred %p<1>;",
    "  ld.param.u64 %d0, [param_0];",
    "  ld.param.u64 %d1, [param_1];",
    "  cvta.to.global.u64 %d2, %d0;",
    "  cvta.to.global.u64 %d3, %d1;",
    ...body.map((line) => `  ${line}`),
    "}",
  ].join("\n");

const weight = "ld.global.nc.f32 %f0, [%d2];";
const other = "ld.global.f32 %f1, [%d3];";
const store = "st.global.f32 [%d3], %f0;";

/** The body with its two instructions, which the verifier then takes. */
function placed(...body: string[]): string[] {
  const text = dependentText(kernel(...body), options);
  expect(verifyPtx(text, options)).toEqual([]);
  const lines = text.split("\n").map((line) => line.trim());
  return lines.slice(lines.indexOf("cvta.to.global.u64 %d3, %d1;") + 1, -1);
}

const wait = "griddepcontrol.wait;";

describe("a dependent kernel waits", () => {
  it("behind its first loads of weights, before all else", () => {
    expect(placed(weight, other, store, "ret;")).toEqual([weight, wait, other, store, "ret;"]);
    expect(placed(weight, store, "ret;")).toEqual([weight, wait, store, "ret;"]);
  });

  it("before the first branch, which some path leaves by", () => {
    const test = "setp.eq.s32 %p0, %r0, 0;";
    const body = ["mov.u32 %r0, %tid.x;", test, "@%p0 bra DONE;", weight, store, "DONE:", "ret;"];
    expect(placed(...body)).toEqual([...body.slice(0, 2), wait, ...body.slice(2)]);
  });

  it("before a label, where a loop may begin", () => {
    const step = ["sub.s32 %r0, %r0, 1;", "setp.gt.s32 %p0, %r0, 0;", "@%p0 bra AGAIN;"];
    const body = ["mov.u32 %r0, %tid.x;", weight, "AGAIN:", ...step, store, "ret;"];
    expect(placed(...body)).toEqual([...body.slice(0, 2), wait, ...body.slice(2)]);
  });

  it("at the end, where it does nothing", () => {
    expect(placed("ret;")).toEqual([wait, "ret;"]);
  });
});

it("leaves a text that no verifier takes", () => {
  expect(dependentText("nonsense", options)).toBe("nonsense");
  const unknown = kernel("launch.rockets;", "ret;");
  expect(dependentText(unknown, options)).toBe(unknown);
});
