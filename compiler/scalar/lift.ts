/**
 * Lifts the source text of a function of numbers into an expression tree. The only file that uses
 * ts-morph, which it loads at the first call: compiling with built-in functions never does.
 */
import { createRequire } from "node:module";
import type * as Morph from "ts-morph";
import { FarrierError } from "../errors.js";
import * as build from "./build.js";
import type { BinaryOp, Expr } from "./expr.js";
import { intrinsics, literalValue, mathBuiltins, mathConstants, mathFunctions, power } from "./math.js";
import type { MathFunction } from "./math.js";
import type { Lifted } from "./tree.js";

type MorphModule = typeof import("ts-morph");
type FunctionNode = Morph.ArrowFunction | Morph.FunctionDeclaration | Morph.FunctionExpression;

let loaded: MorphModule | undefined;

/** ts-morph is CommonJS: requiring it keeps `elementwise` synchronous. */
function morph(): MorphModule {
  loaded ??= createRequire(import.meta.url)("ts-morph") as MorphModule;
  return loaded;
}

export interface LiftOptions {
  /** What errors call the source: a file's name, or the function's. */
  readonly source?: string;
  /** Another function that may be called by this name, or null. */
  readonly resolve?: (name: string) => Lifted | null;
}

/** One function being lifted. */
interface Context {
  readonly options: LiftOptions;
  readonly name: string;
  /** Columns of line 1 that are not the caller's text. */
  readonly shift: number;
}

type Scope = ReadonlyMap<string, Expr>;

function parse(text: string, path: string): Morph.SourceFile {
  const { Project, ts } = morph();
  const project = new Project({
    useInMemoryFileSystem: true,
    skipLoadingLibFiles: true,
    compilerOptions: { target: ts.ScriptTarget.ES2022, noLib: true },
  });
  const file = project.createSourceFile(path, text);
  const [broken] = project.getProgram().getSyntacticDiagnostics(file);
  if (broken !== undefined) {
    const message = broken.getMessageText();
    throw new FarrierError(
      "E_SCALAR_LIFT",
      `the text does not parse: ${typeof message === "string" ? message : message.getMessageText()}`,
      { where: `${path} line ${broken.getLineNumber()}` },
    );
  }
  return file;
}

/**
 * Lifts the text of one function expression (what `fn.toString()` gives, or TypeScript).
 * @throws FarrierError E_SCALAR_LIFT with the line and column of what cannot be lifted
 */
export function liftFunction(text: string, options: LiftOptions = {}): Lifted {
  const source = options.source ?? "function";
  if (/\{\s*\[native code\]\s*\}\s*$/.test(text))
    throw new FarrierError("E_SCALAR_LIFT", "a native or bound function has no text to lift", {
      where: source,
      hint: "wrap it, as in (x) => Math.exp(x)",
    });
  const file = parse(`(${text}\n)`, "elementwise.ts");
  const { Node } = morph();
  const statement = file.getStatements()[0];
  const inner = Node.isExpressionStatement(statement) ? statement.getExpression() : undefined;
  const node = Node.isParenthesizedExpression(inner) ? inner.getExpression() : undefined;
  if (node === undefined || !(Node.isArrowFunction(node) || Node.isFunctionExpression(node)))
    throw new FarrierError("E_SCALAR_LIFT", "the text is not an arrow function or a function", {
      where: source,
    });
  const name = Node.isFunctionExpression(node) ? (node.getName() ?? "") : "";
  return liftNode(node, { options, name, shift: 1 });
}

/** Lifts every exported function of a source file; they may call each other, but not recursively. */
export function liftModule(text: string, options: LiftOptions = {}): Map<string, Lifted> {
  const file = parse(text, "functions.ts");
  const lifted = new Map<string, Lifted>();
  const busy = new Set<string>();
  const resolve = (name: string): Lifted | null => {
    const known = lifted.get(name);
    const node = file.getFunction(name);
    if (known !== undefined || node === undefined || busy.has(name)) return known ?? null;
    busy.add(name);
    const result = liftNode(node, { options: { ...options, resolve }, name, shift: 0 });
    busy.delete(name);
    lifted.set(name, result);
    return result;
  };
  const names = file.getFunctions().flatMap((node) => (node.isExported() ? [node.getName()!] : []));
  return new Map(names.map((name) => [name, resolve(name)!]));
}

function refuse(node: Morph.Node, context: Context, what: string, hint?: string): FarrierError {
  const { line, column } = node.getSourceFile().getLineAndColumnAtPos(node.getStart());
  const place = `${line}:${line === 1 ? column - context.shift : column}`;
  return new FarrierError("E_SCALAR_LIFT", `${what} cannot be lifted`, {
    where: `${context.options.source ?? "function"} ${place}`,
    ...(hint === undefined ? {} : { hint }),
  });
}

