// differential tests: a program whose every system call is known: an ELF file written by hand, so that no libc adds calls of its own.
import { chmodSync, writeFileSync } from "node:fs";

/** A pointer to this text, NUL at its end, in the program's own memory. */
export interface Text {
  readonly text: string;
}
/** Bytes of zeroed memory that belong to the program. */
export interface Room {
  readonly room: number;
}
/** u64 words of memory, as in struct timespec. */
export interface Words {
  readonly words: readonly number[];
}
export type Argument = number | bigint | Text | Room | Words;

export type Step =
  /** A system call of x86-64 by number, `times` over. */
  | { readonly call: number; readonly with?: readonly Argument[]; readonly times?: number }
  /** Steps over and over. */
  | { readonly repeat: number; readonly steps: readonly Step[] }
  /** A call of one of the program's functions, which has a symbol and returns its first argument plus one. */
  | { readonly function: string; readonly with?: readonly (number | bigint)[]; readonly times?: number };

/** Numbers of system calls that nothing else makes while a small program runs. */
export const SYS = {
  read: 0,
  write: 1,
  open: 2,
  close: 3,
  lseek: 8,
  nanosleep: 35,
  getpid: 39,
  execve: 59,
  exit: 60,
  kill: 62,
  chdir: 80,
  mkdir: 83,
  getppid: 110,
  getpriority: 140,
  setpriority: 141,
  sync: 162,
  openat: 257,
} as const;

const base = 0x400000n;
const headerSize = 64 + 2 * 56;
const page = 4096;

const u64 = (value: number | bigint): number[] => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
  return [...bytes];
};
const u32 = (value: number): number[] => u64(value).slice(0, 4);
const u16 = (value: number): number[] => u64(value).slice(0, 2);

/** mov rdi, rsi, rdx, r10 (rcx for functions), r8, r9 with a 64-bit constant. */
const intoArgument: readonly (readonly number[])[] = [
  [0x48, 0xbf],
  [0x48, 0xbe],
  [0x48, 0xba],
  [0x49, 0xba],
  [0x49, 0xb8],
  [0x49, 0xb9],
];
const intoRcx = [0x48, 0xb9];

