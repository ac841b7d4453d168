/**
 * A copy of farrier as JavaScript in which the readers count what they execute: one counter for each
 * branch, each arm of a condition, each function and each loop's body.
 */
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import type * as Morph from "ts-morph";
import { packageRoot } from "../../compiler/version.js";

const { ts } = createRequire(import.meta.url)("ts-morph") as typeof Morph;
type Node = Morph.ts.Node;
type Expression = Morph.ts.Expression;
type Statement = Morph.ts.Statement;

/** The name of the counters in an instrumented file, and of their array among the globals. */
export const countersName = "farrierCounters";
const counters = "$counters";

const isReader = (file: string): boolean =>
  file.startsWith("compiler/frontend/") && !file.endsWith(".testing.ts");

/** Numbers the counters of all files, and collects the words that the readers know. */
class Instrumenter {
  points = 0;
  readonly words = new Map<string, Set<string>>();

  transformer(file: string): Morph.ts.TransformerFactory<Morph.ts.SourceFile> {
    const words = new Set<string>();
    this.words.set(file, words);
    return (context) => (source) => {
      const { factory } = context;
      const hit = (): Expression =>
        factory.createPostfixIncrement(
          factory.createElementAccessExpression(
            factory.createIdentifier(counters),
            factory.createNumericLiteral(this.points++),
          ),
        );
      const hitStatement = (): Statement => factory.createExpressionStatement(hit());
      const counted = (expression: Expression): Expression =>
        factory.createParenthesizedExpression(factory.createComma(hit(), expression));
      const block = (statement: Statement | undefined): Statement =>
        factory.createBlock([
          hitStatement(),
          ...(statement === undefined
            ? []
            : ts.isBlock(statement)
              ? statement.statements
              : [statement]),
        ]);
      const visit = (node: Node): Node => {
        if (ts.isStringLiteral(node)) words.add(node.text);
        return wrapped(ts.visitEachChild(node, visit, context));
      };
      const wrapped = (node: Node): Node => {
        if (ts.isIfStatement(node)) {
          const { expression, thenStatement, elseStatement } = node;
          return factory.updateIfStatement(
            node,
            expression,
            block(thenStatement),
            block(elseStatement),
          );
        }
        if (ts.isConditionalExpression(node)) {
          const { condition, questionToken, whenTrue, colonToken, whenFalse } = node;
          const arms = [counted(whenTrue), counted(whenFalse)] as const;
          return factory.updateConditionalExpression(
            ...[node, condition, questionToken, arms[0], colonToken, arms[1]],
          );
        }
        if (ts.isBinaryExpression(node) && isShortCircuit(node.operatorToken.kind))
          return factory.updateBinaryExpression(
            ...[node, node.left, node.operatorToken, counted(node.right)],
          );
        if (ts.isCaseClause(node))
          return factory.updateCaseClause(node, node.expression, [
            hitStatement(),
            ...node.statements,
          ]);
        if (ts.isDefaultClause(node))
          return factory.updateDefaultClause(node, [hitStatement(), ...node.statements]);
        if (ts.isArrowFunction(node) && !ts.isBlock(node.body))
          return factory.updateArrowFunction(
            ...[node, node.modifiers, node.typeParameters, node.parameters, node.type],
            node.equalsGreaterThanToken,
            counted(node.body),
          );
        if (ts.isBlock(node) && countsBlock(node))
          return factory.updateBlock(node, [hitStatement(), ...node.statements]);
        return node;
      };
      return ts.visitEachChild(source, visit, context);
    };
  }
}

function isShortCircuit(kind: Morph.ts.SyntaxKind): boolean {
  const { AmpersandAmpersandToken, BarBarToken, QuestionQuestionToken } = ts.SyntaxKind;
  return [AmpersandAmpersandToken, BarBarToken, QuestionQuestionToken].some((one) => one === kind);
}

/** Bodies of functions, loops and handlers; the arms of conditions are counted with these. */
function countsBlock(node: Morph.ts.Block): boolean {
  // A node that was made anew has lost its parent: the original still knows it.
  const parent = ts.getOriginalNode(node).parent as Node | undefined;
  return parent !== undefined && !ts.isIfStatement(parent) && !ts.isTryStatement(parent);
}

export interface Instrumented {
  readonly directory: string;
  readonly points: number;
  /** String literals of each instrumented file: what an input may want to say. */
  readonly words: ReadonlyMap<string, ReadonlySet<string>>;
}

/** The files that `file` imports, by their path from the root. */
function importsOf(text: string, file: string): string[] {
  const { importedFiles } = ts.preProcessFile(text, true, true);
  return importedFiles
    .map(({ fileName }) => fileName)
    .filter((name) => name.startsWith("."))
    .map((name) => path.posix.join(path.posix.dirname(file), name.replace(/\.js$/, ".ts")));
}

/** Writes `entry` and all that it imports below `directory`. */
export function instrument(entry: string, directory: string): Instrumented {
  const root = packageRoot();
  const instrumenter = new Instrumenter();
  const seen = new Set<string>();
  const waiting = [entry];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    const text = fs.readFileSync(path.join(root, file), "utf8");
    waiting.push(...importsOf(text, file));
    const target = path.join(directory, file.replace(/\.ts$/, ".js"));
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.writeFileSync(target, javascript(text, file, instrumenter));
  }
  fs.writeFileSync(path.join(directory, "package.json"), '{"type":"module"}');
  return { directory, points: instrumenter.points, words: instrumenter.words };
}

function javascript(text: string, file: string, instrumenter: Instrumenter): string {
  const before = isReader(file) ? [instrumenter.transformer(file)] : [];
  const { outputText } = ts.transpileModule(text, {
    fileName: file,
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
    },
    transformers: { before },
  });
  if (before.length === 0) return outputText;
  return `const ${counters} = globalThis.${countersName};\n${outputText}`;
}