const quote = (node: Morph.Node): string => {
  const text = node.getText().replace(/\s+/g, " ");
  return `\`${text.length > 60 ? `${text.slice(0, 57)}...` : text}\``;
};

function liftNode(node: FunctionNode, context: Context): Lifted {
  const { Node } = morph();
  if (node.isAsync()) throw refuse(node, context, "an async function");
  if (!Node.isArrowFunction(node) && node.isGenerator())
    throw refuse(node, context, "a generator");
  const params = node.getParameters().map((parameter) => parameterName(parameter, context));
  const [first] = params;
  if (first === undefined)
    throw refuse(node, context, "a function without parameters", "a constant needs no kernel");
  const returns = node.getReturnTypeNode();
  if (returns !== undefined && returns.getText() !== "number")
    throw refuse(returns, context, `a result of type ${quote(returns)}`, "return a number");
  const scope: Scope = new Map(params.map((name) => [name, build.param(name, "f64")]));
  const body = node.getBody();
  if (body === undefined) throw refuse(node, context, "a function without a body");
  const tree = Node.isBlock(body)
    ? liftStatements(body.getStatements(), scope, context)
    : liftExpression(body, scope, context);
  if (tree === null) throw refuse(node, context, "a function that may end without a result");
  if (tree.type !== "f64")
    throw refuse(body, context, "a result that is a condition", "write condition ? 1 : 0");
  return { params, tree };
}

function parameterName(parameter: Morph.ParameterDeclaration, context: Context): string {
  const { Node } = morph();
  const name = parameter.getNameNode();
  if (!Node.isIdentifier(name)) throw refuse(parameter, context, "a destructured parameter");
  if (parameter.isRestParameter()) throw refuse(parameter, context, "a rest parameter");
  if (parameter.hasInitializer())
    throw refuse(parameter, context, `the default of ${quote(parameter)}`, "give every argument");
  const type = parameter.getTypeNode();
  if (parameter.isOptional() || (type !== undefined && type.getText() !== "number"))
    throw refuse(parameter, context, `the parameter ${quote(parameter)}`, "parameters are numbers");
  return name.getText();
}

/** The value that a list of statements returns, or null if it runs off its end. */
function liftStatements(
  statements: readonly Morph.Statement[],
  outer: Scope,
  context: Context,
): Expr | null {
  const { Node } = morph();
  let scope = outer;
  for (const [index, statement] of statements.entries()) {
    const rest = statements.slice(index + 1);
    if (Node.isVariableStatement(statement)) scope = declare(statement, scope, context);
    else if (Node.isReturnStatement(statement)) {
      const value = statement.getExpression();
      if (value === undefined) throw refuse(statement, context, "a return without a value");
      return liftExpression(value, scope, context);
    } else if (Node.isBlock(statement)) {
      const value = liftStatements(statement.getStatements(), scope, context);
      if (value !== null) return value;
    } else if (Node.isIfStatement(statement)) return branch(statement, rest, scope, context);
    else if (!isDirective(statement) && !Node.isEmptyStatement(statement))
      throw refuseStatement(statement, context);
  }
  return null;
}

function isDirective(statement: Morph.Statement): boolean {
  const { Node } = morph();
  return Node.isExpressionStatement(statement) && Node.isStringLiteral(statement.getExpression());
}

function declare(statement: Morph.VariableStatement, scope: Scope, context: Context): Scope {
  const { Node } = morph();
  const next = new Map(scope);
  for (const declaration of statement.getDeclarations()) {
    if (statement.getDeclarationKind() !== morph().VariableDeclarationKind.Const)
      throw refuse(statement, context, quote(statement), "declare it with const");
    const name = declaration.getNameNode();
    const value = declaration.getInitializer();
    if (!Node.isIdentifier(name) || value === undefined)
      throw refuse(declaration, context, quote(declaration), "bind one name to one value");
    next.set(name.getText(), liftExpression(value, next, context));
  }
  return next;
}

function branch(
  statement: Morph.IfStatement,
  rest: readonly Morph.Statement[],
  scope: Scope,
  context: Context,
): Expr | null {
  const condition = liftCondition(statement.getExpression(), scope, context);
  const whenTrue = liftStatements([statement.getThenStatement()], scope, context);
  if (whenTrue === null)
    throw refuse(statement, context, "an `if` whose branch does not return", "return a value from it");
  const otherwise = statement.getElseStatement();
  const following = otherwise === undefined ? rest : [otherwise, ...rest];
  const whenFalse = liftStatements(following, scope, context);
  if (whenFalse === null) return null;
  if (whenTrue.type !== whenFalse.type)
    throw refuse(statement, context, "a result that is a number in one branch and a condition in the other");
  return build.select(condition, whenTrue, whenFalse);
}

