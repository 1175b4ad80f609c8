// lab: how the demo speaks: headings with timings, facts, excerpts of what other programs say. Colour on a terminal only.

const colour = process.stdout.isTTY === true && !process.env.NO_COLOR;
const paint = (code: string, text: string): string => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);

export class Story {
  readonly #begin: number;
  #step: number;
  #title = "";

  constructor() {
    this.#begin = performance.now();
    this.#step = this.#begin;
  }

  /** Seconds since the story began. */
  get seconds(): number {
    return (performance.now() - this.#begin) / 1000;
  }

  /** Ends the step before and begins the next. */
  heading(title: string): void {
    this.endStep();
    this.#title = title;
    this.#step = performance.now();
    console.log(`\n${paint("1", title)}`);
  }

  endStep(): void {
    if (!this.#title) return;
    console.log(
      paint(
        "2",
        `   ${this.#title.split(".")[0]}. done in ${((performance.now() - this.#step) / 1000).toFixed(1)} s`,
      ),
    );
    this.#title = "";
  }

  /** A fact. */
  say(text: string): void {
    console.log(`   ${text}`);
  }

  /** What is going on now; seen where somebody watches. */
  note(text: string): void {
    console.log(paint("2", `   · ${text}`));
  }

  /** What another program said, under the words that asked it. */
  quote(command: string, output: string, mostLines = 24): void {
    console.log(`   ${paint("36", `$ ${command}`)}`);
    const lines = output.trimEnd().split("\n");
    for (const line of lines.slice(0, mostLines)) console.log(`     ${line}`);
    if (lines.length > mostLines) console.log(`     … ${lines.length - mostLines} lines more`);
  }

  /** Rows as a table with aligned columns. */
  table(rows: readonly (readonly string[])[]): void {
    const widths = rows[0]!.map((_, i) => Math.max(...rows.map((r) => (r[i] ?? "").length)));
    for (const [n, row] of rows.entries()) {
      const line = row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join("  ")
        .trimEnd();
      console.log(`     ${n === 0 ? paint("2", line) : line}`);
    }
  }
}
