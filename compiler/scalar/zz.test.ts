import { expect, test } from "vitest";
import { elementwise } from "./elementwise.js";
import { erf, sigmoid } from "./functions.js";
import { builtin, builtinNames, builtinTree } from "./table.js";
import { evaluateExpr } from "./evaluate.js";
test("x", () => {
  const f = elementwise((gate, up) => (gate / (1 + Math.exp(-gate))) * up);
  console.log(f.key, f.evaluate(1, 2));
  console.log(elementwise((x) => x * sigmoid(erf(x))).key);
  const k = 3;
  for (const g of [(x: number) => x * k, (x: number) => { let s = 0; for (let i = 0; i < 3; i++) s += x; return s; }, async (x: number) => x, (x: number) => x && 1, (x:number, y=2)=>x+y, Math.exp, (x:number)=>[x][0]!, (x:number)=>x|0])
    try { elementwise(g as any); console.log("OK?!", g.toString()); } catch (e) { console.log(String(e)); }
  const xs = [-30, -5, -1, -0.3, -1e-8, 0, 1e-8, 0.2, 0.9, 2, 11, 50];
  for (const name of builtinNames) {
    const { params, tree } = builtinTree(name);
    let worst = 0;
    for (const x of xs) {
      const vals = params.map((_, i) => i === 0 ? x : 0.7 + i);
      const a = Number(builtin(name).evaluate(...vals));
      const b = Number(evaluateExpr([tree], { param: (p) => vals[params.indexOf(p)]! })[0]);
      const err = Object.is(a, b) ? 0 : Math.abs(a - b) / Math.max(Math.abs(a), 1e-300);
      if (!(err < 1e-14)) console.log(name, x, a, b, err);
    }
  }
});