function refuseStatement(statement: Morph.Statement, context: Context): FarrierError {
  const { Node } = morph();
  if (Node.isIterationStatement(statement))
    return refuse(statement, context, "a loop", "write its iterations out");
  const inner = Node.isExpressionStatement(statement) ? statement.getExpression() : undefined;
  if (inner !== undefined) {
    liftAssignment(inner, context);
    return refuse(statement, context, `the statement ${quote(statement)}, which has no effect here,`);
  }
  return refuse(statement, context, `${statement.getKindName()} ${quote(statement)}`);
}

/** @throws for an assignment: names are bound once. */
function liftAssignment(node: Morph.Expression, context: Context): void {
  const { Node } = morph();
  const assigns = Node.isBinaryExpression(node) && /^[^=!<>]*=$|^[<>]{2,3}=$/.test(node.getOperatorToken().getText());
  const steps = (Node.isPrefixUnaryExpression(node) || Node.isPostfixUnaryExpression(node)) && /\+\+|--/.test(node.getText());
  if (assigns || steps)
    throw refuse(node, context, `the assignment ${quote(node)}`, "bind a new name with const");
}

function liftCondition(node: Morph.Expression, scope: Scope, context: Context): Expr {
  const value = liftExpression(node, scope, context);
  if (value.type === "bool") return value;
  throw refuse(node, context, `the number ${quote(node)} as a condition`, "compare it, as in x !== 0");
}

function liftNumber(node: Morph.Expression, scope: Scope, context: Context): Expr {
  const value = liftExpression(node, scope, context);
  if (value.type === "f64") return value;
  throw refuse(node, context, `the condition ${quote(node)} as a number`, "write condition ? 1 : 0");
}

function liftExpression(node: Morph.Expression | Morph.Node, scope: Scope, context: Context): Expr {
  const { Node } = morph();
  if (Node.isParenthesizedExpression(node)) return liftExpression(node.getExpression(), scope, context);
  if (Node.isAsExpression(node) || Node.isNonNullExpression(node) || Node.isSatisfiesExpression(node))
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
  liftAssignment(node, context);
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
const plain = (op: BinaryOp): Join => (a, b) => build.binary(op, a, b);

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
  liftAssignment(node, context);
  const join = arithmetic[operator];
  if (join === undefined)
    throw refuse(node, context, `the operator \`${operator}\``, "numbers are floats here, not integers");
  const left = liftNumber(node.getLeft(), scope, context);
  const right = liftNumber(node.getRight(), scope, context);
  const fold = folded[operator];
  const [a, b] = [literalValue(left), literalValue(right)];
  return fold !== undefined && a !== null && b !== null ? build.constant(fold(a, b), "f64") : join(left, right);
}

/** `f`, `Math.f`, or what bundlers make of an import: `(0, module.f)`. */
function calleeName(node: Morph.Node): { readonly object: string | null; readonly name: string } | null {
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
    throw refuse(node, context, `the call ${quote(node)}`, "call Math or a function of farrier by name");
  const { object, name } = callee;
  if (scope.has(name) || scope.has(object ?? ""))
    throw refuse(node, context, `the call of \`${object ?? name}\`, a number,`);
  if (name === context.name && object === null) throw refuse(node, context, `the recursion of \`${name}\``);
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
  const places = new Map(lifted.params.map((param, i) => [build.param(param, "f64") as Expr, args[i]!]));
  return build.substitute([lifted.tree], places)[0]!;
}

const own = (table: Readonly<Record<string, MathFunction>>, name: string): MathFunction | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;

function classify(node: Morph.Node, name: string, args: readonly Expr[], context: Context): Expr {
  countArguments(node, 1, args, context);
  const [x] = args as [Expr];
  return name === "isNaN"
    ? build.ne(x, x)
    : build.lt(build.unary("abs", x), build.constant(Infinity, "f64"));
}

function applyMath(node: Morph.Node, known: MathFunction, args: readonly Expr[], context: Context): Expr {
  if (known.arity !== "many") countArguments(node, known.arity, args, context);
  else if (args.length === 0) throw refuse(node, context, `${quote(node)} without arguments`);
  const literals = args.map(literalValue);
  return literals.every((value) => value !== null)
    ? build.constant(known.fold(...literals), "f64")
    : known.build(...args);
}

function countArguments(node: Morph.Node, wanted: number, args: readonly Expr[], context: Context): void {
  if (args.length !== wanted)
    throw refuse(node, context, `${quote(node)}, which gives ${args.length} arguments instead of ${wanted},`);
}
