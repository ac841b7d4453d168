/** Lifts expressions of a function's text: operators, Math, calls of other functions. */
import type * as Morph from "ts-morph";
import * as build from "./build.js";
import type { BinaryOp, Expr } from "./expr.js";
import { morph, quote, refuse, type Context, type Scope } from "./lift-context.js";
import {
  intrinsics,
  literalValue,
  mathBuiltins,
  mathConstants,
  mathFunctions,
  power,
  type MathFunction,
} from "./math.js";

/** @throws for an assignment: names are bound once. */
export function refuseAssignment(node: Morph.Node, context: Context): void {
  const { Node } = morph();
  const assigns =
    Node.isBinaryExpression(node) &&
    /^[^=!<>]*=$|^[<>]{2,3}=$/.test(node.getOperatorToken().getText());
  const steps =
    (Node.isPrefixUnaryExpression(node) || Node.isPostfixUnaryExpression(node)) &&
    /\+\+|--/.test(node.getText());
  if (assigns || steps)
    throw refuse(node, context, `the assignment ${quote(node)}`, "bind a new name with const");
}

export function liftCondition(node: Morph.Expression, scope: Scope, context: Context): Expr {
  const value = liftExpression(node, scope, context);
  if (value.type === "bool") return value;
  throw refuse(
    node,
    context,
    `the number ${quote(node)} as a condition`,
    "compare it, as in x !== 0",
  );
}

function liftNumber(node: Morph.Expression, scope: Scope, context: Context): Expr {
  const value = liftExpression(node, scope, context);
  if (value.type === "f64") return value;
  throw refuse(
    node,
    context,
    `the condition ${quote(node)} as a number`,
    "write condition ? 1 : 0",
  );
}

export function liftExpression(
  node: Morph.Expression | Morph.Node,
  scope: Scope,
  context: Context,
): Expr {
  const { Node } = morph();
  if (Node.isParenthesizedExpression(node))
    return liftExpression(node.getExpression(), scope, context);
  if (
    Node.isAsExpression(node) ||
    Node.isNonNullExpression(node) ||
    Node.isSatisfiesExpression(node)
  )
    return liftExpression(node.getExpression(), scope, context);
  if (Node.isNumericLiteral(node)) return build.constant(node.getLiteralValue(), "f64");
  if (Node.isTrueLiteral(node)) return build.yes;
  if (Node.isFalseLiteral(node)) return build.no;
  if (Node.isIdentifier(node)) return liftName(node, scope, context);
  if (Node.isPrefixUnaryExpression(node)) return liftPrefix(node, scope, context);
  if (Node.isBinaryExpression(node)) return liftBinary(node, scope, context);
  if (Node.isConditionalExpression(node)) {
    const condition = liftCondition(node.getCondition(), scope, context);
    const whenTrue = liftExpression(node.getWhenTrue(), scope, context);
    const whenFalse = liftExpression(node.getWhenFalse(), scope, context);
    if (whenTrue.type !== whenFalse.type)
      throw refuse(node, context, "a choice between a number and a condition");
    return build.select(condition, whenTrue, whenFalse);
  }
  if (Node.isPropertyAccessExpression(node)) {
    const value = mathConstants[node.getText().replace(/\s/g, "")];
    if (value !== undefined) return build.constant(value, "f64");
    throw refuse(node, context, `the property ${quote(node)}`, "pass its value as an argument");
  }
  if (Node.isCallExpression(node)) return liftCall(node, scope, context);
  refuseAssignment(node, context);
  throw refuse(node, context, `${node.getKindName()} ${quote(node)}`);
}

function liftName(node: Morph.Identifier, scope: Scope, context: Context): Expr {
  const name = node.getText();
  const value = scope.get(name);
  if (value !== undefined) return value;
  if (name === "NaN") return build.constant(NaN, "f64");
  if (name === "Infinity") return build.constant(Infinity, "f64");
  throw refuse(
    node,
    context,
    `\`${name}\`, a variable from outside the function,`,
    "pass it as an argument or write its value",
  );
}

function liftPrefix(node: Morph.PrefixUnaryExpression, scope: Scope, context: Context): Expr {
  refuseAssignment(node, context);
  const operand = node.getOperand();
  const { SyntaxKind } = morph();
  switch (node.getOperatorToken()) {
    case SyntaxKind.MinusToken:
      return build.unary("neg", liftNumber(operand, scope, context));
    case SyntaxKind.PlusToken:
      return liftNumber(operand, scope, context);
    case SyntaxKind.ExclamationToken:
      return build.not(liftCondition(operand, scope, context));
    default:
      throw refuse(node, context, `the operator of ${quote(node)}`);
  }
}

type Join = (a: Expr, b: Expr) => Expr;
const plain =
  (op: BinaryOp): Join =>
  (a, b) =>
    build.binary(op, a, b);

