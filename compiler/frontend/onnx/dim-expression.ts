/** Dimensions that are sums and products of others: `past_length + length`. */
import { FarrierError } from "../../errors.js";
import { add, div, int, mul, sub } from "../../scalar/build.js";
import type { Expr } from "../../scalar/expr.js";

const tokens = /\s*(?:(\d{1,15})|([A-Za-z_][\w.]*)|(\/\/|[-+*/()]))/y;

type Token =
  | { readonly kind: "number"; readonly value: number }
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "sign"; readonly sign: string };

/** Null where the text is no expression. */
function tokensOf(text: string): Token[] | null {
  const found: Token[] = [];
  const trimmed = text.trimEnd();
  tokens.lastIndex = 0;
  while (tokens.lastIndex < trimmed.length) {
    const match = tokens.exec(trimmed);
    if (match === null) return null;
    const [, number, name, sign] = match;
    if (number !== undefined) found.push({ kind: "number", value: Number(number) });
    else if (name !== undefined) found.push({ kind: "name", name });
    else found.push({ kind: "sign", sign: sign! });
  }
  return found;
}

/** Whether a name says how its dimension follows from others. */
export function isDimExpression(text: string): boolean {
  const found = tokensOf(text);
  if (found === null) return false;
  const has = (kind: Token["kind"]): boolean => found.some((token) => token.kind === kind);
  return has("name") && has("sign");
}

class Parser {
  readonly #tokens: readonly Token[];
  readonly #symbol: (name: string) => Expr;
  readonly #fail: (what: string) => FarrierError;
  #at = 0;

  constructor(
    tokens: readonly Token[],
    symbol: (name: string) => Expr,
    fail: (what: string) => FarrierError,
  ) {
    this.#tokens = tokens;
    this.#symbol = symbol;
    this.#fail = fail;
  }

  whole(): Expr {
    const value = this.#sum();
    if (this.#at < this.#tokens.length) throw this.#fail("it goes on after its end");
    return value;
  }

  #sign(...signs: readonly string[]): string | null {
    const token = this.#tokens[this.#at];
    if (token?.kind !== "sign" || !signs.includes(token.sign)) return null;
    this.#at++;
    return token.sign;
  }

  #sum(): Expr {
    let value = this.#product();
    for (let sign = this.#sign("+", "-"); sign !== null; sign = this.#sign("+", "-"))
      value = (sign === "+" ? add : sub)(value, this.#product());
    return value;
  }

  #product(): Expr {
    let value = this.#factor();
    for (let sign = this.#sign("*", "/", "//"); sign !== null; sign = this.#sign("*", "/", "//"))
      value = (sign === "*" ? mul : div)(value, this.#factor());
    return value;
  }

  #factor(): Expr {
    if (this.#sign("(") !== null) {
      const value = this.#sum();
      if (this.#sign(")") === null) throw this.#fail("a parenthesis is open");
      return value;
    }
    const token = this.#tokens[this.#at++];
    if (token?.kind === "number") return int(token.value);
    if (token?.kind === "name") return this.#symbol(token.name);
    throw this.#fail("expected a name or a number");
  }
}

/** @throws FarrierError E_DIM where the text is no expression over the symbols */
export function dimExpression(text: string, symbol: (name: string) => Expr, where: string): Expr {
  const fail = (what: string): FarrierError =>
    new FarrierError("E_DIM", `"${text}": ${what}`, { where });
  const found = tokensOf(text);
  if (found === null) throw fail("expected names, numbers, + - * / and parentheses");
  return new Parser(found, symbol, fail).whole();
}
