/**
 * Lifts the source text of a function of numbers into an expression tree: the functions and their
 * statements; `lift-expression.ts` has the rest.
 */
import type * as Morph from "ts-morph";
import { FarrierError } from "../errors.js";
import * as build from "./build.js";
import type { Expr } from "./expr.js";
import {
  morph,
  quote,
  refuse,
  type Context,
  type LiftOptions,
  type Scope,
} from "./lift-context.js";
import { liftCondition, liftExpression, refuseAssignment } from "./lift-expression.js";
import type { Lifted } from "./tree.js";

export type { LiftOptions } from "./lift-context.js";

type FunctionNode = Morph.ArrowFunction | Morph.FunctionDeclaration | Morph.FunctionExpression;

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

function liftNode(node: FunctionNode, context: Context): Lifted {
  const { Node } = morph();
  if (node.isAsync()) throw refuse(node, context, "an async function");
  if (!Node.isArrowFunction(node) && node.isGenerator()) throw refuse(node, context, "a generator");
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
    throw refuse(
      statement,
      context,
      "an `if` whose branch does not return",
      "return a value from it",
    );
  const otherwise = statement.getElseStatement();
  const following = otherwise === undefined ? rest : [otherwise, ...rest];
  const whenFalse = liftStatements(following, scope, context);
  if (whenFalse === null) return null;
  if (whenTrue.type !== whenFalse.type)
    throw refuse(
      statement,
      context,
      "a result that is a number in one branch and a condition in the other",
    );
  return build.select(condition, whenTrue, whenFalse);
}

function refuseStatement(statement: Morph.Statement, context: Context): FarrierError {
  const { Node } = morph();
  if (Node.isIterationStatement(statement))
    return refuse(statement, context, "a loop", "write its iterations out");
  const inner = Node.isExpressionStatement(statement) ? statement.getExpression() : undefined;
  if (inner !== undefined) {
    refuseAssignment(inner, context);
    return refuse(
      statement,
      context,
      `the statement ${quote(statement)}, which has no effect here,`,
    );
  }
  return refuse(statement, context, `${statement.getKindName()} ${quote(statement)}`);
}