const arithmetic: Readonly<Record<string, Join>> = {
  "+": plain("add"),
  "-": plain("sub"),
  "*": plain("mul"),
  "/": plain("div"),
  "%": plain("mod"),
  "**": power,
  "<": build.lt,
  "<=": build.le,
  ">": build.gt,
  ">=": build.ge,
  "===": build.eq,
  "==": build.eq,
  "!==": build.ne,
  "!=": build.ne,
};

const folded: Readonly<Record<string, (a: number, b: number) => number>> = {
  "%": (a, b) => a % b,
  "**": (a, b) => a ** b,
};

function liftBinary(node: Morph.BinaryExpression, scope: Scope, context: Context): Expr {
  const operator = node.getOperatorToken().getText();
  if (operator === "&&" || operator === "||") {
    const left = liftCondition(node.getLeft(), scope, context);
    const right = liftCondition(node.getRight(), scope, context);
    return operator === "&&" ? build.and(left, right) : build.or(left, right);
  }
  refuseAssignment(node, context);
  const join = arithmetic[operator];
  if (join === undefined)
    throw refuse(
      node,
      context,
      `the operator \`${operator}\``,
      "numbers are floats here, not integers",
    );
  const left = liftNumber(node.getLeft(), scope, context);
  const right = liftNumber(node.getRight(), scope, context);
  const fold = folded[operator];
  const [a, b] = [literalValue(left), literalValue(right)];
  return fold !== undefined && a !== null && b !== null
    ? build.constant(fold(a, b), "f64")
    : join(left, right);
}

/** `f`, `Math.f`, or what bundlers make of an import: `(0, module.f)`. */
function calleeName(
  node: Morph.Node,
): { readonly object: string | null; readonly name: string } | null {
  const { Node } = morph();
  if (Node.isIdentifier(node)) return { object: null, name: node.getText() };
  if (Node.isPropertyAccessExpression(node) && Node.isIdentifier(node.getExpression()))
    return { object: node.getExpression().getText(), name: node.getName() };
  if (Node.isParenthesizedExpression(node)) {
    const inner = node.getExpression();
    if (Node.isBinaryExpression(inner) && inner.getOperatorToken().getText() === ",")
      return calleeName(inner.getRight());
    return calleeName(inner);
  }
  return null;
}

function liftCall(node: Morph.CallExpression, scope: Scope, context: Context): Expr {
  const { Node } = morph();
  const callee = calleeName(node.getExpression());
  if (callee === null || node.getQuestionDotTokenNode() !== undefined)
    throw refuse(
      node,
      context,
      `the call ${quote(node)}`,
      "call Math or a function of farrier by name",
    );
  const { object, name } = callee;
  if (scope.has(name) || scope.has(object ?? ""))
    throw refuse(node, context, `the call of \`${object ?? name}\`, a number,`);
  if (name === context.name && object === null)
    throw refuse(node, context, `the recursion of \`${name}\``);
  const args = node.getArguments().map((argument) => {
    if (Node.isSpreadElement(argument)) throw refuse(argument, context, "a spread argument");
    return liftNumber(argument as Morph.Expression, scope, context);
  });
  if ((object === null || object === "Number") && (name === "isNaN" || name === "isFinite"))
    return classify(node, name, args, context);
  const known = object === "Math" ? own(mathFunctions, name) : own(intrinsics, name);
  if (known !== undefined) return applyMath(node, known, args, context);
  const mayCall = object !== "Math" || mathBuiltins.includes(name);
  const lifted = mayCall ? (context.options.resolve?.(name) ?? null) : null;
  if (lifted === null)
    throw refuse(
      node,
      context,
      `the call of \`${object === null ? "" : `${object}.`}${name}\``,
      "only Math and functions that farrier exports can be called: write it in place",
    );
  countArguments(node, lifted.params.length, args, context);
  const places = new Map(lifted.params.map((param, i) => [build.param(param, "f64"), args[i]!]));
  return build.substitute([lifted.tree], places)[0]!;
}

const own = (
  table: Readonly<Record<string, MathFunction>>,
  name: string,
): MathFunction | undefined => (Object.hasOwn(table, name) ? table[name] : undefined);

function classify(node: Morph.Node, name: string, args: readonly Expr[], context: Context): Expr {
  countArguments(node, 1, args, context);
  const [x] = args as [Expr];
  return name === "isNaN"
    ? build.ne(x, x)
    : build.lt(build.unary("abs", x), build.constant(Infinity, "f64"));
}

function applyMath(
  node: Morph.Node,
  known: MathFunction,
  args: readonly Expr[],
  context: Context,
): Expr {
  if (known.arity !== "many") countArguments(node, known.arity, args, context);
  else if (args.length === 0) throw refuse(node, context, `${quote(node)} without arguments`);
  const literals = args.map(literalValue);
  return literals.every((value) => value !== null)
    ? build.constant(known.fold(...literals), "f64")
    : known.build(...args);
}

function countArguments(
  node: Morph.Node,
  wanted: number,
  args: readonly Expr[],
  context: Context,
): void {
  if (args.length !== wanted)
    throw refuse(
      node,
      context,
      `${quote(node)}, which gives ${args.length} arguments instead of ${wanted},`,
    );
}