/** The file's bytes. The program makes the steps' calls in order and exits with 0. */
export function elfOf(steps: readonly Step[]): Uint8Array {
  const functions = (list: readonly Step[]): string[] =>
    list.flatMap((s) => ("repeat" in s ? functions(s.steps) : "function" in s ? [s.function] : []));
  const names = [...new Set(functions(steps))];
  // Functions first: push rbp; mov rbp, rsp; lea rax, [rdi+1]; pop rbp; ret; padded to 16.
  const body = [0x55, 0x48, 0x89, 0xe5, 0x48, 0x8d, 0x47, 0x01, 0x5d, 0xc3];
  const code: number[] = names.flatMap(() => [...body, ...new Array<number>(16 - body.length).fill(0x90)]);
  const entry = code.length;
  const data: number[] = [];
  const pointers: { readonly at: number; readonly offset: number }[] = [];
  const place = (argument: Argument): bigint => {
    if (typeof argument === "number" || typeof argument === "bigint") return BigInt(argument);
    const offset = data.length;
    if ("text" in argument) data.push(...Buffer.from(argument.text), 0);
    else if ("words" in argument) data.push(...argument.words.flatMap(u64));
    else data.push(...new Array<number>(argument.room).fill(0));
    pointers.push({ at: code.length + 2, offset });
    return 0n;
  };
  // The kernel reads memory of a process without waiting for it: what was never touched is not there.
  const touched = code.length + 2;
  code.push(0x48, 0xb8, ...u64(0n), 0x8a, 0x00); // mov rax, data; mov al, [rax]
  pointers.push({ at: touched, offset: 0 });
  const emit = (step: Step): void => {
    if ("repeat" in step) {
      code.push(0x41, 0xbd, ...u32(step.repeat)); // mov r13d, times
      const again = code.length;
      step.steps.forEach(emit);
      // dec r13d; jnz again
      code.push(0x41, 0xff, 0xcd, 0x0f, 0x85, ...u32(again - (code.length + 9)));
      return;
    }
    const times = step.times ?? 1;
    if (times > 1) code.push(0x41, 0xbc, ...u32(times)); // mov r12d, times
    const top = code.length;
    for (const [i, argument] of (step.with ?? []).entries()) {
      const value = place(argument);
      code.push(...("function" in step && i === 3 ? intoRcx : (intoArgument[i] ?? [])), ...u64(value));
    }
    if ("call" in step) code.push(0xb8, ...u32(step.call), 0x0f, 0x05);
    else code.push(0xe8, ...u32(names.indexOf(step.function) * 16 - (code.length + 5)));
    // dec r12d; jnz top
    if (times > 1) code.push(0x41, 0xff, 0xcc, 0x0f, 0x85, ...u32(top - (code.length + 9)));
  };
  steps.forEach(emit);
  code.push(0x31, 0xff, 0xb8, ...u32(SYS.exit), 0x0f, 0x05);

  // Code and data in segments of their own: the kernel puts no uprobe into what can be written.
  if (data.length === 0) data.push(0);
  const dataAt = Math.ceil((headerSize + code.length) / page) * page;
  for (const { at, offset } of pointers) code.splice(at, 8, ...u64(base + BigInt(dataAt + offset)));

  const strtab = [0, ...names.flatMap((name) => [...Buffer.from(name), 0])];
  const shstrtab = [...Buffer.from("\0.text\0.symtab\0.strtab\0.shstrtab\0")];
  const symbolsAt = Math.ceil((dataAt + data.length) / 8) * 8;
  let nameAt = 1;
  const symbols = [
    ...new Array<number>(24).fill(0),
    ...names.flatMap((name, i) => {
      const symbol = [
        ...u32(nameAt),
        0x12, // GLOBAL FUNC
        0,
        ...u16(1),
        ...u64(base + BigInt(headerSize + i * 16)),
        ...u64(body.length),
      ];
      nameAt += name.length + 1;
      return symbol;
    }),
  ];
  const stringsAt = symbolsAt + symbols.length;
  const sectionNamesAt = stringsAt + strtab.length;
  const sectionsAt = Math.ceil((sectionNamesAt + shstrtab.length) / 8) * 8;
  const section = (
    name: number,
    type: number,
    flags: number,
    address: bigint,
    offset: number,
    size: number,
    link = 0,
    info = 0,
    entrySize = 0,
  ): number[] => [
    ...u32(name),
    ...u32(type),
    ...u64(flags),
    ...u64(address),
    ...u64(offset),
    ...u64(size),
    ...u32(link),
    ...u32(info),
    ...u64(8),
    ...u64(entrySize),
  ];
  const sections = [
    ...new Array<number>(64).fill(0),
    ...section(1, 1, 6, base + BigInt(headerSize), headerSize, code.length),
    ...section(7, 2, 0, 0n, symbolsAt, symbols.length, 3, 1, 24),
    ...section(15, 3, 0, 0n, stringsAt, strtab.length),
    ...section(23, 3, 0, 0n, sectionNamesAt, shstrtab.length),
  ];
  const header = [
    0x7f,
    0x45,
    0x4c,
    0x46,
    2,
    1,
    1,
    ...new Array<number>(9).fill(0),
    ...u16(2),
    ...u16(62),
    ...u32(1),
    ...u64(base + BigInt(headerSize + entry)),
    ...u64(64),
    ...u64(sectionsAt),
    ...u32(0),
    ...u16(64),
    ...u16(56),
    ...u16(2),
    ...u16(64),
    ...u16(5),
    ...u16(4),
  ];
  const segment = (flags: number, offset: number, size: number): number[] => [
    ...u32(1),
    ...u32(flags),
    ...u64(offset),
    ...u64(base + BigInt(offset)),
    ...u64(base + BigInt(offset)),
    ...u64(size),
    ...u64(size),
    ...u64(page),
  ];
  const file = new Uint8Array(sectionsAt + sections.length);
  file.set([
    ...header,
    ...segment(5, 0, headerSize + code.length),
    ...segment(6, dataAt, data.length),
    ...code,
  ]);
  file.set(data, dataAt);
  file.set(symbols, symbolsAt);
  file.set(strtab, stringsAt);
  file.set(shstrtab, sectionNamesAt);
  file.set(sections, sectionsAt);
  return file;
}

export function writeWorkload(path: string, steps: readonly Step[]): void {
  writeFileSync(path, elfOf(steps));
  chmodSync(path, 0o755);
}
