// Python in colours: enough of its grammar for functions that make blocks.

export interface Token {
  kind: "" | "comment" | "string" | "keyword" | "number";
  text: string;
}

const TOKEN =
  /(?<comment>#.*)|(?<string>[rfbu]*(?:"""[\s\S]*?"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))|(?<keyword>\b(?:False|None|True|and|as|assert|class|def|del|elif|else|except|finally|for|from|if|import|in|is|lambda|not|or|pass|raise|return|try|while|with|yield)\b)|(?<number>\b\d[\d_]*(?:\.\d+)?(?:e-?\d+)?\b)/gi;

/** The lines of a text, each in tokens. */
export function tokens(code: string): Token[][] {
  const lines: Token[][] = [[]];
  const add = (kind: Token["kind"], text: string): void => {
    text.split("\n").forEach((part, i) => {
      if (i > 0) lines.push([]);
      if (part) lines.at(-1)!.push({ kind, text: part });
    });
  };
  let at = 0;
  const source = code.replace(/\n+$/, "");
  for (const found of source.matchAll(TOKEN)) {
    add("", source.slice(at, found.index));
    const [kind] = Object.entries(found.groups ?? {}).find(([, text]) => text !== undefined) ?? [];
    add((kind ?? "") as Token["kind"], found[0]);
    at = found.index + found[0].length;
  }
  add("", source.slice(at));
  return lines;
}
